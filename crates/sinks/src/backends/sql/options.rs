//! Options that every SQL pump has.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Where an SQL pump writes to, and how. Flattened into the options of each.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Connection {
    /// `postgres`, `mysql` (also for MariaDB) or `sqlite`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Postgres: a URL (`postgres://user:password@host:5432/database?sslmode=verify-full`) or settings as for libpq
    /// (`host=localhost user=tyk dbname=tyk_analytics`); `PG*` variables, service file and password file count too.
    /// MySQL: `user:password@tcp(host:3306)/database?parseTime=true`. SQLite: a file name or `file:` URI.
    #[schemars(extend("x-secret" = true))]
    pub connection_string: String,
    /// Postgres only.
    pub postgres: Postgres,
    /// MySQL and MariaDB only.
    pub mysql: Mysql,
    /// One table a day, named after the date of its records: `tyk_analytics_20240517`.
    pub table_sharding: bool,
    /// Which statements are logged: `debug` all, `info` slow (200 ms) and failing ones, `warning` or `error` failing ones;
    /// empty: none. Values of records are never logged.
    pub log_level: String,
    /// Rows of one statement on MySQL and SQLite; 0 or less: 1000. More than a server's limits allow is cut down. Postgres
    /// receives rows as one stream.
    pub batch_size: i64,
    /// With `table_sharding`: brings the tables of earlier days up to date at the start too.
    pub migrate_sharded_tables: bool,
    /// With `table_sharding`: drops the tables of days that are more than this many days ago; 0: keeps them all.
    pub retention_days: u32,
}

/// Options of Postgres.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Postgres {
    /// Accepted for the sake of old configurations: no prepared statement outlives its transaction in any case, so that
    /// poolers in transaction mode work.
    pub prefer_simple_protocol: bool,
}

/// Options of MySQL and MariaDB.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Mysql {
    /// Length of text columns: `varchar(n)`, also for raw requests and responses; 0: `longtext`.
    pub default_string_size: u64,
    /// `datetime` without fractions of a second.
    pub disable_datetime_precision: bool,
    /// Accepted for the sake of old configurations; nothing is ever renamed.
    pub dont_support_rename_index: bool,
    /// Accepted for the sake of old configurations; nothing is ever renamed.
    pub dont_support_rename_column: bool,
    /// Does not ask for the server's version.
    pub skip_initialize_with_version: bool,
}
