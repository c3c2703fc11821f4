//! Every back-end that Tyk Pump writes to. A sink is one file here and one line in the table below.

mod clock;
pub mod failpoints;
pub mod http;
mod ledger;
pub mod options;
pub mod sink;
mod table;
#[cfg(feature = "testkit")]
pub mod testkit;
pub mod tls;

pub use sink::{
    BoxError, Build, BuildContext, BuildError, Fleet, Gather, Guarantee, Rejected, Sink, SinkSpec, WriteError, Written,
};
pub use table::{find, find_uptime, suggest};

/// Declares the sinks' modules and lists them in [`SINKS`]: `acme;` is the module `acme` with its `SPEC`.
/// `planned` types are known to configurations and not built yet: name, title, log prefix, environment prefix.
macro_rules! sinks {
    (@ [$($spec:expr,)*]) => {
        /// Every type that a pump can have, in the order of the documentation.
        pub static SINKS: &[SinkSpec] = &[$($spec),*];
    };
    (@ [$($spec:expr,)*] planned $name:literal, $title:literal, $prefix:literal, $env:literal; $($rest:tt)*) => {
        sinks!(@ [$($spec,)* SinkSpec::planned($name, $title, $prefix, $env),] $($rest)*);
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
    planned "graylog", "Graylog Pump", "graylog-pump", "TYK_PMP_PUMPS_GRAYLOG_META";
    planned "hybrid", "Hybrid pump", "hybrid-pump", "TYK_PMP_PUMPS_HYBRID_META";
    planned "influx", "InfluxDB Pump", "influx-pump", "TYK_PMP_PUMPS_INFLUX_META";
    planned "influx2", "InfluxDB2 Pump", "influx2-pump", "TYK_PMP_PUMPS_INFLUX2_META";
    planned "kafka", "Kafka Pump", "kafka-pump", "TYK_PMP_PUMPS_KAFKA_META";
    planned "kinesis", "Kinesis Pump", "kinesis-pump", "TYK_PMP_PUMPS_KINESIS_META";
    planned "logzio", "Logzio Pump", "logzio-pump", "TYK_PMP_PUMPS_LOGZIO_META";
    planned "moesif", "Moesif Pump", "moesif-pump", "TYK_PMP_PUMPS_MOESIF_META";
    planned "mongo", "MongoDB Pump", "mongo-pump", "TYK_PMP_PUMPS_MONGO_META";
    planned "mongo-graph", "MongoDB Graph Pump", "mongo-graph-pump", "TYK_PMP_PUMPS_MONGOGRAPH_META";
    planned "mongo-mcp", "MongoDB MCP Pump", "mongo-mcp-pump", "TYK_PMP_PUMPS_MONGOMCP_META";
    planned "mongo-mcp-aggregate", "MongoDB MCP Aggregate Pump", "mongo-mcp-aggregate-pump", "TYK_PMP_PUMPS_MONGOMCPAGGREGATE_META";
    planned "mongo-pump-aggregate", "MongoDB Aggregate Pump", "mongo-pump-aggregate", "TYK_PMP_PUMPS_MONGOAGGREGATE_META";
    planned "mongo-pump-selective", "MongoDB Selective Pump", "mongo-pump-selective", "TYK_PMP_PUMPS_MONGOSELECTIVE_META";
    planned "prometheus", "Prometheus Pump", "prometheus-pump", "TYK_PMP_PUMPS_PROMETHEUS_META";
    planned "resurfaceio", "Resurface Pump", "resurface-pump", "TYK_PMP_PUMPS_RESURFACEIO_META";
    planned "segment", "Segment Pump", "segment-pump", "TYK_PMP_PUMPS_SEGMENT_META";
    splunk;
    planned "sql", "SQL Pump", "SQL-pump", "TYK_PMP_PUMPS_SQL_META";
    planned "sql_aggregate", "SQL Aggregate Pump", "SQL-aggregate-pump", "TYK_PMP_PUMPS_SQLAGGREGATE_META";
    planned "sql-graph", "Graph SQL Pump", "GraphSQL-Pump", "TYK_PMP_PUMPS_GRAPH_SQL_META";
    planned "sql-graph-aggregate", "Sql Graph Aggregate Pump", "SQL-aggregate-pump", "TYK_PMP_PUMPS_SQLGRAPHAGGREGATE_META";
    planned "sql-mcp", "MCP SQL Pump", "MCPSQL-Pump", "TYK_PMP_PUMPS_MCP_SQL_META";
    planned "sql-mcp-aggregate", "SQL MCP Aggregate Pump", "sql-mcp-aggregate-pump", "TYK_PMP_PUMPS_SQLMCPAGGREGATE_META";
    planned "sqs", "SQS Pump", "sqs-pump", "TYK_PMP_PUMPS_SQS_META";
    planned "statsd", "Statsd Pump", "statsd-pump", "TYK_PMP_PUMPS_STATSD_META";
    stdout;
    planned "syslog", "Syslog Pump", "syslog-pump", "TYK_PMP_PUMPS_SYSLOG_META";
    planned "timestream", "Timestream Pump", "timestream-pump", "TYK_PMP_PUMPS_TIMESTREAM_META";
}

/// The types that `uptime_pump_config` can have, in place of the traffic sinks of the same names.
pub static UPTIME_SINKS: &[SinkSpec] = &[];
