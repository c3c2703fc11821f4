//! Back-ends that fail, and what the daemon says of them.

use std::{fs, process::Command};

use serde_json::json;
use tyk_pump::load::LoadOptions;

use crate::support::{
    self,
    daemon::Site,
    lists::Lists,
    oracle::{Tally, csv_serials, json_serials, push_serials},
};

fn records(records: u64) -> LoadOptions {
    LoadOptions {
        records,
        ..LoadOptions::default()
    }
}

fn run(program: &str, words: &[&str]) -> bool {
    Command::new(program)
        .args(words)
        .output()
        .is_ok_and(|output| output.status.success())
}

#[test]
fn a_directory_that_turns_read_only_delays_nobody_else_and_recovers_by_itself() {
    Lists::both()
        .for_each(|lists| a_directory_that_turns_read_only_delays_nobody_else_and_recovers_by_itself_in(&lists));
}

fn a_directory_that_turns_read_only_delays_nobody_else_and_recovers_by_itself_in(lists: &Lists) {
    let pumps = json!({
        "csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}},
        "stdout": {"type": "stdout", "meta": {"format": "json"}},
    });
    let site = lists.site(pumps);
    let folder = site.path("csv");
    fs::create_dir(&folder).unwrap();
    let shown = folder.to_str().unwrap();
    let daemon = site.start_ready();
    site.push_serials(records(1_000));
    site.wait_until_empty(20);
    // A file system with open files cannot be made read-only in the ordinary way: another one is put over it.
    if !run("mount", &["-t", "tmpfs", "-o", "ro", "tmpfs", shown]) {
        fakes::server::skip("this user may not mount file systems");
        return;
    }
    site.push_serials(records(2_000));
    site.wait("the other pump to go on", 10, || {
        let (_, stdout) = site.status("STDOUT")?;
        (stdout["delivered"] == 3_000).then_some(())
    });
    let status = site.wait("the pump and the cause to be shown", 10, || {
        let (status, csv) = site.status("CSV")?;
        let cause = csv["cause"].as_str().unwrap_or_default();
        (csv["state"] == "retrying" && cause.contains("Read-only file system")).then_some(status)
    });
    assert!(status["not_ready"].to_string().contains("csv"), "{status}");
    assert_eq!(site.get("/readyz").unwrap().0, 503);
    assert!(run("umount", &[shown]));
    site.wait_until_empty(20);
    site.wait_until_ready();
    assert!(daemon.stop().success());
    let mut pushed: Vec<u64> = (0..1_000).chain(0..2_000).collect();
    pushed.sort_unstable();
    let (mut rows, mut lines) = (csv_serials(&folder), json_serials(&site.path("stdout")));
    rows.sort_unstable();
    lines.sort_unstable();
    assert_eq!(rows, pushed);
    assert_eq!(lines, pushed);
}

#[test]
fn a_pump_that_cannot_start_yet_gets_its_records_later() {
    Lists::both().for_each(|lists| a_pump_that_cannot_start_yet_gets_its_records_later_in(&lists));
}

fn a_pump_that_cannot_start_yet_gets_its_records_later_in(lists: &Lists) {
    let pumps = json!({
        "good": {"type": "csv", "meta": {"csv_dir": "@/good"}},
        "late": {"type": "csv", "meta": {"csv_dir": "@/file/late"}},
    });
    let site = lists.site(pumps);
    fs::write(site.path("file"), "in the way").unwrap();
    site.push_serials(records(3_000));
    let daemon = site.start();
    site.wait("the good pump", 20, || {
        let (_, good) = site.status("GOOD")?;
        (good["delivered"] == 3_000).then_some(())
    });
    let claims = site.operate_json("claims list --json");
    assert_eq!(
        (&claims[0]["cursors"]["LATE"], &claims[0]["cursors"]["GOOD"]),
        (&json!(0), &json!(3_000)),
        "{claims:?}"
    );
    fs::remove_file(site.path("file")).unwrap();
    site.wait_until_empty(30);
    assert!(daemon.stop().success());
    Tally::of(3_000, csv_serials(&site.path("good"))).assert_exactly_once();
    Tally::of(3_000, csv_serials(&site.path("file/late"))).assert_exactly_once();
}

#[test]
fn what_is_claimed_goes_back_to_its_list_for_an_old_pump() {
    Lists::both().for_each(|lists| what_is_claimed_goes_back_to_its_list_for_an_old_pump_in(&lists));
}

fn what_is_claimed_goes_back_to_its_list_for_an_old_pump_in(lists: &Lists) {
    let site = lists.site(json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/file/csv"}}}));
    fs::write(site.path("file"), "in the way").unwrap();
    site.push_serials(records(2_500));
    let daemon = site.start();
    site.wait("a claim", 10, || {
        (site.log().contains("Starting purge loop") && !site.operate_json("claims list --json").is_empty())
            .then_some(())
    });
    // The pump that runs would take them again at once.
    let refused = site.operate("claims restore --accept-duplicates");
    assert!(!refused.status.success(), "{refused:?}");
    assert!(!site.operate_json("claims list --json").is_empty());
    assert!(daemon.stop().success());
    fs::remove_file(site.path("file")).unwrap();
    let restored = site.operate("claims restore");
    assert!(restored.status.success(), "{restored:?}");
    let said = String::from_utf8_lossy(&restored.stdout).into_owned();
    match lists {
        Lists::Redis(server) => {
            assert!(said.contains("no time to live until a gateway pushes"), "{said}");
            let mut ttl = redis::cmd("TTL");
            ttl.arg("analytics-tyk-system-analytics");
            assert_eq!(ttl.query::<i64>(&mut server.client(0, "")).unwrap(), -1);
        }
        Lists::Pump => assert!(said.contains("they wait there"), "{said}"),
    }
    assert!(site.operate_json("claims list --json").is_empty());
    assert_eq!(site.length("analytics-tyk-system-analytics"), 2_500);
}

#[test]
fn a_second_instance_on_the_same_directory_claims_nothing_and_takes_the_place_of_the_first() {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let first = Site::new(&redis, json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}}));
    let directory = first.path("csv");
    let second = Site::new(&redis, json!({"csv": {"type": "csv", "meta": {"csv_dir": directory}}}));
    let running = first.start_ready();
    let waiting = second.start();
    second.wait("the lock to be named", 10, || {
        second.log().contains("is in use").then_some(())
    });
    push_serials(&redis, records(2_000));
    first.wait_until_drained(&redis, 20);
    running.kill();
    push_serials(&redis, records(1_000));
    second.wait_until_drained(&redis, 20);
    assert!(waiting.stop().success());
    assert_eq!(csv_serials(&directory).len(), 3_000);
}

#[test]
fn a_redis_that_restarts_in_the_middle_costs_nothing() {
    let Some(redis) = support::redis("plain", &["--appendonly", "yes", "--appendfsync", "always"]) else {
        return;
    };
    let pumps = json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}});
    let site = Site::new(&redis, pumps).configure("/purge_chunk", json!(500));
    push_serials(&redis, records(40_000));
    let mut daemon = site.start();
    let folder = site.path("csv");
    site.wait("first rows", 20, || (!csv_serials(&folder).is_empty()).then_some(()));
    redis.act("stop");
    let before = csv_serials(&folder).len();
    assert!(before < 40_000, "the stop came too late");
    site.wait("the source to be down", 10, || {
        let (status, _) = site.status("CSV")?;
        (status["source"]["state"] == "down").then_some(())
    });
    assert_eq!(site.get("/readyz").unwrap().0, 503);
    redis.start_again();
    site.wait_until_drained(&redis, 30);
    site.wait_until_ready();
    assert!(daemon.ended().is_none());
    assert!(daemon.stop().success());
    let log = site.log();
    let lines = |text: &str| log.lines().filter(|line| line.contains(text)).count();
    assert_eq!(lines("records can be taken again"), 1, "{log}");
    let chosen = log
        .lines()
        .find(|line| line.contains("records are claimed"))
        .unwrap_or_default();
    assert!(
        chosen.contains("claims-script") && chosen.contains("scripts are allowed"),
        "{log}"
    );
    Tally::of(40_000, csv_serials(&folder)).assert_exactly_once();
}
