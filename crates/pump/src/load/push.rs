//! Pushing: non-transactional pipelines with one RPUSH a record, in chunks of about 32 KiB, as a gateway's client.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use analytics::Wire;
use anyhow::Context;
use futures::future::try_join_all;
use rand::{Rng, SeedableRng, rngs::StdRng};
use redis::Pipeline;
use tokio::task::JoinSet;

use super::{
    LoadOptions, Report,
    connect::{Connection, connect},
    fixture::Fixture,
};
use crate::config::RedisSettings;

/// Bytes of elements after which a pipeline is sent.
const CHUNK: usize = 32 * 1024;
/// Records that one client flushes at once, at most, all to one list.
const FLUSH: u64 = 1000;
/// Bytes that one client flushes at once, at most.
const FLUSH_BYTES: usize = 16 << 20;
/// With a rate, a client flushes about as often as a gateway: every 200 ms.
const FLUSHES_PER_SECOND: f64 = 5.0;

struct Load {
    options: LoadOptions,
    wire: Wire,
    lists: Vec<String>,
    fixture: Mutex<Arc<Fixture>>,
    /// Number of the next record.
    next: AtomicU64,
    /// Records confirmed, and their bytes.
    confirmed: AtomicU64,
    bytes: AtomicU64,
    flush: u64,
    started: Instant,
}

/// Pushes the records and reports; `progress` hears of every number that Redis has confirmed.
///
/// # Errors
/// Redis cannot be reached or refuses; the text says how many records it confirmed.
pub async fn push(
    options: &LoadOptions,
    redis: &RedisSettings,
    progress: impl Fn(u64) + Clone + Send + Sync + 'static,
) -> anyhow::Result<Report> {
    let load = Arc::new(Load::new(options, redis)?);
    let mut control = connect(redis).await?;
    let mut clients = JoinSet::new();
    for number in 0..options.clients.max(1) {
        let client = Client {
            load: load.clone(),
            connection: connect(redis).await?,
            rng: match options.seed {
                Some(seed) => StdRng::seed_from_u64(seed.wrapping_add(1 + number as u64)),
                None => StdRng::from_os_rng(),
            },
        };
        clients.spawn(client.run(progress.clone()));
    }
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        let ended = tokio::select! {
            ended = clients.join_next() => ended,
            _ = tick.tick() => {
                load.limit_lifetimes(&mut control).await?;
                continue;
            }
        };
        match ended {
            None => break,
            Some(result) => result
                .context("a client ended")
                .and_then(|result| result)
                .with_context(|| {
                    let confirmed = load.confirmed.load(Ordering::Relaxed);
                    format!("Redis confirmed {confirmed} of {} records", options.records)
                })?,
        }
    }
    let elapsed = load.started.elapsed();
    load.limit_lifetimes(&mut control).await?;
    Ok(Report {
        records: load.confirmed.load(Ordering::Relaxed),
        bytes: load.bytes.load(Ordering::Relaxed),
        keys: load.lists.len(),
        elapsed,
    })
}

impl Load {
    fn new(options: &LoadOptions, redis: &RedisSettings) -> anyhow::Result<Load> {
        let (wire, suffix) = match options.serializer.as_str() {
            "protobuf" => (Wire::Protobuf, "_protobuf"),
            _ => (Wire::Msgpack, ""),
        };
        let list = |shard: &str| format!("{}tyk-system-analytics{shard}{suffix}", redis.key_prefix);
        let lists = match options.keys.as_str() {
            "10" => (0..10).map(|digit| list(&format!("_{digit}"))).collect(),
            _ => vec![list("")],
        };
        let rate = options.rate.unwrap_or(f64::INFINITY);
        anyhow::ensure!(rate > 0.0, "--rate {rate}: a number above 0 is expected");
        let flush = (rate / options.clients.max(1) as f64 / FLUSHES_PER_SECOND) as u64;
        let by_size = options.size.map_or(FLUSH, |size| (FLUSH_BYTES / size.max(1)) as u64);
        Ok(Load {
            wire,
            lists,
            fixture: Mutex::new(Arc::new(Fixture::build(options, wire, unix_seconds())?)),
            next: AtomicU64::new(0),
            confirmed: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            flush: flush.min(by_size).clamp(1, FLUSH),
            started: Instant::now(),
            options: options.clone(),
        })
    }

    /// The records of this hour.
    fn fixture(&self, now: i64) -> anyhow::Result<Arc<Fixture>> {
        let mut fixture = self.fixture.lock().unwrap_or_else(PoisonError::into_inner);
        if !fixture.is_of(now) {
            *fixture = Arc::new(Fixture::build(&self.options, self.wire, now)?);
        }
        Ok(fixture.clone())
    }

    /// Gives lists without a time to live one, as a gateway does every second for its msgpack lists.
    async fn limit_lifetimes(&self, connection: &mut Connection) -> anyhow::Result<()> {
        if self.wire == Wire::Protobuf || self.options.ttl < 0 {
            return Ok(());
        }
        for list in &self.lists {
            let left: i64 = redis::cmd("TTL")
                .arg(list)
                .query_async(connection)
                .await
                .context("TTL")?;
            if left == -1 {
                let mut expire = redis::cmd("EXPIRE");
                expire.arg(list).arg(self.options.ttl);
                expire.exec_async(connection).await.context("EXPIRE")?;
            }
        }
        Ok(())
    }
}

struct Client {
    load: Arc<Load>,
    connection: Connection,
    rng: StdRng,
}

impl Client {
    async fn run(mut self, progress: impl Fn(u64)) -> anyhow::Result<()> {
        let load = self.load.clone();
        loop {
            let first = load.next.fetch_add(load.flush, Ordering::Relaxed);
            let end = (first + load.flush).min(load.options.records);
            if first >= end {
                return Ok(());
            }
            if let Some(rate) = load.options.rate {
                let due = load.started + Duration::from_secs_f64(end as f64 / rate);
                tokio::time::sleep_until(due.into()).await;
            }
            self.flush(first..end).await?;
            progress(end - first);
        }
    }

    async fn flush(&mut self, serials: std::ops::Range<u64>) -> anyhow::Result<()> {
        let load = self.load.clone();
        let list = &load.lists[self.rng.random_range(0..load.lists.len())];
        let now = unix_seconds();
        let fixture = load.fixture(now)?;
        let records = serials.end - serials.start;
        let mut chunks = vec![Pipeline::new()];
        let (mut filled, mut bytes) = (0, 0);
        for serial in serials {
            let element = fixture.element(serial, now, &mut self.rng);
            if filled >= CHUNK {
                chunks.push(Pipeline::new());
                filled = 0;
            }
            filled += element.len();
            bytes += element.len() as u64;
            if let Some(chunk) = chunks.last_mut() {
                chunk.cmd("RPUSH").arg(list).arg(element).ignore();
            }
        }
        let sent = chunks.iter().map(|chunk| {
            let mut connection = self.connection.clone();
            async move { chunk.exec_async(&mut connection).await }
        });
        try_join_all(sent).await.with_context(|| format!("RPUSH {list}"))?;
        load.confirmed.fetch_add(records, Ordering::Relaxed);
        load.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }
}

fn unix_seconds() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.unwrap_or_default().as_secs() as i64
}
