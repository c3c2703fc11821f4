//! What instances share: lists, claims, dead letters.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use analytics::{ClaimId, Key};
use bytes::Bytes;
use tokio::time::Instant;

use crate::source::{Acknowledged, Claim, ClaimRef, ClaimReport, DeadLetter, DeadLimits, DeadStored, SourceError};

pub(super) struct State {
    /// As its owner knows it; the fence in it is the one that counts.
    pub(super) claim: Claim,
    pub(super) owner: Arc<str>,
    /// `None`: released.
    pub(super) lease_end: Option<Instant>,
    made: Instant,
    /// Rows from `claim.base` on; `None`: evicted.
    pub(super) rows: Option<VecDeque<Bytes>>,
}

pub(super) struct Store {
    pub(super) fleet: Arc<str>,
    pub(super) lists: HashMap<Arc<str>, Vec<Bytes>>,
    pub(super) claims: BTreeMap<ClaimId, State>,
    pub(super) dead: Vec<DeadLetter>,
    pub(super) spooled: BTreeSet<(ClaimId, Arc<str>)>,
    /// Claims that were lost with everything else.
    vanished: BTreeSet<ClaimId>,
    /// Calls that are still to fail.
    pub(super) failures: usize,
    lanes: BTreeSet<Arc<str>>,
    ids: ulid::Generator,
}

impl Default for Store {
    fn default() -> Self {
        Store {
            fleet: ulid::Ulid::new().to_string().into(),
            lists: HashMap::new(),
            claims: BTreeMap::new(),
            dead: Vec::new(),
            spooled: BTreeSet::new(),
            vanished: BTreeSet::new(),
            failures: 0,
            lanes: BTreeSet::new(),
            ids: ulid::Generator::new(),
        }
    }
}

/// What happens to the rows that wait for a lane.
#[derive(Clone, Copy)]
pub(super) enum Change<'a> {
    Drop,
    Adopt(&'a str),
}

impl State {
    pub(super) fn extend(&mut self, lease: Duration) {
        self.lease_end = Some(Instant::now() + lease);
    }

    fn waiting(&self, lane: &str) -> u64 {
        let cursor = self.claim.cursors.get(lane);
        cursor.map_or(0, |cursor| self.claim.len - cursor)
    }
}

impl Store {
    pub(super) fn claim(
        &mut self,
        key: &Arc<Key>,
        owner: &Arc<str>,
        lease: Duration,
        lanes: &[Arc<str>],
    ) -> Option<Claim> {
        let elements = self.lists.remove(&key.name).filter(|elements| !elements.is_empty())?;
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        let claim = Claim {
            id: ClaimId(self.ids.generate().unwrap_or_else(|_| ulid::Ulid::new())),
            key: key.clone(),
            fence: 1,
            len: elements.len() as u64,
            base: 0,
            cursors: lanes.iter().map(|lane| (lane.clone(), 0)).collect(),
            adopted: BTreeMap::new(),
            ttl: None,
            claimed_at_ms: now.map_or(0, |now| now.as_millis() as u64),
        };
        let state = State {
            claim: claim.clone(),
            owner: owner.clone(),
            lease_end: Some(Instant::now() + lease),
            made: Instant::now(),
            rows: Some(elements.into()),
        };
        self.heard_of(lanes);
        self.claims.insert(claim.id, state);
        Some(claim)
    }

    pub(super) fn lose(&mut self) -> Vec<ClaimId> {
        self.lists.clear();
        self.spooled.clear();
        let lost: Vec<ClaimId> = std::mem::take(&mut self.claims).into_keys().collect();
        self.vanished.extend(&lost);
        lost
    }

    pub(super) fn owned(&mut self, claim: &ClaimRef, owner: &str) -> Result<&mut State, SourceError> {
        if self.vanished.contains(&claim.id) {
            return Err(SourceError::Vanished(claim.id));
        }
        let state = self.claims.get_mut(&claim.id);
        let state = state.filter(|state| *state.owner == *owner && state.claim.fence == claim.fence);
        state.ok_or(SourceError::LeaseLost(claim.id))
    }

    pub(super) fn take_over(
        &mut self,
        owner: &Arc<str>,
        lease: Duration,
        lanes: &[Arc<str>],
        held: &[ClaimId],
    ) -> Vec<Claim> {
        let now = Instant::now();
        let mut taken = Vec::new();
        for (id, state) in &mut self.claims {
            let over = state.lease_end.is_none_or(|end| end < now);
            if !over || held.contains(id) || lanes.iter().all(|lane| state.waiting(lane) == 0) {
                continue;
            }
            state.claim.fence += 1;
            state.owner = owner.clone();
            state.lease_end = Some(now + lease);
            taken.push(state.claim.clone());
        }
        taken
    }

    /// Removes what every lane has finished.
    pub(super) fn settle(&mut self, id: ClaimId) -> Acknowledged {
        let Some(state) = self.claims.get_mut(&id) else {
            return Acknowledged::Finished;
        };
        let low = state.claim.cursors.values().copied().fold(state.claim.len, u64::min);
        if low >= state.claim.len {
            self.claims.remove(&id);
            return Acknowledged::Finished;
        }
        if let Some(rows) = &mut state.rows {
            rows.drain(..(low - state.claim.base) as usize);
        }
        state.claim.base = low;
        Acknowledged::Open { base: low }
    }

    pub(super) fn heard_of(&mut self, lanes: &[Arc<str>]) {
        self.lanes.extend(lanes.iter().cloned());
    }

    /// Rows of lanes that nobody has named since the store was made.
    pub(super) fn orphans(&self) -> Vec<(Arc<str>, u64)> {
        let mut orphans: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for state in self.claims.values() {
            for lane in state.claim.cursors.keys().filter(|lane| !self.lanes.contains(*lane)) {
                *orphans.entry(lane.clone()).or_default() += state.waiting(lane);
            }
        }
        orphans.into_iter().filter(|(_, rows)| *rows > 0).collect()
    }

    pub(super) fn reports(&self) -> Vec<ClaimReport> {
        let now = Instant::now();
        let report = |state: &State| ClaimReport {
            id: state.claim.id.to_string(),
            key: state.claim.key.name.to_string(),
            owner: state.owner.to_string(),
            fence: state.claim.fence,
            len: state.claim.len,
            cursors: state
                .claim
                .cursors
                .iter()
                .map(|(lane, cursor)| (lane.to_string(), *cursor))
                .collect(),
            lease_ms: match state.lease_end {
                Some(end) if end >= now => (end - now).as_millis() as i64,
                Some(end) => -((now - end).as_millis() as i64),
                None => i64::MIN,
            },
            age_ms: (now - state.made).as_millis() as u64,
        };
        self.claims.values().map(report).collect()
    }

    /// A claim, and who works on it.
    pub(super) fn seen(&self, id: ClaimId) -> Option<(Claim, Option<Arc<str>>)> {
        let state = self.claims.get(&id)?;
        let live = state.lease_end.is_some_and(|end| end >= Instant::now());
        Some((state.claim.clone(), live.then(|| state.owner.clone())))
    }

    /// Puts the rows from `low` on to the head of their list, unless the claim has a new owner.
    pub(super) fn put_back(&mut self, seen: &Claim, low: u64) -> Option<u64> {
        self.claims
            .get(&seen.id)
            .filter(|state| state.claim.fence == seen.fence)?;
        let state = self.claims.remove(&seen.id)?;
        let finished = (low - state.claim.base) as usize;
        let mut rows: Vec<Bytes> = state.rows.unwrap_or_default().into_iter().skip(finished).collect();
        let moved = rows.len() as u64;
        let list = self.lists.entry(state.claim.key.name.clone()).or_default();
        rows.append(list);
        *list = rows;
        Some(moved)
    }

    pub(super) fn change_lane(&mut self, lane: &str, change: Change<'_>) -> u64 {
        let mut changed = 0;
        let ids: Vec<ClaimId> = self.claims.keys().copied().collect();
        for id in ids {
            let Some(state) = self.claims.get_mut(&id) else {
                continue;
            };
            let waiting = state.waiting(lane);
            match change {
                Change::Drop if waiting > 0 => {
                    state.claim.cursors.insert(lane.into(), state.claim.len);
                }
                Change::Adopt(new) if !state.claim.cursors.contains_key(new) => {
                    let Some(cursor) = state.claim.cursors.remove(lane) else {
                        continue;
                    };
                    let known = state.claim.adopted.remove(lane).unwrap_or_else(|| lane.into());
                    state.claim.cursors.insert(new.into(), cursor);
                    state.claim.adopted.insert(new.into(), known);
                    state.claim.fence += 1;
                    state.lease_end = None;
                }
                Change::Drop | Change::Adopt(_) => continue,
            }
            changed += waiting;
            self.settle(id);
        }
        changed
    }

    pub(super) fn keep_dead(&mut self, letters: &[DeadLetter], limits: DeadLimits) -> DeadStored {
        let mut stored = DeadStored::default();
        for letter in letters {
            if letter.raw.len() as u64 > limits.bytes {
                stored.refuse(&letter.lane, 1);
                continue;
            }
            let known = |other: &DeadLetter| other.lane == letter.lane && other.row == letter.row;
            if !self.dead.iter().any(known) {
                self.dead.push(letter.clone());
            }
        }
        let lanes: BTreeSet<Arc<str>> = letters.iter().map(|letter| letter.lane.clone()).collect();
        for lane in lanes {
            loop {
                let own = || self.dead.iter().filter(|letter| letter.lane == lane);
                let bytes: usize = own().map(|letter| letter.raw.len()).sum();
                let oldest = own().map(|letter| (letter.at_ms, letter.row)).min();
                let Some(oldest) = oldest else { break };
                if own().count() as u64 <= limits.count && bytes as u64 <= limits.bytes {
                    break;
                }
                self.dead
                    .retain(|letter| letter.lane != lane || (letter.at_ms, letter.row) != oldest);
                stored.evict(&lane, 1);
            }
        }
        stored
    }
}
