//! Type `sql-mcp`: MCP records as rows of a table of their own.

use analytics::{Flag, RecordKind};
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BuildContext, BuildError, Guarantee, MigrationMode, Sink, SinkSpec,
    options::schema,
    sql::{self, Connection, RawLayout, RawPump, RawSetup},
};

/// Writes every MCP record as a row of `tyk_analytics_mcp`, exactly once.
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
    /// `tyk_analytics_mcp`.
    pub table_name: String,
}

/// The type `sql-mcp`.
pub const SPEC: SinkSpec = SinkSpec {
    name: "sql-mcp",
    title: "MCP SQL Pump",
    log_prefix: "MCPSQL-Pump",
    env_prefix: "TYK_PMP_PUMPS_MCP_SQL_META",
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
    harness: Some(crate::testkit::sql::start_mcp),
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
        raw: RawLayout::mcp(),
        base: sql::or(options.table_name, "tyk_analytics_mcp"),
        indexed_shards: false,
        takes: |record| record.flag(Flag::IsMcp),
    })
}
