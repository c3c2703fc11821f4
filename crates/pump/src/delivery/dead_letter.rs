//! Where rows go that cannot be delivered: files below the spool directory, or the source. Keyed by lane, claim and row,
//! so that storing one again changes nothing.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    dead_files::{DeadFiles, FileError},
    disk::Disk,
    report::{Context, Report},
};
use crate::source::{DeadLetter, DeadLetterId, DeadLimits, DeadStore, SourceError};

/// A letter may take this part of what all letters of its lane may take: a few large ones must not turn out the others.
const LARGEST_SHARE: u64 = 4;

/// Why dead letters cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The process stops.
    #[error("{path}: {source}")]
    Disk {
        /// The folder.
        path: PathBuf,
        /// What became of the thread that works on it.
        source: std::io::Error,
    },
}

/// What storing letters has cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// Older letters that had to go.
    pub evicted: u64,
    /// Letters that are too large to be kept.
    pub too_large: u64,
    /// Files that could not be read and were put aside.
    pub damaged: u64,
}

impl Kept {
    /// What is gone for good, by reason.
    pub fn losses(self) -> impl Iterator<Item = (&'static str, u64)> {
        let losses = [
            ("dead_letters_full", self.evicted),
            ("dead_letter_too_large", self.too_large),
            ("dead_letters_damaged", self.damaged),
        ];
        losses.into_iter().filter(|(_, rows)| *rows > 0)
    }
}

/// The dead letters of all lanes.
pub struct DeadLetters {
    source: Arc<dyn DeadStore>,
    files: Option<Arc<DeadFiles>>,
    disk: Disk,
    limits: DeadLimits,
    log: Report,
}

impl DeadLetters {
    /// Kept in files below `spool_dir`/dead if there is a spool directory, else in the source.
    pub fn new(source: Arc<dyn DeadStore>, spool_dir: Option<&Path>, disk: Disk, limits: DeadLimits) -> Self {
        Self {
            source,
            files: spool_dir.map(|folder| Arc::new(DeadFiles::new(folder))),
            disk,
            limits,
            log: Report::new(Duration::from_secs(10)),
        }
    }

    /// Stores letters; the oldest of a lane go when there are too many. Where files cannot be written the source takes the
    /// letters: a row that is refused must not hold up those behind it for want of a folder.
    pub async fn store(&self, letters: &[DeadLetter]) -> Result<Kept, DeadLetterError> {
        if letters.is_empty() {
            return Ok(Kept::default());
        }
        crate::failpoints::hit(crate::failpoints::BEFORE_DEAD_LETTER);
        let largest = self.limits.bytes / LARGEST_SHARE;
        let (fitting, large): (Vec<_>, Vec<_>) = letters
            .iter()
            .cloned()
            .partition(|letter| letter.raw.len() as u64 <= largest);
        let mut kept = self.keep(fitting).await?;
        kept.too_large += large.len() as u64;
        for letter in large {
            let bytes = letter.raw.len();
            let text = format!(
                "a row is gone, it is too large for the dead letters: {} of {} has {bytes} bytes, {largest} is the limit (a \
                 quarter of delivery.dead_letter_max_bytes)",
                letter.row, letter.key
            );
            self.log.error(&text, Context::pump(&letter.lane));
        }
        if kept.evicted > 0 {
            let lane = letters.first().map(|letter| letter.lane.clone()).unwrap_or_default();
            let context = Context {
                rows: Some(kept.evicted),
                remedy: Some(
                    "replay or drop dead letters, or raise delivery.dead_letter_max_count and dead_letter_max_bytes",
                ),
                ..Context::pump(&lane)
            };
            self.log
                .error("the oldest dead letters are gone, there are too many", context);
        }
        crate::failpoints::hit(crate::failpoints::AFTER_DEAD_LETTER);
        Ok(kept)
    }

    async fn keep(&self, letters: Vec<DeadLetter>) -> Result<Kept, DeadLetterError> {
        if let Some(files) = &self.files {
            let (writing, limits, copy) = (files.clone(), self.limits, letters.clone());
            match self.on_disk(move || writing.store(&copy, limits)).await {
                Ok(evicted) => {
                    let damaged = self.damaged(files);
                    return Ok(Kept {
                        evicted,
                        damaged,
                        ..Kept::default()
                    });
                }
                Err(error) => {
                    let text = format!(
                        "dead letters cannot be kept in delivery.spool_dir, they go to the source instead: {error}"
                    );
                    self.log.error(&text, Context::default());
                }
            }
        }
        let stored = self.source.store_dead(&letters, self.limits).await?;
        Ok(Kept {
            evicted: stored.all_evicted(),
            too_large: stored.all_too_large(),
            ..Kept::default()
        })
    }

    /// Files that were found damaged since the last time.
    fn damaged(&self, files: &DeadFiles) -> u64 {
        let damaged = files.take_damaged();
        for path in &damaged {
            let text = format!("a file of dead letters is damaged and was moved to {}", path.display());
            self.log.error(&text, Context::default());
        }
        damaged.len() as u64
    }

    /// Letters of a lane (or of all), oldest first.
    pub async fn list(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let mut letters = self.source.list_dead(lane, limit).await?;
        if let Some(files) = &self.files {
            let (reading, lane) = (files.clone(), lane.map(str::to_owned));
            letters.extend(self.on_disk(move || reading.list(lane.as_deref())).await?);
            self.damaged(files);
        }
        // One that is in both was stored again when files could not be written.
        let once: BTreeMap<_, _> = letters
            .into_iter()
            .map(|letter| ((letter.at_ms, letter.row, letter.lane.clone()), letter))
            .collect();
        Ok(once.into_values().take(limit).collect())
    }

    /// Removes letters. Returns how many there were.
    pub async fn remove(&self, ids: &[DeadLetterId]) -> Result<u64, DeadLetterError> {
        let mut removed = self.source.remove_dead(ids).await?;
        if let Some(files) = &self.files {
            let (writing, ids) = (files.clone(), ids.to_vec());
            removed += self.on_disk(move || writing.remove(&ids)).await?;
        }
        Ok(removed)
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, FileError> + Send + 'static,
    ) -> Result<T, DeadLetterError> {
        let path = || {
            let files = self.files.as_ref();
            files.map(|files| files.folder().to_owned()).unwrap_or_default()
        };
        let done = self.disk.run(job).await;
        Ok(done.map_err(|source| DeadLetterError::Disk { path: path(), source })??)
    }
}
