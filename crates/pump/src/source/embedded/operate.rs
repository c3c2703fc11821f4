//! Figures, and what operators do to claims.

use std::{collections::HashMap, sync::Arc};

use analytics::ClaimId;
use tokio::time::Instant;

use super::{
    EmbeddedSource, refused,
    store::{Change, ClaimState, now_ms},
};
use crate::source::{
    ClaimReport, Ledgers, Pending, Restored, SourceError, Terms, Usage,
    restore::{self, Candidate},
};

impl EmbeddedSource {
    /// How the store is, in words.
    fn condition(&self) -> String {
        let store = &self.shared.store;
        let (reason, _) = store.with(|locked| {
            let state = locked.state();
            let trouble = locked.trouble().map(|trouble| format!("; it cannot be written: {trouble}"));
            format!(
                "gateways push to the pump itself: {} bytes in {} segments in {}, {} damaged parts put aside, {} torn tails cut off{}",
                locked.used(),
                locked.segments(),
                store.folder().display(),
                state.damaged,
                state.torn,
                trouble.unwrap_or_default()
            )
        });
        reason
    }

    /// Lists that have elements.
    pub(super) async fn lengths(&self) -> Result<Vec<Pending>, SourceError> {
        let (pending, _) = self.shared.store.with(|locked| {
            let state = locked.state();
            let mut pending = Vec::new();
            for (index, key) in self.keys.iter().enumerate() {
                match state.len(&key.name) {
                    0 if state.strings.contains_key(&*key.name) => {
                        let (key, found) = (key.name.clone(), "string".to_owned());
                        pending.push((index, Err(SourceError::NotAList { key, found })));
                    }
                    0 => {}
                    len => pending.push((index, Ok(len))),
                }
            }
            pending
        });
        Ok(pending)
    }

    /// Figures for the budget and for operators.
    pub(super) async fn figures(&self) -> Result<Usage, SourceError> {
        let lanes = self.leases().lanes.clone();
        let (mut usage, _) = self.shared.store.with(|locked| {
            let state = locked.state();
            let mut usage = Usage::default();
            for key in self.keys.iter() {
                match state.len(&key.name) {
                    0 => {}
                    len => usage.unclaimed.push((key.clone(), len)),
                }
            }
            let mut orphans: HashMap<Arc<str>, u64> = HashMap::new();
            for claim in state.claims.values() {
                usage.claims += 1;
                usage.claimed_rows += claim.len - claim.base;
                for lane in claim.cursors.keys().filter(|lane| !lanes.contains(*lane)) {
                    if claim.waiting(lane) > 0 {
                        *orphans.entry(lane.clone()).or_default() += claim.waiting(lane);
                    }
                }
            }
            usage.orphans = orphans.into_iter().collect();
            usage.orphans.sort();
            usage
        });
        usage.condition = Some(self.condition());
        Ok(usage)
    }

    /// All claims.
    pub(super) async fn reports(&self) -> Result<Vec<ClaimReport>, SourceError> {
        let leases = self.leases();
        let now = Instant::now();
        let (reports, _) = self.shared.store.with(|locked| {
            let report = |(id, state): (&String, &ClaimState)| {
                let lease = leases.by_claim.get(id);
                let until = lease.and_then(|lease| lease.until);
                ClaimReport {
                    id: id.clone(),
                    key: state.list.clone(),
                    owner: lease.map_or_else(|| "nobody".to_owned(), |lease| lease.owner.to_string()),
                    fence: state.fence,
                    len: state.len,
                    cursors: state
                        .cursors
                        .iter()
                        .map(|(lane, row)| (lane.to_string(), *row))
                        .collect(),
                    lease_ms: until.map_or(0, |until| {
                        let left = until.saturating_duration_since(now).as_millis() as i64;
                        left - now.saturating_duration_since(until).as_millis() as i64
                    }),
                    age_ms: now_ms().saturating_sub(state.at_ms),
                }
            };
            locked.state().claims.iter().map(report).collect()
        });
        Ok(reports)
    }

    /// Puts the unfinished rows of a claim back to the head of their list.
    pub(super) async fn put_back(
        &self,
        claim: ClaimId,
        ledgers: &dyn Ledgers,
        terms: Terms,
    ) -> Result<Restored, SourceError> {
        let id = claim.to_string();
        let (seen, _) = self.shared.store.with(|locked| locked.state().claims.get(&id).cloned());
        let seen = seen.ok_or(SourceError::LeaseLost(claim))?;
        let owner = self.working(&id);
        let candidate = Candidate {
            id: claim,
            len: seen.len,
            cursors: &seen.cursors,
            owner: owner.as_deref(),
        };
        let applied = restore::ask(ledgers, claim, &seen.cursors, &seen.adopted).await;
        let low = restore::first_row(candidate, &applied, terms)?;
        let (put_back, ticket) = self.shared.store.with(|locked| {
            let same = |state: &&ClaimState| state.fence == seen.fence;
            if locked.state().claims.get(&id).filter(same).is_none() {
                return Err(SourceError::LeaseLost(claim));
            }
            locked.change(Change::PutBack { id: id.clone(), low }).map_err(refused)
        });
        put_back?;
        self.leases().by_claim.remove(&id);
        self.durable(ticket).await?;
        Ok(Restored {
            moved: seen.len - low,
            finished: low,
        })
    }

    /// Who works on a claim.
    fn working(&self, id: &str) -> Option<Arc<str>> {
        let leases = self.leases();
        let lease = leases.by_claim.get(id)?;
        lease.until.filter(|until| *until >= Instant::now())?;
        Some(lease.owner.clone())
    }

    /// Gives up what waits for a lane.
    pub(super) async fn drop_rows(&self, lane: &str) -> Result<u64, SourceError> {
        let (dropped, ticket) = self.shared.store.with(|locked| {
            let claims = locked.state().claims.values();
            let waiting: u64 = claims.map(|claim| claim.waiting(lane)).sum();
            locked
                .change(Change::DropLane { lane: lane.to_owned() })
                .map(|()| waiting)
        });
        let dropped = dropped.map_err(refused)?;
        self.durable(ticket).await?;
        Ok(dropped)
    }

    /// Gives what waits for a lane to another one.
    pub(super) async fn rename_lane(&self, old: &str, new: &str) -> Result<u64, SourceError> {
        let mut adopted = Vec::new();
        let (rows, ticket) = self.shared.store.with(|locked| {
            let mut rows = 0;
            for (id, claim) in &locked.state().claims {
                if claim.cursors.contains_key(old) && !claim.cursors.contains_key(new) {
                    rows += claim.waiting(old);
                    adopted.push(id.clone());
                }
            }
            let change = Change::AdoptLane {
                old: old.to_owned(),
                new: new.into(),
            };
            locked.change(change).map(|()| rows)
        });
        let rows = rows.map_err(refused)?;
        self.let_go(&adopted);
        self.durable(ticket).await?;
        Ok(rows)
    }
}
