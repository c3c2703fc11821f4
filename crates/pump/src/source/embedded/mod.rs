//! Records that gateways push to the pump itself: a store on disk that speaks the Redis protocol.
//!
//! [`EmbeddedSource`] is the source over that store, [`server`] what gateways talk to. The folder belongs to one
//! process, so that owners and leases live in memory; claims, cursors, dead letters and notes are in the log.

pub mod remote;
pub mod server;
pub(crate) mod store;

use std::{
    collections::{BTreeSet, HashMap},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use analytics::{ClaimId, Key};
use async_trait::async_trait;
use store::{Change, ClaimState, Locked, ReadError, Refusal, Store, Ticket, letters::Letters, now_ms};
use tokio::time::Instant;

use super::{
    Acknowledged, Claim, ClaimRef, ClaimReport, DeadLetter, DeadLetterId, DeadLimits, DeadStored, Ledgers, Mode,
    Restored, Source, SourceError, Usage, Window, redis::keys::keys,
};
use crate::config::EmbeddedSettings;

/// Bytes of one window, unless a single stretch has more.
const WINDOW_BYTES: usize = 4 << 20;
/// Where Tyk Dashboard looks for the version of the pump.
const VERSION_KEY: &str = "version-check-pump";

struct Lease {
    owner: Arc<str>,
    /// `None`: released.
    until: Option<Instant>,
}

struct Shared {
    store: Arc<Store>,
    letters: Mutex<Letters>,
    leases: Mutex<Leases>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.store.stop();
    }
}

struct Leases {
    by_claim: HashMap<String, Lease>,
    ids: ulid::Generator,
    lanes: BTreeSet<Arc<str>>,
}

/// One instance's view of the store in a folder.
#[derive(Clone)]
pub struct EmbeddedSource {
    shared: Arc<Shared>,
    keys: Arc<[Arc<Key>]>,
    owner: Arc<str>,
    lease: Duration,
}

impl EmbeddedSource {
    /// Opens the folder and recovers what the last process left.
    ///
    /// # Errors
    /// Another process has it open, or it cannot be read or written.
    pub fn open(settings: &EmbeddedSettings, prefix: &str, uptime: bool) -> anyhow::Result<Self> {
        let store = Store::open(&settings.dir, settings.fsync, settings.max_bytes)?;
        let letters = Letters::open(store.folder())?;
        let found = store.recovered();
        if found.damaged > 0 {
            tracing::error!(
                prefix = "embedded",
                "{} damaged parts of {} were put aside in its folder quarantine; everything else is there",
                found.damaged,
                store.folder().display()
            );
        }
        Ok(Self {
            shared: Arc::new(Shared {
                store,
                letters: Mutex::new(letters),
                leases: Mutex::new(Leases {
                    by_claim: HashMap::new(),
                    ids: ulid::Generator::new(),
                    lanes: BTreeSet::new(),
                }),
            }),
            keys: keys(prefix, uptime).into(),
            owner: "embedded".into(),
            lease: Duration::from_secs(30),
        })
    }

    /// The same store under another name, as another instance of the pump would see it.
    pub fn instance(&self, owner: &str, lease: Duration) -> Self {
        Self {
            owner: owner.into(),
            lease,
            ..self.clone()
        }
    }

    /// Appends elements to a list, as a client does. Waits until they are as durable as `fsync` promises.
    ///
    /// # Errors
    /// The store is full, or the disk does not take them.
    pub async fn push(&self, list: &str, elements: &[impl AsRef<[u8]>]) -> Result<(), SourceError> {
        let mut frame = store::ElementsFrame::new(list, 0);
        for element in elements {
            frame.push(element.as_ref());
        }
        let (pushed, ticket) = self.shared.store.with(|locked| locked.push(frame.into()));
        pushed.map_err(refused)?;
        self.durable(ticket).await
    }

    /// Torn bytes and damaged parts that opening the folder found.
    pub fn recovered(&self) -> (u64, u64) {
        let found = self.shared.store.recovered();
        (found.torn_bytes, found.damaged)
    }

    /// Writes what waits. Nothing can be changed afterwards.
    pub async fn close(&self) {
        self.shared.store.close().await;
    }

    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.shared.store
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.shared.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn durable(&self, ticket: Ticket) -> Result<(), SourceError> {
        if self.shared.store.durable(ticket).await {
            return Ok(());
        }
        Err(SourceError::Unavailable(anyhow::anyhow!("the embedded store is closed")))
    }

    /// Makes changes if the claim is ours, and says what `work` says.
    fn owned<T>(
        &self,
        claim: &ClaimRef,
        work: impl FnOnce(&mut Locked<'_>, &ClaimState) -> Result<T, SourceError>,
    ) -> Result<(T, Ticket), SourceError> {
        let id = claim.id.to_string();
        let leases = self.leases();
        let ours = leases.by_claim.get(&id).is_some_and(|lease| *lease.owner == *self.owner);
        let (result, ticket) = self.shared.store.with(|locked| {
            let state = locked.state().claims.get(&id).filter(|state| ours && state.fence == claim.fence);
            let state = state.cloned().ok_or(SourceError::LeaseLost(claim.id))?;
            work(locked, &state)
        });
        result.map(|value| (value, ticket))
    }

    fn hold(&self, leases: &mut Leases, id: &str) {
        let lease = Lease {
            owner: self.owner.clone(),
            until: Some(Instant::now() + self.lease),
        };
        leases.by_claim.insert(id.to_owned(), lease);
    }

    /// Whoever owns these claims owns them no more.
    fn let_go(&self, claims: &[String]) {
        let mut leases = self.leases();
        claims.iter().for_each(|id| drop(leases.by_claim.remove(id)));
    }

    fn key(&self, name: &str) -> Option<Arc<Key>> {
        self.keys.iter().find(|key| *key.name == *name).cloned()
    }

    /// As the engine knows it; `None`: its list is none that gateways push to.
    fn known(&self, id: &str, state: &ClaimState) -> Option<Claim> {
        Some(Claim {
            id: ClaimId(id.parse().ok()?),
            key: self.key(&state.list)?,
            fence: state.fence,
            len: state.len,
            base: state.base,
            cursors: state.cursors.clone(),
            adopted: state.adopted.clone(),
            ttl: state.ttl_ms.map(Duration::from_millis),
            claimed_at_ms: state.at_ms,
        })
    }

    async fn with_letters<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Letters) -> io::Result<T> + Send + 'static,
    ) -> Result<T, SourceError> {
        let shared = self.shared.clone();
        let done = tokio::task::spawn_blocking(move || {
            work(&mut shared.letters.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(SourceError::Unavailable(anyhow::anyhow!("dead letters: {error}"))),
            Err(error) => Err(SourceError::Unavailable(error.into())),
        }
    }
}

fn refused(refusal: Refusal) -> SourceError {
    SourceError::Unavailable(refusal.into())
}

#[async_trait]
impl Source for EmbeddedSource {
    async fn open(&self) -> Result<Mode, SourceError> {
        Ok(Mode::Embedded)
    }

    fn mode_reason(&self) -> String {
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

    async fn fleet(&self) -> Result<Arc<str>, SourceError> {
        let (fleet, _) = self.shared.store.with(|locked| locked.state().fleet.as_str().into());
        Ok(fleet)
    }

    fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    async fn pending(&self) -> Result<Vec<(usize, Result<u64, SourceError>)>, SourceError> {
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

    async fn claim(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
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

    async fn renew(&self, claims: &[ClaimRef], lanes: &[Arc<str>]) -> Result<Vec<ClaimId>, SourceError> {
        let mut lost = Vec::new();
        for claim in claims {
            match self.owned(claim, |_, _| Ok(())) {
                Ok(_) => self.hold(&mut self.leases(), &claim.id.to_string()),
                Err(_) => lost.push(claim.id),
            }
        }
        self.leases().lanes.extend(lanes.iter().cloned());
        Ok(lost)
    }

    async fn take_over(&self, lanes: &[Arc<str>], held: &[ClaimId]) -> Result<Vec<Claim>, SourceError> {
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

    async fn read(&self, claim: &ClaimRef, first_row: u64, max_rows: usize) -> Result<Window, SourceError> {
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

    async fn acknowledge(&self, claim: &ClaimRef, cursors: &[(Arc<str>, u64)]) -> Result<Acknowledged, SourceError> {
        let id = claim.id.to_string();
        let (acknowledged, ticket) = self.owned(claim, |locked, state| {
            for (lane, _) in cursors {
                if !state.cursors.contains_key(lane) {
                    let unknown = anyhow::anyhow!("claim {} has no rows for the pump {lane}", claim.id);
                    return Err(SourceError::Refused(unknown));
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

    async fn release(&self, claims: &[ClaimRef]) -> Result<(), SourceError> {
        for claim in claims {
            if self.owned(claim, |_, _| Ok(())).is_ok()
                && let Some(lease) = self.leases().by_claim.get_mut(&claim.id.to_string())
            {
                lease.until = None;
            }
        }
        Ok(())
    }

    async fn usage(&self) -> Result<Usage, SourceError> {
        let lanes = self.leases().lanes.clone();
        let (usage, _) = self.shared.store.with(|locked| {
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
        Ok(usage)
    }

    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError> {
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
                    cursors: state.cursors.iter().map(|(lane, row)| (lane.to_string(), *row)).collect(),
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

    async fn store_dead(&self, letters: &[DeadLetter], limits: DeadLimits) -> Result<DeadStored, SourceError> {
        let letters = letters.to_vec();
        self.with_letters(move |known| known.store(&letters, limits)).await
    }

    async fn list_dead(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError> {
        let lane = lane.map(str::to_owned);
        self.with_letters(move |known| known.list(lane.as_deref(), limit)).await
    }

    async fn remove_dead(&self, ids: &[DeadLetterId]) -> Result<u64, SourceError> {
        let ids = ids.to_vec();
        self.with_letters(move |known| known.remove(&ids)).await
    }

    async fn note_spooled(&self, claim: &ClaimRef, lane: &str, waiting: bool) -> Result<(), SourceError> {
        let change = Change::Spooled {
            id: claim.id.to_string(),
            lane: lane.to_owned(),
            waiting,
        };
        let ticket = self.shared.store.change(change).map_err(refused)?;
        self.durable(ticket).await
    }

    async fn spooled(&self) -> Result<Vec<(ClaimId, Arc<str>)>, SourceError> {
        let (spooled, _) = self.shared.store.with(|locked| {
            let entries = locked.state().spooled.iter();
            entries
                .filter_map(|(id, lane)| Some((ClaimId(id.parse().ok()?), lane.as_str().into())))
                .collect()
        });
        Ok(spooled)
    }

    async fn restore(
        &self,
        claim: ClaimId,
        ledgers: &dyn Ledgers,
        accept_duplicates: bool,
    ) -> Result<Restored, SourceError> {
        let id = claim.to_string();
        let (seen, _) = self.shared.store.with(|locked| locked.state().claims.get(&id).cloned());
        let seen = seen.ok_or(SourceError::LeaseLost(claim))?;
        let mut cursors = seen.cursors.clone();
        for (lane, cursor) in &mut cursors {
            let known = seen.adopted.get(lane).unwrap_or(lane);
            match ledgers.first_missing(known, claim).await {
                Ok(applied) => *cursor = (*cursor).max(applied).min(seen.len),
                Err(_) if accept_duplicates => {}
                Err(error) => {
                    return Err(SourceError::Refused(anyhow::anyhow!(
                        "claim {claim}: the ledger of the pump {lane} cannot be read ({error}); --accept-duplicates goes on without it"
                    )));
                }
            }
        }
        let low = cursors.values().copied().fold(seen.len, u64::min);
        if !accept_duplicates && cursors.values().any(|&cursor| cursor != low) {
            return Err(SourceError::Refused(anyhow::anyhow!(
                "claim {claim}: its pumps have got differently far {cursors:?}; the ones ahead would get rows twice (--accept-duplicates)"
            )));
        }
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

    async fn drop_lane(&self, lane: &str) -> Result<u64, SourceError> {
        let (dropped, ticket) = self.shared.store.with(|locked| {
            let claims = locked.state().claims.values();
            let waiting: u64 = claims.map(|claim| claim.waiting(lane)).sum();
            locked.change(Change::DropLane { lane: lane.to_owned() }).map(|()| waiting)
        });
        let dropped = dropped.map_err(refused)?;
        self.durable(ticket).await?;
        Ok(dropped)
    }

    async fn adopt_lane(&self, old: &str, new: &str) -> Result<u64, SourceError> {
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

    async fn announce_version(&self, version: &str) -> Result<(), SourceError> {
        use base64::{Engine, engine::general_purpose::STANDARD};
        let change = Change::Set {
            key: VERSION_KEY.to_owned(),
            value: STANDARD.encode(version),
            until_ms: None,
        };
        let ticket = self.shared.store.change(change).map_err(refused)?;
        self.durable(ticket).await
    }
}
