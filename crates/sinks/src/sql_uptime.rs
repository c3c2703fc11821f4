//! Uptime data in SQL.

use analytics::{RecordKind, aggregate::Rules};
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BuildContext, BuildError, Guarantee, MigrationMode, Sink, SinkSpec,
    options::schema,
    sql::{
        self, Connection,
        aggregate::{self, AggregatePump, AggregateSetup, IndexRule, Kind, Shape},
    },
};

/// Counts uptime checks by organisation and hour in `tyk_uptime_analytics`: one row for each target and response code. Each
/// check counts exactly once, for the hour of its own time.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "uptime_type": "sql",
    "type": "postgres",
    "connection_string": "host=localhost port=5432 user=tyk password=secret dbname=tyk_analytics sslmode=disable"
}))]
pub struct Options {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub connection: Connection,
}

/// `uptime_type` `sql`.
pub const UPTIME: SinkSpec = SinkSpec {
    name: "sql",
    title: "SQL Pump",
    log_prefix: "SQL-pump-uptime",
    env_prefix: "TYK_PMP_UPTIMEPUMPCONFIG",
    records: RecordKind::Uptime,
    guarantee: Guarantee::ExactlyOnce,
    gather: aggregate::GATHER,
    decodes_bodies: false,
    writes_empty: false,
    purge_line: false,
    options: schema::<Options>,
    build: Some(build),
    migrate: Some(migrate),
    indexes: None,
    #[cfg(feature = "testkit")]
    harness: Some(crate::testkit::sql::start_uptime),
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { AggregatePump::open(&context, setup(&context)?).await }.boxed()
}

fn migrate(context: BuildContext, mode: MigrationMode) -> BoxFuture<'static, Result<Vec<String>, BuildError>> {
    async move { AggregatePump::migrate(&context, setup(&context)?, mode).await }.boxed()
}

fn setup(context: &BuildContext) -> Result<AggregateSetup, BuildError> {
    let options: Options = sql::decode(context)?;
    Ok(AggregateSetup {
        spec: &UPTIME,
        kind: Kind::Uptime,
        rules: Rules {
            compat: context.compat,
            ..Rules::default()
        },
        base: "tyk_uptime_analytics",
        shape: Shape::Organisation,
        index: IndexRule::Uptime,
        prepares_today: true,
        connection: options.connection,
    })
}
