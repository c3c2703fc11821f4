//! Files that survive a crash.

use std::{fs::File, io, path::Path};

/// Makes creations, renames and removals in `folder` durable.
///
/// # Errors
/// The folder cannot be opened, or its file system does not flush it.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
