//! Records that gateways push to the pump itself: a store on disk that speaks the Redis protocol.
//!
//! [`EmbeddedSource`] is the source over that store, [`server`] what gateways talk to. The folder belongs to one
//! process, so that owners and leases live in memory; claims, cursors, dead letters and notes are in the log.

mod claims;
mod operate;
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
use store::{Change, ClaimState, Locked, Refusal, Store, Ticket, letters::Letters};
use tokio::time::Instant;

use super::{
    Acknowledged, Claim, ClaimRef, ClaimReport, Claims, DeadLetter, DeadLetterId, DeadLimits, DeadStore, DeadStored,
    Ledgers, Lost, Mode, Operate, Pending, Restored, SourceError, SpoolNotes, Terms, Usage, Window,
    lists::{VERSION_KEY, keys},
};
use crate::config::EmbeddedSettings;

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
        Err(SourceError::Unavailable(anyhow::anyhow!(
            "the embedded store is closed"
        )))
    }

    /// Makes changes if the claim is ours, and says what `work` says.
    fn owned<T>(
        &self,
        claim: &ClaimRef,
        work: impl FnOnce(&mut Locked<'_>, &ClaimState) -> Result<T, SourceError>,
    ) -> Result<(T, Ticket), SourceError> {
        let id = claim.id.to_string();
        let leases = self.leases();
        let ours = leases
            .by_claim
            .get(&id)
            .is_some_and(|lease| *lease.owner == *self.owner);
        let (result, ticket) = self.shared.store.with(|locked| {
            let state = locked
                .state()
                .claims
                .get(&id)
                .filter(|state| ours && state.fence == claim.fence);
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
impl Claims for EmbeddedSource {
    async fn open(&self) -> Result<Mode, SourceError> {
        Ok(Mode::embedded("gateways push to the pump itself"))
    }

    async fn fleet(&self) -> Result<Arc<str>, SourceError> {
        let (fleet, _) = self.shared.store.with(|locked| locked.state().fleet.as_str().into());
        Ok(fleet)
    }

    fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    async fn pending(&self) -> Result<Vec<Pending>, SourceError> {
        self.lengths().await
    }

    async fn claim(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        self.claim_list(key, lanes).await
    }

    async fn renew(&self, claims: &[ClaimRef], lanes: &[Arc<str>]) -> Result<Vec<Lost>, SourceError> {
        let mut lost = Vec::new();
        for claim in claims {
            match self.owned(claim, |_, _| Ok(())) {
                Ok(_) => self.hold(&mut self.leases(), &claim.id.to_string()),
                Err(_) => lost.push(Lost::Taken(claim.id)),
            }
        }
        self.leases().lanes.extend(lanes.iter().cloned());
        Ok(lost)
    }

    async fn take_over(&self, lanes: &[Arc<str>], held: &[ClaimId]) -> Result<Vec<Claim>, SourceError> {
        self.take_free(lanes, held).await
    }

    async fn read(&self, claim: &ClaimRef, first_row: u64, max_rows: usize) -> Result<Window, SourceError> {
        self.read_rows(claim, first_row, max_rows).await
    }

    async fn acknowledge(&self, claim: &ClaimRef, cursors: &[(Arc<str>, u64)]) -> Result<Acknowledged, SourceError> {
        self.move_cursors(claim, cursors).await
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
        self.figures().await
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

#[async_trait]
impl DeadStore for EmbeddedSource {
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
}

#[async_trait]
impl SpoolNotes for EmbeddedSource {
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
}

#[async_trait]
impl Operate for EmbeddedSource {
    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError> {
        self.reports().await
    }

    async fn restore(&self, claim: ClaimId, ledgers: &dyn Ledgers, terms: Terms) -> Result<Restored, SourceError> {
        self.put_back(claim, ledgers, terms).await
    }

    async fn drop_lane(&self, lane: &str) -> Result<u64, SourceError> {
        self.drop_rows(lane).await
    }

    async fn adopt_lane(&self, old: &str, new: &str) -> Result<u64, SourceError> {
        self.rename_lane(old, new).await
    }
}
