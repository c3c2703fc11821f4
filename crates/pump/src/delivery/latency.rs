//! How long the writes of a pump take, as a histogram.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

/// Upper bounds of the buckets, in milliseconds.
pub const BOUNDS_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 15_000, 60_000];

/// Counters of one pump.
#[derive(Debug, Default)]
pub struct Latency {
    /// Writes that took no longer than the bound of the same place, and longer than the one before.
    buckets: [AtomicU64; BOUNDS_MS.len()],
    writes: AtomicU64,
    micros: AtomicU64,
}

/// The counters at one moment.
#[derive(Clone, Debug, Default)]
pub struct LatencyStatus {
    /// Writes that took no longer than the bound of the same place in [`BOUNDS_MS`].
    pub at_most: [u64; BOUNDS_MS.len()],
    /// All writes.
    pub writes: u64,
    /// What they took together, in microseconds.
    pub micros: u64,
}

impl Latency {
    /// A write is over, whatever came of it.
    pub fn observe(&self, took: Duration) {
        let within = BOUNDS_MS.iter().position(|bound| took <= Duration::from_millis(*bound));
        if let Some(bucket) = within.and_then(|place| self.buckets.get(place)) {
            bucket.fetch_add(1, Relaxed);
        }
        self.writes.fetch_add(1, Relaxed);
        self.micros.fetch_add(took.as_micros().try_into().unwrap_or(u64::MAX), Relaxed);
    }

    /// The counters now.
    pub fn status(&self) -> LatencyStatus {
        let mut status = LatencyStatus {
            writes: self.writes.load(Relaxed),
            micros: self.micros.load(Relaxed),
            ..LatencyStatus::default()
        };
        let mut sum = 0;
        for (at_most, bucket) in status.at_most.iter_mut().zip(&self.buckets) {
            sum += bucket.load(Relaxed);
            *at_most = sum;
        }
        // A write that is observed at this moment may be in its bucket alone.
        status.writes = status.writes.max(sum);
        status
    }
}
