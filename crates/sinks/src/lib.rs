//! Every back-end that Tyk Pump writes to. A sink is one file here and one line in the table below.

pub mod options;
pub mod sink;
#[cfg(feature = "testkit")]
pub mod testkit;

pub use sink::{
    BoxError, Build, BuildContext, BuildError, Fleet, Gather, Guarantee, Rejected, Sink, SinkSpec, WriteError, Written,
};
