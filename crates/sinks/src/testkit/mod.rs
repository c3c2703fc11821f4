//! The conformance suite, and back-ends to run it against.
//!
//! A sink says in its `SPEC` how its back-end is started; [`suite::run`] then checks everything that a sink promises.
//! What a back-end cannot do is reported by name with the reason.

pub mod certificates;
pub mod csv;
pub mod dummy;
pub mod elasticsearch;
mod flagged;
mod gate;
pub mod http;
pub mod hybrid;
mod log;
pub mod mariadb;
pub mod mongo;
pub mod proxy;
pub mod rows;
pub mod saas;
pub mod server;
pub mod splunk;
pub mod sql;
pub mod sqlite;
pub mod stdout;
pub mod suite;
pub mod wire;

use std::sync::{Arc, OnceLock};

use analytics::logrus::{LogForm, LogFormat, LogLevel};
use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;

use crate::{BuildContext, BuildError, Sink};
use rows::Alter;

pub use gate::Gate;
pub use log::Log;

/// Starts a back-end that is empty.
pub type Harness = fn() -> BoxFuture<'static, Box<dyn BackEnd>>;

/// What a pump `TEST` with these options is made from.
pub fn context(meta: Value) -> BuildContext {
    BuildContext {
        pump: "TEST".into(),
        meta,
        compat: false,
        log: LogForm {
            format: LogFormat::Text,
            level: LogLevel::Info,
        },
        fleet: Arc::new(OnceLock::from(Arc::from("fleet"))),
    }
}

/// Why a back-end cannot take part in a check.
pub type Reason = &'static str;

/// A back-end as the suite sees it. Stopped when it is dropped.
#[async_trait]
pub trait BackEnd: Send + Sync {
    /// `meta` of a pump that writes to it.
    fn options(&self) -> Value;

    /// Makes a sink; more than one after the other must work.
    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError>;

    /// Whether there is anything to run the suite against; else it is reported as skipped.
    fn present(&self) -> Result<(), Reason> {
        Ok(())
    }

    /// Whether [`BackEnd::rows`] is in the order in which rows were handed over; a back-end that takes several writes at
    /// once has none.
    fn keeps_order(&self) -> bool {
        true
    }

    /// Serial numbers ([`rows::serials`]) of the rows that it holds, in the order in which they came.
    async fn rows(&self) -> Result<Vec<u64>, Reason>;

    /// From now on every write fails, until [`BackEnd::heal`].
    async fn fail(&self) -> Result<(), Reason>;

    /// From now on every write stalls, until [`BackEnd::heal`].
    async fn stall(&self) -> Result<(), Reason>;

    /// Ends whatever was wrong.
    async fn heal(&self);

    /// Makes a row one that is refused while the others of its group are accepted.
    fn refused(&self) -> Result<Alter, Reason>;

    /// Makes a row one that keeps its whole group from being accepted.
    fn poison(&self) -> Result<Alter, Reason>;

    /// Moments of a write at which the process can die.
    fn deaths(&self) -> Result<&'static [&'static str], Reason>;

    /// Lets the process "die" at the given moment of the next write: from then on nothing reaches the disk or the wire,
    /// until [`BackEnd::heal`].
    async fn die_at(&self, death: usize);
}
