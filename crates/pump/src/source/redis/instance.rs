//! One instance of the pump as a user of Redis: its connections, what it may do, and what it holds.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use analytics::{ClaimId, Key};
use async_trait::async_trait;

use super::{connect::Link, entry::Abandoned, identity::Owner, keys::Names, local::Local, window::Pace};
use crate::{
    config::{DeliverySettings, RedisSettings},
    source::{Acknowledged, Claim, ClaimRef, Mode, SourceError, Window, lists::keys},
};

/// Which lists are read, and how the modes without claims take rows from them.
#[derive(Clone, Copy, Debug)]
pub struct ListSettings {
    /// Whether the uptime list is read too.
    pub uptime: bool,
    /// `purge_chunk`: rows that `legacy` pops at once, 0 = all.
    pub purge_chunk: u64,
    /// `storage_expiration_time` in seconds, which `legacy` sets on what it leaves.
    pub expiration: u64,
}

/// What a Redis user may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rights {
    /// Scripts.
    Script,
    /// Transactions.
    Watch,
    /// Neither.
    Plain,
}

/// How records are taken. Chosen when Redis is reached; the methods are those of [`crate::source::Claims`].
#[async_trait]
pub(super) trait Strategy: Send + Sync {
    /// Whether claims are kept in Redis, where others can take them over; else they exist in this process alone.
    fn keeps_claims(&self) -> bool;

    async fn claim(
        &self,
        source: &RedisSource,
        key: &Arc<Key>,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError>;

    async fn renew(
        &self,
        source: &RedisSource,
        claims: &[ClaimRef],
        lanes: &[Arc<str>],
    ) -> Result<Vec<ClaimId>, SourceError>;

    /// Makes one claim ours if it still is as it was seen.
    async fn take(
        &self,
        source: &RedisSource,
        abandoned: &Abandoned,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError>;

    async fn read(
        &self,
        source: &RedisSource,
        claim: &ClaimRef,
        first_row: u64,
        max_rows: usize,
    ) -> Result<Window, SourceError>;

    async fn acknowledge(
        &self,
        source: &RedisSource,
        claim: &ClaimRef,
        cursors: &[(Arc<str>, u64)],
    ) -> Result<Acknowledged, SourceError>;

    async fn release(&self, source: &RedisSource, claims: &[ClaimRef]) -> Result<(), SourceError>;
}

/// What was found out about the server and its user.
#[derive(Clone)]
pub(super) struct Chosen {
    pub(super) strategy: &'static dyn Strategy,
    pub(super) mode: Mode,
    pub(super) rights: Rights,
}

/// A claim that this instance owns, as far as reading it needs to know.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) fence: u64,
    pub(super) len: u64,
    pub(super) base: u64,
    pub(super) pace: Pace,
}

struct Memory {
    /// Ids that grow within this process, so that claims sort in the order in which they were made.
    ids: ulid::Generator,
    chosen: Option<Chosen>,
    fleet: Option<Arc<str>>,
    held: HashMap<ClaimId, Held>,
    /// Claims that were held when the data of Redis was lost.
    from_before: HashSet<ClaimId>,
    /// Cursors that could not be written yet.
    unwritten: HashMap<ClaimId, BTreeMap<Arc<str>, u64>>,
    /// Sizes that rows of a list had lately.
    paces: HashMap<Arc<str>, Pace>,
}

/// Redis as a source of records.
pub struct RedisSource {
    pub(super) link: Link,
    pub(super) keys: Vec<Arc<Key>>,
    /// As `keys`.
    pub(super) names: Vec<Arc<Names>>,
    pub(super) owner: Owner,
    pub(super) owner_text: String,
    pub(super) lease: Duration,
    pub(super) delivery: DeliverySettings,
    pub(super) lists: ListSettings,
    memory: Mutex<Memory>,
    pub(super) local: Local,
}

impl RedisSource {
    /// Does not connect yet. Fails on certificate files that cannot be used.
    pub fn new(redis: &RedisSettings, delivery: &DeliverySettings, lists: ListSettings) -> anyhow::Result<RedisSource> {
        let keys = keys(&redis.key_prefix, lists.uptime);
        let owner = Owner::this_process(&delivery.instance_id);
        Ok(RedisSource {
            link: Link::new(redis.clone())?,
            names: keys.iter().map(|key| Arc::new(Names::of(key))).collect(),
            keys,
            owner_text: owner.to_string(),
            owner,
            lease: delivery.lease,
            delivery: delivery.clone(),
            lists,
            memory: Mutex::new(Memory {
                ids: ulid::Generator::new(),
                chosen: None,
                fleet: None,
                held: HashMap::new(),
                from_before: HashSet::new(),
                unwritten: HashMap::new(),
                paces: HashMap::new(),
            }),
            local: Local::default(),
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what [`Chosen`] says.
    pub(super) fn choose(&self, chosen: Chosen) {
        self.memory().chosen = Some(chosen);
    }

    /// How records are taken.
    pub(super) fn strategy(&self) -> Result<&'static dyn Strategy, SourceError> {
        let chosen = self.memory().chosen.as_ref().map(|chosen| chosen.strategy);
        chosen.ok_or_else(|| SourceError::Unavailable(anyhow::anyhow!("Redis has not been reached yet")))
    }

    pub(super) fn rights(&self) -> Rights {
        let memory = self.memory();
        memory.chosen.as_ref().map_or(Rights::Plain, |chosen| chosen.rights)
    }

    /// Why records are taken as they are.
    pub(super) fn reason(&self) -> Arc<str> {
        let memory = self.memory();
        memory
            .chosen
            .as_ref()
            .map(|chosen| chosen.mode.reason.clone())
            .unwrap_or_default()
    }

    /// Id of the store, once it is known.
    pub(super) fn known_fleet(&self) -> Option<Arc<str>> {
        self.memory().fleet.clone()
    }

    pub(super) fn remember_fleet(&self, fleet: Arc<str>) {
        self.memory().fleet = Some(fleet);
    }

    pub(super) fn new_id(&self) -> ClaimId {
        ClaimId(self.memory().ids.generate().unwrap_or_else(|_| ulid::Ulid::new()))
    }

    pub(super) fn lease_ms(&self) -> u64 {
        self.lease.as_millis() as u64
    }

    pub(super) fn names_of(&self, key: &Key) -> Arc<Names> {
        self.names_by_name(&key.name)
    }

    /// Names of a list; of the first one when the list is not configured any more.
    pub(super) fn names_by_name(&self, key: &str) -> Arc<Names> {
        let found = self
            .keys
            .iter()
            .position(|known| *known.name == *key)
            .unwrap_or_default();
        self.names
            .get(found)
            .cloned()
            .unwrap_or_else(|| Arc::new(Names::default()))
    }

    /// Remembers a claim as ours.
    pub(super) fn hold(&self, claim: &Claim) {
        let mut memory = self.memory();
        let pace = memory.paces.get(&claim.key.name).copied().unwrap_or_default().fresh();
        let held = Held {
            fence: claim.fence,
            len: claim.len,
            base: claim.base,
            pace,
        };
        memory.held.insert(claim.id, held);
    }

    pub(super) fn held(&self, claim: &ClaimRef) -> Option<Held> {
        self.memory()
            .held
            .get(&claim.id)
            .copied()
            .filter(|held| held.fence == claim.fence)
    }

    pub(super) fn note_base(&self, claim: &ClaimRef, base: u64) {
        if let Some(held) = self.memory().held.get_mut(&claim.id) {
            held.base = held.base.max(base);
        }
    }

    pub(super) fn note_pace(&self, claim: &ClaimRef, pace: Pace) {
        let mut memory = self.memory();
        if let Some(held) = memory.held.get_mut(&claim.id) {
            held.pace = pace;
        }
        memory.paces.insert(claim.key.name.clone(), pace);
    }

    pub(super) fn let_go(&self, id: ClaimId) {
        let mut memory = self.memory();
        memory.held.remove(&id);
        memory.unwritten.remove(&id);
    }

    /// Adds cursors to those that are to be written, and returns all of the claim's.
    pub(super) fn remember(&self, id: ClaimId, cursors: &[(Arc<str>, u64)]) -> BTreeMap<Arc<str>, u64> {
        let mut memory = self.memory();
        let all = memory.unwritten.entry(id).or_default();
        for (lane, cursor) in cursors {
            let known = all.entry(lane.clone()).or_default();
            *known = (*known).max(*cursor);
        }
        all.clone()
    }

    /// Forgets cursors that are written, unless they have moved on.
    pub(super) fn written(&self, id: ClaimId, cursors: &BTreeMap<Arc<str>, u64>) {
        let mut memory = self.memory();
        if let Some(unwritten) = memory.unwritten.get_mut(&id) {
            unwritten.retain(|lane, cursor| cursors.get(lane).is_none_or(|written| written < cursor));
            if unwritten.is_empty() {
                memory.unwritten.remove(&id);
            }
        }
    }

    /// Lets go of a claim, unless it has been taken over by ourselves in the meantime.
    pub(super) fn let_go_of(&self, claim: &ClaimRef) {
        let mut memory = self.memory();
        if memory.held.get(&claim.id).is_none_or(|held| held.fence == claim.fence) {
            memory.held.remove(&claim.id);
            memory.unwritten.remove(&claim.id);
        }
    }

    /// The data of Redis was lost: whatever is held now, and `lost`, is from before. `fleet`: the new id of the store.
    pub(super) fn remember_loss(&self, fleet: Arc<str>, lost: &[ClaimId]) {
        let mut memory = self.memory();
        let held: Vec<ClaimId> = memory.held.keys().copied().collect();
        memory.from_before.extend(held);
        memory.from_before.extend(lost);
        memory.fleet = Some(fleet);
    }

    /// Whether a claim was held when the data of Redis was lost.
    pub(super) fn is_from_before(&self, claim: ClaimId) -> bool {
        self.memory().from_before.contains(&claim)
    }
}
