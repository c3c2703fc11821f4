//! What delivery asks of a back-end.

use analytics::{ClaimId, RowRanges, Selection};
use async_trait::async_trait;

use super::{Guarantee, WriteError, Written};

/// A back-end. Delivery calls `write` from one lane at a time and never after `close`.
/// Rows may come again after a crash, under the same numbers: see [`Guarantee`].
#[async_trait]
pub trait Sink: Send + Sync {
    /// Returns once the back-end has accepted every selected row of the group, or says why not.
    ///
    /// A group is consecutive batches of one key, of one or many claims, in order. When the future is dropped (the
    /// pump's `timeout`), a write that goes on in a thread of its own must end before the next one begins.
    async fn write(&self, group: &[Selection]) -> Result<Written, WriteError>;

    /// What this one promises, where its options or its surroundings make that less than its type's best. Asked between
    /// writes: what it finds in its back-end may change it.
    fn guarantee(&self) -> Option<Guarantee> {
        None
    }

    /// Every row of these claims is finished and acknowledged, so that their ledger entries may go.
    async fn forget(&self, _claims: &[ClaimId]) {}

    /// Rows that the back-end's own ledger knows as applied by this pump, or under the name of another (`former`, which
    /// this one had before); `None`: it keeps no ledger.
    async fn applied(&self, _claim: ClaimId, _former: Option<&str>) -> Result<Option<RowRanges>, WriteError> {
        Ok(None)
    }

    /// Flushes and lets go of the back-end.
    async fn close(&self) -> Result<(), WriteError> {
        Ok(())
    }
}
