//! Watching a pump from outside until there is nothing left to do.

use std::{
    collections::VecDeque,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;

use crate::{
    files,
    pump::{Kind, Pump},
    redis,
    wire::Client,
};

/// Time between two looks at the process.
const INTERVAL: Duration = Duration::from_millis(5);
/// Time between two looks into Redis.
const REDIS_INTERVAL: Duration = Duration::from_millis(50);
/// A pump rests when it has used no more CPU than [`REST_CPU`] for so long, and nothing has waited in Redis meanwhile: a
/// pump that has asked for everything at once rests, too, until Redis has put its answer together.
const REST: Duration = Duration::from_secs(1);
/// Seconds.
const REST_CPU: f64 = 0.03;
/// How far back CPU use is remembered.
const MEMORY: Duration = Duration::from_secs(5);
/// A pump that rests so long without having delivered everything never will.
const PATIENCE: Duration = Duration::from_secs(15);

/// The growth of CSV directories over time.
pub(crate) struct Growth {
    directories: Vec<PathBuf>,
    pub(crate) size: u64,
    pub(crate) at: Instant,
    pub(crate) longest_pause: Duration,
}

impl Growth {
    /// Begins to watch.
    pub(crate) fn new(directories: Vec<PathBuf>) -> Growth {
        Growth {
            directories,
            size: 0,
            at: Instant::now(),
            longest_pause: Duration::ZERO,
        }
    }

    /// Looks again; whether there is more than before.
    pub(crate) fn look(&mut self) -> bool {
        let size = self.directories.iter().map(|directory| files::size(directory)).sum();
        // A write that a kill left unfinished is cut off again: that is no progress.
        if size <= self.size {
            return false;
        }
        let now = Instant::now();
        self.longest_pause = self.longest_pause.max(now - self.at);
        (self.size, self.at) = (size, now);
        true
    }
}

/// Whether records wait in Redis, claimed or not.
pub(crate) fn is_work_left(client: &mut Client, lists: &[String]) -> anyhow::Result<bool> {
    for list in lists {
        if !redis::keys(client, list)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(!claim_keys(client)?.is_empty())
}

/// Keys that have to do with claims.
pub(crate) fn claim_keys(client: &mut Client) -> anyhow::Result<Vec<String>> {
    redis::keys(client, "*claim*")
}

/// CPU use over the last moments.
#[derive(Default)]
struct Rest {
    marks: VecDeque<(Instant, f64)>,
}

impl Rest {
    /// Notes the CPU seconds used so far.
    fn note(&mut self, now: Instant, cpu: f64) {
        self.marks.push_back((now, cpu));
        while self.marks.get(1).is_some_and(|(at, _)| now - *at >= MEMORY) {
            self.marks.pop_front();
        }
    }

    /// Since when there is rest, if there is.
    fn since(&self) -> Option<Instant> {
        let (last, used) = self.marks.back()?;
        let (first, _) = self.marks.iter().find(|(_, before)| used - before <= REST_CPU)?;
        (*last - *first >= REST).then_some(*first)
    }
}

/// Waits until the lists and claims are gone, the pump rests, and `is_complete` agrees; answers when the last record was
/// delivered: when the files last grew, or, where nothing can be seen from outside, when the rest began. A pump that
/// rests without being complete is waited for no longer than [`PATIENCE`].
///
/// # Errors
/// The pump ends, or the limit is over.
pub(crate) fn until_done(
    pump: &mut Pump<'_>,
    growth: &mut Growth,
    client: &mut Client,
    lists: &[String],
    limit: Duration,
    mut is_complete: impl FnMut(&Pump<'_>) -> anyhow::Result<bool>,
) -> anyhow::Result<Instant> {
    let started = Instant::now();
    let (mut rest, mut gone, mut asked) = (Rest::default(), None, started);
    loop {
        pump.check()?;
        let now = Instant::now();
        growth.look();
        rest.note(now, pump.cpu_seconds()?);
        if now - asked >= REDIS_INTERVAL {
            let left = is_work_left(client, lists)?;
            asked = Instant::now();
            gone = if left { None } else { gone.or(Some(asked)) };
        }
        let quiet = gone.map_or(Duration::ZERO, |gone| {
            now.saturating_duration_since(gone.max(growth.at))
        });
        if let Some(since) = rest.since()
            && quiet >= REST
            && (quiet >= PATIENCE || is_complete(pump)?)
        {
            return Ok(if pump.setup.kind() == Kind::Csv {
                growth.at
            } else {
                since
            });
        }
        if started.elapsed() > limit {
            bail!(
                "not done after {} s; the pump's log:\n{}",
                limit.as_secs(),
                pump.setup.log_tail()
            );
        }
        thread::sleep(INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(start: Instant, millis: u64) -> Instant {
        start + Duration::from_millis(millis)
    }

    #[test]
    fn rest_begins_with_the_last_work() {
        let (start, mut rest) = (Instant::now(), Rest::default());
        for step in 0..=40 {
            let millis = step * 50;
            let cpu = millis.min(600) as f64 / 1e3;
            rest.note(after(start, millis), cpu);
            assert_eq!(rest.since().is_some(), millis >= 1_600, "after {millis} ms");
            if millis >= 1_600 {
                assert_eq!(rest.since(), Some(after(start, 600)));
            }
        }
    }

    #[test]
    fn a_short_look_is_no_rest() {
        let (start, mut rest) = (Instant::now(), Rest::default());
        rest.note(start, 1.0);
        rest.note(after(start, 900), 1.0);
        assert_eq!(rest.since(), None);
    }
}
