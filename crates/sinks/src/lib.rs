//! Every back-end that Tyk Pump writes to. A sink is one file here and one line in the table below.

mod clock;
pub mod durable;
pub mod failpoints;
#[cfg(feature = "http")]
mod go_json;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "http")]
mod http_body;
mod ledger;
pub mod options;
#[cfg(feature = "http")]
mod outbox;
#[cfg(feature = "http")]
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
/// `acme::OTHER;` is a further type of the same module. `#[cfg(feature = "acme")]` and ` = "type"` around either make it a
/// type that a lean build leaves out, and knows by name. `planned` types are known to configurations and not built yet:
/// name, title, log prefix, environment prefix.
macro_rules! sinks {
    (@ [$($spec:tt)*] [$($optional:tt)*]) => {
        /// Every type that a pump can have, in the order of the documentation.
        pub static SINKS: &[SinkSpec] = &[$($spec)*];
        /// Types that are built with a feature of this crate only: type, feature.
        static OPTIONAL: &[(&str, &str)] = &[$($optional)*];
    };
    (@ $specs:tt $optional:tt #[cfg(feature = $feature:literal)] $module:ident = $name:literal; $($rest:tt)*) => {
        #[cfg(feature = $feature)]
        pub mod $module;
        sinks!(@ $specs $optional #[cfg(feature = $feature)] $module::SPEC = $name; $($rest)*);
    };
    (@ [$($spec:tt)*] [$($optional:tt)*] #[cfg(feature = $feature:literal)] $module:ident :: $const:ident = $name:literal; $($rest:tt)*) => {
        sinks!(@ [$($spec)*
            #[cfg(feature = $feature)] $module::$const,
            #[cfg(not(feature = $feature))] SinkSpec::planned($name, $name, $name, ""),
        ] [$($optional)* ($name, $feature),] $($rest)*);
    };
    (@ [$($spec:tt)*] $optional:tt planned $name:literal, $title:literal, $prefix:literal, $env:literal; $($rest:tt)*) => {
        sinks!(@ [$($spec)* SinkSpec::planned($name, $title, $prefix, $env),] $optional $($rest)*);
    };
    (@ [$($spec:tt)*] $optional:tt $module:ident :: $name:ident; $($rest:tt)*) => {
        sinks!(@ [$($spec)* $module::$name,] $optional $($rest)*);
    };
    (@ [$($spec:tt)*] $optional:tt $module:ident; $($rest:tt)*) => {
        pub mod $module;
        sinks!(@ [$($spec)* $module::SPEC,] $optional $($rest)*);
    };
    ($($lines:tt)*) => {
        sinks!(@ [] [] $($lines)*);
    };
}

sinks! {
    csv;
    planned "dogstatsd", "DogStatsd Pump", "dogstatsd", "TYK_PMP_PUMPS_DOGSTATSD_META";
    dummy;
    #[cfg(feature = "http")] elasticsearch = "elasticsearch";
    #[cfg(feature = "graylog")] graylog = "graylog";
    planned "hybrid", "Hybrid pump", "hybrid-pump", "TYK_PMP_PUMPS_HYBRID_META";
    planned "influx", "InfluxDB Pump", "influx-pump", "TYK_PMP_PUMPS_INFLUX_META";
    planned "influx2", "InfluxDB2 Pump", "influx2-pump", "TYK_PMP_PUMPS_INFLUX2_META";
    planned "kafka", "Kafka Pump", "kafka-pump", "TYK_PMP_PUMPS_KAFKA_META";
    planned "kinesis", "Kinesis Pump", "kinesis-pump", "TYK_PMP_PUMPS_KINESIS_META";
    #[cfg(feature = "http")] logzio = "logzio";
    #[cfg(feature = "http")] moesif = "moesif";
    #[cfg(feature = "mongo")] mongo = "mongo";
    #[cfg(feature = "mongo")] mongo::GRAPH = "mongo-graph";
    #[cfg(feature = "mongo")] mongo::MCP = "mongo-mcp";
    #[cfg(feature = "mongo")] mongo::MCP_AGGREGATE = "mongo-mcp-aggregate";
    #[cfg(feature = "mongo")] mongo::AGGREGATE = "mongo-pump-aggregate";
    #[cfg(feature = "mongo")] mongo::SELECTIVE = "mongo-pump-selective";
    planned "prometheus", "Prometheus Pump", "prometheus-pump", "TYK_PMP_PUMPS_PROMETHEUS_META";
    #[cfg(feature = "http")] resurfaceio = "resurfaceio";
    #[cfg(feature = "http")] segment = "segment";
    #[cfg(feature = "http")] splunk = "splunk";
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
pub static UPTIME_SINKS: &[SinkSpec] = &[
    #[cfg(feature = "mongo")]
    mongo::UPTIME,
    sql_uptime::UPTIME,
];
