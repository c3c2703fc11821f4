//! Type `sql-mcp-aggregate`.

use analytics::{RecordKind, aggregate::Engine};
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BuildContext, BuildError, Guarantee, MigrationMode, Sink, SinkSpec,
    options::schema,
    sql::{
        self,
        aggregate::{self, AggregateOptions, AggregatePump, AggregateSetup, Kind, Shape},
    },
};

/// Counts MCP records by API and hour in `tyk_mcp_aggregated`: as `sql_aggregate`, and one row for each method, primitive type
/// and primitive.
///
/// Each record counts exactly once, for the hour of its own time, also when it comes late: counters and the note that it is
/// counted (table `tyk_pump_ledger`) share a transaction.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "type": "postgres",
    "connection_string": "host=localhost port=5432 user=tyk password=secret dbname=tyk_analytics sslmode=disable"
}))]
pub struct Options {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub aggregate: AggregateOptions,
}

/// The type `sql-mcp-aggregate`.
pub const SPEC: SinkSpec = SinkSpec {
    name: "sql-mcp-aggregate",
    title: "SQL MCP Aggregate Pump",
    log_prefix: "sql-mcp-aggregate-pump",
    env_prefix: "TYK_PMP_PUMPS_SQLMCPAGGREGATE_META",
    records: RecordKind::Traffic,
    guarantee: Guarantee::ExactlyOnce,
    gather: aggregate::GATHER,
    decodes_bodies: true,
    writes_empty: false,
    purge_line: true,
    options: schema::<Options>,
    build: Some(build),
    migrate: Some(migrate),
    indexes: None,
    #[cfg(feature = "testkit")]
    harness: Some(crate::testkit::sql::start_mcp_aggregate),
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { AggregatePump::open(&context, setup(&context)?).await }.boxed()
}

fn migrate(context: BuildContext, mode: MigrationMode) -> BoxFuture<'static, Result<Vec<String>, BuildError>> {
    async move { AggregatePump::migrate(&context, setup(&context)?, mode).await }.boxed()
}

fn setup(context: &BuildContext) -> Result<AggregateSetup, BuildError> {
    let Options { aggregate: options } = sql::decode(context)?;
    options.warn(context, &SPEC, false);
    Ok(AggregateSetup {
        spec: &SPEC,
        kind: Kind::Traffic(Engine::Mcp),
        rules: options.rules(context.compat, false),
        base: "tyk_mcp_aggregated",
        shape: Shape::Api,
        index: options.index(),
        prepares_today: true,
        connection: options.connection,
    })
}
