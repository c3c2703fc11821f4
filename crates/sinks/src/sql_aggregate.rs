//! Type `sql_aggregate`.

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

/// Counts ordinary records by organisation and hour in `tyk_aggregated`: one row for each API, response code, version, key, OAuth
/// client, country, tag and endpoint. GraphQL and MCP records are left to `sql-graph-aggregate` and `sql-mcp-aggregate`.
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

/// The type `sql_aggregate`.
pub const SPEC: SinkSpec = SinkSpec {
    name: "sql_aggregate",
    title: "SQL Aggregate Pump",
    log_prefix: "SQL-aggregate-pump",
    env_prefix: "TYK_PMP_PUMPS_SQLAGGREGATE_META",
    records: RecordKind::Traffic,
    guarantee: Guarantee::ExactlyOnce,
    gather: aggregate::GATHER,
    decodes_bodies: false,
    writes_empty: false,
    purge_line: true,
    options: schema::<Options>,
    build: Some(build),
    migrate: Some(migrate),
    indexes: None,
    #[cfg(feature = "testkit")]
    harness: Some(crate::testkit::sql::start_aggregate),
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { AggregatePump::open(&context, setup(&context)?).await }.boxed()
}

fn migrate(context: BuildContext, mode: MigrationMode) -> BoxFuture<'static, Result<Vec<String>, BuildError>> {
    async move { AggregatePump::migrate(&context, setup(&context)?, mode).await }.boxed()
}

fn setup(context: &BuildContext) -> Result<AggregateSetup, BuildError> {
    let Options { aggregate: options } = sql::decode(context)?;
    options.warn(context, &SPEC, true);
    Ok(AggregateSetup {
        spec: &SPEC,
        kind: Kind::Traffic(Engine::Rest),
        rules: options.rules(context.compat, true),
        base: "tyk_aggregated",
        shape: Shape::Organisation,
        index: options.index(),
        prepares_today: true,
        connection: options.connection,
    })
}
