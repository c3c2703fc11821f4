//! Records from Redis: one server, a master behind sentinels, or a cluster.

mod claim;
mod connect;
mod dead;
mod failure;
mod identity;
mod index;
pub(super) mod keys;
mod lease;
mod legacy;
mod local;
mod peek;
mod probe;
mod restore;
mod script;
pub(super) mod tls;
mod usage;
mod watch;
mod window;
mod wire;

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use analytics::{ClaimId, Key};
use async_trait::async_trait;
use connect::Link;
use identity::Owner;
use index::decode;
use keys::Names;
use local::Local;
use probe::Chosen;
use script::argument;
use window::Pace;

use super::{
    Acknowledged, Claim, ClaimRef, ClaimReport, DeadLetter, DeadLetterId, DeadLimits, DeadStored, Ledgers, Mode,
    Restored, Source, SourceError, Usage, Window,
};
use crate::config::{DeliverySettings, RedisSettings};

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
enum Rights {
    /// Scripts.
    Script,
    /// Transactions.
    Watch,
    /// Neither.
    Plain,
}

/// A claim that this instance owns, as far as reading it needs to know.
#[derive(Clone, Copy)]
struct Held {
    fence: u64,
    len: u64,
    base: u64,
    pace: Pace,
}

struct Memory {
    /// Ids that grow within this process, so that claims sort in the order in which they were made.
    ids: ulid::Generator,
    chosen: Option<Chosen>,
    fleet: Option<Arc<str>>,
    held: HashMap<ClaimId, Held>,
    /// Cursors that could not be written yet.
    unwritten: HashMap<ClaimId, BTreeMap<Arc<str>, u64>>,
    /// Sizes that rows of a list had lately.
    paces: HashMap<Arc<str>, Pace>,
}

/// Redis as a source of records.
pub struct RedisSource {
    link: Link,
    keys: Vec<Arc<Key>>,
    /// As `keys`.
    names: Vec<Arc<Names>>,
    owner: Owner,
    owner_text: String,
    lease: Duration,
    delivery: DeliverySettings,
    lists: ListSettings,
    memory: Mutex<Memory>,
    local: Local,
}

impl RedisSource {
    /// Does not connect yet. Fails on certificate files that cannot be used.
    pub fn new(redis: &RedisSettings, delivery: &DeliverySettings, lists: ListSettings) -> anyhow::Result<RedisSource> {
        let keys = keys::keys(&redis.key_prefix, lists.uptime);
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
                unwritten: HashMap::new(),
                paces: HashMap::new(),
            }),
            local: Local::default(),
        })
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn chosen(&self) -> Result<Chosen, SourceError> {
        let chosen = self.memory().chosen.clone();
        chosen.ok_or_else(|| SourceError::Unavailable(anyhow::anyhow!("Redis has not been reached yet")))
    }

    fn mode(&self) -> Result<Mode, SourceError> {
        self.chosen().map(|chosen| chosen.mode)
    }

    fn rights(&self) -> Rights {
        self.memory()
            .chosen
            .as_ref()
            .map_or(Rights::Plain, |chosen| chosen.rights)
    }

    fn reason(&self) -> String {
        self.memory()
            .chosen
            .as_ref()
            .map(|chosen| chosen.reason.clone())
            .unwrap_or_default()
    }

    fn new_id(&self) -> ClaimId {
        ClaimId(self.memory().ids.generate().unwrap_or_else(|_| ulid::Ulid::new()))
    }

    fn lease_ms(&self) -> u64 {
        self.lease.as_millis() as u64
    }

    fn names_of(&self, key: &Key) -> Arc<Names> {
        self.names_by_name(&key.name)
    }

    /// Names of a list; of the first one when the list is not configured any more.
    fn names_by_name(&self, key: &str) -> Arc<Names> {
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
    fn hold(&self, claim: &Claim) {
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

    fn held(&self, claim: &ClaimRef) -> Option<Held> {
        self.memory()
            .held
            .get(&claim.id)
            .copied()
            .filter(|held| held.fence == claim.fence)
    }

    fn note_base(&self, claim: &ClaimRef, base: u64) {
        if let Some(held) = self.memory().held.get_mut(&claim.id) {
            held.base = held.base.max(base);
        }
    }

    fn note_pace(&self, claim: &ClaimRef, pace: Pace) {
        let mut memory = self.memory();
        if let Some(held) = memory.held.get_mut(&claim.id) {
            held.pace = pace;
        }
        memory.paces.insert(claim.key.name.clone(), pace);
    }

    fn let_go(&self, id: ClaimId) {
        let mut memory = self.memory();
        memory.held.remove(&id);
        memory.unwritten.remove(&id);
    }

    /// Adds cursors to those that are to be written, and returns all of the claim's.
    fn remember(&self, id: ClaimId, cursors: &[(Arc<str>, u64)]) -> BTreeMap<Arc<str>, u64> {
        let mut memory = self.memory();
        let all = memory.unwritten.entry(id).or_default();
        for (lane, cursor) in cursors {
            let known = all.entry(lane.clone()).or_default();
            *known = (*known).max(*cursor);
        }
        all.clone()
    }

    /// Forgets cursors that are written, unless they have moved on.
    fn written(&self, id: ClaimId, cursors: &BTreeMap<Arc<str>, u64>) {
        let mut memory = self.memory();
        if let Some(unwritten) = memory.unwritten.get_mut(&id) {
            unwritten.retain(|lane, cursor| cursors.get(lane).is_none_or(|written| written < cursor));
            if unwritten.is_empty() {
                memory.unwritten.remove(&id);
            }
        }
    }

    /// Lets go of a claim, unless it has been taken over by ourselves in the meantime.
    fn lost(&self, claim: &ClaimRef) -> SourceError {
        let mut memory = self.memory();
        if memory.held.get(&claim.id).is_none_or(|held| held.fence == claim.fence) {
            memory.held.remove(&claim.id);
            memory.unwritten.remove(&claim.id);
        }
        SourceError::LeaseLost(claim.id)
    }
}

#[async_trait]
impl Source for RedisSource {
    async fn open(&self) -> Result<Mode, SourceError> {
        let chosen = self.choose().await?;
        let mode = chosen.mode;
        self.memory().chosen = Some(chosen);
        Ok(mode)
    }

    fn mode_reason(&self) -> String {
        self.reason()
    }

    async fn fleet(&self) -> Result<Arc<str>, SourceError> {
        if let Some(fleet) = self.memory().fleet.clone() {
            return Ok(fleet);
        }
        let name = format!(
            "{}fleet",
            self.names.first().map(|names| names.prefix()).unwrap_or_default()
        );
        let fresh = ulid::Ulid::new().to_string();
        let value = if self.rights() == Rights::Script {
            script::FLEET
                .run(&self.link, std::slice::from_ref(&name), &[argument(&fresh)])
                .await?
        } else {
            self.link
                .run(&name, &dead::command("SETNX", &name, [fresh.as_str()]))
                .await?;
            self.link.run(&name, &dead::command("GET", &name, [])).await?
        };
        let fleet: Arc<str> = decode::<String>(&value)?.into();
        self.memory().fleet = Some(fleet.clone());
        Ok(fleet)
    }

    fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    async fn pending(&self) -> Result<Vec<(usize, Result<u64, SourceError>)>, SourceError> {
        self.lengths().await
    }

    async fn claim(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        match self.mode()? {
            Mode::ClaimsWatch => self.claim_by_watch(key, lanes).await,
            Mode::Peek => self.claim_by_peek(key, lanes).await,
            Mode::Legacy => self.pop(key, lanes).await,
            Mode::ClaimsScript | Mode::Memory | Mode::Embedded => self.claim_by_script(key, lanes).await,
        }
    }

    async fn renew(&self, claims: &[ClaimRef], lanes: &[Arc<str>]) -> Result<Vec<ClaimId>, SourceError> {
        match self.mode()? {
            Mode::ClaimsWatch => self.renew_by_watch(claims, lanes).await,
            Mode::Peek => self.renew_peeks(claims).await,
            Mode::Legacy => Ok(Vec::new()),
            Mode::ClaimsScript | Mode::Memory | Mode::Embedded => self.renew_by_script(claims, lanes).await,
        }
    }

    async fn take_over(&self, lanes: &[Arc<str>], held: &[ClaimId]) -> Result<Vec<Claim>, SourceError> {
        let mode = self.mode()?;
        if matches!(mode, Mode::Peek | Mode::Legacy) || lanes.is_empty() {
            return Ok(Vec::new());
        }
        let mut taken = Vec::new();
        for (entry, seen, gone) in self.abandoned(held).await? {
            let claim = match mode {
                Mode::ClaimsWatch => self.take_by_watch(&entry, &seen, gone, lanes).await,
                _ => self.take_by_script(&entry, &seen, gone, lanes).await,
            };
            match claim {
                Ok(claim) => taken.extend(claim),
                Err(error) if taken.is_empty() => return Err(error),
                Err(_) => break, // what is ours already must be worked on
            }
        }
        Ok(taken)
    }

    async fn read(&self, claim: &ClaimRef, first_row: u64, max_rows: usize) -> Result<Window, SourceError> {
        match self.mode()? {
            Mode::Peek => self.read_peek(claim, first_row, max_rows).await,
            Mode::Legacy => self.read_popped(claim, first_row, max_rows),
            Mode::ClaimsScript | Mode::ClaimsWatch | Mode::Memory | Mode::Embedded => {
                self.read_claim(claim, first_row, max_rows).await
            }
        }
    }

    async fn acknowledge(&self, claim: &ClaimRef, cursors: &[(Arc<str>, u64)]) -> Result<Acknowledged, SourceError> {
        match self.mode()? {
            Mode::ClaimsWatch => self.acknowledge_by_watch(claim, cursors).await,
            Mode::Peek => self.acknowledge_peek(claim, cursors).await,
            Mode::Legacy => self.acknowledge_popped(claim, cursors),
            Mode::ClaimsScript | Mode::Memory | Mode::Embedded => self.acknowledge_by_script(claim, cursors).await,
        }
    }

    async fn release(&self, claims: &[ClaimRef]) -> Result<(), SourceError> {
        match self.mode()? {
            Mode::ClaimsWatch => self.release_by_watch(claims).await,
            Mode::Peek => self.release_peeks(claims).await,
            Mode::Legacy => Ok(()), // popped rows exist nowhere else: they stay until the process ends
            Mode::ClaimsScript | Mode::Memory | Mode::Embedded => self.release_by_script(claims).await,
        }
    }

    async fn usage(&self) -> Result<Usage, SourceError> {
        self.figures().await
    }

    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError> {
        self.reports().await
    }

    async fn store_dead(&self, letters: &[DeadLetter], limits: DeadLimits) -> Result<DeadStored, SourceError> {
        self.keep_dead(letters, limits).await
    }

    async fn list_dead(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError> {
        self.dead_letters(lane, limit).await
    }

    async fn remove_dead(&self, ids: &[DeadLetterId]) -> Result<u64, SourceError> {
        self.forget_dead(ids).await
    }

    async fn note_spooled(&self, claim: &ClaimRef, lane: &str, waiting: bool) -> Result<(), SourceError> {
        let name = self.names_of(&claim.key).spooled();
        let entry = format!("{}/{lane}", claim.id);
        if self.rights() == Rights::Script {
            let arguments = [argument(entry), argument(u8::from(waiting))];
            script::SPOOLED.run(&self.link, &[name], &arguments).await?;
        } else {
            let what = if waiting { "SADD" } else { "SREM" };
            self.link
                .run(&name, &dead::command(what, &name, [entry.as_str()]))
                .await?;
        }
        Ok(())
    }

    async fn spooled(&self) -> Result<Vec<(ClaimId, Arc<str>)>, SourceError> {
        let names: Vec<String> = self.names.iter().map(|names| names.spooled()).collect();
        let commands = names
            .iter()
            .map(|name| (name.as_str(), dead::command("SMEMBERS", name, [])));
        let mut spooled = Vec::new();
        for value in self.run_each(commands.collect()).await? {
            for entry in decode::<Vec<String>>(&value)? {
                let Some((id, lane)) = entry.split_once('/') else {
                    continue;
                };
                if let Ok(id) = ulid::Ulid::from_string(id) {
                    spooled.push((ClaimId(id), lane.into()));
                }
            }
        }
        Ok(spooled)
    }

    async fn restore(
        &self,
        claim: ClaimId,
        ledgers: &dyn Ledgers,
        accept_duplicates: bool,
    ) -> Result<Restored, SourceError> {
        self.put_back(claim, ledgers, accept_duplicates).await
    }

    async fn drop_lane(&self, lane: &str) -> Result<u64, SourceError> {
        self.drop_rows(lane).await
    }

    async fn adopt_lane(&self, old: &str, new: &str) -> Result<u64, SourceError> {
        self.rename_lane(old, new).await
    }

    async fn announce_version(&self, version: &str) -> Result<(), SourceError> {
        let set = dead::command("SET", keys::VERSION_KEY, [version]);
        self.link.run(keys::VERSION_KEY, &set).await.map(drop)
    }
}
