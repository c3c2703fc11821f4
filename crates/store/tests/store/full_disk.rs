//! A disk without space: clients hear of it, what was acknowledged stays, and what is delivered makes room.

use std::{fs, path::Path, process::Command};

use tempfile::TempDir;

use store::Progress;

use super::support::*;

/// A small file system of its own; unmounted when it is dropped.
struct SmallDisk(TempDir);

impl SmallDisk {
    /// `None`, reported: this user may not mount file systems.
    fn of(megabytes: u64) -> Option<SmallDisk> {
        let folder = TempDir::new().unwrap();
        let size = format!("size={megabytes}m");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(folder.path());
        match mount.output().is_ok_and(|output| output.status.success()) {
            true => Some(SmallDisk(folder)),
            false => {
                fakes::server::skip("this user may not mount file systems");
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(Command::new("umount").arg("-l").arg(self.path()).output());
    }
}

async fn push(client: &mut redis::aio::MultiplexedConnection, record: &str) -> Result<u64, String> {
    let answer: redis::RedisResult<u64> = redis::cmd("RPUSH").arg(KEY).arg(record).query_async(client).await;
    answer.map_err(|error| error.to_string())
}

/// Pushes until the store refuses. Returns how many records it has taken, and what it said.
async fn push_until_refused(client: &mut redis::aio::MultiplexedConnection, record: &str) -> (u64, String) {
    let mut taken = 0;
    loop {
        match push(client, record).await {
            Ok(_) => taken += 1,
            Err(text) => return (taken, text),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_keeps_what_it_has_and_is_emptied_by_delivery() {
    let Some(disk) = SmallDisk::of(200) else {
        return;
    };
    let served = Served::start(|settings| settings.dir = disk.path().to_owned()).await;
    let mut client = served.client().await;
    let record = "x".repeat(20_000);
    let (taken, refused) = push_until_refused(&mut client, &record).await;
    assert!(
        refused.contains("MISCONF") && refused.contains("No space left on device"),
        "{refused}"
    );
    // Three segments fit; the end of the last one is kept free.
    assert!((9_000..10_500).contains(&taken), "{taken}");
    let length: u64 = redis::cmd("LLEN").arg(KEY).query_async(&mut client).await.unwrap();
    assert_eq!(length, taken);
    assert!(served.store.facts().trouble.unwrap().contains("No space left"));
    served.stop().await;

    // The disk is still full: the store opens all the same, and everything is there.
    let source = open(disk.path());
    let claim = claim_all(&source, &["A"]).await;
    assert_eq!(claim.len, taken);
    let mut at = 0;
    while at < taken {
        let window = source.read(claim.held(), at, 500).await.unwrap();
        let same = window
            .elements
            .iter()
            .all(|span| span.of(&window.buffer) == record.as_bytes());
        assert!(same, "{at}");
        at += window.elements.len() as u64;
        let state = acknowledge(&source, claim.held(), "A", at).await;
        assert_eq!(state == Progress::Finished, at == taken);
    }
    until("records are taken again", async || {
        source.push(KEY, &[&record]).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_elses_files_fill_the_disk_and_go_again() {
    let Some(disk) = SmallDisk::of(150) else {
        return;
    };
    let dir = disk.path().join("store");
    let served = Served::start(|settings| settings.dir = dir.clone()).await;
    let other = disk.path().join("other");
    fs::write(&other, vec![0; 60 << 20]).unwrap();
    let mut client = served.client().await;
    let record = "x".repeat(20_000);
    let (taken, refused) = push_until_refused(&mut client, &record).await;
    assert!(refused.contains("MISCONF"), "{refused}");
    assert!(push(&mut client, &record).await.is_err());
    let pong: String = redis::cmd("PING").query_async(&mut client).await.unwrap();
    assert_eq!(pong, "PONG");
    fs::remove_file(&other).unwrap();
    let length = until("records are taken again", async || {
        push(&mut client, &record).await.ok()
    })
    .await;
    assert_eq!(length, taken + 1);
    let source = &served.store;
    let claim = claim_all(source, &["A"]).await;
    assert_eq!(read_all(source, &claim, 0).await.len() as u64, length);
}
