//! The interface between delivery and a back-end.

use std::{sync::Arc, time::Duration};

use analytics::{ClaimId, RecordKind, RowId, Selection};
use async_trait::async_trait;
use futures::future::BoxFuture;
use serde_json::Value;

/// Any error; its text says what failed and with which input, never a secret.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

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
    async fn applied(
        &self,
        _claim: ClaimId,
        _former: Option<&str>,
    ) -> Result<Option<analytics::RowRanges>, WriteError> {
        Ok(None)
    }

    /// Flushes and lets go of the back-end.
    async fn close(&self) -> Result<(), WriteError> {
        Ok(())
    }
}

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

/// What a sink promises about a row that was claimed. `Display` says it in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// May be lost on the way: acknowledged when sent.
    BestEffort,
    /// Arrives, after a crash possibly twice.
    AtLeastOnce,
    /// Arrives once.
    ExactlyOnce,
}

impl std::fmt::Display for Guarantee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Guarantee::BestEffort => "best effort",
            Guarantee::AtLeastOnce => "at least once",
            Guarantee::ExactlyOnce => "exactly once",
        })
    }
}

/// How much a sink likes to receive at once. The lane hands over less when there is no more, or memory is short.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    /// Rows.
    pub rows: usize,
    /// Bytes of the elements.
    pub bytes: usize,
    /// How long the first row may wait for company.
    pub wait: Duration,
}

impl Gather {
    /// A few thousand rows, without waiting.
    pub const WINDOW: Gather = Gather {
        rows: 5_000,
        bytes: 4 << 20,
        wait: Duration::ZERO,
    };
}

/// One sink type: everything that the rest of the program, the documentation and the tests know about it.
pub struct SinkSpec {
    /// Value of `type` in a configuration.
    pub name: &'static str,
    /// Display name in logs and self-metrics, upstream's own ("CSV Pump").
    pub title: &'static str,
    /// `prefix` of its log lines ("csv-pump").
    pub log_prefix: &'static str,
    /// Default prefix of its environment variables ("TYK_PMP_PUMPS_CSV_META"); empty: no options.
    pub env_prefix: &'static str,
    /// Which records it takes.
    pub records: RecordKind,
    /// What it promises at best; see [`Sink::guarantee`].
    pub guarantee: Guarantee,
    /// Group size.
    pub gather: Gather,
    /// Whether `raw_request_decoded` and `raw_response_decoded` have an effect; else they are refused with a warning.
    pub decodes_bodies: bool,
    /// Whether `write` is wanted although no row of a group passes the filters (CSV makes its file then).
    pub writes_empty: bool,
    /// Whether the lane logs `Purged N records...` after a write; `dummy` has a line of its own instead.
    pub purge_line: bool,
    /// JSON schema of the options struct; doc comments are the reference page.
    pub options: fn() -> schemars::Schema,
    /// Makes the sink, or `None`: known, but not built yet.
    pub build: Option<Build>,
    /// Lists or makes the changes to tables that the start would make, for back-ends that have tables.
    pub migrate: Option<Migrate>,
    /// Compares indexes with those that the pump wants, for back-ends whose existing collections a start leaves alone.
    pub indexes: Option<Indexes>,
    /// How the conformance suite fakes this back-end.
    #[cfg(feature = "testkit")]
    pub harness: Option<crate::testkit::Harness>,
}

impl SinkSpec {
    /// A type that upstream knows and this program does not build yet: it parses, and a pump of it does not start.
    pub const fn planned(
        name: &'static str,
        title: &'static str,
        log_prefix: &'static str,
        env_prefix: &'static str,
    ) -> SinkSpec {
        SinkSpec {
            name,
            title,
            log_prefix,
            env_prefix,
            records: RecordKind::Traffic,
            guarantee: Guarantee::AtLeastOnce,
            gather: Gather::WINDOW,
            decodes_bodies: true,
            writes_empty: false,
            purge_line: true,
            options: crate::options::any,
            build: None,
            migrate: None,
            indexes: None,
            #[cfg(feature = "testkit")]
            harness: None,
        }
    }

    /// Whether a pump of this type can be built.
    pub fn is_built(&self) -> bool {
        self.build.is_some()
    }

    /// Why a pump of this type cannot be built, following its name in a sentence; `None`: it can.
    pub fn absence(&self) -> Option<String> {
        if self.is_built() {
            return None;
        }
        let left_out = crate::table::feature(self.name).map(left_out);
        Some(left_out.unwrap_or_else(|| "is planned but not built yet".to_owned()))
    }
}

/// What is said of something that only a build with `feature` has.
pub(crate) fn left_out(feature: &str) -> String {
    format!(
        "is not in this binary, which was built without the feature \"{feature}\" – `cargo build --release` builds one \
         with everything"
    )
}

/// Constructor of a sink. An error keeps this pump from starting, never the others; it is tried again in the background.
pub type Build = fn(BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>>;

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

/// Why a sink cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The options are wrong: no retry will help. The text names key, value and remedy.
    #[error("{0}")]
    Options(String),
    /// The back-end is not there yet.
    #[error("{0}")]
    Unavailable(BoxError),
    /// Another process uses what only one may use (a directory, for instance). It delivers, so this instance must not
    /// claim records until it takes its place.
    #[error("{0}")]
    Occupied(BoxError),
}

/// Random id that is kept in the source. It is known before the first write, but not yet when sinks are made: a Redis
/// that is away keeps no pump from starting.
pub type Fleet = Arc<std::sync::OnceLock<Arc<str>>>;

/// What a sink is made from.
#[derive(Clone)]
pub struct BuildContext {
    /// The pump's key in `pumps`, upper-cased as upstream shows it.
    pub pump: Arc<str>,
    /// `meta`, with environment and secrets applied and key names spelled as in the schema.
    pub meta: Value,
    /// `compat` of the pump or of the whole configuration: upstream's values where ours are corrected.
    pub compat: bool,
    /// Form and level of the process log, for sinks that write log lines of their own.
    pub log: analytics::logrus::LogForm,
    /// Tells ledgers of different Redis servers apart.
    pub fleet: Fleet,
}
