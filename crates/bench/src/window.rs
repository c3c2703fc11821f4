//! How fast a client that does nothing else reads the windows of a list.

use std::time::Instant;

use anyhow::bail;

use crate::{
    backlog,
    redis::Redis,
    spread::thousands,
    wire::{self, Client, Scanned},
};

/// Rows of one window, as the pump reads them.
const ROWS: u64 = 5_000;
/// Windows asked for before the first is read.
const AHEAD: u64 = 2;

/// What the bare client achieved.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rate {
    pub(crate) records_per_second: f64,
    pub(crate) bytes_per_second: f64,
}

/// Reads all windows of a list once.
///
/// # Errors
/// The list holds another number of elements than `records`.
pub(crate) fn read(port: u16, key: &str, records: u64) -> anyhow::Result<Rate> {
    let mut client = Client::connect(port)?;
    let windows = records.div_ceil(ROWS);
    let ask = |client: &mut Client, window: u64| {
        let (first, last) = (window * ROWS, (window + 1) * ROWS - 1);
        let mut command = Vec::new();
        let (first, last) = (first.to_string(), last.to_string());
        wire::encode(
            &mut command,
            &[b"LRANGE", key.as_bytes(), first.as_bytes(), last.as_bytes()],
        );
        client.send(&command)
    };
    let started = Instant::now();
    for window in 0..windows.min(AHEAD) {
        ask(&mut client, window)?;
    }
    let mut total = Scanned::default();
    for window in 0..windows {
        let scanned = client.scan()?;
        total.elements += scanned.elements;
        total.bytes += scanned.bytes;
        if window + AHEAD < windows {
            ask(&mut client, window + AHEAD)?;
        }
    }
    let seconds = started.elapsed().as_secs_f64();
    if total.elements != records {
        bail!("{key} holds {} elements instead of {records}", total.elements);
    }
    Ok(Rate {
        records_per_second: total.elements as f64 / seconds,
        bytes_per_second: total.bytes as f64 / seconds,
    })
}

/// `bench window`.
pub(crate) fn run(records: u64) -> anyhow::Result<()> {
    let redis = Redis::start()?;
    backlog::fill(redis.port, &backlog::keys(1), records, &backlog::pool(None)?)?;
    let rate = read(redis.port, &backlog::keys(1)[0], records)?;
    let (records, bytes) = (rate.records_per_second, rate.bytes_per_second);
    println!(
        "bare client: {} records/s, {} MB/s",
        thousands(records),
        thousands(bytes / 1e6)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bare_client_reads_every_record_of_the_list() {
        let (redis, lists) = (Redis::start().unwrap(), backlog::keys(1));
        let records = 2 * ROWS + 17;
        backlog::fill(redis.port, &lists, records, &backlog::pool(None).unwrap()).unwrap();
        let rate = read(redis.port, &lists[0], records).unwrap();
        assert!(rate.bytes_per_second > 1_000.0 * rate.records_per_second);
        assert!(read(redis.port, &lists[0], records + 1).is_err());
    }
}
