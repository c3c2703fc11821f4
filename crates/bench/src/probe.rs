//! Another client of the same Redis, which only asks whether it is still answered.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use serde_json::{Value, json};

use crate::wire::Client;

/// Time between two PINGs, as long as each is answered faster.
const INTERVAL: Duration = Duration::from_micros(500);

/// How long PINGs took, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stalls {
    pub(crate) count: usize,
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    pub(crate) max: f64,
}

impl Stalls {
    fn of(mut answers: Vec<f64>) -> Stalls {
        answers.sort_by(f64::total_cmp);
        let share = |share: f64| {
            let rank = (answers.len() as f64 * share).ceil() as usize;
            answers.get(rank.saturating_sub(1)).copied().unwrap_or_default()
        };
        Stalls {
            count: answers.len(),
            p50: share(0.5),
            p99: share(0.99),
            p999: share(0.999),
            max: share(1.0),
        }
    }

    pub(crate) fn json(self) -> Value {
        json!({"pings": self.count, "p50_ms": self.p50, "p99_ms": self.p99, "p99_9_ms": self.p999, "max_ms": self.max})
    }
}

/// A running probe.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<f64>>>,
}

impl Probe {
    pub(crate) fn start(port: u16) -> anyhow::Result<Probe> {
        let mut client = Client::connect(port)?;
        let stop = Arc::new(AtomicBool::new(false));
        let seen = stop.clone();
        let thread = thread::spawn(move || {
            let mut answers = Vec::new();
            while !seen.load(Ordering::Relaxed) {
                let asked = Instant::now();
                client.call(&[b"PING"])?;
                let took = asked.elapsed();
                answers.push(took.as_secs_f64() * 1e3);
                thread::sleep(INTERVAL.saturating_sub(took));
            }
            Ok(answers)
        });
        Ok(Probe { stop, thread })
    }

    /// Ends it.
    pub(crate) fn stop(self) -> anyhow::Result<Stalls> {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.thread.join().map_err(|_| anyhow!("the probe has crashed"))??;
        Ok(Stalls::of(answers))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_slow_answer_in_a_thousand_is_the_worst_but_not_the_99_9th_percentile() {
        let mut answers = vec![1.0; 999];
        answers.push(50.0);
        let stalls = Stalls::of(answers);
        assert_eq!((stalls.p50, stalls.p999, stalls.max), (1.0, 1.0, 50.0));
    }
}
