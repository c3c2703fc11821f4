//! Figures, and what operators do to claims.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::Ordering},
};

use analytics::ClaimId;
use tokio::time::Instant;
use ulid::Ulid;

use crate::{
    Claim, ClaimReport, Error, Facts, Held, Store, Usage,
    claims::held,
    log::{Change, ClaimState},
};

/// What stands under the name of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// Elements.
    Rows(u64),
    /// A string.
    Text,
    /// Nothing.
    Nothing,
}

impl Store {
    /// How the store is.
    pub fn facts(&self) -> Facts {
        let (mut facts, _) = self.shared.log.with(|locked| locked.facts());
        facts.damaged += self.shared.damaged_letters.load(Ordering::Relaxed);
        facts
    }

    /// What stands under these names.
    pub fn lengths<'a>(&self, lists: impl Iterator<Item = &'a str>) -> Vec<Found> {
        let (found, _) = self.shared.log.with(|locked| {
            let state = locked.state();
            let look = |list| match state.len(list) {
                0 if state.strings.contains_key(list) => Found::Text,
                0 => Found::Nothing,
                len => Found::Rows(len),
            };
            lists.map(look).collect()
        });
        found
    }

    /// Figures.
    pub fn usage(&self) -> Usage {
        let readers = self.leases().readers.clone();
        let (usage, _) = self.shared.log.with(|locked| {
            let mut usage = Usage::default();
            let mut orphans: HashMap<Arc<str>, u64> = HashMap::new();
            for claim in locked.state().claims.values() {
                usage.claims += 1;
                usage.claimed_rows += claim.len - claim.base;
                for reader in claim.cursors.keys().filter(|reader| !readers.contains(*reader)) {
                    if claim.waiting(reader) > 0 {
                        *orphans.entry(reader.clone()).or_default() += claim.waiting(reader);
                    }
                }
            }
            usage.orphans = orphans.into_iter().collect();
            usage.orphans.sort();
            usage
        });
        usage
    }

    /// All claims.
    pub fn reports(&self) -> Vec<ClaimReport> {
        let leases = self.leases();
        let now = Instant::now();
        let (reports, _) = self.shared.log.with(|locked| {
            let report = |(id, state): (&Ulid, &ClaimState)| {
                let lease = leases.by_claim.get(&ClaimId(*id));
                let until = lease.and_then(|lease| lease.until);
                ClaimReport {
                    claim: state.shown(*id),
                    owner: lease.map(|lease| lease.owner.clone()),
                    lease_ms: until.map_or(0, |until| {
                        let left = until.saturating_duration_since(now).as_millis() as i64;
                        left - now.saturating_duration_since(until).as_millis() as i64
                    }),
                }
            };
            locked.state().claims.iter().map(report).collect()
        });
        reports
    }

    /// One claim.
    pub fn find(&self, claim: ClaimId) -> Option<Claim> {
        let (found, _) = self.shared.log.with(|locked| {
            let state = locked.state().claims.get(&claim.0);
            state.map(|state| state.shown(claim.0))
        });
        found
    }

    /// Who holds a claim at the moment.
    pub fn working(&self, claim: ClaimId) -> Option<Arc<str>> {
        let leases = self.leases();
        let lease = leases.by_claim.get(&claim)?;
        lease.until.filter(|until| *until >= Instant::now())?;
        Some(lease.owner.clone())
    }

    /// Puts the rows of a claim from `low` on back to the head of their list and ends the claim, whoever holds it.
    ///
    /// # Errors
    /// It has another fence by now, or the disk does not take it.
    pub async fn put_back(&self, claim: Held, low: u64) -> Result<(), Error> {
        let (put_back, ticket) = self.shared.log.with(|locked| {
            held(locked, claim)?;
            locked
                .change(Change::PutBack { id: claim.id.0, low })
                .map_err(Error::from)
        });
        put_back?;
        self.leases().by_claim.remove(&claim.id);
        self.durable(ticket).await
    }

    /// Gives up what waits for a reader. Returns how many rows.
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn drop_reader(&self, reader: &str) -> Result<u64, Error> {
        let (dropped, ticket) = self.shared.log.with(|locked| {
            let claims = locked.state().claims.values();
            let waiting: u64 = claims.map(|claim| claim.waiting(reader)).sum();
            let lane = reader.to_owned();
            locked.change(Change::DropLane { lane }).map(|()| waiting)
        });
        let dropped = dropped?;
        self.durable(ticket).await?;
        Ok(dropped)
    }

    /// Gives what waits for reader `old` to `new`. Returns how many rows.
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn rename_reader(&self, old: &str, new: &str) -> Result<u64, Error> {
        let mut adopted = Vec::new();
        let (rows, ticket) = self.shared.log.with(|locked| {
            let mut rows = 0;
            for (id, claim) in &locked.state().claims {
                if claim.cursors.contains_key(old) && !claim.cursors.contains_key(new) {
                    rows += claim.waiting(old);
                    adopted.push(*id);
                }
            }
            let change = Change::AdoptLane {
                old: old.to_owned(),
                new: new.into(),
            };
            locked.change(change).map(|()| rows)
        });
        let rows = rows?;
        {
            // Whoever holds these claims holds them no longer.
            let mut leases = self.leases();
            adopted
                .iter()
                .for_each(|id| drop(leases.by_claim.remove(&ClaimId(*id))));
        }
        self.durable(ticket).await?;
        Ok(rows)
    }
}
