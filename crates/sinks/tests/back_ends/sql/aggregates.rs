//! Counters: every record once, in its own hour, whoever writes at the same time.

use analytics::{
    Batch, Flag, Int, Key, RecordKind, Selection, Span, Text, Time, Transform, UptimeRecord, UptimeView, When, Wire,
    Zone,
    aggregate::hex,
    msgpack,
    record::Builder,
    uptime::{UptimeInt, UptimeText},
};
use bytes::Bytes;
use fakes::postgres::Place;
use serde_json::json;
use sinks::Sink;
use std::sync::Arc;

use super::support::{claim, context, meta, selection, sink};

/// 2024-05-17T10:00:00Z
const HOUR: i64 = 1_715_940_000;

fn record(code: i64, seconds: i64) -> Builder {
    let mut record = Builder::new();
    record
        .text(Text::OrgId, "org")
        .text(Text::ApiId, "api")
        .int(Int::ResponseCode, code)
        .time(When::TimeStamp, Time::normalised(seconds, 0, Zone::UTC));
    record
}

/// `value` of every row that `condition` chooses, sorted.
async fn values(place: &Place, table: &str, value: &str, condition: &str) -> Vec<String> {
    let query = format!("SELECT {value} FROM {table} WHERE {condition} ORDER BY id");
    place.column(&query).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backlog_of_three_days_lands_in_its_hours_and_shards() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql_aggregate", json!({"table_sharding": true})).await;
    let records = (0..72)
        .rev()
        .map(|hour| record(200, HOUR - 10 * 3600 + hour * 3600 + 59))
        .collect();
    sink.write(&[selection(claim(1), 0, records)], &Arc::default())
        .await
        .unwrap();
    for day in 0..3 {
        let table = format!("tyk_aggregated_202405{}", 17 + day);
        let buckets = values(&place, &table, "timestamp || ' ' || counter_hits", "dimension = ''").await;
        let want: Vec<String> = (0..24)
            .map(|hour| format!("{} 1", HOUR - 10 * 3600 + (day * 24 + hour) * 3600))
            .collect();
        assert_eq!(buckets, want);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_of_the_same_counters_neither_block_nor_lose() {
    let Some(place) = Place::start().await else { return };
    let writers = [
        sink(&place, "sql_aggregate", json!({"track_all_paths": true})).await,
        sink(&place, "sql_aggregate", json!({"track_all_paths": true})).await,
    ];
    let writes = writers.iter().enumerate().map(|(writer, sink)| async move {
        for round in 0..20 {
            let mut paths: Vec<u64> = (0..200).collect();
            if writer == 1 {
                paths.reverse();
            }
            let records = paths.iter().map(|path| {
                let mut record = record(200, HOUR);
                record.text(Text::Path, format!("/{path}"));
                record
            });
            let claim = claim(writer as u128 * 100 + round);
            sink.write(&[selection(claim, 0, records.collect())], &Arc::default())
                .await
                .unwrap();
        }
    });
    futures::future::join_all(writes).await;
    let hits = values(&place, "tyk_aggregated", "counter_hits", "dimension = 'endpoints'").await;
    assert_eq!(hits, vec!["40"; 200]);
    assert_eq!(
        values(&place, "tyk_aggregated", "counter_hits", "dimension = ''").await,
        ["8000"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_requests_are_added_up_and_have_averages_of_zero() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql_aggregate", json!({})).await;
    let mut network = record(-1, HOUR);
    network
        .int(Int::NetworkBytesIn, 500)
        .int(Int::NetworkOpenConnections, 2);
    for number in 1..3 {
        sink.write(&[selection(claim(number), 0, vec![network.clone()])], &Arc::default())
            .await
            .unwrap();
    }
    let value = "concat_ws(' ', dimension, counter_hits, counter_latency, counter_request_time, counter_bytes_in, \
                 counter_open_connections)";
    assert_eq!(
        values(&place, "tyk_aggregated", value, "true").await,
        ["apiid 0 0 0 1000 0", " 0 0 0 1000 4"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_no_index_can_hold_costs_only_its_own_rows() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql_aggregate", json!({"track_all_paths": true})).await;
    // Text that does not compress.
    let mut seed = 7_u64;
    let long: String = (0..6000)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            char::from(b'!' + (seed >> 58) as u8)
        })
        .collect();
    let paths = ["/short", &long, "/other"];
    let records = paths.iter().map(|path| {
        let mut record = record(200, HOUR);
        record.text(Text::Path, path);
        record
    });
    sink.write(&[selection(claim(1), 0, records.collect())], &Arc::default())
        .await
        .unwrap();
    let endpoints = values(&place, "tyk_aggregated", "dimension_value", "dimension = 'endpoints'").await;
    assert_eq!(endpoints, ["/other", "/short"]);
    assert_eq!(
        values(&place, "tyk_aggregated", "counter_hits", "dimension = ''").await,
        ["3"]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_upstream_wrote_are_added_to() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql_aggregate", json!({})).await;
    let id = String::from_utf8(hex(b"1715940000orgapiidapi").into()).unwrap();
    let stored = format!(
        "INSERT INTO tyk_aggregated (id, counter_hits, counter_success, counter_total_request_time, counter_request_time, \
         timestamp, org_id, dimension, dimension_value) VALUES ('{id}', 3, 3, 30, 10, {HOUR}, 'org', 'apiid', 'api')"
    );
    place.client.batch_execute(&stored).await.unwrap();
    let mut added = record(200, HOUR + 5);
    added.int(Int::RequestTime, 50);
    sink.write(&[selection(claim(1), 0, vec![added])], &Arc::default())
        .await
        .unwrap();
    let value = "concat_ws(' ', counter_hits, counter_success, counter_request_time::float8, counter_bytes_in)";
    let got = values(&place, "tyk_aggregated", value, "dimension = 'apiid'").await;
    assert_eq!(got, ["4 4 20 0"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_that_come_again_in_other_groups_count_once() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql-mcp-aggregate", json!({})).await;
    let call = || {
        let mut call = record(200, HOUR);
        call.flag(Flag::IsMcp, true).text(Text::McpJsonRpcMethod, "tools/call");
        call
    };
    let rows = |first, count| selection(claim(1), first, (0..count).map(|_| call()).collect());
    for group in [vec![rows(0, 5)], vec![rows(3, 4), rows(7, 3)], vec![rows(0, 12)]] {
        sink.write(&group, &Arc::default()).await.unwrap();
    }
    let hits = values(
        &place,
        "tyk_mcp_aggregated",
        "counter_hits",
        "dimension IN ('', 'methods')",
    )
    .await;
    assert_eq!(hits, ["12", "12"]);
}

fn checks(number: u128, checks: &[(i64, i64, i64)]) -> Selection {
    let (mut buffer, mut elements) = (Vec::new(), Vec::new());
    for &(code, request_time, seconds) in checks {
        let mut record = UptimeRecord::default();
        let texts = b"orghttp://svc/health";
        record.text[UptimeText::OrgId as usize] = Span { start: 0, len: 3 };
        record.text[UptimeText::Url as usize] = Span { start: 3, len: 17 };
        record.int[UptimeInt::ResponseCode as usize] = code;
        record.int[UptimeInt::RequestTime as usize] = request_time;
        record.time[When::TimeStamp as usize] = Time::normalised(seconds, 0, Zone::UTC);
        let start = buffer.len();
        msgpack::encode_uptime(&mut buffer, &UptimeView::new(texts, &record));
        elements.push(Span {
            start: start as u32,
            len: (buffer.len() - start) as u32,
        });
    }
    let key = Key {
        name: "host-checker:tyk-uptime-analytics".into(),
        short: "tyk-uptime-analytics".into(),
        wire: Wire::Msgpack,
        records: RecordKind::Uptime,
    };
    let batch = Batch::decode(claim(number), Arc::new(key), 0, Bytes::from(buffer), elements);
    let rows = 0..batch.len();
    Selection::new(Arc::new(batch), rows, Arc::new(Transform::default()))
}

async fn uptime(place: &Place) -> Box<dyn Sink> {
    let build = sinks::find_uptime("sql").map(|spec| spec.build).unwrap();
    build(context("UPTIME", meta(place, json!({})))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn uptime_checks_are_counted_by_target_and_hour_with_fresh_averages() {
    let Some(place) = Place::start().await else { return };
    let sink = uptime(&place).await;
    sink.write(
        &[checks(
            1,
            &[(200, 10, HOUR + 600), (500, 30, HOUR + 660), (200, 20, HOUR + 720)],
        )],
        &Arc::default(),
    )
    .await
    .unwrap();
    sink.write(
        &[checks(2, &[(200, 60, HOUR + 1200), (200, 5, HOUR + 3600)])],
        &Arc::default(),
    )
    .await
    .unwrap();
    let value = "concat_ws(' ', dimension, timestamp - 1715940000, counter_hits, counter_success, counter_error, \
                 counter_request_time::float8, code_200, code_500, extract(epoch FROM counter_last_time)::bigint - 1715940000)";
    assert_eq!(
        values(&place, "tyk_uptime_analytics", value, "true").await,
        [
            "errors 0 1 0 1 30 0 1 660",
            " 0 4 3 1 30 3 1 1200",
            "url 0 4 3 1 30 3 1 1200",
            " 3600 1 1 0 5 1 0 3600",
            "url 3600 1 1 0 5 1 0 3600",
        ]
    );
}
