//! What must happen regularly: renewing leases, taking over claims, watching the budgets.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::Instant;

use super::{Engine, held::boot_clock_ms, report::Context, status::LaneState, undecodable};
use crate::{
    config::OnFull,
    source::{Lost, Usage},
};

/// `max_unacked` when nothing is configured and Redis has no `maxmemory`, or a large one.
const MAX_UNACKED: u64 = 256 << 20;
/// `max_backlog` is this many times `max_unacked`.
const BACKLOG_FACTOR: u64 = 8;
/// A lane that has delivered nothing for so long fails; before, it only stumbles: one lost connection, or a back-end that is
/// connected to at the start, must not cost rows of a large backlog.
const FAILS_AFTER: Duration = Duration::from_secs(10);
/// Bytes of a row before any was seen.
pub(super) const ROW_BYTES: u64 = 1_000;

/// A lane that does not run.
#[derive(Clone, Copy)]
struct Trouble {
    since: Instant,
    /// Rows that it had delivered then.
    delivered: u64,
}

impl Engine {
    /// Runs until aborted.
    pub(super) async fn keep(self: Arc<Self>) {
        let every = (self.settings.delivery.lease / 3).max(Duration::from_millis(100));
        let mut renewed: Option<Instant> = None;
        let mut troubles = vec![None; self.lanes.len()];
        loop {
            for claim in self.shared.holdings.sweep() {
                if let Err(error) = self.shared.source.release(&[claim]).await {
                    self.source_is_down(&error);
                }
            }
            for held in self.shared.holdings.all() {
                if let Some(row) = held.to_catch_up() {
                    let end = held.len;
                    self.catch_up(held, row, end);
                }
            }
            if renewed.is_none_or(|at| at.elapsed() >= every) {
                if self.renew().await {
                    renewed = Some(Instant::now());
                }
                if !self.shared.stands_by() {
                    self.take_over().await;
                }
            }
            self.watch_budgets(&mut troubles).await;
            tokio::time::sleep(Duration::from_millis(500).min(every)).await;
        }
    }

    /// Renews every lease. `false`: the source did not answer, and it is tried again soon.
    async fn renew(&self) -> bool {
        let held = self.shared.holdings.all();
        let claims: Vec<_> = held.iter().map(|held| held.reference.clone()).collect();
        let sent_ms = boot_clock_ms();
        match self.shared.source.renew(&claims, &self.all_lanes()).await {
            Ok(lost) => {
                for held in held {
                    match lost.iter().find(|lost| lost.claim() == held.id()) {
                        None => held.confirm(sent_ms),
                        Some(Lost::Vanished(_)) => held.vanish(),
                        Some(Lost::Taken(_)) => {
                            if !held.is_finished() {
                                tracing::warn!(prefix = "main", claim = %held.id(), "another instance has taken over a claim of ours");
                            }
                            held.lose();
                        }
                    }
                }
                self.source_is_up();
                true
            }
            Err(error) => {
                self.source_is_down(&error);
                false
            }
        }
    }

    /// Takes up claims that nobody works on any more.
    async fn take_over(&self) {
        let held: Vec<_> = self.shared.holdings.all().iter().map(|held| held.id()).collect();
        let sent_ms = boot_clock_ms();
        match self.shared.source.take_over(&self.all_lanes(), &held).await {
            Ok(claims) => {
                for claim in claims {
                    crate::failpoints::hit(crate::failpoints::AFTER_TAKE_OVER);
                    let rows = claim.len - claim.base.min(claim.len);
                    tracing::info!(prefix = "main", claim = %claim.id, key = %claim.key.short, rows, "taking up a claim");
                    self.hold(&claim, sent_ms);
                }
            }
            Err(error) => self.source_is_down(&error),
        }
    }

    fn all_lanes(&self) -> Vec<Arc<str>> {
        self.lanes
            .iter()
            .map(|lane| lane.name.clone())
            .chain([undecodable::LANE.into()])
            .collect()
    }

    /// Looks at what claims hold, and tells lanes and the claim loop what follows from it.
    async fn watch_budgets(&self, troubles: &mut [Option<Trouble>]) {
        let usage = match self.shared.source.usage().await {
            Ok(usage) => usage,
            Err(error) => {
                self.source_is_down(&error);
                return;
            }
        };
        let max_unacked = self.max_unacked(&usage);
        let mut blocked = None;
        for ((lane, control), trouble) in self.lanes.iter().zip(&self.shared.controls).zip(troubles) {
            let delivered = lane.board.delivered.load(Relaxed);
            let failing = match lane.board.state() {
                LaneState::Running => {
                    *trouble = None;
                    false
                }
                _ => {
                    let known = trouble.filter(|known| known.delivered == delivered);
                    let since = known.map_or_else(Instant::now, |known| known.since);
                    *trouble = Some(Trouble { since, delivered });
                    since.elapsed() >= FAILS_AFTER
                }
            };
            let allowance = if failing && lane.on_full != OnFull::Block {
                max_unacked
            } else {
                u64::MAX
            };
            control.allowance.store(allowance, Relaxed);
            let holds = lane.board.backlog_bytes.load(Relaxed);
            if holds > allowance {
                control.relief.notify_one();
            }
            if failing && lane.on_full == OnFull::Block && holds > max_unacked {
                blocked = Some(format!(
                    "claiming is held back: pump {} fails and holds {holds} bytes (on_full = block)",
                    lane.name
                ));
            }
        }
        let held = blocked.or_else(|| self.redis_in_danger(&usage, max_unacked));
        self.publish(usage, held);
    }

    fn max_unacked(&self, usage: &Usage) -> u64 {
        let by_server = usage.max_memory.map_or(MAX_UNACKED, |max| (max / 10).min(MAX_UNACKED));
        self.settings.delivery.max_unacked.unwrap_or(by_server)
    }

    /// The Redis that holds claims holds API keys as well: filling it would be worse than losing analytics.
    fn redis_in_danger(&self, usage: &Usage, max_unacked: u64) -> Option<String> {
        let delivery = &self.settings.delivery;
        let max_backlog = delivery
            .max_backlog
            .unwrap_or(max_unacked.saturating_mul(BACKLOG_FACTOR));
        let failing = self
            .lanes
            .iter()
            .any(|lane| !matches!(lane.board.state(), LaneState::Running));
        let row_bytes = self.lanes.iter().map(|lane| {
            let rows = lane.board.backlog_rows.load(Relaxed);
            lane.board.backlog_bytes.load(Relaxed).checked_div(rows).unwrap_or(0)
        });
        let claimed = usage
            .claimed_rows
            .saturating_mul(row_bytes.max().filter(|&b| b > 0).unwrap_or(ROW_BYTES));
        if claimed > max_backlog && (failing || usage.claims > 1) {
            return Some(format!(
                "claiming is held back: claims hold about {claimed} bytes, more than max_backlog ({max_backlog})"
            ));
        }
        match (usage.used_memory, usage.max_memory) {
            (Some(used), Some(max)) if max > 0 && used > max / 5 * 4 && usage.claims > 0 => {
                Some(format!("claiming is held back: Redis uses {used} of {max} bytes"))
            }
            _ => None,
        }
    }

    /// Redis may throw away what it holds for us: said once.
    fn warn_of_eviction(&self, usage: &Usage) {
        let policy = usage.eviction_policy.as_deref().unwrap_or_default();
        if policy.starts_with("allkeys") && !self.eviction_warned.swap(true, Relaxed) {
            tracing::warn!(
                prefix = "main",
                "Redis may evict records that are not delivered yet: its maxmemory-policy is {policy}; set it to noeviction"
            );
        }
    }

    fn publish(&self, usage: Usage, held: Option<String>) {
        self.warn_of_eviction(&usage);
        if let Some(reason) = &held {
            self.shared.log.warning(reason, Context::default());
        }
        let mode = self.mode.read().unwrap_or_else(PoisonError::into_inner).clone();
        self.status.source(|source| {
            source.mode_reason = usage.condition.unwrap_or_else(|| mode.reason.to_string());
            source.mode = Some(mode);
            source.unclaimed = usage
                .unclaimed
                .iter()
                .map(|(key, rows)| (key.name.to_string(), *rows))
                .collect();
            source.claims = usage.claims;
            source.claimed_rows = usage.claimed_rows;
            source.used_memory = usage.used_memory;
            source.max_memory = usage.max_memory;
            source.commands = usage.commands;
            source.orphans = usage
                .orphans
                .iter()
                .map(|(pump, rows)| (pump.to_string(), *rows))
                .collect();
            source.claiming_held = held;
        });
    }

    /// Whether claiming is held back.
    pub(super) fn held_back(&self) -> bool {
        let mut held = false;
        self.status.source(|source| held = source.claiming_held.is_some());
        held
    }
}
