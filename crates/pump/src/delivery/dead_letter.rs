//! Where rows go that cannot be delivered: the source, or files below the spool directory. Keyed by lane, claim and
//! row, so that storing one again changes nothing.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use analytics::{ClaimId, RowId};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::durable;
use crate::source::{DeadLetter, DeadLetterId, DeadLimits, DeadStore, DeadStored, ElementForm, SourceError};

/// Why dead letters cannot be stored or read.
#[derive(Debug, thiserror::Error)]
pub enum DeadLetterError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// A file.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

/// The dead letters of all lanes.
pub struct DeadLetters {
    source: Arc<dyn DeadStore>,
    files: Option<DeadFiles>,
    limits: DeadLimits,
}

impl DeadLetters {
    /// Kept in files below `spool_dir`/dead if there is a spool directory, else in the source.
    pub fn new(source: Arc<dyn DeadStore>, spool_dir: Option<&Path>, limits: DeadLimits) -> Self {
        Self {
            source,
            files: spool_dir.map(DeadFiles::new),
            limits,
        }
    }

    /// Stores letters; the oldest of a lane go when there are too many.
    pub async fn store(&self, letters: &[DeadLetter]) -> Result<DeadStored, DeadLetterError> {
        if letters.is_empty() {
            return Ok(DeadStored::default());
        }
        crate::failpoints::hit(crate::failpoints::BEFORE_DEAD_LETTER);
        let stored = match &self.files {
            Some(files) => files.store(letters, self.limits)?,
            None => self.source.store_dead(letters, self.limits).await?,
        };
        crate::failpoints::hit(crate::failpoints::AFTER_DEAD_LETTER);
        Ok(stored)
    }

    /// Letters of a lane (or of all), oldest first.
    pub async fn list(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let mut letters = self.source.list_dead(lane, limit).await?;
        if let Some(files) = &self.files {
            letters.extend(files.list(lane)?);
        }
        letters.sort_by_key(|letter| (letter.at_ms, letter.row));
        letters.truncate(limit);
        Ok(letters)
    }

    /// Removes letters. Returns how many there were.
    pub async fn remove(&self, ids: &[DeadLetterId]) -> Result<u64, DeadLetterError> {
        let mut removed = self.source.remove_dead(ids).await?;
        if let Some(files) = &self.files {
            removed += files.remove(ids)?;
        }
        Ok(removed)
    }
}

/// One file a lane and claim: row to entry.
type Entries = BTreeMap<u64, Entry>;

#[derive(Serialize, Deserialize)]
struct Entry {
    key: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    form: Option<ElementForm>,
    cause: String,
    at_ms: u64,
    raw: String,
}

struct DeadFiles {
    folder: PathBuf,
    writing: Mutex<()>,
}

impl DeadFiles {
    fn new(spool_dir: &Path) -> Self {
        Self {
            folder: spool_dir.join("dead"),
            writing: Mutex::new(()),
        }
    }

    fn store(&self, letters: &[DeadLetter], limits: DeadLimits) -> Result<DeadStored, DeadLetterError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut by_file: BTreeMap<PathBuf, Vec<&DeadLetter>> = BTreeMap::new();
        for letter in letters {
            by_file
                .entry(self.path(&letter.lane, letter.row.claim))
                .or_default()
                .push(letter);
        }
        let mut stored = DeadStored::default();
        for (path, letters) in by_file {
            let lane = letters.first().map(|letter| letter.lane.clone()).unwrap_or_default();
            let mut entries = read_entries(&path)?;
            for letter in letters {
                let raw = STANDARD.encode(&letter.raw);
                let entry = Entry {
                    key: letter.key.clone(),
                    form: letter.form,
                    cause: letter.cause.clone(),
                    at_ms: letter.at_ms,
                    raw,
                };
                entries.insert(letter.row.row, entry);
            }
            write_entries(&path, &entries)?;
            if let Some(folder) = path.parent() {
                stored.evict(&lane, evict(folder, limits)?);
            }
        }
        Ok(stored)
    }

    fn list(&self, lane: Option<&str>) -> Result<Vec<DeadLetter>, DeadLetterError> {
        let mut letters = Vec::new();
        for folder in list_folder(&self.folder)? {
            let name = folder
                .file_name()
                .map(|name| durable::unescape(&name.to_string_lossy()))
                .unwrap_or_default();
            if lane.is_some_and(|lane| lane != name) {
                continue;
            }
            let lane: Arc<str> = name.into();
            for path in list_folder(&folder)? {
                let Some(claim) = claim_of(&path) else { continue };
                for (row, entry) in read_entries(&path)? {
                    letters.push(DeadLetter {
                        lane: lane.clone(),
                        key: entry.key,
                        form: entry.form,
                        row: RowId { claim, row },
                        cause: entry.cause,
                        at_ms: entry.at_ms,
                        raw: STANDARD.decode(entry.raw).unwrap_or_default().into(),
                    });
                }
            }
        }
        Ok(letters)
    }

    fn remove(&self, ids: &[DeadLetterId]) -> Result<u64, DeadLetterError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut removed = 0;
        for id in ids {
            let path = self.path(&id.lane, id.row.claim);
            let mut entries = read_entries(&path)?;
            if entries.remove(&id.row.row).is_some() {
                removed += 1;
                write_entries(&path, &entries)?;
            }
        }
        Ok(removed)
    }

    fn path(&self, lane: &str, claim: ClaimId) -> PathBuf {
        self.folder.join(durable::escape(lane)).join(format!("{claim}.json"))
    }
}

fn claim_of(path: &Path) -> Option<ClaimId> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".json")?;
    ulid::Ulid::from_string(stem).ok().map(ClaimId)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> DeadLetterError {
    let path = path.to_owned();
    move |source| DeadLetterError::File { path, source }
}

/// Files of a folder by name, which for claims is their age.
fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, DeadLetterError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(failed(folder)(error)),
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .collect();
    paths.sort();
    Ok(paths)
}

fn read_entries(path: &Path) -> Result<Entries, DeadLetterError> {
    match fs::read(path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| failed(path)(error.into())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Entries::new()),
        Err(error) => Err(failed(path)(error)),
    }
}

fn write_entries(path: &Path, entries: &Entries) -> Result<(), DeadLetterError> {
    if entries.is_empty() {
        return fs::remove_file(path).map_err(failed(path));
    }
    let bytes = serde_json::to_vec(entries).map_err(|error| failed(path)(error.into()))?;
    durable::replace(path, &bytes).map_err(failed(path))
}

/// Removes the oldest files of a lane until it is within its limits; the newest stays whatever its size.
fn evict(folder: &Path, limits: DeadLimits) -> Result<u64, DeadLetterError> {
    let mut sizes = Vec::new();
    for path in list_folder(folder)? {
        if claim_of(&path).is_some() {
            let entries = read_entries(&path)?;
            let bytes: usize = entries.values().map(|entry| entry.raw.len() / 4 * 3).sum();
            sizes.push((path, entries.len() as u64, bytes as u64));
        }
    }
    let (mut count, mut bytes) = sizes
        .iter()
        .fold((0, 0), |(c, b), (_, count, bytes)| (c + count, b + bytes));
    let mut evicted = 0;
    let newest = sizes.len().saturating_sub(1);
    for (path, entries, size) in sizes.into_iter().take(newest) {
        if count <= limits.count && bytes <= limits.bytes {
            break;
        }
        fs::remove_file(&path).map_err(failed(&path))?;
        (count, bytes, evicted) = (count - entries, bytes - size, evicted + entries);
    }
    Ok(evicted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(claim: u128, row: u64, raw: &'static [u8]) -> DeadLetter {
        DeadLetter {
            lane: "A/B".into(),
            key: "analytics-x".into(),
            form: Some(ElementForm::Msgpack),
            row: RowId {
                claim: ClaimId(ulid::Ulid(claim)),
                row,
            },
            cause: "refused".to_owned(),
            at_ms: 7,
            raw: raw.into(),
        }
    }

    #[test]
    fn letters_in_files_are_keyed_and_can_be_removed() {
        let dir = tempfile::tempdir().unwrap();
        let files = DeadFiles::new(dir.path());
        let limits = DeadLimits { count: 10, bytes: 1000 };
        let letters = [letter(1, 0, b"a"), letter(1, 5, b"b"), letter(2, 0, b"\xff")];
        files.store(&letters, limits).unwrap();
        files.store(&letters, limits).unwrap();
        assert_eq!(files.list(Some("A/B")).unwrap(), letters);
        assert!(files.list(Some("other")).unwrap().is_empty());
        let ids: Vec<_> = letters
            .iter()
            .map(|letter| DeadLetterId {
                lane: letter.lane.clone(),
                row: letter.row,
            })
            .collect();
        assert_eq!(files.remove(&ids).unwrap(), 3);
        assert_eq!(files.remove(&ids).unwrap(), 0);
        assert!(files.list(None).unwrap().is_empty());
    }

    #[test]
    fn the_oldest_letters_go_when_there_are_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let files = DeadFiles::new(dir.path());
        let limits = DeadLimits { count: 2, bytes: 1000 };
        let evicted: u64 = (1..=4)
            .map(|claim| files.store(&[letter(claim, 0, b"x")], limits).unwrap().all_evicted())
            .sum();
        assert_eq!(evicted, 2);
        let left: Vec<_> = files
            .list(None)
            .unwrap()
            .iter()
            .map(|letter| letter.row.claim.0.0)
            .collect();
        assert_eq!(left, [3, 4]);
    }
}
