//! Sinks against real back-ends: disks that fail, InfluxDB, log servers, search servers, Postgres.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod csv_disk;
mod influx;
mod log_servers;
mod search;
mod sql;
