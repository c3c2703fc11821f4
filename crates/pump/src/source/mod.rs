//! Where records come from. Lanes, groups, retry and spool know these traits alone.
//!
//! A source is four things, and whoever needs one of them asks for no more: [`Claims`] are the way of records to the
//! lanes, [`DeadStore`] keeps what cannot be delivered, [`SpoolNotes`] remembers what waits on disk, and [`Operate`] is
//! what operators do by hand.

mod claim;
pub mod embedded;
mod error;
pub mod letter;
pub mod lists;
pub mod memory;
mod mode;
pub mod redis;
pub mod restore;
pub mod table;

use std::sync::Arc;

use analytics::{ClaimId, Key};
use async_trait::async_trait;

pub use self::{
    claim::{Acknowledged, Claim, ClaimRef, ClaimReport, Lost, Usage, Window},
    error::SourceError,
    letter::{DeadLetter, DeadLetterId, DeadLimits, DeadStored, ElementForm},
    mode::Mode,
    restore::{Ledgers, Restored, Terms},
};

/// A list that gateways push to, by its place in [`Claims::keys`], with its length, or why it cannot be read.
pub type Pending = (usize, Result<u64, SourceError>);

/// Records on their way: lists are claimed, claims are read, acknowledged and given back.
///
/// Every method may be called again after an error; claims and cursors only move forward.
#[async_trait]
pub trait Claims: Send + Sync {
    /// Connects, probes what the server allows, chooses the mode. Called until it succeeds, before anything else.
    async fn open(&self) -> Result<Mode, SourceError>;

    /// Random id kept in this source.
    async fn fleet(&self) -> Result<Arc<str>, SourceError>;

    /// The lists that gateways push to, in upstream's order; the uptime list last, if wanted.
    fn keys(&self) -> &[Arc<Key>];

    /// The lists that have elements, and those that cannot be read.
    async fn pending(&self) -> Result<Vec<Pending>, SourceError>;

    /// Takes the whole list away from its key. `None`: there is nothing (any more).
    async fn claim(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError>;

    /// Extends the leases. Returns those that are lost; everything else is confirmed. Also the heartbeat of `lanes`.
    async fn renew(&self, claims: &[ClaimRef], lanes: &[Arc<str>]) -> Result<Vec<Lost>, SourceError>;

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

    /// Writes the version for Tyk Dashboard, where the source has a place for it.
    async fn announce_version(&self, _version: &str) -> Result<(), SourceError> {
        Ok(())
    }
}

/// Keeps rows that were not delivered for good.
#[async_trait]
pub trait DeadStore: Send + Sync {
    /// Stores dead letters, keyed: storing one again changes nothing.
    async fn store_dead(&self, letters: &[DeadLetter], limits: DeadLimits) -> Result<DeadStored, SourceError>;

    /// Dead letters of a lane (or of all), oldest first, at most `limit`.
    async fn list_dead(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError>;

    /// Removes dead letters. Returns how many were there.
    async fn remove_dead(&self, ids: &[DeadLetterId]) -> Result<u64, SourceError>;
}

/// Remembers which rows wait in a spool on disk, so that a ledger is not pruned before they are delivered.
#[async_trait]
pub trait SpoolNotes: Send + Sync {
    /// Notes that files of this claim wait in the spool of `lane` (`true`) or no longer do.
    async fn note_spooled(&self, claim: &ClaimRef, lane: &str, waiting: bool) -> Result<(), SourceError>;

    /// Claims and lanes whose rows are noted as waiting in a spool.
    async fn spooled(&self) -> Result<Vec<(ClaimId, Arc<str>)>, SourceError>;
}

/// What operators do to claims.
#[async_trait]
pub trait Operate: Send + Sync {
    /// All claims of all instances.
    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError>;

    /// Puts the unfinished rows of a claim back to the head of their list and ends the claim. Refused when somebody works
    /// on it, lanes have got differently far, or a ledger cannot be read, unless `terms` say otherwise.
    async fn restore(&self, claim: ClaimId, ledgers: &dyn Ledgers, terms: Terms) -> Result<Restored, SourceError>;

    /// Gives up the rows that wait for a lane, in every claim. Returns how many.
    async fn drop_lane(&self, lane: &str) -> Result<u64, SourceError>;

    /// Gives the rows that wait for lane `old` to lane `new`, whose ledger keeps the old name. Returns how many.
    async fn adopt_lane(&self, old: &str, new: &str) -> Result<u64, SourceError>;
}

/// A place that records come from, and where everything about them is kept: Redis, or this process itself.
pub trait Source: Claims + DeadStore + SpoolNotes + Operate {}

impl<T: Claims + DeadStore + SpoolNotes + Operate> Source for T {}
