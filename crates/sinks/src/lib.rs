//! Every back-end that Tyk Pump writes to. A sink is one file here and one line in the table below.

mod clock;
pub mod failpoints;
mod go_json;
pub mod http;
mod http_body;
mod ledger;
pub mod options;
mod outbox;
mod row_uuid;
pub mod sink;
pub mod sql_uptime;
mod table;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod tls;
pub mod wire;

pub use sink::{
    BoxError, Build, BuildContext, BuildError, Fleet, Gather, Guarantee, IndexReport, IndexState, Indexes, Migrate,
    MigrationMode, Rejected, Sink, SinkSpec, WriteError, Written,
};
pub use table::{find, find_uptime, suggest};

/// Declares the sinks' modules and lists them in [`SINKS`]: `acme;` is the module `acme` with its `SPEC`.
/// `acme::OTHER;` is a further type of the same module. `planned` types are known to configurations and not built yet: name, title, log prefix, environment prefix.
macro_rules! sinks {
    (@ [$($spec:expr,)*]) => {
        /// Every type that a pump can have, in the order of the documentation.
        pub static SINKS: &[SinkSpec] = &[$($spec),*];
    };
    (@ [$($spec:expr,)*] planned $name:literal, $title:literal, $prefix:literal, $env:literal; $($rest:tt)*) => {
        sinks!(@ [$($spec,)* SinkSpec::planned($name, $title, $prefix, $env),] $($rest)*);
    };
    (@ [$($spec:expr,)*] $module:ident :: $name:ident; $($rest:tt)*) => {
        sinks!(@ [$($spec,)* $module::$name,] $($rest)*);
    };
    (@ [$($spec:expr,)*] $module:ident; $($rest:tt)*) => {
        pub mod $module;
        sinks!(@ [$($spec,)* $module::SPEC,] $($rest)*);
    };
    ($($lines:tt)*) => {
        sinks!(@ [] $($lines)*);
    };
}

sinks! {
    csv;
    planned "dogstatsd", "DogStatsd Pump", "dogstatsd", "TYK_PMP_PUMPS_DOGSTATSD_META";
    dummy;
    elasticsearch;
    graylog;
    planned "hybrid", "Hybrid pump", "hybrid-pump", "TYK_PMP_PUMPS_HYBRID_META";
    planned "influx", "InfluxDB Pump", "influx-pump", "TYK_PMP_PUMPS_INFLUX_META";
    planned "influx2", "InfluxDB2 Pump", "influx2-pump", "TYK_PMP_PUMPS_INFLUX2_META";
    planned "kafka", "Kafka Pump", "kafka-pump", "TYK_PMP_PUMPS_KAFKA_META";
    planned "kinesis", "Kinesis Pump", "kinesis-pump", "TYK_PMP_PUMPS_KINESIS_META";
    logzio;
    moesif;
    mongo;
    mongo::GRAPH;
    mongo::MCP;
    mongo::MCP_AGGREGATE;
    mongo::AGGREGATE;
    mongo::SELECTIVE;
    planned "prometheus", "Prometheus Pump", "prometheus-pump", "TYK_PMP_PUMPS_PROMETHEUS_META";
    resurfaceio;
    segment;
    splunk;
    sql;
    sql::AGGREGATE;
    sql::GRAPH;
    sql::GRAPH_AGGREGATE;
    sql::MCP;
    sql::MCP_AGGREGATE;
    planned "sqs", "SQS Pump", "sqs-pump", "TYK_PMP_PUMPS_SQS_META";
    planned "statsd", "Statsd Pump", "statsd-pump", "TYK_PMP_PUMPS_STATSD_META";
    stdout;
    syslog;
    planned "timestream", "Timestream Pump", "timestream-pump", "TYK_PMP_PUMPS_TIMESTREAM_META";
}

/// The types that `uptime_pump_config` can have, in place of the traffic sinks of the same names.
pub static UPTIME_SINKS: &[SinkSpec] = &[mongo::UPTIME, sql_uptime::UPTIME];
