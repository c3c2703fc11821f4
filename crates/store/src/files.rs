//! Files that survive a crash.

use std::{fs::File, io, path::Path};

/// Makes creations, renames and removals in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
