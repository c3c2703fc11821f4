//! The types `sql_aggregate`, `sql-graph-aggregate` and `sql-mcp-aggregate`: counters of one kind of traffic.

use analytics::aggregate::Engine;

use super::{
    SPEC, Setup, SqlPump,
    aggregate::{self, AggregateJob, AggregateOptions, IndexRule, Kind, Shape},
};
use crate::{
    BuildContext, BuildError, SinkSpec,
    options::{described, schema},
};

/// The type `sql_aggregate`.
pub const AGGREGATE: SinkSpec = SinkSpec {
    name: "sql_aggregate",
    title: "SQL Aggregate Pump",
    log_prefix: "SQL-aggregate-pump",
    env_prefix: "TYK_PMP_PUMPS_SQLAGGREGATE_META",
    gather: aggregate::GATHER,
    options: || {
        options(
            "Counts ordinary records by organisation and hour in `tyk_aggregated`: one row for each API, response code, \
             version, key, OAuth client, country, tag and endpoint. GraphQL and MCP records are left to \
             `sql-graph-aggregate` and `sql-mcp-aggregate`.",
        )
    },
    build: |context| SqlPump::build(context, rest),
    check: Some(|context| SqlPump::check(context, rest)),
    migrate: Some(|context, mode| SqlPump::migrate(context, mode, rest)),
    ..SPEC
};

/// The type `sql-graph-aggregate`.
pub const GRAPH_AGGREGATE: SinkSpec = SinkSpec {
    name: "sql-graph-aggregate",
    title: "Sql Graph Aggregate Pump",
    env_prefix: "TYK_PMP_PUMPS_SQLGRAPHAGGREGATE_META",
    decodes_bodies: true,
    options: || {
        options(
            "Counts GraphQL records by API and hour in `tyk_graph_aggregated`: as `sql_aggregate`, and one row for each \
             type, field, operation and root field.",
        )
    },
    build: |context| SqlPump::build(context, graph),
    check: Some(|context| SqlPump::check(context, graph)),
    migrate: Some(|context, mode| SqlPump::migrate(context, mode, graph)),
    ..AGGREGATE
};

/// The type `sql-mcp-aggregate`.
pub const MCP_AGGREGATE: SinkSpec = SinkSpec {
    name: "sql-mcp-aggregate",
    title: "SQL MCP Aggregate Pump",
    log_prefix: "sql-mcp-aggregate-pump",
    env_prefix: "TYK_PMP_PUMPS_SQLMCPAGGREGATE_META",
    decodes_bodies: true,
    options: || {
        options(
            "Counts MCP records by API and hour in `tyk_mcp_aggregated`: as `sql_aggregate`, and one row for each method, \
             primitive type and primitive.",
        )
    },
    build: |context| SqlPump::build(context, mcp),
    check: Some(|context| SqlPump::check(context, mcp)),
    migrate: Some(|context, mode| SqlPump::migrate(context, mode, mcp)),
    ..AGGREGATE
};

fn options(what: &str) -> schemars::Schema {
    let once = "Each record counts exactly once, for the hour of its own time, also when it comes late: counters and the note \
                that it is counted (table `tyk_pump_ledger`) share a transaction.";
    described(schema::<AggregateOptions>(), &format!("{what}\n\n{once}"))
}

fn rest(context: &BuildContext) -> Result<Setup<AggregateJob>, BuildError> {
    setup(context, &AGGREGATE, Engine::Rest, "tyk_aggregated")
}

fn graph(context: &BuildContext) -> Result<Setup<AggregateJob>, BuildError> {
    let mut setup = setup(context, &GRAPH_AGGREGATE, Engine::Graph, "tyk_graph_aggregated")?;
    // Existing tables have none, and are made with their first record.
    setup.job.index = IndexRule::None;
    setup.prepares_today = false;
    Ok(setup)
}

fn mcp(context: &BuildContext) -> Result<Setup<AggregateJob>, BuildError> {
    let mut setup = setup(context, &MCP_AGGREGATE, Engine::Mcp, "tyk_mcp_aggregated")?;
    if setup.job.sharded {
        // Upstream's have none.
        setup.job.index = IndexRule::None;
    }
    Ok(setup)
}

fn setup(
    context: &BuildContext,
    spec: &'static SinkSpec,
    engine: Engine,
    base: &'static str,
) -> Result<Setup<AggregateJob>, BuildError> {
    let options: AggregateOptions = context.options()?;
    let is_rest = engine == Engine::Rest;
    options.warn(context, spec, is_rest);
    let shape = match engine {
        Engine::Rest => Shape::Organisation,
        Engine::Graph | Engine::Mcp => Shape::Api,
    };
    let job = AggregateJob {
        index: options.index(),
        sharded: options.connection.table_sharding,
        ..AggregateJob::new(
            context,
            spec,
            Kind::Traffic(engine),
            options.rules(context.compat, is_rest),
            shape,
            base,
        )
    };
    Ok(Setup::new(spec, options.connection, job))
}
