//! One process a CSV directory.

use std::{
    fs::{File, TryLockError},
    io::{self, Read, Seek, Write},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use super::directory::private;

/// The lock of a directory; gone when it is dropped or the process ends.
#[derive(Debug)]
pub(super) struct Lock {
    file: File,
    path: PathBuf,
}

/// Why there is no lock.
#[derive(Debug, thiserror::Error)]
pub(super) enum LockError {
    #[error("another process writes to it ({0})")]
    Held(String),
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Lock {
    /// Takes the lock of the directory whose state is in `folder`. Where the file system knows no locks, `remote` lets
    /// it pass.
    pub(super) fn take(folder: &Path, pump: &str, remote: bool) -> Result<Lock, LockError> {
        let path = folder.join("lock");
        let mut file = private()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut holder = String::new();
                // Unreadable text about the holder must not hide that there is one.
                let _ = file.read_to_string(&mut holder);
                return Err(LockError::Held(holder.trim().to_owned()));
            }
            Err(TryLockError::Error(_)) if remote => {}
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
        file.set_len(0)?;
        file.rewind()?;
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy();
        writeln!(file, "pid {} on {host}, pump {pump}", std::process::id())?;
        Ok(Lock { file, path })
    }

    /// Whether the lock file is still the one in the directory: somebody may have removed the folder.
    pub(super) fn is_in_place(&self) -> bool {
        let ours = self.file.metadata().map(|meta| meta.ino());
        let there = std::fs::metadata(&self.path).map(|meta| meta.ino());
        matches!((ours, there), (Ok(ours), Ok(there)) if ours == there)
    }
}

impl Drop for Lock {
    /// Closing the file is not enough: a child process that is being started just now holds a copy of it until its
    /// `exec`, and an unlock counts for all copies.
    fn drop(&mut self) {
        // Without an unlock the lock ends with the last copy.
        let _ = self.file.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::Lock;

    #[test]
    fn a_copy_in_a_child_process_does_not_keep_the_lock() {
        let folder = tempfile::tempdir().unwrap();
        let lock = Lock::take(folder.path(), "A", false).unwrap();
        let inherited = lock.file.try_clone().unwrap();
        Lock::take(folder.path(), "B", false).unwrap_err();
        drop(lock);
        Lock::take(folder.path(), "B", false).unwrap();
        drop(inherited);
    }
}
