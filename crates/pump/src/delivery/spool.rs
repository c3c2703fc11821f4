//! Windows on disk, for a pump whose back-end is away longer than Redis can wait.
//!
//! One file a window: `<spool_dir>/<pump>/<ulid>-<first row, 10 digits>.batch` holds a magic number, the length of a
//! JSON header, the header, the raw elements (each with its length in front) as one zstd block, and a CRC32 of all
//! that. A file is complete or it does not exist; what cannot be read is moved to `quarantine/`, counted, never fatal.

use std::{
    fs::{self, DirBuilder, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use analytics::{Batch, ClaimId, Key, RecordKind, RowRanges, Span, Wire};
use serde::{Deserialize, Serialize};

use super::durable;

const MAGIC: &[u8; 8] = b"TYKSPL1\n";
const COMPRESSION: i32 = 1;

/// Why a spool file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// The disk.
    #[error("{path}: {source}")]
    Io {
        /// Which file or folder.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// Its content.
    #[error("{path}: {reason}")]
    Corrupt {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: &'static str,
    },
}

impl SpoolError {
    /// Whether the disk is full.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull)
    }
}

/// A window in the spool.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SpoolFile {
    /// The claim that its rows belong to.
    pub claim: ClaimId,
    /// First row.
    pub first_row: u64,
    /// Where it is.
    pub path: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Header {
    key: String,
    short: String,
    protobuf: bool,
    uptime: bool,
    rows: u64,
    /// Rows that were finished before: not to be written again.
    finished: String,
    bytes: u64,
}

/// The content of a spool file.
pub struct Spooled {
    /// Its rows.
    pub batch: Batch,
    /// Rows that were finished before.
    pub finished: RowRanges,
}

/// The spool of one pump. The folder is locked while this lives.
#[derive(Debug)]
pub struct Spool {
    folder: PathBuf,
    lock: File,
}

impl Drop for Spool {
    /// Unlocks for every copy of the file: a child process that is being started just now holds one until its `exec`.
    fn drop(&mut self) {
        // Without an unlock the lock ends with the last copy.
        let _ = self.lock.unlock();
    }
}

impl Spool {
    /// Opens (or makes) the spool of `pump` below `spool_dir`.
    pub fn open(spool_dir: &Path, pump: &str) -> Result<Self, SpoolError> {
        let folder = spool_dir.join(durable::escape(pump));
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&folder)
            .map_err(failed(&folder))?;
        let path = folder.join("lock");
        // Never through a symbolic link, and nothing is cut off: the target could be anybody's file.
        let lock = File::options()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(&path)
            .map_err(failed(&path))?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).map_err(|error| {
            let text = format!("another process uses this spool directory ({error})");
            SpoolError::Io {
                path,
                source: io::Error::new(io::ErrorKind::WouldBlock, text),
            }
        })?;
        Ok(Self { folder, lock })
    }

    /// All files, oldest claim first. Remains of an interrupted write are removed.
    pub fn files(&self) -> Result<Vec<SpoolFile>, SpoolError> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(failed(&self.folder))? {
            let path = entry.map_err(failed(&self.folder))?.path();
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default();
            if name.ends_with(".tmp") {
                fs::remove_file(&path).map_err(failed(&path))?;
            }
            let parts = name.strip_suffix(".batch").and_then(|stem| stem.split_once('-'));
            let Some((claim, row)) = parts else { continue };
            if let (Ok(claim), Ok(first_row)) = (ulid::Ulid::from_string(claim), row.parse()) {
                files.push(SpoolFile {
                    claim: ClaimId(claim),
                    first_row,
                    path,
                });
            }
        }
        files.sort();
        Ok(files)
    }

    /// Writes a window durably. `finished` are rows of it that need no further work.
    pub fn store(&self, batch: &Batch, finished: &RowRanges) -> Result<SpoolFile, SpoolError> {
        let path = self
            .folder
            .join(format!("{}-{:010}.batch", batch.claim, batch.first_row));
        let bytes = encode(batch, finished).map_err(failed(&path))?;
        durable::replace(&path, &bytes).map_err(failed(&path))?;
        crate::failpoints::hit(crate::failpoints::SPOOL_AFTER_RENAME);
        Ok(SpoolFile {
            claim: batch.claim,
            first_row: batch.first_row,
            path,
        })
    }

    /// Reads a window back.
    pub fn load(&self, file: &SpoolFile) -> Result<Spooled, SpoolError> {
        let bytes = fs::read(&file.path).map_err(failed(&file.path))?;
        decode(&bytes, file).map_err(|reason| SpoolError::Corrupt {
            path: file.path.clone(),
            reason,
        })
    }

    /// Removes a window that was delivered.
    pub fn remove(&self, file: &SpoolFile) -> Result<(), SpoolError> {
        fs::remove_file(&file.path).map_err(failed(&file.path))?;
        durable::sync_folder(&self.folder).map_err(failed(&self.folder))
    }

    /// Puts a file that cannot be read out of the way.
    pub fn quarantine(&self, file: &SpoolFile) -> Result<PathBuf, SpoolError> {
        let folder = self.folder.join("quarantine");
        fs::create_dir_all(&folder).map_err(failed(&folder))?;
        let to = folder.join(file.path.file_name().unwrap_or_default());
        fs::rename(&file.path, &to).map_err(failed(&file.path))?;
        Ok(to)
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> SpoolError {
    let path = path.to_owned();
    move |source| SpoolError::Io { path, source }
}

fn encode(batch: &Batch, finished: &RowRanges) -> io::Result<Vec<u8>> {
    let mut raw = Vec::with_capacity(batch.buffer.len() + batch.len() * 4);
    for index in 0..batch.len() {
        let element = batch.element(index);
        raw.extend_from_slice(&(element.len() as u32).to_le_bytes());
        raw.extend_from_slice(element);
    }
    let header = Header {
        key: batch.key.name.to_string(),
        short: batch.key.short.to_string(),
        protobuf: batch.key.wire == Wire::Protobuf,
        uptime: batch.key.records == RecordKind::Uptime,
        rows: batch.len() as u64,
        finished: finished.to_string(),
        bytes: raw.len() as u64,
    };
    let header = serde_json::to_vec(&header)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&header);
    bytes.extend_from_slice(&zstd::bulk::compress(&raw, COMPRESSION)?);
    bytes.extend_from_slice(&crc32fast::hash(&bytes).to_le_bytes());
    Ok(bytes)
}

/// Opens the bytes of a spool file. Any bytes are safe to try.
pub fn decode(bytes: &[u8], file: &SpoolFile) -> Result<Spooled, &'static str> {
    let (content, crc) = bytes.split_last_chunk::<4>().ok_or("too short")?;
    if crc32fast::hash(content) != u32::from_le_bytes(*crc) {
        return Err("the checksum is wrong");
    }
    let rest = content.strip_prefix(MAGIC.as_slice()).ok_or("no spool file")?;
    let (len, rest) = rest.split_first_chunk::<4>().ok_or("too short")?;
    let (header, block) = rest
        .split_at_checked(u32::from_le_bytes(*len) as usize)
        .ok_or("too short")?;
    let header: Header = serde_json::from_slice(header).map_err(|_| "the header is unreadable")?;
    let capacity = usize::try_from(header.bytes).map_err(|_| "too long")?;
    let raw = zstd::bulk::decompress(block, capacity).map_err(|_| "the content is unreadable")?;
    let mut elements = Vec::new();
    let mut at = 0;
    while let Some(len) = raw.get(at..at + 4) {
        let len = u32::from_le_bytes(len.try_into().unwrap_or_default());
        let start = at + 4;
        at = start
            .checked_add(len as usize)
            .filter(|&end| end <= raw.len())
            .ok_or("an element is cut off")?;
        elements.push(Span {
            start: start as u32,
            len,
        });
    }
    if elements.len() as u64 != header.rows {
        return Err("the number of rows is wrong");
    }
    let key = Key {
        name: header.key.into(),
        short: header.short.into(),
        wire: if header.protobuf { Wire::Protobuf } else { Wire::Msgpack },
        records: if header.uptime {
            RecordKind::Uptime
        } else {
            RecordKind::Traffic
        },
    };
    let finished = header.finished.parse().map_err(|_| "the header is unreadable")?;
    let batch = Batch::decode(file.claim, Arc::new(key), file.first_row, raw.into(), elements);
    Ok(Spooled { batch, finished })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn batch(elements: &[Vec<u8>]) -> Batch {
        let key = Key {
            name: "analytics-x".into(),
            short: "x".into(),
            wire: Wire::Protobuf,
            records: RecordKind::Traffic,
        };
        let (mut buffer, mut spans) = (Vec::new(), Vec::new());
        for element in elements {
            spans.push(Span {
                start: buffer.len() as u32,
                len: element.len() as u32,
            });
            buffer.extend_from_slice(element);
        }
        Batch::decode(ClaimId(ulid::Ulid(9)), Arc::new(key), 70, buffer.into(), spans)
    }

    #[test]
    fn a_lock_that_is_a_link_is_refused_and_its_target_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        fs::write(&target, "somebody else's").unwrap();
        fs::create_dir(dir.path().join("A")).unwrap();
        std::os::unix::fs::symlink(&target, dir.path().join("A/lock")).unwrap();
        let error = Spool::open(dir.path(), "A").unwrap_err().to_string();
        assert!(error.contains("lock"), "{error}");
        assert_eq!(fs::read_to_string(&target).unwrap(), "somebody else's");
    }

    proptest! {
        #[test]
        fn what_is_spooled_comes_back_byte_for_byte(elements in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20)) {
            let dir = tempfile::tempdir().unwrap();
            let spool = Spool::open(dir.path(), "P").unwrap();
            let stored = batch(&elements);
            let finished: RowRanges = "71-72".parse().unwrap();
            let file = spool.store(&stored, &finished).unwrap();
            prop_assert_eq!(spool.files().unwrap(), vec![file.clone()]);
            let loaded = spool.load(&file).unwrap();
            prop_assert_eq!(loaded.finished, finished);
            prop_assert_eq!((loaded.batch.first_row, loaded.batch.claim), (70, stored.claim));
            let back: Vec<&[u8]> = (0..loaded.batch.len()).map(|i| loaded.batch.element(i)).collect();
            prop_assert_eq!(back, elements.iter().map(Vec::as_slice).collect::<Vec<_>>());
        }

        #[test]
        fn a_file_that_was_cut_or_changed_is_quarantined_and_never_believed(cut in 0usize..200, flip in 0usize..200) {
            let dir = tempfile::tempdir().unwrap();
            let spool = Spool::open(dir.path(), "P").unwrap();
            let file = spool.store(&batch(&[b"one".to_vec(), b"two".to_vec()]), &RowRanges::new()).unwrap();
            let mut bytes = fs::read(&file.path).unwrap();
            let flip = flip % bytes.len();
            bytes[flip] ^= 1;
            bytes.truncate(bytes.len() - cut % 2);
            fs::write(&file.path, &bytes).unwrap();
            let corrupt = matches!(spool.load(&file), Err(SpoolError::Corrupt { .. }));
            prop_assert!(corrupt);
            prop_assert!(spool.quarantine(&file).unwrap().exists());
            prop_assert!(spool.files().unwrap().is_empty());
        }

        #[test]
        fn any_bytes_are_safe_to_open(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let file = SpoolFile { claim: ClaimId(ulid::Ulid(1)), first_row: 0, path: PathBuf::new() };
            prop_assert!(decode(&bytes, &file).is_err());
        }
    }

    #[test]
    fn a_spool_belongs_to_one_process_and_cleans_up_after_a_crash() {
        let dir = tempfile::tempdir().unwrap();
        let spool = Spool::open(dir.path(), "P").unwrap();
        assert!(Spool::open(dir.path(), "P").is_err());
        assert!(Spool::open(dir.path(), "Q").is_ok());
        fs::write(dir.path().join("P/x.batch.tmp"), b"half").unwrap();
        assert!(spool.files().unwrap().is_empty());
        assert!(!dir.path().join("P/x.batch.tmp").exists());
    }
}
