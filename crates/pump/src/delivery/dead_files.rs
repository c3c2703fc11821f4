//! Dead letters as files: `<folder>/dead/<lane>/<claim>.json`, one a lane and claim, rewritten whole.

use std::{
    collections::{BTreeMap, HashMap},
    fs, io, mem,
    path::{Path, PathBuf},
    sync::Arc,
};

use analytics::{ClaimId, RowId};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::durable;
use crate::source::{DeadLetter, DeadLetterId, DeadLimits, ElementForm};

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {source}")]
pub struct FileError {
    path: PathBuf,
    source: io::Error,
}

/// The content of a file: row to letter.
type Letters = BTreeMap<u64, StoredLetter>;

#[derive(Serialize, Deserialize)]
struct StoredLetter {
    key: Arc<str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    form: Option<ElementForm>,
    cause: String,
    at_ms: u64,
    raw: String,
}

impl StoredLetter {
    fn bytes(&self) -> u64 {
        (self.raw.len() / 4 * 3) as u64
    }
}

/// What one file holds, or all files of a lane.
#[derive(Clone, Copy, Default)]
struct Size {
    count: u64,
    bytes: u64,
}

impl Size {
    fn of(letters: &Letters) -> Self {
        Self {
            count: letters.len() as u64,
            bytes: letters.values().map(StoredLetter::bytes).sum(),
        }
    }

    fn exceeds(self, limits: DeadLimits) -> bool {
        self.count > limits.count || self.bytes > limits.bytes
    }
}

/// Sizes of the files of a lane, oldest claim first. Another process (`tyk-pump dlq drop`) may have removed some of them.
#[derive(Default)]
struct Index {
    files: BTreeMap<ClaimId, Size>,
    all: Size,
}

impl Index {
    fn set(&mut self, claim: ClaimId, size: Size) {
        self.forget(claim);
        if size.count > 0 {
            self.files.insert(claim, size);
            self.all.count += size.count;
            self.all.bytes += size.bytes;
        }
    }

    fn forget(&mut self, claim: ClaimId) {
        if let Some(size) = self.files.remove(&claim) {
            self.all.count -= size.count;
            self.all.bytes -= size.bytes;
        }
    }
}

/// The files of all lanes. Every method works on the disk: see [`super::disk`].
pub struct DeadFiles {
    folder: PathBuf,
    /// Each lane's files are looked at once.
    lanes: Mutex<HashMap<Arc<str>, Index>>,
    damaged: Mutex<Vec<PathBuf>>,
}

impl DeadFiles {
    /// Letters below `spool_dir`/dead.
    pub fn new(spool_dir: &Path) -> Self {
        Self {
            folder: spool_dir.join("dead"),
            lanes: Mutex::default(),
            damaged: Mutex::default(),
        }
    }

    /// Where the files are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where files were moved that could not be read, since the last call.
    pub fn take_damaged(&self) -> Vec<PathBuf> {
        mem::take(&mut *self.damaged.lock())
    }

    /// Stores letters. Returns how many older ones had to go.
    pub fn store(&self, letters: &[DeadLetter], limits: DeadLimits) -> Result<u64, FileError> {
        let mut lanes = self.lanes.lock();
        let mut by_file: BTreeMap<(Arc<str>, ClaimId), Vec<&DeadLetter>> = BTreeMap::new();
        for letter in letters {
            let file = (letter.lane.clone(), letter.row.claim);
            by_file.entry(file).or_default().push(letter);
        }
        let mut evicted = 0;
        for ((lane, claim), letters) in by_file {
            let index = match lanes.get_mut(&lane) {
                Some(index) => index,
                None => lanes.entry(lane.clone()).or_insert(self.look(&lane)?),
            };
            let path = self.path(&lane, claim);
            let mut stored = self.read(&path)?;
            for letter in letters {
                let raw = STANDARD.encode(&letter.raw);
                let entry = StoredLetter {
                    key: letter.key.clone(),
                    form: letter.form,
                    cause: letter.cause.clone(),
                    at_ms: letter.at_ms,
                    raw,
                };
                stored.insert(letter.row.row, entry);
            }
            evicted += shrink(&mut stored, limits);
            write(&path, &stored)?;
            index.set(claim, Size::of(&stored));
            evicted += self.evict(&lane, index, claim, limits)?;
        }
        Ok(evicted)
    }

    /// Removes the oldest files of a lane until it is within its limits; that of `newest` stays.
    fn evict(&self, lane: &str, index: &mut Index, newest: ClaimId, limits: DeadLimits) -> Result<u64, FileError> {
        let mut evicted = 0;
        while index.all.exceeds(limits) {
            let oldest = index.files.iter().find(|(claim, _)| **claim != newest);
            let Some((&claim, &size)) = oldest else { break };
            let path = self.path(lane, claim);
            match fs::remove_file(&path) {
                Ok(()) => evicted += size.count,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(&path)(error)),
            }
            index.forget(claim);
        }
        Ok(evicted)
    }

    fn look(&self, lane: &str) -> Result<Index, FileError> {
        let mut index = Index::default();
        for path in list_folder(&self.folder.join(durable::escape(lane)))? {
            if let Some(claim) = claim_of(&path) {
                index.set(claim, Size::of(&self.read(&path)?));
            }
        }
        Ok(index)
    }

    /// Letters of a lane, or of all.
    pub fn list(&self, lane: Option<&str>) -> Result<Vec<DeadLetter>, FileError> {
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
                for (row, letter) in self.read(&path)? {
                    letters.push(DeadLetter {
                        lane: lane.clone(),
                        key: letter.key,
                        form: letter.form,
                        row: RowId { claim, row },
                        cause: letter.cause,
                        at_ms: letter.at_ms,
                        raw: STANDARD.decode(letter.raw).unwrap_or_default().into(),
                    });
                }
            }
        }
        Ok(letters)
    }

    /// Removes letters. Returns how many there were.
    pub fn remove(&self, ids: &[DeadLetterId]) -> Result<u64, FileError> {
        let mut lanes = self.lanes.lock();
        let mut by_file: BTreeMap<(Arc<str>, ClaimId), Vec<u64>> = BTreeMap::new();
        for id in ids {
            let file = (id.lane.clone(), id.row.claim);
            by_file.entry(file).or_default().push(id.row.row);
        }
        let mut removed = 0;
        for ((lane, claim), rows) in by_file {
            let path = self.path(&lane, claim);
            let mut letters = self.read(&path)?;
            let before = letters.len();
            letters.retain(|row, _| !rows.contains(row));
            if letters.len() < before {
                removed += (before - letters.len()) as u64;
                write(&path, &letters)?;
                if let Some(index) = lanes.get_mut(&lane) {
                    index.set(claim, Size::of(&letters));
                }
            }
        }
        Ok(removed)
    }

    /// What a file holds. One that cannot be read is moved out of the way, so that it holds nobody up.
    fn read(&self, path: &Path) -> Result<Letters, FileError> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Letters::new()),
            Err(error) => return Err(failed(path)(error)),
        };
        if let Ok(letters) = serde_json::from_slice(&bytes) {
            return Ok(letters);
        }
        let folder = path.parent().unwrap_or(Path::new(".")).join("quarantine");
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let to = folder.join(path.file_name().unwrap_or_default());
        fs::rename(path, &to).map_err(failed(path))?;
        self.damaged.lock().push(to);
        Ok(Letters::new())
    }

    fn path(&self, lane: &str, claim: ClaimId) -> PathBuf {
        self.folder.join(durable::escape(lane)).join(format!("{claim}.json"))
    }
}

fn claim_of(path: &Path) -> Option<ClaimId> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".json")?;
    ulid::Ulid::from_string(stem).ok().map(ClaimId)
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_owned();
    move |source| FileError { path, source }
}

/// Files of a folder by name, which for claims is their age.
fn list_folder(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
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

/// Drops the first rows of one file until it is within the limits of its lane; the last stays.
fn shrink(letters: &mut Letters, limits: DeadLimits) -> u64 {
    let mut size = Size::of(letters);
    let mut dropped = 0;
    while size.exceeds(limits) && letters.len() > 1 {
        let Some((_, letter)) = letters.pop_first() else { break };
        size.count -= 1;
        size.bytes -= letter.bytes();
        dropped += 1;
    }
    dropped
}

fn write(path: &Path, letters: &Letters) -> Result<(), FileError> {
    if letters.is_empty() {
        return fs::remove_file(path).map_err(failed(path));
    }
    let bytes = serde_json::to_vec(letters).map_err(|error| failed(path)(error.into()))?;
    durable::replace(path, &bytes).map_err(failed(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(claim: u128, row: u64, raw: &'static [u8]) -> DeadLetter {
        DeadLetter {
            lane: "A/B".into(),
            key: "analytics-x".into(),
            form: Some(ElementForm::Protobuf),
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
    fn letters_of_versions_that_did_not_say_what_they_are_can_be_read() {
        let dir = tempfile::tempdir().unwrap();
        let files = DeadFiles::new(dir.path());
        let path = files.path("P", ClaimId(ulid::Ulid(1)));
        let old = br#"{"7":{"key":"analytics-x","cause":"refused","at_ms":7,"raw":"YQ=="}}"#;
        durable::replace(&path, old).unwrap();
        let letters = files.list(None).unwrap();
        assert_eq!((letters.len(), letters[0].form), (1, None));
    }

    #[test]
    fn the_oldest_letters_go_when_there_are_too_many() {
        let dir = tempfile::tempdir().unwrap();
        let limits = DeadLimits { count: 2, bytes: 1000 };
        let evicted: u64 = (1..=4)
            .map(|claim| {
                // Each as after a restart: what is there already counts.
                let files = DeadFiles::new(dir.path());
                files.store(&[letter(claim, 0, b"x")], limits).unwrap()
            })
            .sum();
        assert_eq!(evicted, 2);
        let left: Vec<_> = DeadFiles::new(dir.path())
            .list(None)
            .unwrap()
            .iter()
            .map(|letter| letter.row.claim.0.0)
            .collect();
        assert_eq!(left, [3, 4]);
    }

    #[test]
    fn one_claim_full_of_letters_is_capped_as_well() {
        let dir = tempfile::tempdir().unwrap();
        let files = DeadFiles::new(dir.path());
        let limits = DeadLimits { count: 3, bytes: 1000 };
        let letters: Vec<_> = (0..10).map(|row| letter(1, row, b"x")).collect();
        assert_eq!(files.store(&letters, limits).unwrap(), 7);
        let rows: Vec<_> = files.list(None).unwrap().iter().map(|letter| letter.row.row).collect();
        assert_eq!(rows, [7, 8, 9]);
    }

    /// Counts and bytes are known: what is stored costs no look at what is there.
    #[test]
    fn storing_a_letter_does_not_read_the_files_of_other_claims_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = DeadFiles::new(dir.path());
        let limits = DeadLimits {
            count: 100,
            bytes: 1000,
        };
        files.store(&[letter(1, 0, b"a")], limits).unwrap();
        fs::write(files.path("A/B", ClaimId(ulid::Ulid(1))), b"not looked at").unwrap();
        files.store(&[letter(2, 0, b"b")], limits).unwrap();
        assert!(files.take_damaged().is_empty());
    }

    #[test]
    fn a_damaged_file_is_put_aside_and_holds_nobody_up() {
        let dir = tempfile::tempdir().unwrap();
        let limits = DeadLimits { count: 10, bytes: 1000 };
        let files = DeadFiles::new(dir.path());
        files.store(&[letter(1, 0, b"a"), letter(2, 0, b"b")], limits).unwrap();
        let path = files.path("A/B", ClaimId(ulid::Ulid(1)));
        fs::write(&path, b"{\"0\":{\"key\"").unwrap();
        for files in [files, DeadFiles::new(dir.path())] {
            files.store(&[letter(1, 1, b"c")], limits).unwrap();
            let left = files.list(None).unwrap();
            assert_eq!(left.len(), 2, "{left:?}");
        }
        assert!(
            path.parent()
                .unwrap()
                .join("quarantine")
                .join(path.file_name().unwrap())
                .exists()
        );
    }
}
