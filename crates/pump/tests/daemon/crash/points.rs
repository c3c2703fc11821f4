//! SIGKILL at every named point: see `tyk_pump::failpoints`.

use std::fs;

use serde_json::{Value, json};
use tyk_pump::{failpoints::*, load::LoadOptions};

use super::csv_pump;
use crate::support::{
    daemon::{Daemon, Site, csv_rows},
    lists::Lists,
    oracle::{Tally, csv_serials, json_serials},
};

/// Records that a run delivers; enough that every one of the ten lists has several windows.
const RECORDS: u64 = 6_000;
/// Elements that are no records, one a list.
const UNDECODABLE: usize = 10;

/// Points that a run passes by itself.
const ON_THE_WAY: [&str; 11] = [
    AFTER_CLAIM,
    BEFORE_READ,
    AFTER_READ,
    BEFORE_WRITE,
    AFTER_WRITE,
    BEFORE_ACK,
    AFTER_ACK,
    AFTER_INTENT,
    AFTER_APPEND,
    BEFORE_DEAD_LETTER,
    AFTER_DEAD_LETTER,
];
const IN_THE_SPOOL: [&str; 2] = [SPOOL_BEFORE_RENAME, SPOOL_AFTER_RENAME];
const BETWEEN_INSTANCES: [&str; 2] = [AFTER_TAKE_OVER, BEFORE_RELEASE];

#[test]
fn every_point_has_its_test() {
    let mut tested: Vec<&str> = [&ON_THE_WAY[..], &IN_THE_SPOOL, &BETWEEN_INSTANCES].concat();
    let mut all = ALL.to_vec();
    tested.sort_unstable();
    all.sort_unstable();
    assert_eq!(tested, all);
}

/// The first and the third passage of each.
fn passages(points: &[&str]) -> Vec<String> {
    let twice = points.iter().map(|point| [(*point).to_owned(), format!("{point}:3")]);
    twice.flatten().collect()
}

fn two_pumps(lists: &Lists) -> Site {
    let mut pumps = csv_pump();
    pumps["out"] = json!({"type": "stdout", "meta": {"format": "json"}});
    lists.site(pumps).configure("/purge_chunk", json!(200))
}

/// The records and the other elements are pushed.
fn fill(site: &Site) {
    let options = LoadOptions {
        records: RECORDS,
        keys: "10".to_owned(),
        ..LoadOptions::default()
    };
    let _open = site.way();
    site.push_serials(options);
    for shard in 0..UNDECODABLE {
        let list = format!("analytics-tyk-system-analytics_{shard}");
        site.push(&list, &[b"no record".to_vec()]);
    }
}

fn run_until_it_dies(site: &Site, point: &str) {
    let mut daemon = site.start_with(&[("TYK_PMP_FAILPOINT", point)]);
    site.wait(&format!("death at {point}"), 20, || daemon.was_killed().then_some(()));
}

/// Everything is where it belongs after a last run.
fn finish(site: &Site, last: Daemon, point: &str) {
    site.wait_until_ready();
    site.wait_until_empty(30);
    assert!(last.stop().success());
    let log = site.log();
    let attempts = log.matches("## Tyk Pump").count();
    let tally = Tally::of(RECORDS, csv_serials(&site.path("csv"))).after(attempts, &log);
    println!("{point}: csv: {tally}");
    tally.assert_exactly_once();
    let out = site.path("stdout");
    if fs::metadata(&out).unwrap().len() > 0 {
        let tally = Tally::of(RECORDS, json_serials(&out)).after(attempts, &log);
        println!("{point}: stdout: {tally}");
        tally.assert_complete();
    }
}

fn dead_letters(site: &Site) -> Vec<Value> {
    site.operate_json("dlq list --json")
}

fn dies_and_recovers(lists: &Lists, point: &str) {
    let site = two_pumps(lists);
    fill(&site);
    run_until_it_dies(&site, point);
    finish(&site, site.start(), point);
    let dead = dead_letters(&site);
    assert_eq!(dead.len(), UNDECODABLE, "{point}: {dead:?}");
    assert!(dead.iter().all(|letter| letter["pump"] == "!undecodable"), "{dead:?}");
}

#[test]
fn a_death_around_claims_and_reads_costs_nothing() {
    for lists in Lists::both() {
        for point in passages(&ON_THE_WAY[..3]) {
            dies_and_recovers(&lists, &point);
        }
    }
}

#[test]
fn a_death_around_writes_and_acknowledgements_costs_nothing() {
    for lists in Lists::both() {
        for point in passages(&ON_THE_WAY[3..7]) {
            dies_and_recovers(&lists, &point);
        }
    }
}

#[test]
fn a_death_within_a_write_or_around_dead_letters_costs_nothing() {
    for lists in Lists::both() {
        for point in passages(&ON_THE_WAY[7..]) {
            dies_and_recovers(&lists, &point);
        }
    }
}

#[test]
fn a_death_after_a_take_over_costs_nothing() {
    for lists in Lists::both() {
        for point in passages(&[AFTER_TAKE_OVER]) {
            let site = two_pumps(&lists);
            fill(&site);
            run_until_it_dies(&site, "after_claim:5");
            run_until_it_dies(&site, &point);
            finish(&site, site.start(), &point);
            assert_eq!(dead_letters(&site).len(), UNDECODABLE, "{point}");
        }
    }
}

#[test]
fn a_death_before_the_release_costs_nothing() {
    for lists in Lists::both() {
        let site = two_pumps(&lists);
        fill(&site);
        let daemon = site.start_with(&[("TYK_PMP_FAILPOINT", BEFORE_RELEASE)]);
        site.wait("first rows", 20, || {
            (!csv_rows(&site.path("csv")).is_empty()).then_some(())
        });
        let status = daemon.stop();
        assert!(!status.success(), "it must die on the way");
        finish(&site, site.start(), BEFORE_RELEASE);
    }
}

/// The directory of the only pump goes away, so that its rows go to the spool.
#[test]
fn a_death_while_spooling_costs_nothing() {
    for lists in Lists::both() {
        for point in passages(&IN_THE_SPOOL) {
            dies_while_spooling(&lists, &point);
        }
    }
}

fn dies_while_spooling(lists: &Lists, point: &str) {
    let site = lists.site(csv_pump()).configure("/purge_chunk", json!(200)).configure(
        "/delivery",
        json!({
            "instance_id": "spooling", "lease": "600s",
            "spool_dir": "@/spool", "max_unacked": 10_000, "max_backlog": "1GiB",
        }),
    );
    let mut daemon = site.start_with(&[("TYK_PMP_FAILPOINT", point)]);
    site.wait_until_ready();
    let (csv, aside) = (site.path("csv"), site.path("aside"));
    fs::rename(&csv, &aside).unwrap();
    fs::write(&csv, "in the way").unwrap();
    fill(&site);
    site.wait(&format!("death at {point}"), 20, || daemon.was_killed().then_some(()));
    fs::remove_file(&csv).unwrap();
    fs::rename(&aside, &csv).unwrap();
    finish(&site, site.start(), point);
    let spooled = fs::read_dir(site.path("spool/CSV")).unwrap();
    let names: Vec<_> = spooled.map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["lock"], "{point}: spool files are left");
}
