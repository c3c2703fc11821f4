//! Aggregates, and records that have none.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use analytics::{Flag, Record, When};
use fakes::rows::{self, Row};
use serde_json::{Value, json};

use crate::mdcb::{CLAIM, Mdcb, built, failed, good, group, with};

fn graph(record: &mut Record) {
    record.flag[Flag::IsGraphQl as usize] = true;
}

fn mcp(record: &mut Record) {
    record.flag[Flag::IsMcp as usize] = true;
}

/// Records every 20 minutes from one hour to the next.
fn spread(record: &mut Record) {
    let seconds = record.time[When::TimeStamp as usize].seconds - rows::FIRST_SECOND;
    record.time[When::TimeStamp as usize].seconds = rows::FIRST_SECOND + seconds * 1200;
}

fn parsed(arguments: &[String]) -> Vec<Value> {
    arguments
        .iter()
        .map(|text| serde_json::from_str(text).unwrap())
        .collect()
}

#[tokio::test]
async fn aggregates_count_each_record_in_its_own_hour() {
    let mdcb = Mdcb::start(|_| None).await;
    let pump = built(with(mdcb.meta(), json!({"aggregated": true})), false).await;
    pump.write(&group((0..12).map(|row| Row::Odd(row, spread))))
        .await
        .unwrap();
    let calls = parsed(&mdcb.arguments("PurgeAnalyticsDataAggregated"));
    let mut hits = BTreeMap::new();
    for call in &calls {
        let (org, aggregate) = call.as_object().unwrap().iter().next().unwrap();
        assert_eq!(org, "o1");
        hits.insert(
            aggregate["TimeStamp"].as_str().unwrap(),
            aggregate["Total"]["hits"].as_i64().unwrap(),
        );
    }
    // From 22:13:20 on.
    let expected = [("22", 3), ("23", 3), ("00", 3), ("01", 3)];
    assert_eq!(hits.values().sum::<i64>(), 12);
    assert!(hits.len() >= 4, "{hits:?}");
    for (hour, count) in expected {
        let of_hour: Vec<_> = hits
            .iter()
            .filter(|(start, _)| start.contains(&format!("T{hour}:00:00")))
            .collect();
        assert_eq!(of_hour.len(), 1, "{hits:?}");
        assert_eq!(*of_hour[0].1, count, "{hits:?}");
    }

    let with_compat = Mdcb::start(|_| None).await;
    let pump = built(with(with_compat.meta(), json!({"aggregated": true})), true).await;
    pump.write(&group((0..12).map(|row| Row::Odd(row, spread))))
        .await
        .unwrap();
    let calls = parsed(&with_compat.arguments("PurgeAnalyticsDataAggregated"));
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0]["o1"]["Total"]["hits"], 12);
}

#[tokio::test]
async fn buckets_of_different_owners_share_a_call_and_those_of_one_do_not() {
    let mdcb = Mdcb::start(|_| None).await;
    let pump = built(
        with(
            mdcb.meta(),
            json!({"aggregated": true, "store_analytics_per_minute": true}),
        ),
        false,
    )
    .await;
    // Serial numbers are seconds: two minutes and a bit.
    pump.write(&good(0..130)).await.unwrap();
    let calls = parsed(&mdcb.arguments("PurgeAnalyticsDataAggregated"));
    assert_eq!(calls.len(), 3);
    let hits: i64 = calls
        .iter()
        .map(|call| call["o1"]["Total"]["hits"].as_i64().unwrap())
        .sum();
    assert_eq!(hits, 130);
}

#[tokio::test]
async fn an_aggregate_that_was_answered_is_not_counted_again() {
    let calls = Arc::new(AtomicU64::new(0));
    let mdcb = Mdcb::start(move |call| {
        let is_second = call.name == ".PurgeAnalyticsDataAggregated" && calls.fetch_add(1, Ordering::SeqCst) == 1;
        is_second.then(|| failed("busy")).flatten()
    })
    .await;
    let pump = built(
        with(
            mdcb.meta(),
            json!({"aggregated": true, "store_analytics_per_minute": true}),
        ),
        false,
    )
    .await;
    assert!(pump.write(&good(0..130)).await.is_err());
    pump.write(&good(0..130)).await.unwrap();
    let calls = parsed(&mdcb.arguments("PurgeAnalyticsDataAggregated"));
    let hits: i64 = calls
        .iter()
        .map(|call| call["o1"]["Total"]["hits"].as_i64().unwrap())
        .sum();
    assert_eq!((calls.len(), hits), (3, 130));
}

#[tokio::test]
async fn records_without_an_aggregate_are_sent_as_records_without_bodies() {
    let mdcb = Mdcb::start(|_| None).await;
    let pump = built(with(mdcb.meta(), json!({"aggregated": true})), false).await;
    let rows = [Row::Good(0), Row::Odd(1, graph), Row::Odd(2, mcp), Row::Good(3)];
    pump.write(&group(rows)).await.unwrap();
    let calls = parsed(&mdcb.arguments("PurgeAnalyticsDataAggregated"));
    assert_eq!(calls[0]["o1"]["Total"]["hits"], 2);
    assert_eq!(mdcb.serials(), [1, 2]);
    let records = &parsed(&mdcb.arguments("PurgeAnalyticsData"))[0];
    assert_eq!(
        (&records[0]["raw_request"], &records[0]["raw_response"]),
        (&json!(""), &json!(""))
    );

    let with_compat = Mdcb::start(|_| None).await;
    let pump = built(with(with_compat.meta(), json!({"aggregated": true})), true).await;
    pump.write(&group([Row::Odd(1, graph), Row::Odd(2, mcp)]))
        .await
        .unwrap();
    assert_eq!(with_compat.arguments("PurgeAnalyticsDataAggregated"), ["{}"]);
    assert!(with_compat.serials().is_empty());
}

#[tokio::test]
async fn an_mdcb_without_mcp_aggregates_gets_mcp_records() {
    let mdcb = Mdcb::start(|call| match &*call.name {
        ".PurgeAnalyticsDataMCPAggregated" => {
            failed("gorpc.Dispatcher: unknown method [.PurgeAnalyticsDataMCPAggregated]")
        }
        _ => None,
    })
    .await;
    let options = json!({"aggregated": true, "enable_mcp_aggregation": true});
    let pump = built(with(mdcb.meta(), options), false).await;
    pump.write(&group([Row::Good(0), Row::Odd(1, mcp)])).await.unwrap();
    pump.write(&[rows::all(&rows::batch(CLAIM, 2, [Row::Odd(2, mcp)]))])
        .await
        .unwrap();
    assert_eq!(mdcb.serials(), [1, 2]);
}
