//! Uptime data in SQL.

use analytics::{RecordKind, aggregate::Rules};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    BuildContext, BuildError, Guarantee, SinkSpec,
    options::schema,
    sql::{
        Connection, Setup, SqlPump,
        aggregate::{self, AggregateJob, IndexRule, Kind, Shape},
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
pub(super) struct Options {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub connection: Connection,
}

/// `uptime_type` `sql`.
pub const UPTIME: SinkSpec = SinkSpec {
    records: RecordKind::Uptime,
    guarantee: Guarantee::ExactlyOnce,
    gather: aggregate::GATHER,
    decodes_bodies: false,
    purge_line: false,
    options: schema::<Options>,
    check: Some(|context| SqlPump::check(context, setup)),
    migrate: Some(|context, mode| SqlPump::migrate(context, mode, setup)),
    ..SinkSpec::new(
        "sql",
        "SQL Pump",
        "SQL-pump-uptime",
        "TYK_PMP_UPTIMEPUMPCONFIG",
        |context| SqlPump::build(context, setup),
    )
};

fn setup(context: &BuildContext) -> Result<Setup<AggregateJob>, BuildError> {
    let options: Options = context.options()?;
    let rules = Rules {
        answered_minima: false,
        compat: context.compat,
        ..Rules::default()
    };
    let job = AggregateJob {
        index: IndexRule::Uptime,
        sharded: options.connection.table_sharding,
        ..AggregateJob::new(
            context,
            &UPTIME,
            Kind::Uptime,
            rules,
            Shape::Organisation,
            "tyk_uptime_analytics",
        )
    };
    Ok(Setup::new(&UPTIME, options.connection, job))
}
