//! Why a source does not do what it is asked.

use std::{ops::Range, sync::Arc};

use analytics::ClaimId;

/// Why the source did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// Cannot be reached, timed out, is loading, full: try again.
    #[error("{0}")]
    Unavailable(anyhow::Error),
    /// Another instance owns the claim, or has finished it: let go of it.
    #[error("the claim {0} belongs to another instance or is finished")]
    LeaseLost(ClaimId),
    /// The source has lost the claim, and its rows with it: count what is not delivered, and let go of it.
    #[error("the claim {0} has vanished: its source has lost its data")]
    Vanished(ClaimId),
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

impl SourceError {
    /// A lane that a claim was not made for acknowledges rows of it.
    pub(super) fn no_such_lane(claim: ClaimId, lane: &str) -> SourceError {
        SourceError::Refused(anyhow::anyhow!("claim {claim} has no rows for the pump {lane}"))
    }
}
