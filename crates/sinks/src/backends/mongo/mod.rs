//! Types `mongo`, `mongo-pump-selective`, `mongo-graph`, `mongo-mcp`, `mongo-pump-aggregate`, `mongo-mcp-aggregate`, and uptime
//! data in MongoDB.
//!
//! The `_id` of a record's document is derived from its row, so that a row that is written again is found to be there.
//! Documents of aggregates note which rows they have counted.

mod aggregate;
mod bson;
mod client;
mod document;
mod failure;
mod id;
mod index;
mod insert;
mod options;
mod organisation;
mod reconcile;
mod records;
#[cfg(test)]
mod tests;
mod tunnel;
mod uptime;
mod url;

use std::time::Duration;

use analytics::RecordKind;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;

pub use aggregate::{AggregateOptions, CommonOptions, McpAggregateOptions};
pub use options::{CollectionOptions, ConnectionOptions, SelectiveOptions};

use self::{
    aggregate::{Aggregates, Setup},
    client::Connection,
    document::Form,
    index::Family,
    reconcile::Collections,
    records::Records,
    uptime::Uptime,
};
use crate::{BuildContext, BuildError, Gather, Guarantee, IndexReport, MigrationMode, Sink, SinkSpec};

/// Large groups become several inserts at once.
const GATHER: Gather = Gather {
    rows: 10_000,
    bytes: 8 << 20,
    wait: Duration::ZERO,
};

/// What the types have in common.
const COMMON: SinkSpec = SinkSpec {
    guarantee: Guarantee::ExactlyOnce,
    gather: GATHER,
    decodes_bodies: false,
    options: options::collection,
    check: Some(|context| check_records(context, &SPEC)),
    indexes: Some(indexes_of_mongo),
    ..SinkSpec::new(
        "mongo",
        "MongoDB Pump",
        "mongo-pump",
        "TYK_PMP_PUMPS_MONGO_META",
        build_mongo,
    )
};

/// The type `mongo`.
pub const SPEC: SinkSpec = COMMON;

/// The type `mongo-graph`.
pub const GRAPH: SinkSpec = SinkSpec {
    name: "mongo-graph",
    title: "MongoDB Graph Pump",
    log_prefix: "mongo-graph-pump",
    env_prefix: "TYK_PMP_PUMPS_MONGOGRAPH_META",
    options: crate::options::schema::<CollectionOptions>,
    build: build_graph,
    check: Some(|context| check_records(context, &GRAPH)),
    indexes: Some(indexes_of_graph),
    ..COMMON
};

/// The type `mongo-mcp`.
pub const MCP: SinkSpec = SinkSpec {
    name: "mongo-mcp",
    title: "MongoDB MCP Pump",
    log_prefix: "mongo-mcp-pump",
    env_prefix: "TYK_PMP_PUMPS_MONGOMCP_META",
    options: crate::options::schema::<CollectionOptions>,
    build: build_mcp,
    check: Some(|context| check_records(context, &MCP)),
    indexes: Some(indexes_of_mcp),
    ..COMMON
};

/// The type `mongo-pump-selective`.
pub const SELECTIVE: SinkSpec = SinkSpec {
    name: "mongo-pump-selective",
    title: "MongoDB Selective Pump",
    log_prefix: "mongo-pump-selective",
    env_prefix: "TYK_PMP_PUMPS_MONGOSELECTIVE_META",
    options: options::selective,
    build: build_selective,
    check: Some(|context| check(context, &SELECTIVE, &context.options::<SelectiveOptions>()?.connection)),
    indexes: Some(indexes_of_selective),
    ..COMMON
};

/// Many records make few counters: half a second of traffic at once.
const AGGREGATE_GATHER: Gather = Gather {
    rows: 20_000,
    bytes: 16 << 20,
    wait: Duration::from_millis(500),
};

/// The type `mongo-pump-aggregate`.
pub const AGGREGATE: SinkSpec = SinkSpec {
    name: "mongo-pump-aggregate",
    title: "MongoDB Aggregate Pump",
    log_prefix: "mongo-pump-aggregate",
    env_prefix: "TYK_PMP_PUMPS_MONGOAGGREGATE_META",
    gather: AGGREGATE_GATHER,
    options: options::aggregate,
    build: build_aggregate,
    check: Some(check_aggregates::<AggregateOptions>),
    indexes: Some(indexes_of_aggregate),
    ..COMMON
};

/// The type `mongo-mcp-aggregate`.
pub const MCP_AGGREGATE: SinkSpec = SinkSpec {
    name: "mongo-mcp-aggregate",
    title: "MongoDB MCP Aggregate Pump",
    log_prefix: "mongo-mcp-aggregate-pump",
    env_prefix: "TYK_PMP_PUMPS_MONGOMCPAGGREGATE_META",
    gather: AGGREGATE_GATHER,
    options: crate::options::schema::<McpAggregateOptions>,
    build: build_mcp_aggregate,
    check: Some(check_aggregates::<McpAggregateOptions>),
    indexes: Some(indexes_of_mcp_aggregate),
    ..COMMON
};

/// Uptime data in MongoDB.
pub const UPTIME: SinkSpec = SinkSpec {
    env_prefix: "TYK_PMP_UPTIMEPUMPCONFIG",
    records: RecordKind::Uptime,
    build: build_uptime,
    check: Some(check_uptime),
    migrate: None,
    indexes: Some(indexes_of_uptime),
    ..COMMON
};

fn check(context: &BuildContext, spec: &SinkSpec, options: &ConnectionOptions) -> Result<(), BuildError> {
    client::check(options, spec.log_prefix, &context.pump)
}

fn check_records(context: &BuildContext, spec: &SinkSpec) -> Result<(), BuildError> {
    let options: CollectionOptions = context.options()?;
    records::collection(&options)?;
    check(context, spec, &options.connection)
}

fn check_aggregates<T>(context: &BuildContext) -> Result<(), BuildError>
where
    T: DeserializeOwned + JsonSchema + Into<Setup>,
{
    let setup: Setup = context.options::<T>()?.into();
    check(context, &AGGREGATE, &setup.common.connection)
}

fn check_uptime(context: &BuildContext) -> Result<(), BuildError> {
    let options: CollectionOptions = context.options()?;
    options.cap()?;
    check(context, &UPTIME, &options.connection)
}

type Built = BoxFuture<'static, Result<Box<dyn Sink>, BuildError>>;

fn build_records(context: BuildContext, spec: &'static SinkSpec, form: Form) -> Built {
    async move {
        let options = context.options()?;
        let sink = Records::one_collection(&context, spec, form, options).await?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    }
    .boxed()
}

fn build_mongo(context: BuildContext) -> Built {
    build_records(context, &SPEC, Form::Record)
}

fn build_graph(context: BuildContext) -> Built {
    build_records(context, &GRAPH, Form::Graph)
}

fn build_mcp(context: BuildContext) -> Built {
    build_records(context, &MCP, Form::Mcp)
}

fn build_selective(context: BuildContext) -> Built {
    async move {
        let sink = Records::selective(&context, &SELECTIVE, context.options()?).await?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    }
    .boxed()
}

fn build_uptime(context: BuildContext) -> Built {
    async move {
        let sink = Uptime::open(&context, context.options()?).await?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    }
    .boxed()
}

fn build_aggregate(context: BuildContext) -> Built {
    async move {
        let options: AggregateOptions = context.options()?;
        let sink = Aggregates::open(&context, &AGGREGATE, options).await?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    }
    .boxed()
}

fn build_mcp_aggregate(context: BuildContext) -> Built {
    async move {
        let options: McpAggregateOptions = context.options()?;
        let sink = Aggregates::open(&context, &MCP_AGGREGATE, options).await?;
        Ok(Box::new(sink) as Box<dyn Sink>)
    }
    .boxed()
}

type Compared = BoxFuture<'static, Result<Vec<IndexReport>, BuildError>>;

/// Compares the indexes of these collections.
fn compare(
    context: BuildContext,
    mode: MigrationMode,
    spec: &'static SinkSpec,
    family: Family,
    wanted: impl FnOnce(&BuildContext) -> Result<(ConnectionOptions, Vec<Collections>), BuildError> + Send + 'static,
) -> Compared {
    async move {
        let (options, collections) = wanted(&context)?;
        let connection = Connection::open(&options, spec.log_prefix, &context.pump).await?;
        connection.reconcile(&collections, family, mode).await
    }
    .boxed()
}

fn compare_records(context: BuildContext, mode: MigrationMode, spec: &'static SinkSpec) -> Compared {
    compare(context, mode, spec, Family::Records, |context| {
        let options: CollectionOptions = context.options()?;
        let (name, cap) = records::collection(&options)?;
        Ok((options.connection, vec![Collections::One(name, cap)]))
    })
}

fn compare_aggregates<T>(context: BuildContext, mode: MigrationMode, spec: &'static SinkSpec) -> Compared
where
    T: DeserializeOwned + JsonSchema + Into<Setup>,
{
    compare(context, mode, spec, Family::Aggregates, |context| {
        let setup: Setup = context.options::<T>()?.into();
        let (prefix, mixed) = setup.collections();
        let mut collections = vec![Collections::Beginning(prefix, None)];
        if setup.common.use_mixed_collection {
            collections.push(Collections::One(mixed.to_owned(), None));
        }
        Ok((setup.common.connection, collections))
    })
}

fn indexes_of_mongo(context: BuildContext, mode: MigrationMode) -> Compared {
    compare_records(context, mode, &SPEC)
}

fn indexes_of_graph(context: BuildContext, mode: MigrationMode) -> Compared {
    compare_records(context, mode, &GRAPH)
}

fn indexes_of_mcp(context: BuildContext, mode: MigrationMode) -> Compared {
    compare_records(context, mode, &MCP)
}

fn indexes_of_selective(context: BuildContext, mode: MigrationMode) -> Compared {
    compare(context, mode, &SELECTIVE, Family::Selective, |context| {
        let options: SelectiveOptions = context.options()?;
        let aggregates = "z_tyk_analyticz_aggregate_";
        let collections = Collections::Beginning("z_tyk_analyticz_", Some(aggregates));
        Ok((options.connection, vec![collections]))
    })
}

fn indexes_of_uptime(context: BuildContext, mode: MigrationMode) -> Compared {
    compare(context, mode, &UPTIME, Family::Records, |context| {
        let options: CollectionOptions = context.options()?;
        let collection = Collections::One(uptime::COLLECTION.to_owned(), options.cap()?);
        Ok((options.connection, vec![collection]))
    })
}

fn indexes_of_aggregate(context: BuildContext, mode: MigrationMode) -> Compared {
    compare_aggregates::<AggregateOptions>(context, mode, &AGGREGATE)
}

fn indexes_of_mcp_aggregate(context: BuildContext, mode: MigrationMode) -> Compared {
    compare_aggregates::<McpAggregateOptions>(context, mode, &MCP_AGGREGATE)
}
