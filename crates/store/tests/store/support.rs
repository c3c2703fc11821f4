//! Stores, servers and rows for the tests.

use std::{net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use store::{Claim, Error, Fsync, Held, Progress, Settings, Store, server::Server};
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

pub(crate) const KEY: &str = "analytics-tyk-system-analytics";

/// Longer than any test.
pub(crate) const LEASE: Duration = Duration::from_secs(600);

/// A store in this folder, without limits that matter.
pub(crate) fn settings(dir: &Path) -> Settings {
    Settings {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        dir: dir.to_owned(),
        username: "default".to_owned(),
        password: String::new(),
        tls: None,
        max_bytes: 1 << 30,
        fsync: Fsync::Group,
        max_clients: 1000,
        max_command: 64 << 20,
        idle_timeout: Duration::from_secs(600),
    }
}

pub(crate) fn open(folder: &Path) -> Store {
    Store::open(&settings(folder)).unwrap().instance("a", LEASE)
}

/// A store that answers on a port.
pub(crate) struct Served {
    pub(crate) store: Store,
    pub(crate) address: SocketAddr,
    stop: CancellationToken,
    folder: TempDir,
}

impl Served {
    pub(crate) async fn start(change: impl FnOnce(&mut Settings)) -> Served {
        let folder = TempDir::new().unwrap();
        let mut settings = settings(folder.path());
        change(&mut settings);
        let store = Store::open(&settings).unwrap().instance("a", LEASE);
        let server = Server::bind(&settings, &store).await.unwrap();
        let (address, stop) = (server.address(), CancellationToken::new());
        tokio::spawn(server.serve(stop.clone()));
        Served {
            store,
            address,
            stop,
            folder,
        }
    }

    pub(crate) async fn client(&self) -> redis::aio::MultiplexedConnection {
        let url = format!("redis://{}", self.address);
        let client = redis::Client::open(url).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }

    pub(crate) async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.store.close().await;
        self.folder
    }
}

pub(crate) fn readers(names: &[&str]) -> Vec<Arc<str>> {
    names.iter().map(|name| Arc::from(*name)).collect()
}

pub(crate) fn elements(count: usize) -> Vec<Bytes> {
    (0..count)
        .map(|row| Bytes::from(format!("element \r\n {row}")))
        .collect()
}

/// The claim that is to be had of this list.
pub(crate) async fn claim_all(store: &Store, names: &[&str]) -> Claim {
    store.claim(KEY, &readers(names)).await.unwrap().unwrap()
}

/// Rows of the list that nobody has claimed.
pub(crate) fn unclaimed(store: &Store) -> u64 {
    match store.lengths([KEY].into_iter()).pop() {
        Some(store::Found::Rows(rows)) => rows,
        _ => 0,
    }
}

/// Reads rows `first..` of a claim to its end, window by window, and checks how they are numbered.
pub(crate) async fn read_all(store: &Store, claim: &Claim, first: u64) -> Vec<Vec<u8>> {
    let (rows, lost) = read_around(store, claim.held(), first, claim.len).await;
    assert_eq!(lost, 0);
    rows
}

/// Reads to the end, as readers do. Returns the rows that came, and how many are lost.
pub(crate) async fn read_around(store: &Store, claim: Held, first: u64, len: u64) -> (Vec<Vec<u8>>, u64) {
    let (mut rows, mut lost, mut next) = (Vec::new(), 0, first);
    while next < len {
        match store.read(claim, next, 5000).await {
            Ok(window) => {
                assert_eq!(window.first_row, next);
                assert!(!window.elements.is_empty());
                rows.extend(window.elements.iter().map(|span| span.of(&window.buffer).to_vec()));
                next += window.elements.len() as u64;
            }
            Err(Error::Lost { rows, .. }) => {
                assert_eq!(rows.start, next);
                assert!(rows.end > rows.start);
                lost += rows.end - rows.start;
                next = rows.end;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(next, len);
    (rows, lost)
}

/// Acknowledges for one reader.
pub(crate) async fn acknowledge(store: &Store, claim: Held, reader: &str, cursor: u64) -> Progress {
    store.acknowledge(claim, &[(reader.into(), cursor)]).await.unwrap()
}

/// Waits for something, a minute at most.
pub(crate) async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..6000 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain until {what}");
}

/// Memory of this process, in bytes.
pub(crate) fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

/// The folder as a crash leaves it: whatever has been answered is in it, the process is gone.
pub(crate) fn copy_of(folder: &Path) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
    }
    copy
}
