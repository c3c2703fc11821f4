//! Type `hybrid`: records or aggregates to MDCB, by remote calls (crate `gorpc`).
//!
//! A write logs in, as upstream does before each batch, and then calls a function for each piece of the group. A piece
//! that was answered is marked and never sent again; one whose answer is lost is sent again, because MDCB has no memory
//! of calls. A call that is under way when the pump's `timeout` drops the write goes on, and its answer counts.

mod aggregates;
mod json;
mod link;
mod pieces;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use analytics::{RowId, Selection, Transform};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{FutureExt, future::BoxFuture};
use gorpc::CallError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    aggregates::{Counting, Plan},
    link::Link,
    pieces::Piece,
};
use crate::{
    Applied, BuildContext, BuildError, Rejected, Sink, SinkSpec, WriteError, Written, options, tls::SslOptions,
};

/// Raw records.
const PURGE: &str = ".PurgeAnalyticsData";
/// Aggregates by organisation.
const PURGE_AGGREGATED: &str = ".PurgeAnalyticsDataAggregated";
/// MCP aggregates by API.
const PURGE_MCP: &str = ".PurgeAnalyticsDataMCPAggregated";
/// How a server says that it is too old for a function.
const UNKNOWN_METHOD: &str = "unknown method";
/// How long closing waits for a call that is under way.
const LAST_CALL: Duration = Duration::from_secs(5);
/// Between two lines about the same loss.
const QUIET: Duration = Duration::from_secs(60);

/// Sends records, or aggregates of them, to a Multi Data Centre Bridge (MDCB).
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "connection_string": "mdcb.example.com:9091",
    "rpc_key": "<organisation id>",
    "api_key": "<user key>",
    "aggregated": true,
    "use_ssl": true
}))]
pub struct Options {
    /// `host:port` of MDCB; IPv6 addresses stand in brackets. Required.
    pub connection_string: String,
    /// Organisation id. Accepted for compatibility; MDCB takes the organisation from the user of `api_key`.
    pub rpc_key: String,
    /// API key of a Dashboard user, for the login.
    #[schemars(extend("x-secret" = true))]
    pub api_key: String,
    /// With `aggregated`: tags that begin with one of these are not counted.
    pub ignore_tag_prefix_list: Vec<String>,
    /// Seconds that connecting and each call may take; 0: 10.
    pub call_timeout: i64,
    /// Number of connections; 0: 5, negative: 1.
    pub rpc_pool_size: i64,
    /// Send aggregates instead of records. GraphQL records, and MCP records without `enable_mcp_aggregation`, have no
    /// aggregates here: they are sent as records without their raw requests and responses.
    pub aggregated: bool,
    /// With `aggregated`: count the paths of every record, not only of those that ask for it.
    pub track_all_paths: bool,
    /// With `aggregated`: by minute instead of by hour.
    pub store_analytics_per_minute: bool,
    /// With `aggregated`: send aggregates of MCP records too.
    pub enable_mcp_aggregation: bool,
    /// TLS.
    pub use_ssl: bool,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub ssl: SslOptions,
    /// Name that the server's certificate is made out to, if not the host of `connection_string`.
    pub ssl_server_name: String,
    /// Oldest version of TLS: `1.2` or `1.3`.
    pub ssl_min_version: String,
    /// Newest version of TLS: `1.2` or `1.3`.
    pub ssl_max_version: String,
    /// Most bytes of a call; a larger record or aggregate goes alone. After calls that time out or fail, the pump sends
    /// fewer records at once by itself.
    pub max_call_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connection_string: String::new(),
            rpc_key: String::new(),
            api_key: String::new(),
            ignore_tag_prefix_list: Vec::new(),
            call_timeout: 10,
            rpc_pool_size: 5,
            aggregated: false,
            track_all_paths: false,
            store_analytics_per_minute: false,
            enable_mcp_aggregation: false,
            use_ssl: false,
            ssl: SslOptions::default(),
            ssl_server_name: String::new(),
            ssl_min_version: "1.2".to_owned(),
            ssl_max_version: "1.3".to_owned(),
            max_call_bytes: 8 << 20,
        }
    }
}

/// The type `hybrid`.
pub const SPEC: SinkSpec = SinkSpec {
    options: schema,
    check: Some(|context| read(context).map(drop)),
    ..SinkSpec::new(
        "hybrid",
        "Hybrid pump",
        "hybrid-pump",
        "TYK_PMP_PUMPS_HYBRID_META",
        build,
    )
};

fn schema() -> schemars::Schema {
    options::with_type_prefix(options::schema::<Options>())
}

/// Everything that the options say; nothing is connected yet.
fn read(context: &BuildContext) -> Result<(Options, Link), BuildError> {
    let options: Options = context.options()?;
    let link = Link::new(&options, &context.pump)?;
    Ok((options, link))
}

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move {
        let (options, link) = read(&context)?;
        let counting = options.aggregated.then(|| Counting::new(&options, context.compat));
        link.open().await?;
        tracing::info!(prefix = SPEC.log_prefix, pump = %context.pump, "connected to MDCB at {}", link.address());
        Ok(Box::new(Hybrid(Arc::new(Bridge {
            link,
            counting,
            pump: context.pump,
            size: CallSize::new(options.max_call_bytes),
            turn: Arc::default(),
            doubtful: AtomicU64::new(0),
            no_mcp: AtomicBool::new(false),
            said: Mutex::new(None),
        }))) as Box<dyn Sink>)
    }
    .boxed()
}

/// One pump's way to MDCB.
struct Hybrid(Arc<Bridge>);

struct Bridge {
    link: Link,
    /// With `aggregated`.
    counting: Option<Counting>,
    pump: Arc<str>,
    size: CallSize,
    /// Held by the write that is under way, also after its future was dropped.
    turn: Arc<tokio::sync::Mutex<()>>,
    /// Rows of calls whose answers were lost, since the last write that succeeded.
    doubtful: AtomicU64,
    /// The server has no function for MCP aggregates.
    no_mcp: AtomicBool,
    /// When records without an organisation, or of kinds that are left out, were last spoken of; and how many since.
    said: Mutex<Option<(Instant, u64)>>,
}

/// How much goes into a call.
struct CallSize {
    bytes: usize,
    rows: AtomicUsize,
}

/// Fewest rows that a call is cut down to, unless it is answered with an error.
const FEW_ROWS: usize = 64;
/// No limit, which growing ends at.
const MANY_ROWS: usize = 1 << 20;

impl CallSize {
    fn new(bytes: u64) -> CallSize {
        CallSize {
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX).max(1),
            rows: AtomicUsize::new(MANY_ROWS),
        }
    }

    fn rows(&self) -> usize {
        self.rows.load(Ordering::Relaxed)
    }

    fn note(&self, rows: usize, error: Option<&CallError>) {
        let next = match error {
            None => self.rows().saturating_mul(2).min(MANY_ROWS),
            // Perhaps it is one record that the server cannot take: the others shall arrive.
            Some(error) if error.was_answered() => (rows / 2).max(1),
            Some(error) if error.was_sent() => (rows / 2).max(FEW_ROWS),
            Some(_) => return,
        };
        self.rows.store(next, Ordering::Relaxed);
    }
}

/// One write.
struct Round {
    applied: Arc<Applied>,
    /// Nobody waits for it any more: nothing new is sent.
    given_up: Arc<AtomicBool>,
    rejected: Vec<Rejected>,
}

/// Tells a write's task that its future was dropped.
struct GivenUp(Arc<AtomicBool>);

impl Drop for GivenUp {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Bridge {
    async fn deliver(&self, group: Vec<Selection>, mut round: Round) -> Result<Written, WriteError> {
        let mut group = round.applied.rest_of(&group);
        group.retain(|selection| !selection.is_empty());
        if !group.is_empty() {
            self.link.log_in().await?;
            match &self.counting {
                None => self.send_records(&group, &mut round).await?,
                Some(counting) => self.send_aggregates(counting, group, &mut round).await?,
            }
        }
        round.rejected.sort_by_key(|rejected| rejected.row);
        Ok(Written {
            rejected: round.rejected,
            possibly_doubled: self.doubtful.swap(0, Ordering::AcqRel),
        })
    }

    /// Every record of the group, in as many calls as it takes.
    async fn send_records(&self, group: &[Selection], round: &mut Round) -> Result<(), WriteError> {
        let group: Arc<[Selection]> = group.into();
        let mut from = 0;
        loop {
            let (part, rows, bytes) = (group.clone(), self.size.rows(), self.size.bytes);
            let packed = tokio::task::spawn_blocking(move || pieces::records(&part, from, rows, bytes));
            let packed = packed.await.map_err(WriteError::retry)?;
            round.rejected.extend(packed.rejected);
            from = packed.next;
            if packed.piece.rows.is_empty() {
                return Ok(());
            }
            self.send(PURGE, packed.piece, round).await?;
        }
    }

    async fn send_aggregates(
        &self,
        counting: &Counting,
        group: Vec<Selection>,
        round: &mut Round,
    ) -> Result<(), WriteError> {
        let (planning, bytes) = (counting.clone(), self.size.bytes);
        let planned = tokio::task::spawn_blocking(move || {
            let plan = planning.plan(&group, bytes);
            (group, plan)
        });
        let (group, plan) = planned.await.map_err(WriteError::retry)?;
        let Plan {
            calls,
            mcp_calls,
            mut as_records,
            left_out,
            rejected,
        } = plan;
        round.rejected.extend(rejected);
        self.say_left_out(left_out, counting.left_out_kinds());
        for piece in calls {
            self.send(PURGE_AGGREGATED, piece, round).await?;
        }
        for piece in mcp_calls {
            if self.no_mcp.load(Ordering::Relaxed) {
                as_records.extend(piece.rows);
                continue;
            }
            let rows = piece.rows.clone();
            match self.send(PURGE_MCP, piece, round).await {
                Err(Failed::Call(CallError::Failed { text, .. })) if text.contains(UNKNOWN_METHOD) => {
                    let text = "this MDCB is too old for MCP aggregates: MCP records are sent as records – update MDCB, \
                                or set meta.enable_mcp_aggregation to false";
                    tracing::warn!(prefix = SPEC.log_prefix, pump = %self.pump, "{text}");
                    self.no_mcp.store(true, Ordering::Relaxed);
                    as_records.extend(rows);
                }
                sent => sent?,
            }
        }
        if as_records.is_empty() {
            return Ok(());
        }
        self.send_records(&without_bodies(&group, &as_records), round).await
    }

    /// One call. Its rows are marked when it is answered.
    async fn send(&self, function: &'static str, piece: Piece, round: &Round) -> Result<(), Failed> {
        if round.given_up.load(Ordering::Acquire) {
            return Err(Failed::GivenUp);
        }
        let count = piece.rows.len();
        let called = self.link.call(function, Bytes::from(piece.body)).await;
        if function == PURGE {
            self.size.note(count, called.as_ref().err());
        }
        match called {
            Ok(_) => {
                round.applied.mark(piece.rows);
                Ok(())
            }
            Err(error) => {
                if error.was_sent() && !error.was_answered() {
                    self.doubtful.fetch_add(count as u64, Ordering::AcqRel);
                }
                Err(Failed::Call(error))
            }
        }
    }

    /// Says, at most once a minute, that records were left out, and which `kinds` they are of.
    fn say_left_out(&self, count: u64, kinds: &str) {
        if count == 0 {
            return;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = said.map_or(0, |(_, pending)| pending) + count;
        if let Some((at, _)) = *said
            && at.elapsed() < QUIET
        {
            *said = Some((at, pending));
            return;
        }
        *said = Some((Instant::now(), 0));
        tracing::warn!(
            prefix = SPEC.log_prefix, pump = %self.pump,
            "{pending} records are in no aggregate and were left out: {kinds}"
        );
    }
}

/// These rows of the group, without raw requests and responses: who sends aggregates does not send bodies.
fn without_bodies(group: &[Selection], rows: &[RowId]) -> Vec<Selection> {
    let wanted: HashSet<RowId> = rows.iter().copied().collect();
    let narrow = |selection: &Selection| {
        let transform = Transform {
            omit_detailed: true,
            ..(**selection.transform()).clone()
        };
        let kept = selection.retain(|index| wanted.contains(&selection.batch().row_id(index)));
        kept.with_transform(Arc::new(transform))
    };
    group.iter().map(narrow).collect()
}

/// A call that failed.
enum Failed {
    Call(CallError),
    /// Not made: nobody waits for it.
    GivenUp,
}

impl From<Failed> for WriteError {
    fn from(failed: Failed) -> WriteError {
        match failed {
            Failed::Call(error) => WriteError::retry(error),
            Failed::GivenUp => WriteError::retry("the write was given up"),
        }
    }
}

#[async_trait]
impl Sink for Hybrid {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        if group.iter().all(Selection::is_empty) {
            return Ok(Written::default());
        }
        let given_up = Arc::new(AtomicBool::new(false));
        let round = Round {
            applied: applied.clone(),
            given_up: given_up.clone(),
            rejected: Vec::new(),
        };
        // The lock goes into the task, which outlives this future by the call that is under way: the next write finds
        // what it has marked.
        let (bridge, group) = (self.0.clone(), group.to_vec());
        let turn = bridge.turn.clone().lock_owned().await;
        let _given_up = GivenUp(given_up);
        let task = tokio::spawn(async move {
            let written = bridge.deliver(group, round).await;
            drop(turn);
            written
        });
        task.await.map_err(WriteError::retry)?
    }

    async fn close(&self) -> Result<(), WriteError> {
        // A call that is under way may still be answered; cut off, it ends at once.
        let turn = tokio::time::timeout(LAST_CALL, self.0.turn.lock()).await;
        self.0.link.close().await;
        if turn.is_err() {
            drop(self.0.turn.lock().await);
        }
        Ok(())
    }
}
