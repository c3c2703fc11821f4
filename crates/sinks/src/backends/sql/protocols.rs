//! The types `sql-graph` and `sql-mcp`: records of one protocol as rows of a table of their own.

use std::sync::Arc;

use analytics::{Flag, RecordView};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Connection, RawJob, RawLayout, SPEC, Setup, SqlPump};
use crate::{
    BuildContext, BuildError, SinkSpec,
    options::{described, schema},
};

/// Options of both types.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "type": "postgres",
    "connection_string": "host=localhost port=5432 user=tyk password=secret dbname=tyk_analytics sslmode=disable"
}))]
pub struct ProtocolOptions {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub connection: Connection,
    /// Name of the table, or what the names of its shards begin with; one dot separates schema and table. Empty:
    /// `tyk_analytics_graph` for `sql-graph`, `tyk_analytics_mcp` for `sql-mcp`.
    pub table_name: String,
}

/// The type `sql-graph`.
pub const GRAPH: SinkSpec = SinkSpec {
    name: "sql-graph",
    title: "Graph SQL Pump",
    log_prefix: "GraphSQL-Pump",
    env_prefix: "TYK_PMP_PUMPS_GRAPH_SQL_META",
    decodes_bodies: true,
    options: || {
        described(
            schema::<ProtocolOptions>(),
            "Writes every GraphQL record as a row of `tyk_analytics_graph`, exactly once.",
        )
    },
    build: |context| SqlPump::build(context, graph),
    check: Some(|context| SqlPump::check(context, graph)),
    migrate: Some(|context, mode| SqlPump::migrate(context, mode, graph)),
    ..SPEC
};

/// The type `sql-mcp`.
pub const MCP: SinkSpec = SinkSpec {
    name: "sql-mcp",
    title: "MCP SQL Pump",
    log_prefix: "MCPSQL-Pump",
    env_prefix: "TYK_PMP_PUMPS_MCP_SQL_META",
    decodes_bodies: true,
    options: || {
        described(
            schema::<ProtocolOptions>(),
            "Writes every MCP record as a row of `tyk_analytics_mcp`, exactly once.",
        )
    },
    build: |context| SqlPump::build(context, mcp),
    check: Some(|context| SqlPump::check(context, mcp)),
    migrate: Some(|context, mode| SqlPump::migrate(context, mode, mcp)),
    ..SPEC
};

fn graph(context: &BuildContext) -> Result<Setup<RawJob>, BuildError> {
    let takes = |record: &RecordView<'_>| record.flag(Flag::IsGraphQl);
    setup(context, &GRAPH, RawLayout::graph(), "tyk_analytics_graph", takes)
}

fn mcp(context: &BuildContext) -> Result<Setup<RawJob>, BuildError> {
    let takes = |record: &RecordView<'_>| record.flag(Flag::IsMcp);
    setup(context, &MCP, RawLayout::mcp(), "tyk_analytics_mcp", takes)
}

fn setup(
    context: &BuildContext,
    spec: &'static SinkSpec,
    raw: Arc<RawLayout>,
    table: &str,
    takes: fn(&RecordView<'_>) -> bool,
) -> Result<Setup<RawJob>, BuildError> {
    let options: ProtocolOptions = context.options()?;
    let job = RawJob {
        raw,
        base: match options.table_name.is_empty() {
            true => table.to_owned(),
            false => options.table_name,
        },
        sharded: options.connection.table_sharding,
        indexed_shards: false,
        takes,
    };
    Ok(Setup::new(spec, options.connection, job))
}
