//! Every back-end that Tyk Pump writes to. A sink is one file in `backends` and one line in the table `SINKS`.
//!
//! `contract` is what delivery and a sink agree upon, `transport` and `encode` are what sinks share, `options` makes
//! configuration, documentation and variables out of one struct.

mod backends;
mod contract;
mod encode;
pub mod failpoints;
pub mod options;
pub mod process;
mod table;
mod transport;

pub use backends::*;
pub use contract::{
    Absent, Applied, BoxError, Build, BuildContext, BuildError, Check, Fleet, Gather, Guarantee, IndexReport,
    IndexState, Indexes, Migrate, MigrationMode, MissingFeature, Rejected, Resource, Sink, SinkSpec, WriteError,
    Written,
};
pub use table::{ABSENT, Known, SINKS, UPTIME_SINKS, find, find_known, find_uptime, known, suggest};
#[cfg(feature = "http")]
pub use transport::http;
pub use transport::{durable, serve, tls, wire};
