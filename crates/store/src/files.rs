//! Files that survive a crash, and that nobody else reads.

use std::{
    fs::{DirBuilder, File, OpenOptions, Permissions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// Makes creations, renames and removals in `folder` durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder that only its owner may look into. One that is there already keeps its permissions: somebody has
/// chosen them.
pub(crate) fn make_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Options for a file of ours: read and written by its owner alone; never through a symbolic link, which could lead to
/// a file of somebody else.
pub(crate) fn ours() -> OpenOptions {
    let mut options = OpenOptions::new();
    options
        .read(true)
        .write(true)
        .mode(0o600)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32);
    options
}

/// Writes what is damaged to a file of its own, durably, in the folder `quarantine` of `folder`: for whoever wants to look
/// at it. Returns where it is.
pub(crate) fn put_aside(folder: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let aside = folder.join("quarantine");
    make_folder(&aside)?;
    let path = aside.join(name);
    let mut file = ours().create(true).truncate(true).open(&path)?;
    file.write_all(bytes)?;
    file.sync_data()?;
    sync_folder(&aside)?;
    Ok(path)
}

/// Takes a file away from everybody else that an earlier version made readable for them.
pub(crate) fn close_to_others(file: &File) -> io::Result<()> {
    let mode = file.metadata()?.permissions().mode();
    match mode & 0o077 {
        0 => Ok(()),
        _ => file.set_permissions(Permissions::from_mode(mode & 0o700)),
    }
}
