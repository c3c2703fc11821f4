//! How long the writes of a pump take, as a histogram.

use std::time::Duration;

/// Upper bounds of the buckets, in milliseconds.
pub const BOUNDS_MS: [u64; 11] = [5, 10, 25, 50, 100, 250, 500, 1_000, 5_000, 15_000, 60_000];

/// Counters of one pump.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    /// Writes that took no longer than the bound of the same place in [`BOUNDS_MS`].
    pub at_most: [u64; BOUNDS_MS.len()],
    /// All writes.
    pub writes: u64,
    /// What they took together, in microseconds.
    pub micros: u64,
}

impl Latency {
    /// A write is over, whatever came of it.
    pub fn observe(&mut self, took: Duration) {
        for (writes, bound) in self.at_most.iter_mut().zip(BOUNDS_MS) {
            *writes += u64::from(took <= Duration::from_millis(bound));
        }
        self.writes += 1;
        self.micros = self
            .micros
            .saturating_add(took.as_micros().try_into().unwrap_or(u64::MAX));
    }
}
