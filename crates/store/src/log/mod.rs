//! The log on disk: elements and changes are appended to segments, a writer thread makes them durable in groups, and
//! whoever waits for a reply waits for that.
//!
//! The state in memory is always what replaying the log would make. Every segment begins with an image of it, so that
//! a segment without live elements can be deleted.

pub(crate) mod frame;
mod image;
mod locked;
mod recovery;
mod refusal;
mod rows;
mod segment;
mod state;
mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use frame::{Gathered, Secret};
use refusal::Refused;
use segment::Segment;
use tokio::sync::watch;

pub(crate) use {
    frame::{ElementsFrame, Sealed},
    locked::Locked,
    segment::{ReadError, Slice},
    state::{Change, ClaimState, State},
};
pub use {recovery::Recovered, refusal::Refusal};

use crate::{
    Fsync,
    files::{close_to_others, ours},
};

/// Bytes that may wait for the disk; more, and clients wait before they are read.
const MOST_WAITING: usize = 32 << 20;
/// How long to wait for a folder that a subcommand, or a pump that is ending, has open.
const PATIENCE: Duration = Duration::from_secs(2);

/// Everything up to here is in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(u64);

/// Bytes on their way to the disk.
struct Chunk {
    segment: Arc<Segment>,
    at: u32,
    bytes: Vec<u8>,
    number: u64,
}

struct Inner {
    state: State,
    segments: BTreeMap<u32, Arc<Segment>>,
    current: Arc<Segment>,
    /// The next frame goes here.
    offset: u32,
    spare: Option<Segment>,
    /// What the frames of new segments are marked with.
    secret: Secret,
    /// Why there is none, although it is time for it.
    no_spare: Option<String>,
    waiting: VecDeque<Chunk>,
    waiting_bytes: usize,
    /// Number of the last append.
    number: u64,
    /// Segments that can go once everything up to this append is durable.
    doomed: VecDeque<(u64, Arc<Segment>)>,
    /// Bytes of all segments but the current one.
    used: u64,
    trouble: Option<String>,
    stopping: bool,
    refused: Refused,
}

/// A folder that records wait in.
pub(crate) struct Log {
    inner: Mutex<Inner>,
    work: Condvar,
    durable: watch::Sender<u64>,
    folder: PathBuf,
    fsync: Fsync,
    max_bytes: u64,
    recovered: Recovered,
    /// Held as long as the store is open.
    _lock: File,
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

impl Log {
    /// Opens the folder, which is made when it is not there, and recovers what the last process left.
    ///
    /// # Errors
    /// Another process has it open, or the disk cannot be read or written. Damage is no error.
    pub(crate) fn open(folder: &Path, fsync: Fsync, max_bytes: u64) -> anyhow::Result<Arc<Log>> {
        let shown = folder.display();
        crate::files::make_folder(folder).with_context(|| format!("embedded_storage.dir {shown}"))?;
        let lock = lock(folder)?;
        let found = recovery::recover(folder).with_context(|| format!("embedded_storage.dir {shown}"))?;
        let store = Arc::new(Log {
            inner: Mutex::new(found.inner),
            work: Condvar::new(),
            durable: watch::Sender::new(0),
            folder: folder.to_owned(),
            fsync,
            max_bytes,
            recovered: found.recovered,
            _lock: lock,
        });
        let writer = store.clone();
        std::thread::Builder::new()
            .name("embedded-log".to_owned())
            .spawn(move || writer.write_until_stopped())
            .context("the thread that writes the log")?;
        Ok(store)
    }

    /// What opening it found.
    pub(crate) fn recovered(&self) -> Recovered {
        self.recovered
    }

    /// Where it lies.
    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks, and changes, in one go: nothing of anybody else comes in between.
    pub(crate) fn with<T>(&self, work: impl FnOnce(&mut Locked<'_>) -> T) -> (T, Ticket) {
        let mut locked = Locked {
            inner: self.inner(),
            store: self,
        };
        let before = locked.inner.number;
        let result = work(&mut locked);
        let number = locked.inner.number;
        drop(locked);
        if number != before {
            self.work.notify_one();
        }
        (result, Ticket(number))
    }

    /// Makes one change.
    pub(crate) fn change(&self, change: Change) -> Result<Ticket, Refusal> {
        let (result, ticket) = self.with(|locked| locked.change(change));
        result.map(|()| ticket)
    }

    /// Waits until everything up to `ticket` is as durable as `fsync` promises; `false`: the store has been closed.
    pub(crate) async fn durable(&self, ticket: Ticket) -> bool {
        let mut durable = self.durable.subscribe();
        durable
            .wait_for(|done| *done >= ticket.0)
            .await
            .is_ok_and(|done| *done != u64::MAX || ticket.0 == 0)
    }

    /// Waits while the disk is too far behind.
    pub(crate) async fn room(&self) {
        let mut durable = self.durable.subscribe();
        while self.inner().waiting_bytes > MOST_WAITING {
            if durable.changed().await.is_err() {
                return;
            }
        }
    }

    /// Reads rows from the front of `slice` as [`Slice::next`] does. What turns out to be damaged is put aside, counted and
    /// forgotten; a file that only cannot be read just now costs nothing. Blocks.
    ///
    /// # Errors
    /// The first stretch cannot be read; nothing is taken out of `slice`.
    pub(crate) fn read(&self, slice: &mut Slice, bytes: usize) -> Result<Gathered, ReadError> {
        let read = slice.next(bytes);
        if matches!(read, Err(ReadError::Damaged(_))) {
            self.lose(slice);
        }
        read
    }

    /// The first stretch of these rows cannot be read any more: it is put aside, counted, and forgotten.
    fn lose(&self, slice: &Slice) {
        let Some((run, file)) = slice.runs.first() else { return };
        let (segment, start, end) = (run.segment, run.start, run.end);
        let aside = file.as_ref().map_or_else(
            || "its file is gone".to_owned(),
            |file| recovery::quarantine(&self.folder, file, start, end),
        );
        tracing::error!(
            prefix = "embedded",
            "segment {segment} is damaged at {start}..{end}, {} records of {} are lost; put aside: {aside}",
            run.count,
            slice.list
        );
        let lost = Change::Lost {
            list: Some(slice.list.to_string()),
            segment,
            start,
            end,
        };
        // When the log cannot be written either, the next start finds the same damage.
        drop(self.change(lost));
    }

    /// Writes what waits, and ends the writer. Nothing can be appended afterwards.
    pub(crate) async fn close(&self) {
        let number = self.stop();
        self.durable(Ticket(number)).await;
    }

    /// Ends the writer once what waits is written. Returns the number of the last append.
    pub(crate) fn stop(&self) -> u64 {
        let mut inner = self.inner();
        inner.stopping = true;
        self.work.notify_one();
        inner.number
    }
}

fn lock(folder: &Path) -> anyhow::Result<File> {
    let path = folder.join("lock");
    let file = ours()
        .create(true)
        .truncate(false)
        .open(&path)
        .with_context(|| path.display().to_string())?;
    close_to_others(&file).with_context(|| path.display().to_string())?;
    let end = Instant::now() + PATIENCE;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(std::fs::TryLockError::WouldBlock) => anyhow::bail!(
                "embedded_storage.dir {} is open in another process: each pump needs a folder of its own",
                folder.display()
            ),
            Err(std::fs::TryLockError::Error(error)) => return Err(error).with_context(|| path.display().to_string()),
        }
    }
}
