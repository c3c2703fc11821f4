//! What must happen regularly: renewing leases, taking over claims, watching the budgets.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::Ordering::{AcqRel, Relaxed},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Engine,
    budget::{Budgets, LaneLoad, decide},
    held::boot_clock_ms,
    report::Context,
    undecodable,
};
use crate::source::{Lost, Usage};

/// What lists held when they were last looked at.
type Lists = BTreeMap<Arc<str>, u64>;

impl Engine {
    /// Runs until aborted.
    pub(super) async fn keep(self: Arc<Self>) {
        let every = (self.settings.delivery.lease / 3).max(Duration::from_millis(100));
        let mut renewed: Option<Instant> = None;
        let mut lists = Lists::new();
        loop {
            for claim in self.services.holdings.sweep() {
                if let Err(error) = self.services.source.release(&[claim]).await {
                    self.source_is_down(&error);
                }
            }
            for held in self.services.holdings.all() {
                if let Some(row) = held.to_catch_up() {
                    let end = held.len;
                    self.catch_up(held, row, end);
                }
            }
            if renewed.is_none_or(|at| at.elapsed() >= every) {
                if self.renew().await {
                    renewed = Some(Instant::now());
                }
                if !self.lanes.stand_by() {
                    self.take_over().await;
                }
            }
            self.watch_budgets(&mut lists).await;
            tokio::time::sleep(Duration::from_millis(500).min(every)).await;
        }
    }

    /// Renews every lease. `false`: the source did not answer, and it is tried again soon.
    async fn renew(&self) -> bool {
        let held = self.services.holdings.all();
        let claims: Vec<_> = held.iter().map(|held| held.reference.clone()).collect();
        let sent_ms = boot_clock_ms();
        match self.services.source.renew(&claims, &self.all_lanes()).await {
            Ok(lost) => {
                for held in held {
                    match lost.iter().find(|lost| lost.claim() == held.id()) {
                        None => held.confirm(sent_ms),
                        Some(Lost::Taken(claim)) => {
                            if !held.is_finished() {
                                tracing::warn!(prefix = "main", %claim, "another instance has taken over a claim of ours");
                            }
                            held.lose();
                        }
                        Some(Lost::Vanished(_)) => held.vanish(),
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
        let held: Vec<_> = self.services.holdings.all().iter().map(|held| held.id()).collect();
        let sent_ms = boot_clock_ms();
        match self.services.source.take_over(&self.all_lanes(), &held).await {
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
        let mut lanes = self.lanes.pumps();
        lanes.push(undecodable::LANE.into());
        lanes
    }

    /// Looks at what claims hold, and tells lanes and the claim loop what follows from it.
    async fn watch_budgets(&self, lists: &mut Lists) {
        let usage = match self.services.source.usage().await {
            Ok(usage) => usage,
            Err(error) => {
                self.source_is_down(&error);
                return;
            }
        };
        let delivery = &self.settings.delivery;
        let budgets = Budgets::of(delivery.max_unacked, delivery.max_backlog, &usage);
        let held = {
            let lanes = self.lanes.look();
            let loads: Vec<LaneLoad> = lanes
                .values()
                .map(|lane| {
                    let facts = lane.facts.borrow();
                    LaneLoad {
                        pump: lane.id.pump.clone(),
                        fails: facts.fails(),
                        on_full: lane.on_full,
                        rows: facts.backlog_rows,
                        bytes: facts.backlog_bytes,
                    }
                })
                .collect();
            let decision = decide(&usage, &loads, budgets);
            for ((lane, load), &allowance) in lanes.values().zip(&loads).zip(&decision.allowances) {
                lane.control.allow(allowance, load.bytes);
            }
            decision.held
        };
        let was_held = self.claiming_held.swap(held.is_some(), AcqRel);
        self.count_expired(&usage, lists, was_held);
        if was_held && held.is_none() {
            tracing::info!(prefix = "main", "claiming goes on");
        }
        self.publish(usage, held);
    }

    /// While claiming is held back, what vanishes from a list has expired there, unless another instance has claimed it.
    fn count_expired(&self, usage: &Usage, lists: &mut Lists, was_held: bool) {
        let now: Lists = usage
            .unclaimed
            .iter()
            .map(|(key, rows)| (key.name.clone(), *rows))
            .collect();
        if was_held {
            let left = |list: &Arc<str>| now.get(list).copied().unwrap_or_default();
            let expired: u64 = lists.iter().map(|(list, rows)| rows.saturating_sub(left(list))).sum();
            if expired > 0 {
                self.status.source(|source| source.expired_rows += expired);
                let context = Context {
                    rows: Some(expired),
                    ..Context::default()
                };
                let text =
                    "records have vanished from their lists while claiming was held back: their time to live was over";
                self.services.log.error(text, context);
            }
        }
        *lists = now;
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
            self.services.log.warning(reason, Context::default());
        }
        let mode = self.mode.lock().clone();
        self.status.source(|source| {
            source.mode_reason = usage.condition.unwrap_or_else(|| mode.reason.to_string());
            source.mode = Some(mode);
            source.refusing = usage.refusing;
            source.refused = usage.refused;
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
}
