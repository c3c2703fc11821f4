//! The log on disk: elements and changes are appended to segments, a writer thread makes them durable in groups, and
//! whoever waits for a reply waits for that.
//!
//! The state in memory is always what replaying the log would make. Every segment begins with an image of it, so that
//! a segment without live elements can be deleted.

pub(crate) mod frame;
mod recovery;
mod rows;
mod segment;
mod state;
mod writer;

use std::{
    collections::{BTreeMap, VecDeque},
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use anyhow::Context;
use serde::Serialize;
use tokio::sync::watch;

pub(crate) use frame::ElementsFrame;
use frame::HEADER;
use rows::Place;
pub(crate) use segment::{ReadError, Slice};
use segment::{SIZE, Segment};
pub(crate) use state::{Change, ClaimState, State};

use crate::{
    Facts, Fsync,
    files::{close_to_others, ours},
};

/// Bytes that may wait for the disk; more, and clients wait before they are read.
const MOST_WAITING: usize = 32 << 20;
/// The end of a segment that is left to claims and cursors while there is no next one: on a full disk, what is delivered
/// can still be taken off.
const KEPT_FREE: u32 = 4 << 20;
/// How long to wait for a folder that a subcommand, or a pump that is ending, has open.
const PATIENCE: Duration = Duration::from_secs(2);
/// Chunks that are smaller are copied behind the one before.
const SMALL: usize = 8 << 10;
/// Lists, and strings, that the store keeps.
pub(crate) const MOST_KEYS: usize = 10_000;

/// A store with so much room is not full, whatever the last client wanted.
const ROOM: u64 = 1 << 20;
/// Bytes of all strings together: they are kept in memory, and in every image.
const MOST_STRINGS: usize = 16 << 20;

/// Why the store does not take something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `max_bytes` is reached.
    #[error("the store is full: {used} of {max} bytes (embedded_storage.max_bytes) wait to be delivered")]
    Full {
        /// Bytes on disk.
        used: u64,
        /// `max_bytes`.
        max: u64,
    },
    /// Too many keys.
    #[error("the store keeps at most {MOST_KEYS} keys of a kind")]
    Keys,
    /// The strings are too large together.
    #[error("the store keeps at most {MOST_STRINGS} bytes of strings")]
    Strings,
    /// More than recovery would read.
    #[error("the store takes at most {} bytes at once", frame::MAX_PAYLOAD)]
    Large,
    /// The disk does not take it.
    #[error("the store cannot write: {0}")]
    Disk(String),
}

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

/// What clients were refused since the store was opened.
#[derive(Clone, Debug, Default)]
struct Refused {
    full: u64,
    disk: u64,
    /// Why the last push was; `None`: it was taken.
    last: Option<Refusal>,
}

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes of a torn tail that were cut off.
    pub torn_bytes: u64,
    /// Damaged stretches and segments that were put aside.
    pub damaged: u64,
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

/// The image as it is written.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum ImageOf<'a> {
    Image(&'a State),
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

    /// Rows that cannot be read are put aside, counted, and forgotten.
    pub(crate) fn lose(&self, slice: &Slice) {
        let Some((run, _)) = slice.runs.first() else { return };
        let (segment, start, end) = (run.segment, run.start, run.end);
        let aside = recovery::quarantine(&self.folder, segment, start, end);
        let what = aside.map_or_else(
            |error| format!("it could not be copied: {error}"),
            |path| path.display().to_string(),
        );
        tracing::error!(
            prefix = "embedded",
            "segment {segment} is damaged at {start}..{end}, {} records of {} are lost; put aside: {what}",
            run.count,
            slice.list
        );
        // When the log cannot be written either, the next start finds the same damage.
        drop(self.change(Change::Lost { segment, start, end }));
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

/// An [`ElementsFrame`] that is ready to be appended.
pub(crate) struct Sealed {
    list: String,
    count: u32,
    bytes: Vec<u8>,
}

impl From<ElementsFrame> for Sealed {
    fn from(frame: ElementsFrame) -> Self {
        Self {
            list: frame.list().to_owned(),
            count: frame.count(),
            bytes: frame.finish(),
        }
    }
}

/// The store, locked.
pub(crate) struct Locked<'a> {
    inner: MutexGuard<'a, Inner>,
    store: &'a Log,
}

impl Locked<'_> {
    /// What the store knows.
    pub(crate) fn state(&self) -> &State {
        &self.inner.state
    }

    /// Bytes on disk.
    pub(crate) fn used(&self) -> u64 {
        self.inner.used + u64::from(self.inner.offset)
    }

    /// How the store is.
    pub(crate) fn facts(&self) -> Facts {
        let state = self.state();
        Facts {
            used_bytes: self.used(),
            max_bytes: self.store.max_bytes,
            segments: self.segments(),
            damaged: state.damaged,
            torn: state.torn,
            trouble: self.trouble().map(str::to_owned),
            refused_full: self.inner.refused.full,
            refused_disk: self.inner.refused.disk,
            refusing: self.refusing(),
        }
    }

    /// Why clients are refused at the moment.
    fn refusing(&self) -> Option<String> {
        if let Some(trouble) = self.trouble() {
            return Some(Refusal::Disk(trouble.to_owned()).to_string());
        }
        let last = self.inner.refused.last.as_ref()?;
        // Nobody may have tried since there is room again.
        match last {
            Refusal::Full { .. } => self.has_room(ROOM).is_err().then(|| last.to_string()),
            Refusal::Disk(_) => None,
            Refusal::Keys | Refusal::Strings | Refusal::Large => Some(last.to_string()),
        }
    }

    /// Files of the log.
    pub(crate) fn segments(&self) -> usize {
        self.inner.segments.len()
    }

    /// Why nothing can be written at the moment.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.inner.trouble.as_deref().or(self.inner.no_spare.as_deref())
    }

    /// Appends elements to their list. Returns its new length.
    pub(crate) fn push(&mut self, elements: Sealed) -> Result<u64, Refusal> {
        let count = u64::from(elements.count);
        let pushed = self.try_push(elements);
        let refused = &mut self.inner.refused;
        match &pushed {
            Ok(_) => {}
            Err(Refusal::Disk(_)) => refused.disk += count,
            Err(_) => refused.full += count,
        }
        refused.last = pushed.as_ref().err().cloned();
        pushed
    }

    fn try_push(&mut self, elements: Sealed) -> Result<u64, Refusal> {
        self.has_room(elements.bytes.len() as u64)?;
        let lists = &self.inner.state.lists;
        if lists.len() >= MOST_KEYS && !lists.contains_key(&elements.list) {
            return Err(Refusal::Keys);
        }
        self.make_room(elements.bytes.len())?;
        let place = self.append(elements.bytes)?;
        Ok(self.inner.state.append(&elements.list, place, elements.count))
    }

    /// Whether clients may add so many bytes.
    fn has_room(&self, bytes: u64) -> Result<(), Refusal> {
        let (used, max) = (self.used(), self.store.max_bytes);
        match used + bytes > max {
            true => Err(Refusal::Full { used, max }),
            false => Ok(()),
        }
    }

    /// Makes sure that elements of so many bytes, and the changes behind them, have their place on the disk.
    fn make_room(&mut self, bytes: usize) -> Result<(), Refusal> {
        let inner = &mut *self.inner;
        let end = inner.offset.saturating_add(bytes as u32);
        if end <= SIZE - KEPT_FREE {
            return Ok(());
        }
        if let Some(trouble) = &inner.no_spare {
            // The writer keeps trying.
            return Err(Refusal::Disk(trouble.clone()));
        }
        let reserved = match end > SIZE && inner.offset < SIZE {
            true => inner.current.reserve(end),
            false => Ok(()),
        };
        let made = reserved.and_then(|()| match &inner.spare {
            Some(_) => Ok(()),
            None => {
                Segment::create(&self.store.folder, inner.current.number + 1).map(|spare| inner.spare = Some(spare))
            }
        });
        made.map_err(|error| {
            inner.no_spare = Some(error.to_string());
            self.store.work.notify_one();
            Refusal::Disk(error.to_string())
        })
    }

    /// Makes a change.
    pub(crate) fn change(&mut self, change: Change) -> Result<(), Refusal> {
        if let Change::Set { key, .. } = &change {
            let strings = &self.inner.state.strings;
            if strings.len() >= MOST_KEYS && !strings.contains_key(key) {
                return Err(Refusal::Keys);
            }
        }
        let json = serde_json::to_vec(&change).map_err(|error| Refusal::Disk(error.to_string()))?;
        if let Change::Set { key, value, .. } = &change {
            self.has_room(json.len() as u64)?;
            let strings = &self.inner.state.strings;
            let known = strings.get(key).map_or(0, |text| text.value.len());
            let all: usize = strings.values().map(|text| text.value.len()).sum();
            if all - known + value.len() > MOST_STRINGS {
                return Err(Refusal::Strings);
            }
        }
        self.append(frame::change(&json))?;
        self.inner.state.apply(change);
        Ok(())
    }

    /// Rows of an unclaimed list, counted from its head.
    pub(crate) fn rows(&self, list: &str, from: u64, to: u64) -> Slice {
        let runs = self.inner.state.lists.get(list).map(|list| {
            let base = list.rows.base();
            list.rows.slice(base.saturating_add(from), base.saturating_add(to))
        });
        self.slice(list, runs.unwrap_or_default())
    }

    /// Rows of a claim.
    pub(crate) fn claim_rows(&self, claim: &ClaimState, from: u64, to: u64) -> Slice {
        self.slice(&claim.list, claim.rows.slice(from, to))
    }

    fn slice(&self, list: &str, runs: Vec<rows::Run>) -> Slice {
        let with_file = |run: rows::Run| (run, self.inner.segments.get(&run.segment).cloned());
        Slice {
            list: list.into(),
            runs: runs.into_iter().map(with_file).collect(),
        }
    }

    fn append(&mut self, bytes: Vec<u8>) -> Result<Place, Refusal> {
        if let Some(trouble) = &self.inner.trouble {
            return Err(Refusal::Disk(trouble.clone()));
        }
        if self.inner.stopping {
            return Err(Refusal::Disk("the pump is stopping".to_owned()));
        }
        if bytes.len() > HEADER + frame::MAX_PAYLOAD {
            return Err(Refusal::Large);
        }
        if self.inner.offset >= SIZE {
            self.roll().map_err(|error| Refusal::Disk(error.to_string()))?;
        }
        Ok(self.put(bytes))
    }

    /// Puts bytes at the end of the current segment.
    fn put(&mut self, bytes: Vec<u8>) -> Place {
        let fsync = self.store.fsync;
        let inner = &mut *self.inner;
        inner.number += 1;
        let place = Place {
            segment: inner.current.number,
            start: inner.offset,
            end: inner.offset + bytes.len() as u32,
        };
        inner.offset = place.end;
        inner.waiting_bytes += bytes.len();
        if let Some(last) = inner.waiting.back_mut()
            && fsync != Fsync::Always
            && last.segment.number == place.segment
            && (bytes.len() <= SMALL && last.bytes.len() + bytes.len() <= 16 * SMALL)
        {
            last.bytes.extend_from_slice(&bytes);
            last.number = inner.number;
            return place;
        }
        inner.waiting.push_back(Chunk {
            segment: inner.current.clone(),
            at: place.start,
            bytes,
            number: inner.number,
        });
        place
    }

    /// Begins a new segment with an image of the state.
    fn roll(&mut self) -> io::Result<()> {
        let next = self.inner.current.number + 1;
        let segment = match self.inner.spare.take() {
            Some(spare) => spare,
            None => Segment::create(&self.store.folder, next)?,
        };
        let image = serde_json::to_vec(&ImageOf::Image(&self.inner.state)).map_err(io::Error::other)?;
        let image = frame::change(&image);
        if image.len() > HEADER + frame::MAX_PAYLOAD {
            // Recovery would refuse it, and everything that it alone says would be lost.
            self.inner.spare = Some(segment);
            let text = format!("what is known of lists and claims takes {} bytes", image.len());
            return Err(io::Error::other(text));
        }
        let segment = Arc::new(segment);
        self.inner.current.fill(self.inner.offset);
        self.inner.used += u64::from(self.inner.offset);
        self.inner.segments.insert(next, segment.clone());
        self.inner.current = segment;
        self.inner.offset = 0;
        self.inner.no_spare = None;
        self.put(image);
        Ok(())
    }
}
