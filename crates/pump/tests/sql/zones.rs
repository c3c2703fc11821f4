//! Days and hours are those of the pump's zone.

use serde_json::json;

use crate::{
    database::Database,
    stored::{assert_aggregates, assert_rows},
    support::{self, daemon::Site, deck::Deck},
};

/// 72 hours from 12:00 UTC of 30 October 2026 on: over three midnights, wherever, and over the night in which New York
/// shows the hour from 1 to 2 twice.
const BACKLOG: Deck = Deck {
    records: 12_000,
    start: 1_793_361_600,
    seconds: 72 * 3600,
};

/// When New York goes back from -4 h to -5 h: 06:00 UTC of 1 November 2026.
const WINTER: i64 = 1_793_512_800;

fn lands_in_days_and_hours_of(zone: &str, offset: fn(i64) -> i64) {
    let (Some(redis), Some(mut database)) = (support::redis("plain", &[]), Database::create("postgres")) else {
        return;
    };
    let sharded = database.meta(json!({"table_sharding": true}));
    let site = Site::new(
        &redis,
        json!({
            "raw": {"type": "sql", "meta": sharded},
            "days": {"type": "sql_aggregate", "meta": sharded},
            "hours": {"type": "sql_aggregate", "meta": database.meta(json!({}))},
        }),
    );
    BACKLOG.push(&redis, 10);
    let daemon = site.start_with(&[("TZ", zone)]);
    site.wait_until_ready();
    site.wait_until_drained(&redis, 60);
    assert!(daemon.stop().success());

    let days = BACKLOG.days(offset);
    let shards = |base: &str| -> Vec<String> { days.keys().map(|day| format!("{base}_{day}")).collect() };
    for (day, records) in &days {
        let rows = database.number(&format!("SELECT count(*) FROM tyk_analytics_{day}"));
        assert_eq!(rows as u64, *records, "{zone}: {day} of {days:?}");
    }
    assert_rows(&mut database, &shards("tyk_analytics"), BACKLOG.records);
    let expected = BACKLOG.expected(offset);
    assert_aggregates(&mut database, &["tyk_aggregated".to_owned()], &expected);
    assert_aggregates(&mut database, &shards("tyk_aggregated"), &expected);
    // An hour's bucket is in the shard of its day.
    for day in days.keys() {
        for row in database.query(&format!("SELECT DISTINCT \"timestamp\" FROM tyk_aggregated_{day}")) {
            let bucket: i64 = row[0].parse().unwrap();
            let there = Deck {
                records: 1,
                start: bucket,
                seconds: 1,
            };
            assert!(there.days(offset).contains_key(day), "{zone}: bucket {bucket} in {day}");
        }
    }
}

#[test]
fn a_backlog_of_three_days_lands_in_days_and_hours_of_utc() {
    lands_in_days_and_hours_of("UTC", |_| 0);
}

#[test]
fn a_backlog_of_three_days_lands_in_days_and_hours_of_kolkata() {
    lands_in_days_and_hours_of("Asia/Kolkata", |_| 19_800);
}

#[test]
fn a_backlog_of_three_days_lands_in_days_and_hours_of_new_york() {
    lands_in_days_and_hours_of("America/New_York", |at| if at < WINTER { -14_400 } else { -18_000 });
}
