//! The claim loop: which lists are taken, and when.

use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use analytics::Key;
use tokio_util::task::AbortOnDropHandle;

use super::{Engine, facts::LaneState, held::boot_clock_ms, undecodable};
use crate::source::{Mode, SourceError};

/// A claim of at least this many rows says that there is a backlog: the next one follows at once.
const BACKLOG_ROWS: u64 = 5_000;
/// The first claim is made this long after the start, or sooner if `purge_delay` is shorter.
const START: Duration = Duration::from_millis(200);
/// Lists are looked at no more often than this because of their time to live: one that was about to expire when it was
/// claimed says little about the next.
const SHORTEST_ROUND: Duration = Duration::from_millis(50);
/// How long the smallest time to live that was seen counts.
const TTL_COUNTS: Duration = Duration::from_secs(60);

/// The smallest time to live that lists had lately when they were claimed.
#[derive(Default)]
struct SmallestTtl(Option<(Instant, Duration)>);

impl SmallestTtl {
    fn see(&mut self, ttl: Duration, now: Instant) {
        let stands = self
            .0
            .is_some_and(|(at, known)| known < ttl && now.duration_since(at) < TTL_COUNTS);
        if !stands {
            self.0 = Some((now, ttl));
        }
    }

    /// How long a round may take at most.
    fn round(&self) -> Duration {
        self.0.map_or(Duration::MAX, |(_, ttl)| (ttl / 3).max(SHORTEST_ROUND))
    }
}

impl Engine {
    /// Claims and delivers until [`Engine::stop`] or, with `drain`, until there is nothing left.
    pub async fn run(self: &Arc<Self>, mode: Mode, drain: bool) {
        *self.mode.lock() = mode.clone();
        self.services.drains.store(drain, Ordering::Relaxed);
        let _keeper = AbortOnDropHandle::new(tokio::spawn(self.clone().keep()));
        let mut smallest_ttl = SmallestTtl::default();
        let delay = self.settings.purge_delay;
        // Upstream lets a whole `purge_delay` go by first, and whoever watches the lists sees what was waiting.
        if !drain && self.stopped_for(delay.min(START)).await {
            return;
        }
        while !self.stop.is_cancelled() {
            let began = Instant::now();
            let claimed = self.claim_all(&mode, &mut smallest_ttl).await;
            self.services.instrumentation.cycle(began.elapsed());
            if drain && claimed == Some(0) && self.is_idle() {
                break;
            }
            let pause = match claimed {
                Some(rows) if rows >= BACKLOG_ROWS && self.lanes_keep_up() => Duration::ZERO,
                _ if drain => Duration::from_millis(5),
                _ => delay.min(smallest_ttl.round()),
            };
            if self.stopped_for(pause).await {
                break;
            }
        }
    }

    /// Waits; `true`: the process stops.
    async fn stopped_for(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => false,
            () = self.stop.cancelled() => true,
        }
    }

    /// Names of the lanes that deliver the records of `key`, with that for undecodable elements.
    fn lanes_of(&self, key: &Key) -> Vec<Arc<str>> {
        let mut lanes = self.lanes.taking(key);
        lanes.push(undecodable::LANE.into());
        lanes
    }

    /// Claims every list that has elements. Returns the number of rows; `None` when the source is away, or nothing may be claimed now.
    async fn claim_all(&self, mode: &Mode, smallest_ttl: &mut SmallestTtl) -> Option<u64> {
        // A popped list lives in this process alone: never more than one round of them.
        let held_back = self.claiming_held.load(Ordering::Acquire)
            || self.lanes.stand_by()
            || (mode.one_round_at_a_time && !self.services.holdings.is_empty());
        if held_back {
            return None;
        }
        let source = &self.services.source;
        let pending = match source.pending().await {
            Ok(pending) => {
                self.source_is_up();
                pending
            }
            Err(error) => {
                self.source_is_down(&error);
                return None;
            }
        };
        let mut not_lists = Vec::new();
        let mut rows = 0;
        for (index, length) in pending {
            let Some(key) = source.keys().get(index).cloned() else {
                continue;
            };
            if let Err(error) = length {
                if matches!(error, SourceError::NotAList { .. }) {
                    not_lists.push(key.name.to_string());
                }
                self.report(&error);
                continue;
            }
            let sent_ms = boot_clock_ms();
            match source.claim(&key, &self.lanes_of(&key)).await {
                Ok(Some(claim)) => {
                    crate::failpoints::hit(crate::failpoints::AFTER_CLAIM);
                    rows += claim.len;
                    if let Some(ttl) = claim.ttl {
                        smallest_ttl.see(ttl, Instant::now());
                    }
                    self.hold(&claim, sent_ms);
                }
                Ok(None) => {}
                Err(error) => self.report(&error),
            }
        }
        self.status.source(|source| source.not_lists = not_lists);
        Some(rows)
    }

    /// Whether every lane is nearly through with what it was given.
    fn lanes_keep_up(&self) -> bool {
        let lanes = self.lanes.look();
        lanes.values().all(|lane| {
            let facts = lane.facts.borrow();
            facts.state == LaneState::Running && facts.backlog_rows < 4 * BACKLOG_ROWS
        })
    }

    fn is_idle(&self) -> bool {
        self.services.holdings.is_idle() && self.services.undecodable.is_idle()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_was_about_to_expire_does_not_make_the_loop_spin() {
        let mut ttl = SmallestTtl::default();
        let begin = Instant::now();
        assert_eq!(ttl.round(), Duration::MAX);
        ttl.see(Duration::from_secs(60), begin);
        assert_eq!(ttl.round(), Duration::from_secs(20));
        ttl.see(Duration::from_millis(2), begin);
        assert_eq!(ttl.round(), Duration::from_millis(50));
        ttl.see(Duration::from_secs(60), begin + Duration::from_secs(59));
        assert_eq!(ttl.round(), Duration::from_millis(50));
        ttl.see(Duration::from_secs(60), begin + Duration::from_secs(61));
        assert_eq!(ttl.round(), Duration::from_secs(20), "for the rest of the process");
    }
}
