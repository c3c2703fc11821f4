//! Type `sql`, and what all SQL pumps share.
//!
//! A pump is a `store::Job`: it says which tables a group goes to and writes rows in a transaction that
//! `store::Store` has begun. Around it the store
//!
//! 1. creates and extends tables (`database::Database::plan`, `database::Database::execute`), outside of the
//!    transaction, because MySQL commits at `CREATE TABLE`;
//! 2. begins, locks the entries of the group's claims in `tyk_pump_ledger` (`ledger`) in sorted order, and leaves out
//!    rows that they cover;
//! 3. lets the job write the rest;
//! 4. adds the rows to the entries and commits: a row counts if and only if its claim's entry says so.
//!
//! A dialect implements `database::Database` and `database::Transaction` and is chosen in `connect`. Shapes come
//! as `table::Table` without any dialect, values as `table::Value` from `table::Rows`, names of raw columns from
//! the analytics field table (`raw::RawLayout`). Rows that a database refuses are found by halves with a savepoint
//! (`poison::write_accepted`): raw pumps hand them back as refused, aggregates can leave them out.
//!
//! Shards are tables named after the date of a record (`shard`).

pub(crate) mod aggregate;
#[cfg(test)]
mod contract;
mod counters;
mod database;
mod ledger;
mod merge;
#[cfg(feature = "mysql")]
mod mysql;
mod options;
mod poison;
#[cfg(feature = "postgres")]
mod postgres;
mod protocols;
mod pump;
mod raw;
mod shard;
mod sqlite;
mod start;
mod statement_log;
mod store;
mod table;
mod uptime;

use std::{sync::Arc, time::Duration};

use analytics::Flag;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::pump::{Setup, SqlPump};
pub use self::{
    aggregate::AggregateOptions,
    counters::{AGGREGATE, GRAPH_AGGREGATE, MCP_AGGREGATE},
    options::{Connection, Mysql, Postgres},
    protocols::{GRAPH, MCP, ProtocolOptions},
    uptime::UPTIME,
};
use self::{
    database::{Access, Database},
    raw::{RawJob, RawLayout},
};
use crate::{BuildContext, BuildError, Gather, Guarantee, SinkSpec, options::schema};

/// Writes every record as a row of `tyk_analytics`, exactly once: rows and the note that they are written (table
/// `tyk_pump_ledger`) share a transaction. Records of the MCP protocol are left to `sql-mcp`.
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
}

/// The type `sql`.
pub const SPEC: SinkSpec = SinkSpec {
    guarantee: Guarantee::ExactlyOnce,
    gather: GATHER,
    decodes_bodies: false,
    options: schema::<Options>,
    check: Some(|context| SqlPump::check(context, setup)),
    migrate: Some(|context, mode| SqlPump::migrate(context, mode, setup)),
    ..SinkSpec::new("sql", "SQL Pump", "SQL-pump", "TYK_PMP_PUMPS_SQL_META", |context| {
        SqlPump::build(context, setup)
    })
};

/// One transaction's worth of rows.
pub(crate) const GATHER: Gather = Gather {
    rows: 20_000,
    bytes: 16 << 20,
    wait: Duration::ZERO,
};

fn setup(context: &BuildContext) -> Result<Setup<RawJob>, BuildError> {
    let options: Options = context.options()?;
    let job = RawJob {
        raw: RawLayout::plain(),
        base: "tyk_analytics".to_owned(),
        sharded: options.connection.table_sharding,
        indexed_shards: true,
        takes: |record| !record.flag(Flag::IsMcp),
    };
    Ok(Setup::new(&SPEC, options.connection, job))
}

/// The database that the options name; nothing is connected yet.
pub(crate) fn connect(
    connection: &Connection,
    log_prefix: &'static str,
    access: Access,
) -> Result<Arc<dyn Database>, BuildError> {
    match connection.kind.as_str() {
        #[cfg(feature = "postgres")]
        "postgres" => Ok(Arc::new(postgres::PostgresDatabase::new(connection, log_prefix)?)),
        #[cfg(feature = "mysql")]
        "mysql" => Ok(Arc::new(mysql::Mysql::new(connection, log_prefix)?)),
        "sqlite" => Ok(Arc::new(sqlite::Sqlite::new(connection, log_prefix, access)?)),
        #[cfg(not(feature = "postgres"))]
        "postgres" => Err(left_out("postgres")),
        #[cfg(not(feature = "mysql"))]
        "mysql" => Err(left_out("mysql")),
        other => Err(BuildError::Options(format!(
            "Unsupported `config_storage.type` value:{other} – meta.type is postgres, mysql or sqlite"
        ))),
    }
}

/// A database that this binary was built without.
#[cfg(not(all(feature = "mysql", feature = "postgres")))]
fn left_out(kind: &'static str) -> BuildError {
    let without = crate::MissingFeature(kind);
    BuildError::Options(format!("meta.type \"{kind}\" {without}"))
}
