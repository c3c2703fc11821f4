//! Several instances on one Redis.

use std::{
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::json;
use tyk_pump::load::LoadOptions;

use super::{csv_pump, csv_site};
use crate::support::{
    self, Server,
    daemon::{Daemon, Site, csv_rows},
    lists::Lists,
    oracle::{Tally, csv_serials, push_serials},
};

fn backlog(records: u64) -> LoadOptions {
    LoadOptions {
        records,
        keys: "10".to_owned(),
        ..LoadOptions::default()
    }
}

/// Starts a pump and waits until it is in the middle of its work.
fn start_and_see_rows(site: &Site) -> Daemon {
    let daemon = site.start();
    site.wait("first rows", 20, || {
        (!csv_rows(&site.path("csv")).is_empty()).then_some(())
    });
    daemon
}

fn left(redis: &Server) -> usize {
    support::daemon::left(&mut redis.client(0, "")).len()
}

#[test]
fn a_paused_instance_is_relieved_and_wakes_without_harm() {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let small_windows = |site: Site| {
        site.configure("/delivery/lease", json!("2s"))
            .configure("/purge_chunk", json!(500))
    };
    let (a, b) = (small_windows(csv_site(&redis)), small_windows(csv_site(&redis)));
    push_serials(&redis, backlog(40_000));
    let paused = start_and_see_rows(&a);
    paused.signal(Signal::STOP);
    assert!(left(&redis) > 0, "the pause came too late");
    let other = b.start();
    b.wait_until_drained(&redis, 30);

    let cpu = paused.cpu_time();
    paused.signal(Signal::CONT);
    thread::sleep(Duration::from_secs(2));
    let used = paused.cpu_time() - cpu;
    assert!(
        used < Duration::from_millis(500),
        "the woken instance used {used:?} in 2 s"
    );
    a.wait_until_ready();
    assert!(paused.stop().success() && other.stop().success());

    let (ours, others) = (csv_serials(&a.path("csv")), csv_serials(&b.path("csv")));
    for serials in [&ours, &others] {
        assert!(!serials.is_empty());
        let within = Tally::of(40_000, serials.iter().copied());
        assert!(within.doubled.is_empty(), "within one directory: {within}");
    }
    let tally = Tally::of(40_000, ours.into_iter().chain(others)).after(2, &a.log());
    println!("{tally}");
    tally.assert_complete();
    // The group that was being written when the instance was paused: 10,000 rows and the window that reaches them.
    assert!(tally.doubled.len() <= 10_500, "{tally}");
}

#[test]
fn a_stop_during_a_backlog_hands_the_rest_to_another_instance_at_once() {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let (a, b) = (csv_site(&redis), csv_site(&redis));
    push_serials(&redis, backlog(60_000));
    let first = start_and_see_rows(&a);
    let began = Instant::now();
    assert!(first.stop().success());
    let took = began.elapsed();
    assert!(took < Duration::from_secs(10), "the stop took {took:?}");
    assert!(left(&redis) > 0, "the stop came too late");
    let log = a.log();
    assert!(
        log.contains("Shutting down 1 pumps...") && log.contains("CSV Pump gracefully stopped."),
        "{log}"
    );

    let second = b.start();
    // The lease is 600 s: only what was given back is taken at once.
    b.wait_until_drained(&redis, 30);
    assert!(second.stop().success());
    let both = csv_serials(&a.path("csv"))
        .into_iter()
        .chain(csv_serials(&b.path("csv")));
    let tally = Tally::of(60_000, both).after(2, &b.log());
    println!("{tally}");
    tally.assert_exactly_once();
}

#[test]
fn a_stop_during_a_backlog_leaves_the_rest_to_the_next_start() {
    for lists in Lists::both() {
        let site = lists.site(csv_pump());
        site.push_serials(backlog(60_000));
        let first = start_and_see_rows(&site);
        let began = Instant::now();
        assert!(first.stop().success());
        let took = began.elapsed();
        assert!(took < Duration::from_secs(10), "the stop took {took:?}");
        let before = csv_serials(&site.path("csv")).len();
        assert!(before < 60_000, "the stop came too late");

        let second = site.start();
        site.wait_until_empty(30);
        assert!(second.stop().success());
        let tally = Tally::of(60_000, csv_serials(&site.path("csv"))).after(2, &site.log());
        println!("{tally}");
        tally.assert_exactly_once();
    }
}
