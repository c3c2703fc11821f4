//! A CSV directory: rows are appended to it so that a crash at any moment leaves each of them there exactly once.
//!
//! Before an append, its place, length and CRC and the rows that it makes applied are stored in `.tyk-pump/state`; then
//! the bytes are appended and flushed. Whoever finds an announced append later ([`Directory::settle`]) sees from the
//! file whether it happened: complete with the right CRC, it counts; half done, it is cut off; and if somebody else has
//! changed the file, nothing is touched and the rows are written again, counted as possibly double.

use std::{
    collections::BTreeMap,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use analytics::{ClaimId, RowRanges, Selection};

use super::{
    WriteRow,
    lock::{Lock, LockError},
    network,
    state::{Intent, State},
    step::{Step, Steps},
};
use crate::{Written, contract::ledger::Ledger, failpoints, transport::durable::sync_folder};

const PREFIX: &str = super::SPEC.log_prefix;
/// A buffer that an enormous record has blown up is let go of.
const KEPT_BUFFER: usize = 16 << 20;

/// What failed, and where.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {source}", path.display())]
pub(super) struct Failure {
    action: &'static str,
    path: PathBuf,
    pub(super) source: io::Error,
}

impl Failure {
    pub(super) fn new(action: &'static str, path: &Path, source: io::Error) -> Failure {
        let path = path.to_owned();
        Failure { action, path, source }
    }
}

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum OpenError {
    #[error("csv_dir {} is in use: {holder}; give each running pump a csv_dir of its own", path.display())]
    Held { path: PathBuf, holder: String },
    #[error(transparent)]
    Failed(#[from] Failure),
}

trait Doing<T> {
    /// Adds what was attempted to an error.
    fn doing(self, action: &'static str, path: &Path) -> Result<T, Failure>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, action: &'static str, path: &Path) -> Result<T, Failure> {
        self.map_err(|source| Failure::new(action, path, source))
    }
}

/// A file that is open for appending.
struct OpenFile {
    name: String,
    file: File,
    inode: u64,
}

/// A file as it is before an append.
struct Found {
    inode: u64,
    length: u64,
    /// The next row begins a line; otherwise the last one is cut.
    ends_a_line: bool,
}

/// The directory, locked by this process.
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// On a network file system nothing is truncated.
    pub(super) remote: bool,
    lock: Lock,
    state: State,
    /// The announced append has not been seen to succeed.
    unsettled: bool,
    /// The last write has not succeeded: the folder may be gone, the lock with it.
    last_failed: bool,
    /// Rows that may be in a file although the ledger does not know them.
    uncertain: BTreeMap<String, Ledger>,
    /// The file of this hour.
    open: Option<OpenFile>,
    buffer: Vec<u8>,
    pub(super) steps: Steps,
}

impl Directory {
    /// Creates what is missing, takes the lock for `pump` and settles what a crash left.
    pub(super) fn open(path: PathBuf, pump: &str) -> Result<Directory, OpenError> {
        let path = if path.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            path
        };
        let folder = state_folder(&path);
        make_state_folder(&path, &folder)?;
        let network = network::file_system(&path);
        let lock = take_lock(&path, pump, network.is_some())?;
        if let Some(name) = network {
            tracing::warn!(
                prefix = PREFIX, pump, dir = %path.display(),
                "csv_dir is on a network file system ({name}): records arrive at least once, after a crash possibly twice"
            );
        }
        let state = match State::load(&folder) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                State::set_aside(&folder).doing("put aside the state of", &folder)?;
                tracing::warn!(
                    prefix = PREFIX, pump, dir = %folder.display(),
                    "the state file is damaged and was renamed to state.damaged: rows of unfinished claims may be written twice"
                );
                State::default()
            }
            loaded => loaded.doing("read the state of", &folder)?,
        };
        let mut directory = Directory {
            remote: network.is_some(),
            lock,
            unsettled: state.intent.is_some(),
            last_failed: false,
            state,
            uncertain: BTreeMap::new(),
            open: None,
            buffer: Vec::new(),
            steps: Steps::default(),
            path,
        };
        directory.settle(true)?;
        Ok(directory)
    }

    /// Appends the rows of `group` that `pump` has not applied yet to the file `name`. On failure nothing of them stays.
    pub(super) fn write(
        &mut self,
        pump: &str,
        name: &str,
        group: &[Selection],
        write_row: WriteRow,
    ) -> Result<Written, OpenError> {
        if self.last_failed {
            self.recover(pump)?;
        }
        self.last_failed = true;
        let result = self.append_group(pump, name, group, write_row);
        if result.is_ok() {
            self.last_failed = false;
        } else {
            self.open = None;
            // What cannot be settled now is settled before the next write.
            if let Err(error) = self.settle(false) {
                tracing::warn!(prefix = PREFIX, pump, "{error}; tried again before the next write");
            }
        }
        if self.buffer.capacity() > KEPT_BUFFER {
            self.buffer = Vec::new();
        }
        Ok(result?)
    }

    /// The rows of `claim` that `pump` has applied.
    pub(super) fn applied(&self, pump: &str, claim: ClaimId) -> RowRanges {
        self.state
            .applied
            .get(pump)
            .map(|ledger| ledger.ranges(claim))
            .unwrap_or_default()
    }

    /// Drops the entries of finished claims. They leave the disk with the next write.
    pub(super) fn forget(&mut self, pump: &str, claims: &[ClaimId]) {
        for ledger in [self.state.applied.get_mut(pump), self.uncertain.get_mut(pump)]
            .into_iter()
            .flatten()
        {
            ledger.forget(claims);
        }
    }

    /// Stores the state without an intent, so that the files may be moved away without doubt about the last append.
    pub(super) fn close(&mut self) -> Result<(), Failure> {
        self.open = None;
        if self.unsettled {
            self.settle(false)?;
        }
        self.state.intent = None;
        self.store()
    }

    fn append_group(
        &mut self,
        pump: &str,
        name: &str,
        group: &[Selection],
        write_row: WriteRow,
    ) -> Result<Written, Failure> {
        let path = self.path.join(name);
        let existing = self.existing(name)?;
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        // What the file is like now counts, not what was written to it: somebody may have emptied or cut it.
        match &existing {
            None | Some(Found { length: 0, .. }) => buffer.extend_from_slice(&analytics::csv::HEADER),
            Some(Found { ends_a_line: false, .. }) => buffer.push(b'\n'),
            Some(_) => {}
        }
        let start = buffer.len();
        let (mut written, mut left_out) = (Written::default(), false);
        let (applied, uncertain) = (self.state.applied.get(pump), self.uncertain.get(pump));
        let mut rows = Ledger::default();
        for selection in group {
            for (row, record) in selection.records() {
                if applied.is_some_and(|ledger| ledger.contains(row)) {
                    left_out = true;
                    continue;
                }
                written.possibly_doubled += u64::from(uncertain.is_some_and(|ledger| ledger.contains(row)));
                write_row(&mut buffer, &record);
            }
            rows.insert_selection(selection);
        }
        self.buffer = buffer;
        if self.buffer.len() == start && (existing.is_some() || left_out) {
            return Ok(written);
        }

        let created = existing.is_none();
        let (inode, offset) = match existing {
            Some(found) => (found.inode, found.length),
            None => (self.prepare(name)?, 0),
        };
        self.state.intent = Some(Intent {
            pump: pump.to_owned(),
            file: name.to_owned(),
            inode,
            created,
            offset,
            length: self.buffer.len() as u64,
            crc: crc32fast::hash(&self.buffer),
            rows,
        });
        self.unsettled = true;
        self.store()?;
        failpoints::hit(failpoints::AFTER_INTENT);
        if created {
            self.steps.pass(Step::Create).doing("create", &path)?;
            move_new(&self.prepared(), &path).doing("create", &path)?;
        }
        self.append().doing("append to", &path)?;
        failpoints::hit(failpoints::AFTER_APPEND);
        self.steps.pass(Step::Sync).doing("flush", &path)?;
        if let Some(open) = &self.open {
            open.file.sync_data().doing("flush", &path)?;
        }
        if created {
            sync_folder(&self.path).doing("flush", &self.path)?;
        }
        self.unsettled = false;
        self.count_in(true);
        Ok(written)
    }

    /// The file `name`, opened for appending; `None`: there is none.
    fn existing(&mut self, name: &str) -> Result<Option<Found>, Failure> {
        let path = self.path.join(name);
        let meta = match fs::symlink_metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.open = None;
                return Ok(None);
            }
            found => found.doing("look at", &path)?,
        };
        if meta.is_symlink() {
            // Whoever may write to the folder could lead the rows elsewhere.
            let source = io::Error::new(io::ErrorKind::PermissionDenied, "it is a symbolic link – remove it");
            return Err(Failure::new("append to", &path, source));
        }
        // The file may have been moved away and another one put in its place.
        let is_open = |open: &OpenFile| open.name == name && open.inode == meta.ino();
        if !self.open.as_ref().is_some_and(is_open) {
            let file = not_following().read(true).append(true).open(&path);
            let file = file.doing("open", &path)?;
            self.open = Some(OpenFile {
                name: name.to_owned(),
                inode: meta.ino(),
                file,
            });
        }
        let open = self.open.as_ref();
        let last = meta.len().checked_sub(1).zip(open).map(|(at, open)| {
            let mut byte = [0];
            open.file.read_exact_at(&mut byte, at).map(|()| byte[0])
        });
        Ok(Some(Found {
            inode: meta.ino(),
            length: meta.len(),
            ends_a_line: last.transpose().doing("read", &path)?.is_none_or(|byte| byte == b'\n'),
        }))
    }

    /// Makes a new file aside, so that its inode is known before the append is announced.
    fn prepare(&mut self, name: &str) -> Result<u64, Failure> {
        let path = self.prepared();
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::new("remove", &path, error)),
            _ => {}
        }
        let file = not_following()
            .read(true)
            .append(true)
            .create_new(true)
            .open(&path)
            .doing("create", &path)?;
        let inode = file.metadata().doing("look at", &path)?.ino();
        self.open = Some(OpenFile {
            name: name.to_owned(),
            file,
            inode,
        });
        Ok(inode)
    }

    fn prepared(&self) -> PathBuf {
        state_folder(&self.path).join("new.csv")
    }

    fn append(&mut self) -> io::Result<()> {
        let allowed = self.steps.allowed(Step::Append, self.buffer.len());
        let Some(open) = &mut self.open else {
            return Err(io::ErrorKind::NotFound.into());
        };
        open.file.write_all(self.buffer.get(..allowed).unwrap_or_default())?;
        if allowed < self.buffer.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    fn store(&self) -> Result<(), Failure> {
        let folder = state_folder(&self.path);
        self.steps.pass(Step::Announce).doing("store the state in", &folder)?;
        self.state.store(&folder).doing("store the state in", &folder)
    }

    /// After a failure: makes sure that the directory is still there and ours, then settles the announced append.
    fn recover(&mut self, pump: &str) -> Result<(), OpenError> {
        self.open = None;
        let folder = state_folder(&self.path);
        make_state_folder(&self.path, &folder)?;
        if !self.lock.is_in_place() {
            self.lock = take_lock(&self.path, pump, self.remote)?;
        }
        self.settle(false)?;
        Ok(())
    }

    /// Finds out what became of the announced append, and makes it as if it had either succeeded or never begun.
    ///
    /// `whole_counts`: bytes that are all there count, as after a crash. They do not after an error of this process: what
    /// could not be flushed may be missing from the disk although it can be read.
    fn settle(&mut self, whole_counts: bool) -> Result<(), Failure> {
        let Some(intent) = self.state.intent.clone().filter(|_| self.unsettled) else {
            self.unsettled = false;
            return Ok(());
        };
        let path = self.path.join(&intent.file);
        self.steps.pass(Step::Undo).doing("settle", &path)?;
        let end = intent.offset + intent.length;
        let is_ours = |meta: fs::Metadata| meta.ino() == intent.inode;
        if intent.created && fs::metadata(self.prepared()).is_ok_and(is_ours) {
            // It never came to its place.
            self.count_in(false);
            return Ok(());
        }
        let file = match not_following().read(true).write(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.note_uncertain(&intent, "is gone");
                self.count_in(false);
                return Ok(());
            }
            opened => opened.doing("open", &path)?,
        };
        let meta = file.metadata().doing("look at", &path)?;
        if meta.ino() != intent.inode {
            self.note_uncertain(&intent, "was replaced by another file");
            self.count_in(false);
            return Ok(());
        }
        if whole_counts
            && meta.len() >= end
            && crc_of(&file, intent.offset, intent.length).doing("read", &path)? == intent.crc
        {
            file.sync_all().doing("flush", &path)?;
            sync_folder(&self.path).doing("flush", &self.path)?;
            self.count_in(true);
            return Ok(());
        }
        let untouched = !intent.created && meta.len() == intent.offset;
        if untouched {
            self.count_in(false);
            return Ok(());
        }
        let changed = match () {
            () if meta.len() < intent.offset => Some("is shorter than it was"),
            () if meta.len() > end => Some("was written to by somebody else"),
            () if self.remote => Some("is on a network file system"),
            () => None,
        };
        if let Some(why) = changed {
            self.note_uncertain(&intent, why);
            self.count_in(false);
            return Ok(());
        }
        if intent.created {
            // Cut to nothing it would stay without its header.
            fs::remove_file(&path).doing("remove", &path)?;
            sync_folder(&self.path).doing("flush", &self.path)?;
        } else {
            file.set_len(intent.offset).doing("truncate", &path)?;
            file.sync_all().doing("flush", &path)?;
        }
        tracing::info!(
            prefix = PREFIX, pump = intent.pump, file = %path.display(), offset = intent.offset,
            bytes = meta.len() - intent.offset, "cut off an unfinished append; its records are written again"
        );
        self.count_in(false);
        Ok(())
    }

    /// Ends the announced append: its rows are applied, or it never was.
    fn count_in(&mut self, applied: bool) {
        self.unsettled = false;
        if let Some(intent) = self.state.intent.take().filter(|_| applied) {
            self.state.applied.entry(intent.pump).or_default().merge(&intent.rows);
        }
    }

    fn note_uncertain(&mut self, intent: &Intent, why: &str) {
        tracing::warn!(
            prefix = PREFIX, pump = intent.pump, file = %self.path.join(&intent.file).display(),
            "the file {why} since its last append: nothing is cut off, the records of that append may be written twice"
        );
        self.uncertain
            .entry(intent.pump.clone())
            .or_default()
            .merge(&intent.rows);
    }
}

/// For files in a folder to which others may write.
fn not_following() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
}

/// For files that are ours alone.
pub(super) fn private() -> OpenOptions {
    let mut options = not_following();
    options.mode(0o600);
    options
}

/// The folder of files, and in it the one with the state, which is ours alone.
fn make_state_folder(path: &Path, folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(path).doing("create", folder)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => Ok(()),
        made => made.doing("create", folder),
    }
}

/// Moves a file to a place where there must not be one.
fn move_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system cannot look and move at once. Only a stranger could have made the file since we looked.
        Err(rustix::io::Errno::INVAL) => fs::rename(from, to),
        moved => moved.map_err(io::Error::from),
    }
}

fn state_folder(path: &Path) -> PathBuf {
    path.join(".tyk-pump")
}

fn take_lock(path: &Path, pump: &str, remote: bool) -> Result<Lock, OpenError> {
    let folder = state_folder(path);
    Lock::take(&folder, pump, remote).map_err(|error| match error {
        LockError::Held(holder) => OpenError::Held {
            path: path.to_owned(),
            holder,
        },
        LockError::Io(source) => OpenError::Failed(Failure {
            action: "lock",
            path: folder,
            source,
        }),
    })
}

fn crc_of(file: &File, offset: u64, length: u64) -> io::Result<u32> {
    let mut hasher = crc32fast::Hasher::new();
    let mut chunk = vec![0; 64 << 10];
    let (mut at, end) = (offset, offset + length);
    while at < end {
        let wanted = chunk.len().min((end - at) as usize);
        let read = file.read_at(&mut chunk[..wanted], at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        hasher.update(&chunk[..read]);
        at += read as u64;
    }
    Ok(hasher.finalize())
}
