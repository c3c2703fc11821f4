//! What every sink is checked for, and a back-end of each to check it on.
//!
//! [`HARNESSES`] says how the back-end of each sink is started; [`suite`] checks on it everything that a sink promises. The
//! test `conformance` makes one test of each check of each sink. What a back-end cannot do is reported by name with the reason.

pub mod back_ends;
mod flagged;
pub mod suite;

use analytics::RecordKind;
use async_trait::async_trait;
use fakes::rows::Alter;
use futures::future::BoxFuture;
use serde_json::Value;
use sinks::{BuildContext, BuildError, Sink, SinkSpec};

use back_ends::{
    aws, csv, datagrams, dummy, elasticsearch, hybrid, influx, kafka, mariadb, mongo, prometheus, saas, splunk, sql,
    sqlite, stdout, wire,
};

/// Every sink that is built, on at least one back-end.
pub const HARNESSES: &[Harness] = &[
    Harness::of("csv", csv::start),
    Harness::of("dogstatsd", datagrams::dogstatsd),
    Harness::of("dummy", dummy::start),
    Harness::of("elasticsearch", elasticsearch::start),
    Harness::of("graylog", wire::graylog),
    Harness::of("hybrid", hybrid::start),
    Harness::of("influx", influx::one),
    Harness::of("influx2", influx::two),
    Harness::of("kafka", kafka::start),
    Harness::of("kinesis", aws::kinesis),
    Harness::of("logzio", saas::logzio),
    Harness::of("moesif", saas::moesif),
    Harness::of("mongo", mongo::start_records),
    Harness::of("mongo-graph", mongo::start_graph),
    Harness::of("mongo-mcp", mongo::start_mcp),
    Harness::of("mongo-mcp-aggregate", mongo::start_mcp_aggregate),
    Harness::of("mongo-pump-aggregate", mongo::start_aggregate),
    Harness::of("mongo-pump-selective", mongo::start_selective),
    Harness::of("prometheus", prometheus::start),
    Harness::of("prometheus", prometheus::start_in_memory).on("memory"),
    Harness::of("resurfaceio", saas::resurfaceio),
    Harness::of("segment", saas::segment),
    Harness::of("splunk", splunk::start),
    Harness::of("sql", sql::start_raw),
    Harness::of("sql", mariadb::start).on("mariadb"),
    Harness::of("sql", sqlite::start).on("sqlite"),
    Harness::of("sql_aggregate", sql::start_aggregate),
    Harness::of("sql-graph", sql::start_graph),
    Harness::of("sql-graph-aggregate", sql::start_graph_aggregate),
    Harness::of("sql-mcp", sql::start_mcp),
    Harness::of("sql-mcp-aggregate", sql::start_mcp_aggregate),
    Harness::of("sqs", aws::sqs),
    Harness::of("sqs", aws::sqs_fifo).on("fifo"),
    Harness::of("statsd", datagrams::statsd),
    Harness::of("stdout", stdout::start),
    Harness::of("syslog", wire::syslog),
    Harness::of("timestream", aws::timestream),
    Harness::uptime("mongo", mongo::start_uptime),
    Harness::uptime("sql", sql::start_uptime),
];

/// Starts a back-end that is empty.
pub type Start = fn() -> BoxFuture<'static, Box<dyn BackEnd>>;

/// A sink and the way to a back-end for it.
pub struct Harness {
    sink: &'static str,
    records: RecordKind,
    /// Where a sink has several back-ends: which one this is.
    on: Option<&'static str>,
    /// Starts the back-end.
    pub start: Start,
}

impl Harness {
    /// Of the traffic sink of this type.
    const fn of(sink: &'static str, start: Start) -> Harness {
        Harness {
            sink,
            records: RecordKind::Traffic,
            on: None,
            start,
        }
    }

    /// Of the uptime sink of this type.
    const fn uptime(sink: &'static str, start: Start) -> Harness {
        Harness {
            records: RecordKind::Uptime,
            ..Harness::of(sink, start)
        }
    }

    const fn on(self, back_end: &'static str) -> Harness {
        Harness {
            on: Some(back_end),
            ..self
        }
    }

    /// What its checks are called: `csv`, `sql_on_sqlite`, `uptime_sql`.
    pub fn name(&self) -> String {
        let uptime = match self.records {
            RecordKind::Traffic => "",
            RecordKind::Uptime => "uptime_",
        };
        let on = self.on.map(|back_end| format!("_on_{back_end}"));
        format!("{uptime}{}{}", self.sink, on.unwrap_or_default()).replace('-', "_")
    }

    /// The sink; `None`: there is none of this type.
    pub fn spec(&self) -> Option<&'static SinkSpec> {
        match self.records {
            RecordKind::Traffic => sinks::find(self.sink),
            RecordKind::Uptime => sinks::find_uptime(self.sink),
        }
    }
}

/// What a pump `TEST` with these options is made from.
pub fn context(meta: Value) -> BuildContext {
    BuildContext::new("TEST", "fleet", meta)
}

/// Why a back-end cannot take part in a check.
pub type Reason = &'static str;

/// A back-end as the suite sees it. Stopped when it is dropped.
#[async_trait]
pub trait BackEnd: Send + Sync {
    /// `meta` of a pump that writes to it.
    fn options(&self) -> Value;

    /// Makes a sink; more than one after the other must work.
    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError>;

    /// Whether there is anything to run the suite against; else it is reported as skipped.
    fn present(&self) -> Result<(), Reason> {
        Ok(())
    }

    /// Whether [`BackEnd::rows`] is in the order in which rows were handed over; a back-end that takes several writes at
    /// once has none.
    fn keeps_order(&self) -> bool {
        true
    }

    /// Serial numbers ([`fakes::rows::serials`]) of the rows that it holds, in the order in which they came.
    async fn rows(&self) -> Result<Vec<u64>, Reason>;

    /// From now on every write fails, until [`BackEnd::heal`].
    async fn fail(&self) -> Result<(), Reason>;

    /// From now on every write stalls, until [`BackEnd::heal`].
    async fn stall(&self) -> Result<(), Reason>;

    /// Ends whatever was wrong.
    async fn heal(&self);

    /// Makes a row one that is refused while the others of its group are accepted.
    fn refused(&self) -> Result<Alter, Reason>;

    /// Makes a row one that keeps its whole group from being accepted.
    fn poison(&self) -> Result<Alter, Reason>;

    /// Moments of a write at which the process can die.
    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Err("nothing is kept on this side")
    }

    /// Lets the process "die" at the given moment of the next write: from then on nothing reaches the disk or the wire,
    /// until [`BackEnd::heal`].
    async fn die_at(&self, _death: usize) {}
}
