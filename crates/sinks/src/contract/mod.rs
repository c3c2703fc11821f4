//! The interface between delivery and a back-end.

mod absent;
mod applied;
mod build;
mod gather;
mod guarantee;
pub(crate) mod ledger;
mod outcome;
mod sink;
mod spec;
mod upkeep;

pub use absent::{Absent, MissingFeature};
pub use applied::Applied;
pub use build::{Build, BuildContext, BuildError, Check, Fleet};
pub use gather::Gather;
pub use guarantee::Guarantee;
pub use outcome::{BoxError, Rejected, WriteError, Written};
pub use sink::{Resource, Sink};
pub use spec::SinkSpec;
pub use upkeep::{IndexReport, IndexState, Indexes, Migrate, MigrationMode};
