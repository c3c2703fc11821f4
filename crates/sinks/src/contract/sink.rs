//! What delivery asks of a back-end.

use std::{net::SocketAddr, path::PathBuf, sync::Arc};

use analytics::{ClaimId, RowRanges, Selection};
use async_trait::async_trait;

use super::{Applied, Guarantee, WriteError, Written};

/// A back-end.
///
/// # Who calls, and when
/// A sink belongs to one lane. Its lane calls [`write`](Sink::write), [`forget`](Sink::forget) and
/// [`applied`](Sink::applied) one after the other, never two at a time, and nothing after [`close`](Sink::close).
/// `close` may be called while a write is under way, when a stop cannot wait for it: it returns once that write has ended.
/// Several sinks may write to the same back-end at the same time: lanes of this process, and other instances.
///
/// # Rows
/// A row has one number, (claim, row), for ever. It may come again under that number: after a crash, after a write that
/// failed or was given up, in other groups than before, with other rows around it. [`Guarantee`] says what a sink makes of
/// that.
///
/// # A write that is given up
/// The lane drops the future of a write when the pump's `timeout` is over, and offers its rows again. From then on
/// - what is still on its way may arrive or not, but nothing new may be started on behalf of the dropped write;
/// - what cannot be stopped (a thread that writes a file, messages that a client library holds) must have ended before
///   the next write sends anything: the next write waits for it, or purges it. Moving an owned lock into the thread does
///   that;
/// - what arrives late is marked in [`Applied`] all the same, before the next write looks at it.
///
/// # Tasks in the background
/// A sink may run tasks of its own (keep-alives, sniffing of nodes, a server that is scraped). They hold no rows that a
/// write has already reported as accepted, unless the sink's guarantee is [`Guarantee::BestEffort`]; they end at `close`,
/// and at the latest when the sink is dropped; a panic in one of them is reported by the next write.
///
/// # What only one can have
/// A sink that needs a port or a folder for itself says so in [`resources`](Sink::resources) and lets go of it at `close`.
/// If another sink of the same process has it (a configuration was reloaded), or a stranger, building fails with
/// [`Unavailable`](super::BuildError::Unavailable) and is tried again. [`Occupied`](super::BuildError::Occupied) is for
/// what another *instance of this pump* holds while it delivers the same records, because it keeps this one from claiming
/// any; a busy port is never that.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Returns once the back-end has accepted every selected row of the group, or says why not.
    ///
    /// A group is consecutive batches of one key, of one or many claims, in order. It can be empty, and its selections can:
    /// that is a success without any request, unless [`writes_empty`](super::SinkSpec::writes_empty) says otherwise.
    /// Batching, repetition, back-off, filters and dead letters are the lane's; a sink does not repeat a request by itself,
    /// except to find out which part of it is too large or refused.
    ///
    /// Rows that the back-end has accepted are marked in `applied` at once, when it accepts a group in parts; rows that are
    /// marked there are not sent. After `Ok`, rows that are neither marked nor rejected count as accepted.
    ///
    /// # Errors
    /// See [`WriteError`]: none of the rows that are not marked may be in the back-end, as far as the sink can tell.
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError>;

    /// What this one promises, where its options or its surroundings make that less than its type's best. Asked between
    /// writes: what it finds in its back-end may change it.
    fn guarantee(&self) -> Option<Guarantee> {
        None
    }

    /// What its operator should know although it works, with the remedy; `/status` shows it. Asked between writes.
    fn notice(&self) -> Option<String> {
        None
    }

    /// What this one has for itself as long as it lives.
    fn resources(&self) -> Vec<Resource> {
        Vec::new()
    }

    /// Every row of these claims is finished and acknowledged, so that their entries in the back-end's ledger may go. Best
    /// effort: what stays is removed later.
    async fn forget(&self, _claims: &[ClaimId]) {}

    /// Rows that the back-end's own ledger knows as applied by this pump, or under the name of another (`former`, which
    /// this one had before); `None`: it keeps no ledger.
    ///
    /// # Errors
    /// The ledger cannot be read now.
    async fn applied(&self, _claim: ClaimId, _former: Option<&str>) -> Result<Option<RowRanges>, WriteError> {
        Ok(None)
    }

    /// Waits for a write that is under way, flushes, and lets go of the back-end.
    ///
    /// # Errors
    /// Something could not be flushed; the back-end is let go nevertheless.
    async fn close(&self) -> Result<(), WriteError> {
        Ok(())
    }
}

/// Something that only one sink at a time can have.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A port that it listens on.
    Port(SocketAddr),
    /// A folder, with everything in it.
    Folder(PathBuf),
}
