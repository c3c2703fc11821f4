//! Taking lists away, reading them, and moving on.

use std::sync::Arc;

use analytics::ClaimId;
use tokio::time::Instant;

use crate::{
    Claim, Error, Held, Lease, Leases, Progress, Store, Window,
    log::{Change, ClaimState, Locked, ReadError, Ticket},
    now_ms,
};

/// Bytes of one window, unless a single stretch has more.
const WINDOW_BYTES: usize = 4 << 20;

/// The claim, if it is still there under this fence.
pub(crate) fn held<'l>(locked: &'l Locked<'_>, claim: Held) -> Result<&'l ClaimState, Error> {
    let state = locked.state().claims.get(&claim.id.0);
    state
        .filter(|state| state.fence == claim.fence)
        .ok_or(Error::NotHeld(claim.id))
}

impl Store {
    /// Makes changes if the claim is ours, and says what `work` says.
    fn owned<T>(
        &self,
        claim: Held,
        work: impl FnOnce(&mut Locked<'_>) -> Result<T, Error>,
    ) -> Result<(T, Ticket), Error> {
        let leases = self.leases();
        let lease = leases.by_claim.get(&claim.id);
        if lease.is_none_or(|lease| *lease.owner != *self.owner) {
            return Err(Error::NotHeld(claim.id));
        }
        let (result, ticket) = self.shared.log.with(|locked| {
            held(locked, claim)?;
            work(locked)
        });
        result.map(|value| (value, ticket))
    }

    fn hold(&self, leases: &mut Leases, id: ClaimId) {
        let lease = Lease {
            owner: self.owner.clone(),
            until: Some(Instant::now() + self.lease),
        };
        leases.by_claim.insert(id, lease);
    }

    /// Takes a whole list away from its key, for these readers. `None`: there is nothing (any more).
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn claim(&self, list: &str, readers: &[Arc<str>]) -> Result<Option<Claim>, Error> {
        let (claim, ticket) = {
            let mut leases = self.leases();
            leases.readers.extend(readers.iter().cloned());
            let id = leases.ids.generate().unwrap_or_else(|_| ulid::Ulid::new());
            let (made, ticket) = self.shared.log.with(|locked| {
                let Some(known) = locked.state().lists.get(list) else {
                    return Ok(None);
                };
                let now = now_ms();
                let change = Change::Claim {
                    id,
                    list: list.to_owned(),
                    lanes: readers.to_vec(),
                    ttl_ms: known.ttl_ms(now),
                    at_ms: now,
                };
                locked.change(change)?;
                Ok::<_, Error>(locked.state().claims.get(&id).map(|state| state.shown(id)))
            });
            let claim = made?;
            if claim.is_some() {
                self.hold(&mut leases, ClaimId(id));
            }
            (claim, ticket)
        };
        self.durable(ticket).await?;
        Ok(claim)
    }

    /// Extends the leases. Returns the claims that are not held any more. `readers` are those that exist.
    pub fn renew(&self, claims: &[Held], readers: &[Arc<str>]) -> Vec<ClaimId> {
        let mut lost = Vec::new();
        for claim in claims {
            match self.owned(*claim, |_| Ok(())) {
                Ok(_) => self.hold(&mut self.leases(), claim.id),
                Err(_) => lost.push(claim.id),
            }
        }
        self.leases().readers.extend(readers.iter().cloned());
        lost
    }

    /// Takes over claims that nobody holds, if one of `readers` still has rows in them. `held` are skipped, and so are
    /// lists that `wanted` does not want.
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn take_over(
        &self,
        readers: &[Arc<str>],
        held: &[ClaimId],
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<Claim>, Error> {
        let (taken, ticket) = {
            let mut leases = self.leases();
            let now = Instant::now();
            let (taken, ticket) = self.shared.log.with(|locked| {
                let mut free: Vec<(ulid::Ulid, u64)> = Vec::new();
                for (id, state) in &locked.state().claims {
                    let lease = leases.by_claim.get(&ClaimId(*id));
                    let over = lease.is_none_or(|lease| lease.until.is_none_or(|until| until < now));
                    if over
                        && !held.contains(&ClaimId(*id))
                        && readers.iter().any(|reader| state.waiting(reader) > 0)
                        && wanted(&state.list)
                    {
                        free.push((*id, state.fence + 1));
                    }
                }
                let mut taken = Vec::new();
                for (id, fence) in free {
                    locked.change(Change::Fence { id, fence })?;
                    taken.extend(locked.state().claims.get(&id).map(|state| state.shown(id)));
                }
                Ok::<_, Error>(taken)
            });
            let taken = taken?;
            for claim in &taken {
                self.hold(&mut leases, claim.id);
            }
            (taken, ticket)
        };
        self.durable(ticket).await?;
        Ok(taken)
    }

    /// Reads up to `max_rows` rows from `first_row` on, fewer if they are large; at least one. What is damaged is put
    /// aside.
    ///
    /// # Errors
    /// Not held, damaged, or the disk cannot be read.
    pub async fn read(&self, claim: Held, first_row: u64, max_rows: usize) -> Result<Window, Error> {
        let ((mut slice, len), _) = self.owned(claim, |locked| {
            let state = held(locked, claim)?;
            if first_row < state.base || first_row > state.len {
                return Err(Error::Refused(format!(
                    "claim {}: row {first_row} is not there",
                    claim.id
                )));
            }
            let end = state.len.min(first_row.saturating_add(max_rows.max(1) as u64));
            Ok((locked.claim_rows(state, first_row, end), state.len))
        })?;
        let lost = |rows| Error::Lost { claim: claim.id, rows };
        match slice.first() {
            None if first_row < len => return Err(lost(first_row..len.min(first_row.saturating_add(max_rows as u64)))),
            Some(first) if first > first_row => return Err(lost(first_row..first)),
            None | Some(_) => {}
        }
        let log = self.shared.log.clone();
        let read = tokio::task::spawn_blocking(move || {
            let gathered = log.read(&mut slice, WINDOW_BYTES);
            gathered.map_err(|error| (error, slice.first_stretch_end()))
        });
        let gathered = match read.await {
            Ok(Ok(gathered)) => gathered,
            Ok(Err((ReadError::Damaged(_), end))) => return Err(lost(first_row..end)),
            Ok(Err((error, _))) => return Err(Error::Unavailable(error.to_string())),
            Err(error) => return Err(Error::Unavailable(error.to_string())),
        };
        Ok(Window {
            first_row,
            buffer: gathered.buffer,
            elements: gathered.spans,
        })
    }

    /// Each of these readers has finished every row below its cursor; that may end the claim.
    ///
    /// # Errors
    /// Not held, a reader that the claim does not have, or the disk does not take it.
    pub async fn acknowledge(&self, claim: Held, cursors: &[(Arc<str>, u64)]) -> Result<Progress, Error> {
        let (progress, ticket) = self.owned(claim, |locked| {
            let state = held(locked, claim)?;
            for (reader, _) in cursors {
                if !state.cursors.contains_key(reader) {
                    return Err(Error::Refused(format!(
                        "claim {} has no rows for the pump {reader}",
                        claim.id
                    )));
                }
            }
            locked.change(Change::Cursors {
                id: claim.id.0,
                cursors: cursors.to_vec(),
            })?;
            Ok(match locked.state().claims.get(&claim.id.0) {
                Some(state) => Progress::Open { base: state.base },
                None => Progress::Finished,
            })
        })?;
        if progress == Progress::Finished {
            self.leases().by_claim.remove(&claim.id);
        }
        self.durable(ticket).await?;
        Ok(progress)
    }

    /// Gives claims back at once.
    pub fn release(&self, claims: &[Held]) {
        for claim in claims {
            if self.owned(*claim, |_| Ok(())).is_ok()
                && let Some(lease) = self.leases().by_claim.get_mut(&claim.id)
            {
                lease.until = None;
            }
        }
    }

    /// Notes that rows of this claim wait elsewhere for a reader (`true`), or no longer do.
    ///
    /// # Errors
    /// The disk does not take it.
    pub async fn note_elsewhere(&self, claim: ClaimId, reader: &str, waiting: bool) -> Result<(), Error> {
        let ticket = self.shared.log.change(Change::Spooled {
            id: claim.0,
            lane: reader.to_owned(),
            waiting,
        })?;
        self.durable(ticket).await
    }

    /// What has been noted so.
    pub fn elsewhere(&self) -> Vec<(ClaimId, Arc<str>)> {
        let (noted, _) = self.shared.log.with(|locked| {
            let entries = locked.state().spooled.iter();
            entries
                .map(|(id, reader)| (ClaimId(*id), reader.as_str().into()))
                .collect()
        });
        noted
    }
}
