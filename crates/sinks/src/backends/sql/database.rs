//! The interface between SQL pumps and a database server.

use std::{ops::Range, sync::Arc};

use analytics::{ClaimId, RowRanges};
use async_trait::async_trait;

use super::table::{Rows, Table};
use crate::{BoxError, BuildError, Guarantee, WriteError};

/// A database: tables outside of transactions, and transactions.
///
/// One implementation a dialect. Connections are its own business: `begin` and the others connect when there is none.
#[async_trait]
pub(crate) trait Database: Send + Sync {
    /// Connects, so that wrong options and a server that is away are noticed at the start.
    async fn ping(&self) -> Result<(), DatabaseError>;

    /// What is missing until `table` has its shape: the statements that create or extend it, in order. Empty: nothing.
    /// Columns are never dropped, renamed or reordered.
    async fn plan(&self, table: &Table) -> Result<Vec<Statement>, DatabaseError>;

    /// Executes a planned statement, never inside of a transaction and on a connection that no transaction uses. That
    /// somebody else was quicker (table, column or index is there already) is no error.
    async fn execute(&self, statement: &Statement) -> Result<(), DatabaseError>;

    /// Names of the tables that begin with `prefix`, in the schema that `prefix` names or in the current one, sorted and
    /// named like `prefix`.
    async fn tables(&self, prefix: &str) -> Result<Vec<String>, DatabaseError>;

    /// The statement that drops a shard. It must not wait for long while others wait behind it.
    fn drop_table(&self, name: &str) -> Statement;

    /// Begins a transaction.
    async fn begin(&self) -> Result<Box<dyn Transaction>, DatabaseError>;

    /// Rows of `claim` that `pump` has applied; empty when there is no entry, when it is done, or no ledger yet.
    async fn applied(&self, pump: &str, claim: ClaimId) -> Result<RowRanges, DatabaseError>;

    /// Marks the entries of finished claims as done, and removes those of `fleet` that were done and not written to for
    /// 7 days (a process that was paused for hours may still come back with rows of a finished claim).
    async fn forget(&self, pump: &str, fleet: &str, claims: &[ClaimId]) -> Result<(), DatabaseError>;

    /// What the tables seen so far allow, if that is less than exactly once: without transactions no ledger can keep a
    /// repeated row out.
    fn guarantee(&self) -> Option<Guarantee> {
        None
    }

    /// Lets go of every connection.
    async fn close(&self);
}

/// A transaction. Dropped without [`Transaction::commit`] it is rolled back.
#[async_trait]
pub(crate) trait Transaction: Send {
    /// Makes the ledger entries of these claims if they are missing, locks them in the order given (sorted by the
    /// caller: no deadlocks), and says which rows each has applied.
    async fn lock_ledger(
        &mut self,
        pump: &str,
        fleet: &str,
        claims: &[ClaimId],
    ) -> Result<Vec<RowRanges>, DatabaseError>;

    /// Stores what the locked entries have applied now.
    async fn store_ledger(&mut self, pump: &str, entries: &[(ClaimId, RowRanges)]) -> Result<(), DatabaseError>;

    /// Appends rows to a table without a key.
    async fn insert(&mut self, table: &Table, rows: &Arc<dyn Rows>, range: Range<usize>) -> Result<(), DatabaseError>;

    /// Inserts rows, or merges them into those with the same key by each column's [`super::table::Merge`]. Keys are
    /// distinct and sorted by the caller.
    async fn upsert(&mut self, table: &Table, rows: &Arc<dyn Rows>, range: Range<usize>) -> Result<(), DatabaseError>;

    /// Sets the savepoint to which [`Transaction::roll_back_to_savepoint`] returns; there is one at a time.
    async fn set_savepoint(&mut self) -> Result<(), DatabaseError>;

    /// Undoes what happened since the savepoint, which stays set.
    async fn roll_back_to_savepoint(&mut self) -> Result<(), DatabaseError>;

    /// Makes everything permanent. After an error nobody knows whether it is.
    async fn commit(self: Box<Self>) -> Result<(), DatabaseError>;
}

/// What a database is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// To write.
    Full,
    /// To see what is there: nothing is made or changed, not even a file.
    Look,
}

/// A statement that changes tables or indexes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Statement {
    /// Complete SQL without the semicolon.
    pub sql: String,
    /// Builds an index without blocking writers: may take long, and is executed after everything else, in the
    /// background.
    pub concurrent: bool,
}

/// Why a database did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    /// Will pass: connection lost, deadlock, serialization failure, lock timeout, shutting down, too many connections.
    #[error("{0}")]
    Retry(BoxError),
    /// The values of a row: too long, out of range, a constraint.
    #[error("{0}")]
    Row(String),
    /// Somebody must change something: password, permissions, missing database, a column of another type.
    #[error("{0}")]
    Config(BoxError),
}

impl DatabaseError {
    /// What it means when a table was to be changed: no row of the group at hand is at fault.
    pub(crate) fn of_a_change(self) -> DatabaseError {
        match self {
            DatabaseError::Row(reason) => DatabaseError::Config(reason.into()),
            error => error,
        }
    }

    pub(crate) fn retry(source: impl Into<BoxError>) -> DatabaseError {
        DatabaseError::Retry(source.into())
    }
}

impl From<DatabaseError> for WriteError {
    fn from(error: DatabaseError) -> WriteError {
        match error {
            DatabaseError::Retry(source) => WriteError::retry(source),
            DatabaseError::Row(reason) => WriteError::Reject {
                rows: Vec::new(),
                source: reason.into(),
            },
            DatabaseError::Config(source) => WriteError::Config(source),
        }
    }
}

impl From<DatabaseError> for BuildError {
    fn from(error: DatabaseError) -> BuildError {
        BuildError::Unavailable(error.to_string().into())
    }
}
