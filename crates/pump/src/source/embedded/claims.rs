//! Taking lists away, reading them, and moving on.

use std::sync::Arc;

use analytics::{ClaimId, Key};
use tokio::time::Instant;

use super::{
    EmbeddedSource, refused,
    store::{Change, ReadError, now_ms},
};
use crate::source::{Acknowledged, Claim, ClaimRef, SourceError, Window};

/// Bytes of one window, unless a single stretch has more.
const WINDOW_BYTES: usize = 4 << 20;

impl EmbeddedSource {
    /// Takes a whole list.
    pub(super) async fn claim_list(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        let (claim, ticket) = {
            let mut leases = self.leases();
            leases.lanes.extend(lanes.iter().cloned());
            let id = leases.ids.generate().unwrap_or_else(|_| ulid::Ulid::new()).to_string();
            let (made, ticket) = self.shared.store.with(|locked| {
                let state = locked.state();
                let Some(list) = state.lists.get(&*key.name) else {
                    return Ok(None);
                };
                let now = now_ms();
                let change = Change::Claim {
                    id: id.clone(),
                    list: key.name.to_string(),
                    lanes: lanes.to_vec(),
                    ttl_ms: list.ttl_ms(now),
                    at_ms: now,
                };
                locked.change(change)?;
                let state = locked.state().claims.get(&id);
                Ok(state.and_then(|state| self.known(&id, state)))
            });
            let claim = made.map_err(refused)?;
            if claim.is_some() {
                self.hold(&mut leases, &id);
            }
            (claim, ticket)
        };
        self.durable(ticket).await?;
        Ok(claim)
    }

    /// Takes over claims that nobody holds.
    pub(super) async fn take_free(&self, lanes: &[Arc<str>], held: &[ClaimId]) -> Result<Vec<Claim>, SourceError> {
        let (taken, ticket) = {
            let mut leases = self.leases();
            let now = Instant::now();
            let (taken, ticket) = self.shared.store.with(|locked| {
                let mut wanted: Vec<(String, u64)> = Vec::new();
                for (id, state) in &locked.state().claims {
                    let lease = leases.by_claim.get(id);
                    let over = lease.is_none_or(|lease| lease.until.is_none_or(|until| until < now));
                    let skipped = held.iter().any(|held| held.to_string() == *id);
                    if over && !skipped && lanes.iter().any(|lane| state.waiting(lane) > 0) {
                        wanted.push((id.clone(), state.fence + 1));
                    }
                }
                let mut taken = Vec::new();
                for (id, fence) in wanted {
                    locked.change(Change::Fence { id: id.clone(), fence })?;
                    let state = locked.state().claims.get(&id);
                    taken.extend(state.and_then(|state| self.known(&id, state)));
                }
                Ok(taken)
            });
            let taken = taken.map_err(refused)?;
            for claim in &taken {
                self.hold(&mut leases, &claim.id.to_string());
            }
            (taken, ticket)
        };
        self.durable(ticket).await?;
        Ok(taken)
    }

    /// Reads rows; what is damaged is put aside.
    pub(super) async fn read_rows(
        &self,
        claim: &ClaimRef,
        first_row: u64,
        max_rows: usize,
    ) -> Result<Window, SourceError> {
        let ((mut slice, len), _) = self.owned(claim, |locked, state| {
            if first_row < state.base || first_row > state.len {
                let gone = anyhow::anyhow!("claim {}: row {first_row} is not there", claim.id);
                return Err(SourceError::Refused(gone));
            }
            let end = state.len.min(first_row.saturating_add(max_rows.max(1) as u64));
            Ok((locked.claim_rows(state, first_row, end), state.len))
        })?;
        let lost = |rows| SourceError::Evicted { claim: claim.id, rows };
        match slice.first() {
            None if first_row < len => return Err(lost(first_row..len.min(first_row.saturating_add(max_rows as u64)))),
            Some(first) if first > first_row => return Err(lost(first_row..first)),
            None | Some(_) => {}
        }
        let store = self.shared.store.clone();
        let read = tokio::task::spawn_blocking(move || {
            let gathered = slice.next(WINDOW_BYTES);
            if matches!(gathered, Err(ReadError::Damaged(_))) {
                store.lose(&slice);
            }
            gathered.map_err(|error| (error, slice.first_stretch_end()))
        });
        let gathered = match read.await {
            Ok(Ok(gathered)) => gathered,
            Ok(Err((ReadError::Damaged(_), end))) => return Err(lost(first_row..end)),
            Ok(Err((error, _))) => return Err(SourceError::Unavailable(error.into())),
            Err(error) => return Err(SourceError::Unavailable(error.into())),
        };
        Ok(Window {
            first_row,
            buffer: gathered.buffer,
            elements: gathered.spans,
        })
    }

    /// Moves cursors, which may end the claim.
    pub(super) async fn move_cursors(
        &self,
        claim: &ClaimRef,
        cursors: &[(Arc<str>, u64)],
    ) -> Result<Acknowledged, SourceError> {
        let id = claim.id.to_string();
        let (acknowledged, ticket) = self.owned(claim, |locked, state| {
            for (lane, _) in cursors {
                if !state.cursors.contains_key(lane) {
                    return Err(SourceError::no_such_lane(claim.id, lane));
                }
            }
            let change = Change::Cursors {
                id: id.clone(),
                cursors: cursors.to_vec(),
            };
            locked.change(change).map_err(refused)?;
            Ok(match locked.state().claims.get(&id) {
                Some(state) => Acknowledged::Open { base: state.base },
                None => Acknowledged::Finished,
            })
        })?;
        if acknowledged == Acknowledged::Finished {
            self.leases().by_claim.remove(&id);
        }
        self.durable(ticket).await?;
        Ok(acknowledged)
    }
}
