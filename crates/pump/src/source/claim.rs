//! Claims: what a source says of them, and how their owner refers to them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use analytics::{ClaimId, Key, Span};
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

/// A claim that is ours no more, and where it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// Another instance owns it, or it is finished, put back or given up: its rows are somebody else's business.
    Taken(ClaimId),
    /// The source has lost it, and its rows with it: whatever of them is not delivered is lost, and must be counted.
    Vanished(ClaimId),
}

impl Lost {
    /// Which.
    pub fn claim(self) -> ClaimId {
        match self {
            Lost::Taken(claim) | Lost::Vanished(claim) => claim,
        }
    }
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
    /// Commands that were sent to Redis since the start.
    pub commands: Option<u64>,
    /// Why gateways are refused at the moment, where the source hears of it.
    pub refusing: Option<String>,
    /// Elements that gateways were refused since the start, where the source hears of it.
    pub refused: u64,
    /// How the store is, in words, where that changes while it is open.
    pub condition: Option<String>,
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
