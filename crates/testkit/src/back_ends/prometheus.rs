//! The back-end of `prometheus`: a scraper, and a disk that fails on demand.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use fakes::{
    Gate,
    rows::{self, Alter},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sinks::{BuildContext, BuildError, Sink, prometheus::Prometheus};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{BackEnd, Reason};

/// The harness of counters that are kept.
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async { Box::new(Scraper::new(Some(tempfile::tempdir()))) as Box<dyn BackEnd> }.boxed()
}

/// The harness of counters in memory.
pub fn start_in_memory() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async { Box::new(Scraper::new(None)) as Box<dyn BackEnd> }.boxed()
}

struct Scraper {
    /// Where counters are kept, if they are.
    folder: Option<io::Result<TempDir>>,
    disk: Arc<Disk>,
    /// Where the last sink listens.
    target: Mutex<Option<SocketAddr>>,
}

/// How many bytes of so many reach the disk.
type Passes = fn(usize) -> usize;

#[derive(Default)]
struct Disk {
    gate: Gate,
    /// How many bytes of the next frame get through; `None`: all of them.
    passes: Mutex<Option<Passes>>,
}

impl Disk {
    fn set(&self, passes: Option<Passes>) {
        *self.passes.lock().unwrap_or_else(PoisonError::into_inner) = passes;
    }

    fn allow(&self, bytes: usize) -> usize {
        self.gate.pass();
        let passes = *self.passes.lock().unwrap_or_else(PoisonError::into_inner);
        passes.map_or(bytes, |passes| passes(bytes))
    }
}

/// Where the process dies: so many bytes of a frame are on the disk.
const DEATHS: &[Passes] = &[|_| 0, |_| 1, |bytes| bytes / 2, |bytes| bytes - 1];

const NAMES: &[&str] = &[
    "before the append",
    "after one byte",
    "after half of the bytes",
    "before the last byte",
];

const IN_MEMORY: Reason = "it counts in memory, which does not fail";

impl Scraper {
    fn new(folder: Option<io::Result<TempDir>>) -> Scraper {
        Scraper {
            folder,
            disk: Arc::default(),
            target: Mutex::new(None),
        }
    }

    fn keeps(&self) -> Result<(), Reason> {
        self.folder.as_ref().map(drop).ok_or(IN_MEMORY)
    }
}

async fn scrape(target: SocketAddr) -> io::Result<String> {
    let mut stream = TcpStream::connect(target).await?;
    let request = b"GET /metrics HTTP/1.1\r\nHost: pump\r\nConnection: close\r\n\r\n";
    stream.write_all(request).await?;
    let mut page = String::new();
    stream.read_to_string(&mut page).await?;
    Ok(page)
}

/// The rows that series with a path of their own stand for, each as often as it is counted.
fn counted(page: &str) -> Vec<u64> {
    let series = page
        .lines()
        .filter(|line| line.starts_with("tyk_http_status_per_path{"));
    let mut rows = Vec::new();
    for line in series {
        let count = line.rsplit(' ').next().and_then(|count| count.parse::<f64>().ok());
        for _ in 0..count.unwrap_or_default() as u64 {
            rows.extend(rows::serials(line.as_bytes()));
        }
    }
    rows
}

#[async_trait]
impl BackEnd for Scraper {
    fn options(&self) -> Value {
        let mut meta = json!({"listen_address": "127.0.0.1:0", "track_all_paths": true});
        if let (Some(Ok(folder)), Value::Object(meta)) = (&self.folder, &mut meta) {
            meta.insert("state_dir".to_owned(), folder.path().to_string_lossy().into());
        }
        meta
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        let sink = Prometheus::open(&context).await?;
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(sink.address());
        let disk = self.disk.clone();
        sink.set_hook(Arc::new(move |bytes| disk.allow(bytes))).await;
        Ok(Box::new(sink))
    }

    fn keeps_order(&self) -> bool {
        false
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let target = *self.target.lock().unwrap_or_else(PoisonError::into_inner);
        let page = scrape(target.ok_or("nothing listens")?).await;
        page.map(|page| counted(&page))
            .map_err(|_| "the metrics cannot be scraped")
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.keeps()?;
        self.disk.set(Some(|bytes| bytes / 2));
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.keeps()?;
        self.disk.gate.set_shut(true);
        Ok(())
    }

    async fn heal(&self) {
        self.disk.set(None);
        self.disk.gate.set_shut(false);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Err("every record is counted")
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("every record is counted")
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        self.keeps().map(|()| NAMES.to_vec())
    }

    async fn die_at(&self, death: usize) {
        self.disk.set(DEATHS.get(death).copied());
    }
}
