//! Sinks against real back-ends: disks that fail, InfluxDB, log servers, metric daemons, search servers, Postgres.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod csv_disk;
mod influx;
mod log_servers;
mod metric_daemons;
mod search;
mod sql;
