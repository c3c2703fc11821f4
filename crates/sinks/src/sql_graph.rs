//! Type `sql-graph`: GraphQL records as rows of a table of their own.

use analytics::{Flag, RecordKind};
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BuildContext, BuildError, Guarantee, MigrationMode, Sink, SinkSpec,
    options::schema,
    sql::{self, Connection, RawLayout, RawPump, RawSetup},
};

/// Writes every GraphQL record as a row of `tyk_analytics_graph`, exactly once.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "type": "postgres",
    "connection_string": "host=localhost port=5432 user=tyk password=secret dbname=tyk_analytics sslmode=disable"
}))]
pub struct Options {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub connection: Connection,
    /// Name of the table, or what the names of its shards begin with; one dot separates schema and table. Empty:
    /// `tyk_analytics_graph`.
    pub table_name: String,
}

/// The type `sql-graph`.
pub const SPEC: SinkSpec = SinkSpec {
    name: "sql-graph",
    title: "Graph SQL Pump",
    log_prefix: "GraphSQL-Pump",
    env_prefix: "TYK_PMP_PUMPS_GRAPH_SQL_META",
    records: RecordKind::Traffic,
    guarantee: Guarantee::ExactlyOnce,
    gather: sql::GATHER,
    decodes_bodies: true,
    writes_empty: false,
    purge_line: true,
    options: schema::<Options>,
    build: Some(build),
    migrate: Some(migrate),
    indexes: None,
    #[cfg(feature = "testkit")]
    harness: Some(crate::testkit::sql::start_graph),
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { RawPump::open(&context, setup(&context)?).await }.boxed()
}

fn migrate(context: BuildContext, mode: MigrationMode) -> BoxFuture<'static, Result<Vec<String>, BuildError>> {
    async move { RawPump::migrate(&context, setup(&context)?, mode).await }.boxed()
}

fn setup(context: &BuildContext) -> Result<RawSetup, BuildError> {
    let options: Options = sql::decode(context)?;
    Ok(RawSetup {
        spec: &SPEC,
        connection: options.connection,
        raw: RawLayout::graph(),
        base: sql::or(options.table_name, "tyk_analytics_graph"),
        indexed_shards: false,
        takes: |record| record.flag(Flag::IsGraphQl),
    })
}
