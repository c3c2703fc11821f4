//! What a list of records adds up to: figures known from the reference, and what must hold for any records.

// Helpers panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod example;
mod graph_and_mcp;
mod properties;
mod rest;
mod uptime;

use analytics::{
    Flag, Int, RecordView, Text, Time, When, Zone,
    aggregate::{Aggregate, Aggregator, Counter, Dimension, Engine, Entry, Rules},
    record::Builder,
};

/// 2024-05-14T00:00:00Z
const DAY: i64 = 1_715_644_800;

fn clock(hour: i64, minute: i64, second: i64) -> Time {
    Time {
        seconds: DAY + hour * 3600 + minute * 60 + second,
        nanos: 0,
        zone: Zone::UTC,
    }
}

/// A record of an organisation and API with a code, at a time.
fn record(org: &str, api: &str, code: i64, time: Time) -> Builder {
    let mut builder = Builder::new();
    builder
        .text(Text::OrgId, org)
        .text(Text::ApiId, api)
        .int(Int::ResponseCode, code)
        .time(When::TimeStamp, time)
        .time(When::ExpireAt, EXPIRY);
    builder
}

/// 2124-05-14T00:00:00Z
const EXPIRY: Time = Time {
    seconds: 4_871_318_400,
    nanos: 0,
    zone: Zone::UTC,
};

fn latency(builder: &mut Builder, request: i64, total: i64, upstream: i64) {
    builder
        .int(Int::RequestTime, request)
        .int(Int::LatencyTotal, total)
        .int(Int::LatencyUpstream, upstream);
}

fn connection(builder: &mut Builder, open: i64, closed: i64, bytes_in: i64, bytes_out: i64) {
    builder
        .int(Int::NetworkOpenConnections, open)
        .int(Int::NetworkClosedConnections, closed)
        .int(Int::NetworkBytesIn, bytes_in)
        .int(Int::NetworkBytesOut, bytes_out);
}

fn aggregate(engine: Engine, rules: &Rules, records: &[Builder]) -> Vec<Aggregate> {
    aggregate_views(engine, rules, records.iter().map(Builder::view))
}

fn aggregate_views<'a>(engine: Engine, rules: &Rules, records: impl Iterator<Item = RecordView<'a>>) -> Vec<Aggregate> {
    let mut aggregator = Aggregator::new(engine, rules);
    for record in records {
        aggregator.add(&record);
    }
    aggregator.finish()
}

/// The only aggregate.
fn one(mut aggregates: Vec<Aggregate>) -> Aggregate {
    assert_eq!(aggregates.len(), 1);
    aggregates.remove(0)
}

fn entry<'a>(aggregate: &'a Aggregate, dimension: Dimension, value: &str) -> &'a Entry {
    let mut entries = aggregate.dimension(dimension).iter();
    let found = entries.find(|entry| *entry.value() == *value.as_bytes());
    found.unwrap_or_else(|| panic!("no {dimension:?} {value}: {:?}", keys(aggregate, dimension)))
}

fn keys(aggregate: &Aggregate, dimension: Dimension) -> Vec<String> {
    let entries = aggregate.dimension(dimension).iter();
    entries
        .map(|entry| String::from_utf8_lossy(&entry.value()).into_owned())
        .collect()
}

/// Figures on one line: hits, success, error, request times, latency sums, `max/min` of latency and upstream latency, codes.
fn figures(counter: &Counter) -> String {
    let codes: Vec<_> = counter
        .codes
        .iter()
        .map(|(code, count)| format!("{code}:{count}"))
        .collect();
    format!(
        "{} {} {} {} {} {} {} {}/{} {}/{} {}",
        counter.hits,
        counter.success,
        counter.error,
        counter.total_request_time,
        counter.request_time(),
        counter.total_latency,
        counter.total_upstream_latency,
        counter.max_latency,
        counter.min_latency,
        counter.max_upstream_latency,
        counter.min_upstream_latency,
        codes.join(" "),
    )
    .trim_end()
    .to_owned()
}

fn tracked(builder: &mut Builder, path: &str) {
    builder.text(Text::Path, path).flag(Flag::TrackPath, true);
}
