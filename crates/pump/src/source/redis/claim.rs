//! Claims by script: taking a list, taking over a claim, acknowledging.

use std::sync::Arc;

use analytics::{ClaimId, Key};

use super::{
    commands::{decode, outcome},
    entry::{Abandoned, Entry, State},
    instance::{Held, RedisSource},
    script::{self, argument},
    window::{self, Guarded},
};
use crate::source::{Acknowledged, Claim, ClaimRef, SourceError, Window};

/// Finished rows at the head of a claim that are worth an LTRIM.
pub(super) const TRIM_ROWS: u64 = 20_000;

impl RedisSource {
    /// A new claim, as it is handed out, and remembered as ours.
    pub(super) fn made(
        &self,
        key: &Arc<Key>,
        id: ClaimId,
        len: u64,
        at_ms: u64,
        ttl: i64,
        lanes: &[Arc<str>],
    ) -> Claim {
        let claim = Claim {
            id,
            key: key.clone(),
            fence: 1,
            len,
            base: 0,
            cursors: lanes.iter().map(|lane| (lane.clone(), 0)).collect(),
            adopted: Default::default(),
            ttl: u64::try_from(ttl).ok().map(std::time::Duration::from_millis),
            claimed_at_ms: at_ms,
        };
        self.hold(&claim);
        claim
    }

    pub(super) async fn claim_by_script(
        &self,
        key: &Arc<Key>,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        self.rename_by_script(key, &key.name, lanes).await
    }

    /// Makes a claim of a list: of the key itself, or of a former claim whose state has vanished. How far the lanes
    /// were is unknown then, and so are the numbers of its rows: they get new ones, and come again.
    async fn rename_by_script(
        &self,
        key: &Arc<Key>,
        list: &str,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        let names = self.names_of(key);
        let id = self.new_id();
        let keys = [list.to_owned(), names.claim(id), names.state(id), names.index()];
        let mut arguments = vec![argument(id), argument(&self.owner_text), argument(self.lease_ms())];
        arguments.extend([argument("src"), argument(&key.name)]);
        for lane in lanes {
            arguments.extend([argument(format_args!("c:{lane}")), argument(0)]);
        }
        let value = script::CLAIM.run(&self.link, &keys, &arguments).await?;
        let (what, rest) = outcome(&value)?;
        match (what.as_str(), rest) {
            ("claimed", [len, at, ttl]) => Ok(Some(self.made(key, id, decode(len)?, decode(at)?, decode(ttl)?, lanes))),
            ("type", [found]) => Err(SourceError::NotAList {
                key: key.name.clone(),
                found: decode(found)?,
            }),
            _ => Ok(None),
        }
    }

    /// Claims that may be taken over.
    pub(super) async fn abandoned(&self, held: &[ClaimId]) -> Result<Vec<Abandoned>, SourceError> {
        let mut entries = self.entries().await?;
        entries.retain(|entry| !held.contains(&entry.id));
        let Some(first) = entries.first() else {
            return Ok(Vec::new());
        };
        let now = self.now_ms(&first.names.index()).await? as f64;
        let states = self.states(&entries).await?;
        let mut abandoned = Vec::new();
        for (entry, state) in entries.into_iter().zip(states) {
            let seen = state.unwrap_or_default();
            let gone = self.owner.has_outlived(&seen.owner);
            if gone || entry.lease_end < now {
                abandoned.push(Abandoned { entry, seen, gone });
            }
        }
        Ok(abandoned)
    }

    /// Makes one claim ours if it still is as it was seen. No lanes: whatever lanes it has.
    pub(super) async fn take_by_script(
        &self,
        entry: &Entry,
        seen: &State,
        gone: bool,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        let keys = entry.names.of_claim(entry.id);
        let mut arguments = vec![
            argument(entry.id),
            argument(&self.owner_text),
            argument(self.lease_ms()),
            argument(&seen.owner),
            argument(seen.fence),
            argument(u8::from(gone)),
        ];
        arguments.extend(lanes.iter().map(argument));
        let value = script::TAKE.run(&self.link, &keys, &arguments).await?;
        let (what, rest) = outcome(&value)?;
        let state = match (what.as_str(), rest) {
            ("taken", [state]) => State::parse(state)?,
            ("stateless", _) => {
                let list = entry.names.claim(entry.id);
                tracing::warn!(
                    prefix = "main",
                    "claim {}: its state has vanished from Redis, its rows come again",
                    entry.id
                );
                return self.rename_by_script(&entry.key, &list, lanes).await;
            }
            _ => None,
        };
        let Some(state) = state else { return Ok(None) };
        let claim = state.claim(entry);
        self.hold(&claim);
        Ok(Some(claim))
    }

    pub(super) async fn acknowledge_by_script(
        &self,
        claim: &ClaimRef,
        cursors: &[(Arc<str>, u64)],
    ) -> Result<Acknowledged, SourceError> {
        let names = self.names_of(&claim.key);
        let mut arguments = vec![
            argument(claim.id),
            argument(&self.owner_text),
            argument(claim.fence),
            argument(TRIM_ROWS),
        ];
        for (lane, cursor) in cursors {
            arguments.extend([argument(format_args!("c:{lane}")), argument(cursor)]);
        }
        let value = script::ACK
            .run(&self.link, &names.of_claim(claim.id), &arguments)
            .await?;
        let (what, rest) = outcome(&value)?;
        match (what.as_str(), rest) {
            ("open", [base]) => {
                let base = decode(base)?;
                self.note_base(claim, base);
                Ok(Acknowledged::Open { base })
            }
            ("finished", _) => {
                self.let_go(claim.id);
                Ok(Acknowledged::Finished)
            }
            ("lane", [field]) => {
                let field: String = decode(field)?;
                Err(SourceError::no_such_lane(claim.id, field.trim_start_matches("c:")))
            }
            _ => Err(self.lost(claim).await),
        }
    }

    /// Reads a window of a claim, by script or not: reading needs neither.
    pub(super) async fn read_claim(
        &self,
        claim: &ClaimRef,
        first_row: u64,
        max_rows: usize,
    ) -> Result<Window, SourceError> {
        let names = self.names_of(&claim.key);
        let (list, state) = (names.claim(claim.id), names.state(claim.id));
        let fence = claim.fence.to_string();
        // Our own acknowledgements move the base between two looks; each round learns the newer one.
        for _ in 0..8 {
            let Some(Held {
                len, base, mut pace, ..
            }) = self.held(claim)
            else {
                return Err(self.lost(claim).await);
            };
            if first_row < base {
                return Err(SourceError::Refused(anyhow::anyhow!(
                    "claim {}: row {first_row} is finished and gone (the first one left is {base})",
                    claim.id
                )));
            }
            let guard: [&[u8]; 5] = [b"HMGET", state.as_bytes(), b"owner", b"fence", b"base"];
            let read = window::read(&self.link, &list, &guard, first_row - base, max_rows, &mut pace).await?;
            let (elements, facts) = match read {
                Guarded::Rows(elements, facts) => (Some(elements), facts),
                Guarded::Changed(facts) => (None, facts),
            };
            let [Some(owner), Some(seen_fence), Some(seen_base)] = &facts[..] else {
                return Err(self.lost(claim).await);
            };
            if *owner != self.owner_text || *seen_fence != fence {
                return Err(self.lost(claim).await);
            }
            let seen_base: u64 = seen_base.parse().unwrap_or(base);
            self.note_base(claim, seen_base);
            let Some(elements) = elements.filter(|_| seen_base == base) else {
                continue;
            };
            if elements.spans.is_empty() && first_row < len {
                return Err(window::evicted(&self.link, &list, claim.id, first_row, len).await?);
            }
            self.note_pace(claim, pace);
            return Ok(window::window(seen_base + (first_row - base), elements));
        }
        Err(SourceError::Unavailable(anyhow::anyhow!(
            "claim {}: its base moves faster than it can be read",
            claim.id
        )))
    }
}
