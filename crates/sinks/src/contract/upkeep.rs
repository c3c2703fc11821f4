//! Reports of what a start changes, or leaves alone, in a back-end.

use futures::future::BoxFuture;

use super::{BuildContext, BuildError};

/// Lists or executes what the start of a pump would change; the statements in order.
pub type Migrate = fn(BuildContext, MigrationMode) -> BoxFuture<'static, Result<Vec<String>, BuildError>>;

/// Compares the indexes that a pump wants with those that are there, and builds what is missing if it may.
pub type Indexes = fn(BuildContext, MigrationMode) -> BoxFuture<'static, Result<Vec<IndexReport>, BuildError>>;

/// An index of one of a pump's collections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexReport {
    /// The collection.
    pub collection: String,
    /// The index's name; where it is there under another, the one that the pump would give it.
    pub name: String,
    /// How it stands.
    pub state: IndexState,
}

/// How an index stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IndexState {
    /// It is there as it should be.
    Present,
    /// It is there, and the pump has no use for it; its keys.
    Other(String),
    /// It is missing; the statement that makes it.
    Missing(String),
    /// It was missing and is there now; the statement.
    Built(String),
    /// It is there, but not as it should be.
    Differs {
        /// In what.
        how: String,
        /// What its owner can do.
        remedy: String,
    },
    /// It is missing and cannot be built; why.
    Failed(String),
}

/// Whether changes are only listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationMode {
    /// Say what the start would do.
    Plan,
    /// Do it, and wait for indexes that the start builds in the background.
    Apply,
}
