//! How large requests may be, as a server's 413 teaches.

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

/// How long a server's word counts: what was in its way (a proxy, a setting) may be gone.
const BELIEF: Duration = Duration::from_secs(3600);

/// The most bytes of a request.
#[derive(Debug)]
pub(crate) struct BodyLimit {
    configured: usize,
    lowered: Mutex<Option<(usize, Instant)>>,
}

impl BodyLimit {
    /// As configured, until a server objects.
    pub(crate) fn new(configured: usize) -> BodyLimit {
        BodyLimit {
            configured,
            lowered: Mutex::default(),
        }
    }

    fn lowered(&self) -> MutexGuard<'_, Option<(usize, Instant)>> {
        self.lowered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The most bytes now.
    pub(crate) fn bytes(&self) -> usize {
        match *self.lowered() {
            Some((bytes, since)) if since.elapsed() < BELIEF => bytes,
            _ => self.configured,
        }
    }

    /// A request of `size` bytes was too large: the next ones have half as many at most. The new limit.
    pub(crate) fn lower(&self, size: usize) -> usize {
        let mut lowered = self.lowered();
        // Of requests under way at the same time, the smallest counts.
        let half = (size / 2).max(1);
        let bytes = match *lowered {
            Some((bytes, since)) if since.elapsed() < BELIEF => bytes.min(half),
            _ => half,
        };
        *lowered = Some((bytes, Instant::now()));
        bytes
    }

    /// The size was not what the server minds: it takes nothing at all.
    pub(crate) fn restore(&self) {
        *self.lowered() = None;
    }
}

#[cfg(test)]
mod tests {
    use super::BodyLimit;

    #[test]
    fn a_limit_falls_until_it_fits_and_comes_back() {
        let limit = BodyLimit::new(10_000);
        assert_eq!(limit.lower(8_000), 4_000);
        assert_eq!(limit.lower(9_000), 4_000);
        assert_eq!(limit.lower(4_000), 2_000);
        assert_eq!(limit.bytes(), 2_000);
        limit.restore();
        assert_eq!(limit.bytes(), 10_000);
        assert_eq!(limit.lower(1), 1);
    }
}
