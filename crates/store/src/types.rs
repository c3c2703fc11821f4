//! What the store says about claims and letters.

use std::{collections::BTreeMap, ops::Range, sync::Arc, time::Duration};

use analytics::{ClaimId, RowId, Span};
use bytes::Bytes;

use crate::Refusal;

/// A list that was taken away from its key.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Identity.
    pub id: ClaimId,
    /// The list it was taken from.
    pub list: Arc<str>,
    /// Grows with every change of owner.
    pub fence: u64,
    /// Rows that the claim had when it was made.
    pub len: u64,
    /// First row that is still there.
    pub base: u64,
    /// Next row of every reader; the readers are fixed since the claim was made.
    pub cursors: BTreeMap<Arc<str>, u64>,
    /// Readers that took over the rows of another one, with the other's name.
    pub adopted: BTreeMap<Arc<str>, Arc<str>>,
    /// Time to live that the list had when it was claimed.
    pub ttl: Option<Duration>,
    /// When it was made, milliseconds since 1970.
    pub at_ms: u64,
}

/// A claim as its owner refers to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Held {
    /// Identity.
    pub id: ClaimId,
    /// Fence under which it is held.
    pub fence: u64,
}

impl Claim {
    /// How the owner refers to this claim.
    pub fn held(&self) -> Held {
        Held {
            id: self.id,
            fence: self.fence,
        }
    }
}

/// Consecutive rows of a claim.
#[derive(Clone, Debug)]
pub struct Window {
    /// Number of the first row.
    pub first_row: u64,
    /// What was read from disk.
    pub buffer: Bytes,
    /// Where in `buffer` each row lies.
    pub elements: Vec<Span>,
}

/// State of a claim after its cursors have moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Some reader still has rows; `base` is the first row that is kept.
    Open {
        /// First row that is kept.
        base: u64,
    },
    /// Every reader is through: the claim is gone.
    Finished,
}

/// Why the store did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The disk, or the room on it: try again.
    #[error("{0}")]
    Unavailable(String),
    /// Another owner has the claim, or it is gone.
    #[error("the claim {0} belongs to another instance or is gone")]
    NotHeld(ClaimId),
    /// Rows are damaged. They are put aside and counted.
    #[error("rows {}-{} of claim {claim} are damaged", rows.start, rows.end)]
    Lost {
        /// Identity.
        claim: ClaimId,
        /// What is missing.
        rows: Range<u64>,
    },
    /// What was asked makes no sense here.
    #[error("{0}")]
    Refused(String),
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        Self::Unavailable(refusal.to_string())
    }
}

/// Figures.
#[derive(Clone, Debug, Default)]
pub struct Usage {
    /// Rows in all claims.
    pub claimed_rows: u64,
    /// Claims.
    pub claims: u64,
    /// Readers that claims wait for although nobody has named them since the store was opened, with their rows.
    pub orphans: Vec<(Arc<str>, u64)>,
}

/// How the store is.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Bytes on disk.
    pub used_bytes: u64,
    /// Files of the log.
    pub segments: usize,
    /// Damaged parts that were put aside.
    pub damaged: u64,
    /// Tails that were being written when the process died, and were cut off.
    pub torn: u64,
    /// Why nothing can be written at the moment.
    pub trouble: Option<String>,
    /// Elements that were refused because the store was full, since it was opened.
    pub refused_full: u64,
    /// Elements that were refused because the disk did not take them.
    pub refused_disk: u64,
    /// Why clients are refused at the moment.
    pub refusing: Option<String>,
}

/// A claim as operators see it.
#[derive(Clone, Debug)]
pub struct ClaimReport {
    /// The claim.
    pub claim: Claim,
    /// Its owner, if it has one.
    pub owner: Option<Arc<str>>,
    /// Milliseconds until the lease ends; negative: over.
    pub lease_ms: i64,
}

/// A row that nobody can take, kept until somebody removes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Whose it is.
    pub reader: Arc<str>,
    /// The list that it came from.
    pub list: Arc<str>,
    /// Which row.
    pub row: RowId,
    /// Why.
    pub cause: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The element as it came.
    pub raw: Bytes,
    /// How it is encoded, in the words of whoever stored it.
    pub form: Option<Arc<str>>,
}

/// What storing letters did, for every reader.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LettersStored {
    /// The oldest ones, which had to go.
    pub evicted: BTreeMap<Arc<str>, u64>,
    /// Letters that are larger than all letters of a reader may be together. They are not stored.
    pub too_large: BTreeMap<Arc<str>, u64>,
}

/// Name of a letter.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LetterId {
    /// Whose it is.
    pub reader: Arc<str>,
    /// Which row.
    pub row: RowId,
}

/// Bounds of the letters of one reader.
#[derive(Clone, Copy, Debug)]
pub struct LetterLimits {
    /// Letters.
    pub count: u64,
    /// Bytes that they take on disk.
    pub bytes: u64,
}
