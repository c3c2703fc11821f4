//! A store of lists on disk that speaks the Redis protocol.
//!
//! Clients push elements to lists ([`server`]). Whoever opens the folder takes whole lists away as *claims*, reads
//! their rows, and moves a cursor for each of its readers; a claim ends when the last of them is through. Rows that
//! nobody can take are kept as *letters*. Everything is in one folder that belongs to one process: claims, cursors,
//! letters and notes are as durable as the elements.
//!
//! The crate knows nothing of what the elements mean, nor of who reads them.

mod claims;
mod files;
mod letters;
mod log;
mod operate;
pub mod server;
mod settings;
mod types;

use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use analytics::ClaimId;
use letters::Letters;
use log::{Change, ElementsFrame, Log, Ticket};
use tokio::time::Instant;

pub use log::{Recovered, Refusal};
pub use operate::Found;
pub use settings::{Fsync, ServerTls, Settings};
pub use types::{
    Claim, ClaimReport, Error, Facts, Held, Letter, LetterId, LetterLimits, LettersStored, Progress, Usage, Window,
};

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64)
}

struct Lease {
    owner: Arc<str>,
    /// `None`: released.
    until: Option<Instant>,
}

struct Leases {
    by_claim: HashMap<ClaimId, Lease>,
    ids: ulid::Generator,
    readers: BTreeSet<Arc<str>>,
}

struct Shared {
    recovered: Recovered,
    log: Arc<Log>,
    letters: Mutex<Letters>,
    /// Damaged parts of the letters.
    damaged_letters: Arc<AtomicU64>,
    leases: Mutex<Leases>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.log.stop();
    }
}

/// An open folder, under the name of one owner of claims.
#[derive(Clone)]
pub struct Store {
    shared: Arc<Shared>,
    owner: Arc<str>,
    lease: Duration,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store")
            .field("log", &self.shared.log)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

impl Store {
    /// Opens the folder, which is made when it is not there, and recovers what the last process left. Blocks.
    ///
    /// # Errors
    /// Another process has it open, or it cannot be read or written. Damage is no error: it is put aside and counted.
    pub fn open(settings: &Settings) -> anyhow::Result<Self> {
        let log = Log::open(&settings.dir, settings.fsync, settings.max_bytes)?;
        let letters = Letters::open(log.folder())?;
        let damaged_letters = letters.damaged();
        let mut found = log.recovered();
        found.damaged += damaged_letters.load(Ordering::Relaxed);
        if found.damaged > 0 {
            tracing::error!(
                prefix = "embedded",
                "{} damaged parts of {} were put aside in its folder quarantine; everything else is there",
                found.damaged,
                log.folder().display()
            );
        }
        Ok(Self {
            shared: Arc::new(Shared {
                log,
                damaged_letters,
                recovered: found,
                letters: Mutex::new(letters),
                leases: Mutex::new(Leases {
                    by_claim: HashMap::new(),
                    ids: ulid::Generator::new(),
                    readers: BTreeSet::new(),
                }),
            }),
            owner: "embedded".into(),
            lease: Duration::from_secs(30),
        })
    }

    /// The same store under another name, as another process would see it if the folder could be shared.
    pub fn instance(&self, owner: &str, lease: Duration) -> Self {
        Self {
            owner: owner.into(),
            lease,
            ..self.clone()
        }
    }

    /// Appends elements to a list, as a client does. Waits until they are as durable as `fsync` promises.
    ///
    /// # Errors
    /// The store is full, or the disk does not take them.
    pub async fn push(&self, list: &str, elements: &[impl AsRef<[u8]>]) -> Result<(), Error> {
        let mut frame = ElementsFrame::new(list, 0);
        for element in elements {
            frame.push(element.as_ref());
        }
        let elements = frame.finish();
        let (pushed, ticket) = self.shared.log.with(|locked| locked.push(elements));
        pushed?;
        self.durable(ticket).await
    }

    /// Sets a string that clients can read.
    ///
    /// # Errors
    /// The store is full, or the disk does not take it.
    pub async fn set(&self, key: &str, value: &[u8]) -> Result<(), Error> {
        let ticket = self.shared.log.change(Change::set(key, value, None))?;
        self.durable(ticket).await
    }

    /// What opening the folder found.
    pub fn recovered(&self) -> Recovered {
        self.shared.recovered
    }

    /// Where it lies.
    pub fn folder(&self) -> &std::path::Path {
        self.shared.log.folder()
    }

    /// Writes what waits. Nothing can be changed afterwards.
    pub async fn close(&self) {
        self.shared.log.close().await;
    }

    /// Random id of this store, the same as long as its folder lives.
    pub fn id(&self) -> Arc<str> {
        self.shared.log.with(|locked| locked.state().fleet.as_str().into()).0
    }

    pub(crate) fn log(&self) -> &Arc<Log> {
        &self.shared.log
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.shared.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn durable(&self, ticket: Ticket) -> Result<(), Error> {
        match self.shared.log.durable(ticket).await {
            true => Ok(()),
            false => Err(Error::Unavailable("the embedded store is closed".to_owned())),
        }
    }

    async fn with_letters<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Letters) -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || {
            work(&mut shared.letters.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(Error::Unavailable(format!("dead letters: {error}"))),
            Err(error) => Err(Error::Unavailable(error.to_string())),
        }
    }

    /// Stores letters, keyed: storing one again changes nothing.
    ///
    /// # Errors
    /// The disk does not take them.
    pub async fn store_letters(&self, letters: &[Letter], limits: LetterLimits) -> Result<LettersStored, Error> {
        let letters = letters.to_vec();
        self.with_letters(move |known| known.store(&letters, limits)).await
    }

    /// Letters of a reader (or of all), oldest first, at most `limit`.
    ///
    /// # Errors
    /// The disk cannot be read.
    pub async fn list_letters(&self, reader: Option<&str>, limit: usize) -> Result<Vec<Letter>, Error> {
        let reader = reader.map(str::to_owned);
        self.with_letters(move |known| known.list(reader.as_deref(), limit))
            .await
    }

    /// Removes letters. Returns how many were there.
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn remove_letters(&self, ids: &[LetterId]) -> Result<u64, Error> {
        let ids = ids.to_vec();
        self.with_letters(move |known| known.remove(&ids)).await
    }
}
