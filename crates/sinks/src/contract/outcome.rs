//! What became of a write.

use std::time::Duration;

use analytics::RowId;

/// Any error; its text says what failed and with which input, never a secret.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// A group that the back-end has accepted.
#[derive(Debug, Default)]
pub struct Written {
    /// Rows that it refused for good, by sinks without a ledger (bulk items of Elasticsearch, records of Kinesis).
    pub rejected: Vec<Rejected>,
    /// Rows that may stand in the back-end twice, counted and shown.
    pub possibly_doubled: u64,
}

/// A row that a back-end refuses for good.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// Which row.
    pub row: RowId,
    /// Why, in the back-end's words.
    pub reason: String,
}

/// A group that the back-end has not accepted.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Network, 429, 5xx, lock timeout: try again.
    #[error("{source}")]
    Retry {
        /// What the back-end asked for (`Retry-After`).
        after: Option<Duration>,
        /// What went wrong.
        source: BoxError,
    },
    /// Nothing was committed, because of these rows; empty: the sink does not know which, the lane bisects.
    #[error("{source}")]
    Reject {
        /// The offending rows, if known.
        rows: Vec<Rejected>,
        /// What went wrong.
        source: BoxError,
    },
    /// 401, unknown table, a directory that cannot be written: pause the lane, show it, keep the claims.
    #[error("{0}")]
    Config(BoxError),
}

impl WriteError {
    /// An error that will pass.
    pub fn retry(source: impl Into<BoxError>) -> Self {
        Self::Retry {
            after: None,
            source: source.into(),
        }
    }
}
