//! Records made in this process: demo mode, and the tests of everything that stands on the source interface.
//!
//! Several instances can share one store ([`MemorySource::instance`]), so that pauses, crashes and take-overs are
//! played without a server; calls can be made to fail ([`MemorySource::fail_next`]). Leases follow tokio's clock.

mod store;

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use analytics::{ClaimId, Key, RecordKind, Span, Wire};
use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use store::{Change, Store};

use super::{
    Acknowledged, Claim, ClaimRef, ClaimReport, Claims, DeadLetter, DeadLetterId, DeadLimits, DeadStore, DeadStored,
    Ledgers, Lost, Mode, Operate, Pending, Restored, SourceError, SpoolNotes, Terms, Usage, Window,
    restore::{self, Candidate},
};

/// Bytes of one window, unless a single row has more.
const WINDOW_BYTES: usize = 4 << 20;

/// One instance's view of lists that live in this process.
#[derive(Clone)]
pub struct MemorySource {
    store: Arc<Mutex<Store>>,
    keys: Arc<[Arc<Key>]>,
    owner: Arc<str>,
    lease: Duration,
}

impl MemorySource {
    /// Lists with their first elements.
    pub fn new(lists: Vec<(Key, Vec<Bytes>)>) -> MemorySource {
        let mut store = Store::default();
        let mut keys = Vec::with_capacity(lists.len());
        for (key, elements) in lists {
            let key = Arc::new(key);
            store.lists.insert(key.name.clone(), elements);
            keys.push(key);
        }
        MemorySource {
            store: Arc::new(Mutex::new(store)),
            keys: keys.into(),
            owner: "memory".into(),
            lease: Duration::from_secs(30),
        }
    }

    /// One list of traffic records in MessagePack, as demo mode makes them.
    pub fn with_records(elements: Vec<Bytes>) -> MemorySource {
        let name: Arc<str> = "tyk-system-analytics".into();
        let key = Key {
            name: name.clone(),
            short: name,
            wire: Wire::Msgpack,
            records: RecordKind::Traffic,
        };
        MemorySource::new(vec![(key, elements)])
    }

    /// Another instance on the same lists and claims.
    pub fn instance(&self, owner: &str) -> MemorySource {
        MemorySource {
            owner: owner.into(),
            ..self.clone()
        }
    }

    /// Changes the lease, 30 s by default.
    pub fn lease(self, lease: Duration) -> MemorySource {
        MemorySource { lease, ..self }
    }

    /// Appends elements to the list at this position of [`Claims::keys`].
    pub fn push(&self, key: usize, elements: impl IntoIterator<Item = Bytes>) {
        if let Some(key) = self.keys.get(key) {
            let mut store = self.store();
            store.lists.entry(key.name.clone()).or_default().extend(elements);
        }
    }

    /// Makes the next `calls` calls of any instance fail as if the store could not be reached.
    pub fn fail_next(&self, calls: usize) {
        self.store().failures = calls;
    }

    /// Loses every list and claim, as a server that restarts without its data. Returns the claims.
    pub fn lose(&self) -> Vec<ClaimId> {
        self.store().lose()
    }

    /// Makes the claim's rows vanish, as eviction does.
    pub fn evict(&self, claim: ClaimId) {
        if let Some(state) = self.store().claims.get_mut(&claim) {
            state.rows = None;
        }
    }

    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The store, unless this call is to fail.
    fn reach(&self) -> Result<MutexGuard<'_, Store>, SourceError> {
        let mut store = self.store();
        if store.failures > 0 {
            store.failures -= 1;
            return Err(SourceError::Unavailable(anyhow::anyhow!("made to fail")));
        }
        Ok(store)
    }
}

#[async_trait]
impl Claims for MemorySource {
    async fn open(&self) -> Result<Mode, SourceError> {
        drop(self.reach()?);
        Ok(Mode::memory())
    }

    async fn fleet(&self) -> Result<Arc<str>, SourceError> {
        Ok(self.reach()?.fleet.clone())
    }

    fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    async fn pending(&self) -> Result<Vec<Pending>, SourceError> {
        let store = self.reach()?;
        let lengths = self
            .keys
            .iter()
            .map(|key| store.lists.get(&key.name).map_or(0, Vec::len) as u64);
        Ok(lengths
            .enumerate()
            .filter(|(_, len)| *len > 0)
            .map(|(index, len)| (index, Ok(len)))
            .collect())
    }

    async fn claim(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        Ok(self.reach()?.claim(key, &self.owner, self.lease, lanes))
    }

    async fn renew(&self, claims: &[ClaimRef], lanes: &[Arc<str>]) -> Result<Vec<Lost>, SourceError> {
        let mut store = self.reach()?;
        let mut lost = Vec::new();
        for claim in claims {
            match store.owned(claim, &self.owner) {
                Ok(state) => state.extend(self.lease),
                Err(SourceError::Vanished(claim)) => lost.push(Lost::Vanished(claim)),
                Err(_) => lost.push(Lost::Taken(claim.id)),
            }
        }
        store.heard_of(lanes);
        Ok(lost)
    }

    async fn take_over(&self, lanes: &[Arc<str>], held: &[ClaimId]) -> Result<Vec<Claim>, SourceError> {
        Ok(self.reach()?.take_over(&self.owner, self.lease, lanes, held))
    }

    async fn read(&self, claim: &ClaimRef, first_row: u64, max_rows: usize) -> Result<Window, SourceError> {
        let mut store = self.reach()?;
        let state = store.owned(claim, &self.owner)?;
        let (base, len) = (state.claim.base, state.claim.len);
        if first_row < base || first_row > len {
            return Err(SourceError::Refused(anyhow::anyhow!(
                "claim {}: row {first_row} is not there",
                claim.id
            )));
        }
        let Some(rows) = &state.rows else {
            let (claim, rows) = (claim.id, first_row..len);
            return Err(SourceError::Evicted { claim, rows });
        };
        let mut buffer = BytesMut::new();
        let mut elements = Vec::new();
        for row in rows.iter().skip((first_row - base) as usize).take(max_rows.max(1)) {
            if !elements.is_empty() && buffer.len() + row.len() > WINDOW_BYTES {
                break;
            }
            elements.push(Span {
                start: buffer.len() as u32,
                len: row.len() as u32,
            });
            buffer.extend_from_slice(row);
        }
        Ok(Window {
            first_row,
            buffer: buffer.freeze(),
            elements,
        })
    }

    async fn acknowledge(&self, claim: &ClaimRef, cursors: &[(Arc<str>, u64)]) -> Result<Acknowledged, SourceError> {
        let mut store = self.reach()?;
        let state = store.owned(claim, &self.owner)?;
        for (lane, cursor) in cursors {
            let Some(own) = state.claim.cursors.get_mut(lane) else {
                return Err(SourceError::no_such_lane(claim.id, lane));
            };
            *own = (*own).max((*cursor).min(state.claim.len));
        }
        Ok(store.settle(claim.id))
    }

    async fn release(&self, claims: &[ClaimRef]) -> Result<(), SourceError> {
        let mut store = self.reach()?;
        for claim in claims {
            if let Ok(state) = store.owned(claim, &self.owner) {
                state.lease_end = None;
            }
        }
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, SourceError> {
        let store = self.reach()?;
        let mut usage = Usage::default();
        for key in self.keys.iter() {
            let len = store.lists.get(&key.name).map_or(0, Vec::len) as u64;
            if len > 0 {
                usage.unclaimed.push((key.clone(), len));
            }
        }
        usage.claims = store.claims.len() as u64;
        usage.claimed_rows = store
            .claims
            .values()
            .map(|state| state.claim.len - state.claim.base)
            .sum();
        usage.orphans = store.orphans();
        Ok(usage)
    }
}

#[async_trait]
impl DeadStore for MemorySource {
    async fn store_dead(&self, letters: &[DeadLetter], limits: DeadLimits) -> Result<DeadStored, SourceError> {
        Ok(self.reach()?.keep_dead(letters, limits))
    }

    async fn list_dead(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError> {
        let store = self.reach()?;
        let of_lane = |letter: &&DeadLetter| lane.is_none_or(|lane| *letter.lane == *lane);
        let mut letters: Vec<DeadLetter> = store.dead.iter().filter(of_lane).cloned().collect();
        letters.sort_by_key(|letter| (letter.at_ms, letter.row));
        letters.truncate(limit);
        Ok(letters)
    }

    async fn remove_dead(&self, ids: &[DeadLetterId]) -> Result<u64, SourceError> {
        let mut store = self.reach()?;
        let before = store.dead.len();
        store
            .dead
            .retain(|letter| !ids.iter().any(|id| id.lane == letter.lane && id.row == letter.row));
        Ok((before - store.dead.len()) as u64)
    }
}

#[async_trait]
impl SpoolNotes for MemorySource {
    async fn note_spooled(&self, claim: &ClaimRef, lane: &str, waiting: bool) -> Result<(), SourceError> {
        let mut store = self.reach()?;
        let entry = (claim.id, Arc::from(lane));
        if waiting {
            store.spooled.insert(entry);
        } else {
            store.spooled.remove(&entry);
        }
        Ok(())
    }

    async fn spooled(&self) -> Result<Vec<(ClaimId, Arc<str>)>, SourceError> {
        Ok(self.reach()?.spooled.iter().cloned().collect())
    }
}

#[async_trait]
impl Operate for MemorySource {
    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError> {
        Ok(self.reach()?.reports())
    }

    async fn restore(&self, claim: ClaimId, ledgers: &dyn Ledgers, terms: Terms) -> Result<Restored, SourceError> {
        let known = self.reach()?.seen(claim);
        let (seen, owner) = known.ok_or(SourceError::LeaseLost(claim))?;
        let applied = restore::ask(ledgers, claim, &seen.cursors, &seen.adopted).await;
        let candidate = Candidate {
            id: claim,
            len: seen.len,
            cursors: &seen.cursors,
            owner: owner.as_deref(),
        };
        let low = restore::first_row(candidate, &applied, terms)?;
        let moved = self
            .reach()?
            .put_back(&seen, low)
            .ok_or(SourceError::LeaseLost(claim))?;
        Ok(Restored { moved, finished: low })
    }

    async fn drop_lane(&self, lane: &str) -> Result<u64, SourceError> {
        Ok(self.reach()?.change_lane(lane, Change::Drop))
    }

    async fn adopt_lane(&self, old: &str, new: &str) -> Result<u64, SourceError> {
        Ok(self.reach()?.change_lane(old, Change::Adopt(new)))
    }
}
