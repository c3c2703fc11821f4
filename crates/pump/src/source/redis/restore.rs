//! What operators do to claims: put them back, give up a pump's rows, give them to a renamed pump.

use analytics::ClaimId;

use super::{
    claim::TRIM_ROWS,
    commands::{decode, outcome},
    entry::{Entry, State},
    instance::{RedisSource, Rights},
    script::{self, argument},
};
use crate::source::{
    Ledgers, Restored, SourceError, Terms,
    restore::{self, Candidate},
};

/// Rows that one call moves.
const WINDOW: u64 = 1000;

impl RedisSource {
    /// The claim with this id, and its state.
    async fn find(&self, id: ClaimId) -> Result<(Entry, State), SourceError> {
        let entries = self.entries().await?;
        let Some(entry) = entries.into_iter().find(|entry| entry.id == id) else {
            return Err(SourceError::LeaseLost(id));
        };
        let state = self.states(std::slice::from_ref(&entry)).await?.pop().flatten();
        state.map(|state| (entry, state)).ok_or(SourceError::LeaseLost(id))
    }

    /// Whether an instance works on a claim: its lease is live, and its process not known to be gone.
    async fn works_on(&self, entry: &Entry, state: &State) -> Result<bool, SourceError> {
        let now = self.now_ms(&entry.names.index()).await?;
        Ok(!state.owner.is_empty() && entry.lease_end >= now as f64 && !self.owner.is_gone(&state.owner))
    }

    /// Scripts are the only way to do these safely: a user without them is told so.
    fn need_scripts(&self, what: &str) -> Result<(), SourceError> {
        if self.rights() == Rights::Script {
            return Ok(());
        }
        Err(SourceError::Refused(anyhow::anyhow!(
            "{what} needs claims and a Redis user who may run EVAL; this one runs without ({})",
            self.reason()
        )))
    }

    pub(super) async fn put_back(
        &self,
        id: ClaimId,
        ledgers: &dyn Ledgers,
        terms: Terms,
    ) -> Result<Restored, SourceError> {
        self.need_scripts("restoring a claim")?;
        let (entry, seen) = self.find(id).await?;
        let owner = self.works_on(&entry, &seen).await?;
        let applied = restore::ask(ledgers, id, &seen.cursors, &seen.adopted).await;
        let candidate = Candidate {
            id,
            len: seen.len.unwrap_or_default(),
            cursors: &seen.cursors,
            owner: owner.then_some(seen.owner.as_str()),
        };
        let low = restore::first_row(candidate, &applied, terms)?;
        let Some(claim) = self.take_by_script(&entry, &seen, true, &[]).await? else {
            return Err(SourceError::LeaseLost(id));
        };
        let names = &entry.names;
        let keys = [
            entry.key.name.to_string(),
            names.claim(id),
            names.state(id),
            names.index(),
        ];
        let arguments = [
            argument(id),
            argument(&self.owner_text),
            argument(claim.fence),
            argument(low),
            argument(WINDOW),
        ];
        let mut moved = 0;
        loop {
            let value = script::RESTORE.run(&self.link, &keys, &arguments).await?;
            let (what, rest) = outcome(&value)?;
            match (what.as_str(), rest) {
                ("type", [found]) => {
                    return Err(SourceError::NotAList {
                        key: entry.key.name.clone(),
                        found: decode(found)?,
                    });
                }
                ("open" | "finished", [rows]) => {
                    moved += decode::<u64>(rows)?;
                    if what == "finished" {
                        self.let_go(id);
                        return Ok(Restored { moved, finished: low });
                    }
                }
                _ => return Err(SourceError::LeaseLost(id)),
            }
        }
    }

    pub(super) async fn drop_rows(&self, lane: &str) -> Result<u64, SourceError> {
        self.need_scripts("dropping the rows of a pump")?;
        let entries = self.entries().await?;
        let states = self.states(&entries).await?;
        let mut dropped = 0;
        for (entry, state) in entries.iter().zip(states) {
            let waiting = state.map_or(0, |state| state.waiting(lane));
            if waiting == 0 {
                continue;
            }
            let arguments = [
                argument(entry.id),
                argument(""),
                argument(0),
                argument(TRIM_ROWS),
                argument(format_args!("c:{lane}")),
                argument("len"),
            ];
            script::ACK
                .run(&self.link, &entry.names.of_claim(entry.id), &arguments)
                .await?;
            dropped += waiting;
        }
        Ok(dropped)
    }

    pub(super) async fn rename_lane(&self, old: &str, new: &str) -> Result<u64, SourceError> {
        self.need_scripts("adopting the rows of a pump")?;
        let entries = self.entries().await?;
        let mut adopted = 0;
        for entry in &entries {
            let arguments = [argument(entry.id), argument(old), argument(new)];
            let value = script::ADOPT
                .run(&self.link, &entry.names.of_claim(entry.id), &arguments)
                .await?;
            adopted += decode::<u64>(&value)?;
        }
        Ok(adopted)
    }
}
