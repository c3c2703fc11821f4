//! When to try again.

use std::time::Duration;

use rand::Rng;

/// Jittered exponential back-off from 100 ms to 60 s, without a limit of attempts.
#[derive(Debug, Default)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    const FIRST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(60);
    /// What a back-end may ask for at most: a day by mistake would keep its records away for a day.
    const LONGEST_ASKED: Duration = Duration::from_secs(300);

    /// The pause before the next attempt. `asked` is what the back-end asked for, and is honoured if it is longer, up to
    /// five minutes.
    pub fn next(&mut self, asked: Option<Duration>) -> Duration {
        let full = Self::FIRST
            .saturating_mul(1 << self.failures.min(10))
            .min(Self::LONGEST);
        self.failures = self.failures.saturating_add(1);
        let jittered = full.mul_f64(rand::rng().random_range(0.5..=1.0));
        asked.map_or(jittered, |asked| jittered.max(asked.min(Self::LONGEST_ASKED)))
    }

    /// An attempt has succeeded, at least in part.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_minute_and_honour_what_the_back_end_asks_for() {
        let mut backoff = Backoff::default();
        assert!(backoff.next(None) <= Duration::from_millis(100));
        for _ in 0..100 {
            assert!(backoff.next(None) <= Duration::from_secs(60));
        }
        assert!(backoff.next(None) >= Duration::from_secs(30));
        assert_eq!(backoff.next(Some(Duration::from_secs(90))), Duration::from_secs(90));
        assert_eq!(
            backoff.next(Some(Duration::from_secs(86_400))),
            Duration::from_secs(300)
        );
        backoff.reset();
        assert!(backoff.next(None) <= Duration::from_millis(100));
    }
}
