//! Where records come from. Lanes, groups, retry and spool know this trait alone.

pub mod embedded;
pub mod memory;
pub mod redis;

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use analytics::{ClaimId, Key, RecordKind, RowId, Span, Wire};
use async_trait::async_trait;
use bytes::Bytes;

/// A list that was taken away from its key, and how far each lane has got with it.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Identity.
    pub id: ClaimId,
    /// The list it was taken from.
    pub key: Arc<Key>,
    /// Grows with every change of owner; an older fence may neither acknowledge nor read.
    pub fence: u64,
    /// Rows that the claim had when it was made.
    pub len: u64,
    /// First row that is still in the source.
    pub base: u64,
    /// Next row of every lane, fixed set since the claim was made.
    pub cursors: BTreeMap<Arc<str>, u64>,
    /// Lanes that took over the rows of another one, with the name that their ledger knows.
    pub adopted: BTreeMap<Arc<str>, Arc<str>>,
    /// Time to live that the list had when it was claimed.
    pub ttl: Option<Duration>,
    /// When it was made, milliseconds since 1970 by the source's clock.
    pub claimed_at_ms: u64,
}

/// A claim as its owner refers to it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimRef {
    /// Identity.
    pub id: ClaimId,
    /// The list it was taken from.
    pub key: Arc<Key>,
    /// Fence under which it is held.
    pub fence: u64,
}

impl Claim {
    /// How the owner refers to this claim.
    pub fn reference(&self) -> ClaimRef {
        ClaimRef {
            id: self.id,
            key: self.key.clone(),
            fence: self.fence,
        }
    }
}

/// Consecutive rows of a claim.
#[derive(Clone, Debug)]
pub struct Window {
    /// Number of the first row.
    pub first_row: u64,
    /// The reply's bytes.
    pub buffer: Bytes,
    /// Where in `buffer` each element lies.
    pub elements: Vec<Span>,
}

/// State of a claim after an acknowledgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledged {
    /// Some lane still has rows to write. `base` is the first row that the source keeps.
    Open {
        /// First row still in the source.
        base: u64,
    },
    /// Every lane is through: the claim is gone.
    Finished,
}

/// Why the source did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Cannot be reached, timed out, is loading, full: try again.
    #[error("{0}")]
    Unavailable(anyhow::Error),
    /// Another instance owns the claim, or it is gone: let go of it.
    #[error("the claim {0} belongs to another instance or is gone")]
    LeaseLost(ClaimId),
    /// The list behind a claim has vanished (evicted, or deleted by somebody) although these rows are not finished.
    /// They are lost: count them, and acknowledge them so that the claim ends.
    #[error("the list of claim {claim} has vanished from Redis: rows {}-{} are lost", rows.start, rows.end)]
    Evicted {
        /// Identity.
        claim: ClaimId,
        /// What is missing.
        rows: Range<u64>,
    },
    /// The key's name is taken by something that is no list.
    #[error("{key} is a {found}, not a list; it is left alone (rename or delete it)")]
    NotAList {
        /// Full key name.
        key: Arc<str>,
        /// Its type.
        found: String,
    },
    /// Wrong password, missing permission, wrong set-up: will not pass by itself.
    #[error("{0}")]
    Refused(anyhow::Error),
}

/// How records are taken, chosen at start-up by probing; see `docs/guarantees.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Claims by script: nothing is lost, whatever dies.
    ClaimsScript,
    /// Claims by WATCH/MULTI, for users without EVAL.
    ClaimsWatch,
    /// Read, deliver, then remove: at least once for every sink.
    Peek,
    /// Upstream's pop: what dies after the pop is lost.
    Legacy,
    /// Records made in this process.
    Memory,
    /// Gateways push to the pump itself; claims in its own log.
    Embedded,
}

/// How the source is, for `/status`, the budget and the log.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Rows per key that nobody has claimed yet (keys with none are left out).
    pub unclaimed: Vec<(Arc<Key>, u64)>,
    /// Rows in all claims of all instances.
    pub claimed_rows: u64,
    /// Claims of all instances.
    pub claims: u64,
    /// Redis `used_memory`, where INFO is allowed.
    pub used_memory: Option<u64>,
    /// Redis `maxmemory`, if set.
    pub max_memory: Option<u64>,
    /// Redis `maxmemory_policy`.
    pub eviction_policy: Option<String>,
    /// Pumps that claims wait for although no instance has them configured, with their rows.
    pub orphans: Vec<(Arc<str>, u64)>,
}

/// A claim as operators see it (`tyk-pump claims list`).
#[derive(Clone, Debug, serde::Serialize, serde::Deserialize)]
pub struct ClaimReport {
    /// Claim id.
    pub id: String,
    /// List it was taken from.
    pub key: String,
    /// Owner, as instance and process.
    pub owner: String,
    /// Fence.
    pub fence: u64,
    /// Rows in all.
    pub len: u64,
    /// Next row of every lane.
    pub cursors: BTreeMap<String, u64>,
    /// Milliseconds until the lease ends; negative: over.
    pub lease_ms: i64,
    /// Age in milliseconds.
    pub age_ms: u64,
}

/// What the bytes of a dead letter are. Kept with it: the list that it came from may be configured otherwise, or not at
/// all, when it is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElementForm {
    /// A traffic record in MessagePack.
    Msgpack,
    /// A traffic record in Protobuf.
    Protobuf,
    /// An uptime record.
    Uptime,
}

impl ElementForm {
    /// The form of the elements of a list.
    pub fn of(key: &Key) -> Self {
        match (key.records, key.wire) {
            (RecordKind::Uptime, _) => Self::Uptime,
            (RecordKind::Traffic, Wire::Msgpack) => Self::Msgpack,
            (RecordKind::Traffic, Wire::Protobuf) => Self::Protobuf,
        }
    }

    /// What a record of this form is.
    pub fn records(self) -> RecordKind {
        match self {
            Self::Uptime => RecordKind::Uptime,
            Self::Msgpack | Self::Protobuf => RecordKind::Traffic,
        }
    }

    /// How it is encoded.
    pub fn wire(self) -> Wire {
        match self {
            Self::Protobuf => Wire::Protobuf,
            Self::Msgpack | Self::Uptime => Wire::Msgpack,
        }
    }
}

/// A row that was not delivered for good: kept with its cause until somebody replays or drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Lane that it belongs to (`!undecodable`, or a pump's key).
    pub lane: Arc<str>,
    /// The list that it came from.
    pub key: Arc<str>,
    /// What `raw` is; `None`: stored by a version that did not say.
    pub form: Option<ElementForm>,
    /// Which row.
    pub row: RowId,
    /// Why.
    pub cause: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The element as it came.
    pub raw: Bytes,
}

/// Name of a dead letter: pump, claim and row. Text form `<pump>/<ulid>/<row>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeadLetterId {
    /// Lane.
    pub lane: Arc<str>,
    /// Row.
    pub row: RowId,
}

/// What storing dead letters did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeadStored {
    /// Entries that had to go because the store is full, oldest first.
    pub evicted: u64,
}

/// Bounds of the dead letters of one lane.
#[derive(Clone, Copy, Debug)]
pub struct DeadLimits {
    /// Entries.
    pub count: u64,
    /// Bytes that they take in the store.
    pub bytes: u64,
}

/// What back-ends say about how far they have applied a claim.
#[async_trait]
pub trait Ledgers: Send + Sync {
    /// The first row that the ledger of `lane` does not cover; 0 when nothing is applied, or there is no ledger.
    async fn first_missing(&self, lane: &str, claim: ClaimId) -> anyhow::Result<u64>;
}

/// What putting a claim back did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restored {
    /// Rows that are in their list again.
    pub moved: u64,
    /// Rows that every lane had finished, and that are gone.
    pub finished: u64,
}

/// A place that records come from: Redis, or this process itself.
///
/// Every method may be called again after an error; claims, cursors and dead letters only move forward.
#[async_trait]
pub trait Source: Send + Sync {
    /// Connects, probes what the server allows, chooses the mode. Called until it succeeds, before anything else.
    async fn open(&self) -> Result<Mode, SourceError>;

    /// Why this mode was chosen, in words for the log and `/status`.
    fn mode_reason(&self) -> String;

    /// Random id kept in this source.
    async fn fleet(&self) -> Result<Arc<str>, SourceError>;

    /// The lists that gateways push to, in upstream's order; the uptime list last, if wanted.
    fn keys(&self) -> &[Arc<Key>];

    /// Indexes into [`Source::keys`] of the lists that have elements, with their lengths and errors of single keys.
    async fn pending(&self) -> Result<Vec<(usize, Result<u64, SourceError>)>, SourceError>;

    /// Takes the whole list away from its key. `None`: there is nothing (any more).
    async fn claim(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError>;

    /// Extends the leases. Returns those that are lost; everything else is confirmed. Also the heartbeat of `lanes`.
    async fn renew(&self, claims: &[ClaimRef], lanes: &[Arc<str>]) -> Result<Vec<ClaimId>, SourceError>;

    /// Takes over claims whose lease is over, or whose process (of this instance) is gone, if one of `lanes` still has
    /// rows in them. `held` are skipped.
    async fn take_over(&self, lanes: &[Arc<str>], held: &[ClaimId]) -> Result<Vec<Claim>, SourceError>;

    /// Reads up to `max_rows` rows from `first_row` on, fewer if they are large; at least one.
    async fn read(&self, claim: &ClaimRef, first_row: u64, max_rows: usize) -> Result<Window, SourceError>;

    /// Each of these lanes has finished every row below its cursor.
    async fn acknowledge(&self, claim: &ClaimRef, cursors: &[(Arc<str>, u64)]) -> Result<Acknowledged, SourceError>;

    /// Gives claims back at once, for another instance or the next start.
    async fn release(&self, claims: &[ClaimRef]) -> Result<(), SourceError>;

    /// Figures for the budget and for operators.
    async fn usage(&self) -> Result<Usage, SourceError>;

    /// All claims of all instances.
    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError>;

    /// Stores dead letters, keyed: storing one again changes nothing.
    async fn store_dead(&self, letters: &[DeadLetter], limits: DeadLimits) -> Result<DeadStored, SourceError>;

    /// Dead letters of a lane (or of all), oldest first, at most `limit`.
    async fn list_dead(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError>;

    /// Removes dead letters.
    async fn remove_dead(&self, ids: &[DeadLetterId]) -> Result<u64, SourceError>;

    /// Notes that files of this claim wait in the spool of `lane` (`true`) or no longer do.
    async fn note_spooled(&self, claim: &ClaimRef, lane: &str, waiting: bool) -> Result<(), SourceError>;

    /// Claims and lanes whose rows are noted as waiting in a spool.
    async fn spooled(&self) -> Result<Vec<(ClaimId, Arc<str>)>, SourceError>;

    /// Puts the unfinished rows of a claim back to the head of their list and ends the claim, whoever owns it. Refused
    /// when lanes have got differently far, or a ledger cannot be read, unless `accept_duplicates`.
    async fn restore(
        &self,
        claim: ClaimId,
        ledgers: &dyn Ledgers,
        accept_duplicates: bool,
    ) -> Result<Restored, SourceError>;

    /// Gives up the rows that wait for a lane, in every claim. Returns how many.
    async fn drop_lane(&self, lane: &str) -> Result<u64, SourceError>;

    /// Gives the rows that wait for lane `old` to lane `new`, whose ledger keeps the old name. Returns how many.
    async fn adopt_lane(&self, old: &str, new: &str) -> Result<u64, SourceError>;

    /// Writes the version for Tyk Dashboard, where the source has a place for it.
    async fn announce_version(&self, _version: &str) -> Result<(), SourceError> {
        Ok(())
    }
}
