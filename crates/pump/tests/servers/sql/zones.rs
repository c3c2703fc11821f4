//! Days and hours are those of the pump's zone.

use std::{fs, time::Duration};

use serde_json::json;

use super::{
    database::Database,
    stored::{assert_aggregates, assert_rows},
};
use crate::support::{self, Server, daemon::Site, deck::Deck};

/// 72 hours from 12:00 UTC of 30 October 2026 on: over three midnights, wherever, and over the night in which New York
/// shows the hour from 1 to 2 twice.
const BACKLOG: Deck = Deck {
    records: 12_000,
    start: 1_793_361_600,
    seconds: 72 * 3600,
};

/// When New York goes back from -4 h to -5 h: 06:00 UTC of 1 November 2026.
const WINTER: i64 = 1_793_512_800;

fn site(redis: &Server, database: &Database) -> Site {
    let sharded = database.meta(json!({"table_sharding": true}));
    let pumps = json!({
        "raw": {"type": "sql", "meta": sharded},
        "days": {"type": "sql_aggregate", "meta": sharded},
        "hours": {"type": "sql_aggregate", "meta": database.meta(json!({}))},
    });
    Site::new(redis, pumps)
}

fn lands_in_days_and_hours_of(zone: &str, offset: fn(i64) -> i64) {
    let (Some(redis), Some(mut database)) = (support::redis("plain", &[]), Database::create("postgres")) else {
        return;
    };
    let site = site(&redis, &database);
    BACKLOG.push(&redis, 10);
    let daemon = site.start_with(&[("TZ", zone)]);
    site.wait_until_ready();
    site.wait_until_drained(&redis, 60);
    assert!(daemon.stop().success());
    assert_days_and_hours(&mut database, BACKLOG, zone, offset);
}

/// Every record is in the shard of its day, and in the hour of its time.
fn assert_days_and_hours(database: &mut Database, deck: Deck, zone: &str, offset: fn(i64) -> i64) {
    let days = deck.days(offset);
    let shards = |base: &str| -> Vec<String> { days.keys().map(|day| format!("{base}_{day}")).collect() };
    for (day, records) in &days {
        let rows = database.number(&format!("SELECT count(*) FROM tyk_analytics_{day}"));
        assert_eq!(rows as u64, *records, "{zone}: {day} of {days:?}");
    }
    assert_rows(database, &shards("tyk_analytics"), deck.records);
    let expected = deck.expected(offset);
    assert_aggregates(database, &["tyk_aggregated".to_owned()], &expected);
    assert_aggregates(database, &shards("tyk_aggregated"), &expected);
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

/// The environment of a process whose clock begins at `start`, in its own zone; `None`, reported: faketime is not installed.
fn fake_clock(start: &str) -> Option<[(&'static str, String); 3]> {
    let folders = fs::read_dir("/usr/lib").into_iter().flatten().flatten();
    let mut libraries = folders.map(|folder| folder.path().join("faketime/libfaketimeMT.so.1"));
    let Some(library) = libraries.find(|library| library.exists()) else {
        fakes::server::skip("faketime is not installed (apt-get install faketime)");
        return None;
    };
    Some([
        ("LD_PRELOAD", library.to_str()?.to_owned()),
        ("FAKETIME", format!("@{start}")),
        // Time-outs and intervals are real.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
    ])
}

/// Runs a pump whose clock shows 23:59:53 of 31 October 2026 in `zone` at the start, and gives it records of both days before
/// and after its midnight. `midnight`: when that is, Unix seconds.
fn runs_over_midnight(zone: &str, midnight: i64, offset: fn(i64) -> i64) {
    let Some(clock) = fake_clock("2026-10-31 23:59:53") else {
        return;
    };
    let (Some(redis), Some(mut database)) = (support::redis("plain", &[]), Database::create("postgres")) else {
        return;
    };
    let site = site(&redis, &database);
    let mut environment = vec![("TZ", zone)];
    environment.extend(clock.iter().map(|(name, value)| (*name, value.as_str())));
    let daemon = site.start_with(&environment);
    site.wait_until_ready();
    let shards = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE 'tyk%2026%' ORDER BY 1";
    assert_eq!(
        database.query(shards),
        [["tyk_aggregated_20261031"], ["tyk_analytics_20261031"]],
        "{zone}: the shards of the day of the start"
    );
    let deck = Deck {
        records: 2_000,
        start: midnight - 8,
        seconds: 16,
    };
    deck.push_over(&redis, 10, Duration::from_secs(10));
    site.wait_until_drained(&redis, 30);
    assert!(daemon.stop().success());

    let log = site.log();
    for day in ["2026-10-31T23:59:", "2026-11-01T00:00:"] {
        assert!(log.contains(day), "{zone}: its clock did not show {day}\n{log}");
    }
    assert_eq!(
        database.query(shards),
        [
            ["tyk_aggregated_20261031"],
            ["tyk_aggregated_20261101"],
            ["tyk_analytics_20261031"],
            ["tyk_analytics_20261101"]
        ],
        "{zone}"
    );
    assert_days_and_hours(&mut database, deck, zone, offset);
}

#[test]
fn a_pump_runs_over_midnight_in_utc() {
    runs_over_midnight("UTC", 1_793_491_200, |_| 0);
}

#[test]
fn a_pump_runs_over_midnight_in_kolkata() {
    runs_over_midnight("Asia/Kolkata", 1_793_491_200 - 19_800, |_| 19_800);
}

#[test]
fn a_pump_runs_over_midnight_in_new_york() {
    runs_over_midnight("America/New_York", 1_793_491_200 + 14_400, |_| -14_400);
}
