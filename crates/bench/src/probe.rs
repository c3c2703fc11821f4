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

use crate::wire::Client;

/// Time between two PINGs, as long as each is answered faster.
const INTERVAL: Duration = Duration::from_micros(500);

/// How long PINGs took, in milliseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stalls {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p999: f64,
    /// As a client sees it that sends every [`INTERVAL`] whatever happens: a stall holds up every PING that falls into it.
    pub(crate) steady_p999: f64,
    pub(crate) max: f64,
}

impl Stalls {
    fn of(mut answers: Vec<f64>) -> Stalls {
        let interval = INTERVAL.as_secs_f64() * 1e3;
        let held_up = |took: &f64| {
            let later = (1..(took / interval) as u32).map(|sent| f64::from(sent) * interval);
            later.map(|sent| took - sent).collect::<Vec<f64>>()
        };
        let mut steady: Vec<f64> = answers.iter().flat_map(held_up).collect();
        steady.extend_from_slice(&answers);
        answers.sort_by(f64::total_cmp);
        steady.sort_by(f64::total_cmp);
        Stalls {
            p50: percentile(&answers, 0.5),
            p99: percentile(&answers, 0.99),
            p999: percentile(&answers, 0.999),
            steady_p999: percentile(&steady, 0.999),
            max: percentile(&answers, 1.0),
        }
    }
}

/// The value that this share of all is not above; 0 when there is none.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or_default()
}

/// A running probe.
pub(crate) struct Probe {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<anyhow::Result<Vec<(Instant, f64)>>>,
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
                answers.push((asked, took.as_secs_f64() * 1e3));
                thread::sleep(INTERVAL.saturating_sub(took));
            }
            Ok(answers)
        });
        Ok(Probe { stop, thread })
    }

    /// Ends it; only PINGs sent before `until` count, or the rest after the work would hide its stalls.
    pub(crate) fn stop(self, until: Instant) -> anyhow::Result<Stalls> {
        self.stop.store(true, Ordering::Relaxed);
        let answers = self.thread.join().map_err(|_| anyhow!("the probe has crashed"))??;
        let counted = answers.into_iter().filter(|(asked, _)| *asked <= until);
        Ok(Stalls::of(counted.map(|(_, took)| took).collect()))
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

    #[test]
    fn a_client_that_sends_steadily_meets_a_stall_again_and_again() {
        let mut answers = vec![0.1; 900];
        answers.push(50.0);
        assert_eq!(Stalls::of(answers.clone()).p99, 0.1);
        assert_eq!(Stalls::of(answers).steady_p999, 49.5);
    }
}
