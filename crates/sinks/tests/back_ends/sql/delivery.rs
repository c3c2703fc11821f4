//! Every row once, whatever happens to connections and processes.

use std::sync::Arc;

use analytics::{Int, Text, Time, When, Zone, record::Builder};
use fakes::{
    postgres::{COMMIT, Place},
    proxy::Cut,
    rows,
};
use serde_json::json;
use sinks::WriteError;

use super::support::{claim, meta, selection, sink, try_sink};

fn at(seconds: i64, path: &str) -> Builder {
    let mut record = Builder::new();
    record
        .text(Text::Path, path)
        .time(
            When::TimeStamp,
            Time {
                seconds,
                nanos: 0,
                zone: Zone::UTC,
            },
        )
        .int(Int::ResponseCode, 200);
    record
}

async fn count(place: &Place, table: &str) -> String {
    place.column(&format!("SELECT count(*) FROM {table}")).await.join("")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_arrive_once_when_replies_of_commits_are_cut() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql", json!({})).await;
    let cut = Cut {
        when: COMMIT,
        delivered: true,
    };
    let mut failures = 0;
    for group in 0..30 {
        if group % 3 == 0 {
            place.proxy.cut_times(cut, 1);
        }
        let group = rows::group(claim(1), group * 200..group * 200 + 200);
        while let Err(error) = sink.write(&group, &Arc::default()).await {
            assert!(matches!(error, WriteError::Retry { .. }), "{error}");
            failures += 1;
        }
    }
    assert_eq!(failures, 10);
    assert_eq!(count(&place, "tyk_analytics").await, "6000");
    assert_eq!(
        count(&place, "(SELECT DISTINCT path FROM tyk_analytics) AS p").await,
        "6000"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_with_the_same_rows_write_them_once() {
    let Some(place) = Place::start().await else { return };
    let instances = [
        sink(&place, "sql", json!({})).await,
        sink(&place, "sql", json!({})).await,
        sink(&place, "sql", json!({})).await,
    ];
    let writers = instances.iter().enumerate().map(|(instance, sink)| async move {
        // Each cuts the claims in its own way and order.
        let step = 70 + 30 * instance as u64;
        for first in (0..3_000).step_by(step as usize) {
            let rows = first..(first + step).min(3_000);
            let mut group = [rows::group(claim(1), rows.clone()), rows::group(claim(2), rows)].concat();
            if instance == 1 {
                group.reverse();
            }
            sink.write(&group, &Arc::default()).await.unwrap();
        }
    });
    futures::future::join_all(writers).await;
    assert_eq!(count(&place, "tyk_analytics").await, "6000");
    let ledger = place.column("SELECT DISTINCT applied FROM tyk_pump_ledger").await;
    assert_eq!(ledger, ["0-2999"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_row_costs_only_itself_and_is_named_with_its_reason() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql", json!({})).await;
    let mut records: Vec<Builder> = (0..1000).map(|row| at(1_700_000_000, &format!("/{row}"))).collect();
    for bad in [17, 500, 999] {
        records[bad] = at(9_467_000_000_000, "/bad");
    }
    let group = selection(claim(1), 0, records);
    let Err(WriteError::Reject { rows, .. }) = sink.write(std::slice::from_ref(&group), &Arc::default()).await else {
        panic!("the group is not refused");
    };
    let named: Vec<u64> = rows.iter().map(|rejected| rejected.row.row).collect();
    assert_eq!(named, [17, 500, 999]);
    assert!(rows[0].reason.contains("out of range"), "{}", rows[0].reason);
    assert_eq!(count(&place, "tyk_analytics").await, "0");
    let bad = named.iter().fold(analytics::RowRanges::new(), |mut bad, &row| {
        bad.insert(row..row + 1);
        bad
    });
    sink.write(&[group.exclude(&bad)], &Arc::default()).await.unwrap();
    assert_eq!(count(&place, "tyk_analytics").await, "997");
    let applied = sink.applied(claim(1), None).await.unwrap().unwrap();
    assert_eq!(applied.to_string(), "0-16,18-499,501-998");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_breaks_a_constraint_is_refused_without_a_word_of_it() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql", json!({})).await;
    sink.write(&rows::group(claim(1), 0..1), &Arc::default()).await.unwrap();
    place
        .client
        .batch_execute("ALTER TABLE tyk_analytics ADD CONSTRAINT no_secrets CHECK (apikey <> 's3cret-key')")
        .await
        .unwrap();
    let mut record = at(1_700_000_000, "/private/path");
    record.text(Text::ApiKey, "s3cret-key").text(Text::Alias, "alice");
    let written = sink
        .write(&[selection(claim(2), 0, vec![record])], &Arc::default())
        .await;
    let Err(WriteError::Reject { rows, source }) = written else {
        panic!("the row is not refused");
    };
    for text in [rows[0].reason.clone(), source.to_string()] {
        for part in ["s3cret-key", "alice", "/private/path", "Failing row"] {
            assert!(!text.contains(part), "{text}");
        }
    }
    for part in ["SQLSTATE 23514", "table tyk_analytics", "constraint no_secrets"] {
        assert!(rows[0].reason.contains(part), "{}", rows[0].reason);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn text_that_postgres_refuses_is_made_valid() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql", json!({})).await;
    let mut record = Builder::new();
    record.text(Text::Path, b"/a\0b\xff").tags([&b"x\0\xfe"[..]]);
    sink.write(&[selection(claim(1), 0, vec![record])], &Arc::default())
        .await
        .unwrap();
    assert_eq!(
        place.column("SELECT path FROM tyk_analytics").await,
        ["/a\u{fffd}b\u{fffd}"]
    );
    assert_eq!(
        place.column("SELECT tags FROM tyk_analytics").await,
        [r#"["x\u0000\ufffd"]"#]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_is_dropped_meanwhile_is_made_again() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql", json!({})).await;
    sink.write(&rows::group(claim(1), 0..10), &Arc::default())
        .await
        .unwrap();
    place
        .client
        .batch_execute("DROP TABLE tyk_analytics, tyk_pump_ledger")
        .await
        .unwrap();
    let error = sink
        .write(&rows::group(claim(1), 10..20), &Arc::default())
        .await
        .map(drop)
        .unwrap_err();
    assert!(matches!(error, WriteError::Retry { .. }), "{error}");
    sink.write(&rows::group(claim(1), 10..20), &Arc::default())
        .await
        .unwrap();
    assert_eq!(count(&place, "tyk_analytics").await, "10");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_finished_claim_keeps_zombies_out_for_seven_days() {
    let Some(place) = Place::start().await else { return };
    let sink = sink(&place, "sql", json!({})).await;
    let group = rows::group(claim(1), 0..10);
    sink.write(&group, &Arc::default()).await.unwrap();
    sink.forget(&[claim(1)]).await;
    sink.write(&group, &Arc::default()).await.unwrap();
    assert_eq!(count(&place, "tyk_analytics").await, "10");
    let older = "UPDATE tyk_pump_ledger SET at = at - interval '8 days'";
    place.client.batch_execute(older).await.unwrap();
    sink.write(&rows::group(claim(2), 0..10), &Arc::default())
        .await
        .unwrap();
    sink.forget(&[]).await;
    assert_eq!(
        place.column("SELECT claim FROM tyk_pump_ledger").await,
        [claim(2).to_string()]
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renamed_pump_knows_what_it_wrote_under_its_old_name() {
    let Some(place) = Place::start().await else { return };
    let old = try_sink("sql", "OLD", meta(&place, json!({}))).await.unwrap();
    old.write(&rows::group(claim(1), 5..10), &Arc::default()).await.unwrap();
    let new = try_sink("sql", "NEW", meta(&place, json!({}))).await.unwrap();
    assert_eq!(new.applied(claim(1), None).await.unwrap().unwrap().to_string(), "");
    assert_eq!(
        new.applied(claim(1), Some("OLD")).await.unwrap().unwrap().to_string(),
        "5-9"
    );
}
