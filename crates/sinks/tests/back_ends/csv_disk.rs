//! CSV files on disks that really fail. Needs the right to mount; without it the tests say so and end.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
};

use analytics::ClaimId;
use fakes::rows::{group, serials};
use serde_json::json;
use sinks::{BuildContext, Sink, WriteError, csv::Csv};

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

/// A mount that ends with the test.
struct Mount<'a>(&'a Path);

impl<'a> Mount<'a> {
    fn new(at: &'a Path, options: &[&str]) -> Option<Mount<'a>> {
        let mut command = Command::new("mount");
        let status = command.args(options).arg(at).stderr(Stdio::null()).status();
        if status.is_ok_and(|status| status.success()) {
            return Some(Mount(at));
        }
        fakes::server::skip(&format!("this user may not mount ({})", options.join(" ")));
        None
    }
}

impl Drop for Mount<'_> {
    fn drop(&mut self) {
        let status = Command::new("umount").arg("-l").arg(self.0).status();
        assert!(status.is_ok_and(|status| status.success()));
    }
}

async fn open(folder: &Path) -> Csv {
    let context = BuildContext::new("CSV", "fleet", json!({"csv_dir": folder}));
    // One hour for all rows.
    Csv::open(&context).await.unwrap().with_clock(|| analytics::Time::ZERO)
}

/// The one CSV file of the folder.
fn content(folder: &Path) -> Vec<u8> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = entries
        .filter(|path| path.extension().is_some_and(|ext| ext == "csv"))
        .collect();
    assert_eq!(files.len(), 1);
    fs::read(&files[0]).unwrap()
}

#[tokio::test]
async fn a_full_disk_loses_and_doubles_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(_mount) = Mount::new(folder.path(), &["-t", "tmpfs", "-o", "size=512k", "tmpfs"]) else {
        return;
    };
    let ballast = folder.path().join("ballast");
    fs::write(&ballast, vec![0; 256 << 10]).unwrap();
    let sink = open(folder.path()).await;
    let mut written = 0;
    let error = loop {
        let before = written;
        written += 300;
        assert!(written < 10_000, "the disk never fills up");
        if let Err(error) = sink.write(&group(CLAIM, before..written), &Arc::default()).await {
            written = before;
            break error;
        }
    };
    assert!(matches!(error, WriteError::Retry { .. }), "{error}");
    assert!(error.to_string().contains("No space left on device"), "{error}");
    let after_failure = content(folder.path());
    assert!(after_failure.ends_with(b"\n"));
    assert_eq!(serials(&after_failure), (0..written).collect::<Vec<_>>());

    fs::remove_file(ballast).unwrap();
    sink.write(&group(CLAIM, written..written + 300), &Arc::default())
        .await
        .unwrap();
    assert_eq!(serials(&content(folder.path())), (0..written + 300).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_directory_that_turns_read_only_recovers_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let sink = open(folder.path()).await;
    sink.write(&group(CLAIM, 0..10), &Arc::default()).await.unwrap();
    let path = folder.path().to_str().unwrap();
    let Some(mount) = Mount::new(folder.path(), &["--bind", path]) else {
        return;
    };
    let read_only = Command::new("mount").args(["-o", "remount,bind,ro", path]).status();
    assert!(read_only.is_ok_and(|status| status.success()));
    for _ in 0..3 {
        let error = sink.write(&group(CLAIM, 10..20), &Arc::default()).await.unwrap_err();
        assert!(matches!(error, WriteError::Retry { .. }), "{error}");
        assert!(error.to_string().contains("Read-only file system"), "{error}");
    }
    drop(mount);
    sink.write(&group(CLAIM, 10..30), &Arc::default()).await.unwrap();
    assert_eq!(serials(&content(folder.path())), (0..30).collect::<Vec<_>>());
}
