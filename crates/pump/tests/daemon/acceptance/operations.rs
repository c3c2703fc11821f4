//! What operators configure and do by hand.

use std::fs;

use serde_json::{Value, json};
use tyk_pump::load::LoadOptions;

use crate::support::{
    daemon::Site,
    lists::Lists,
    oracle::{Tally, csv_serials},
};

fn records(records: u64) -> LoadOptions {
    LoadOptions {
        records,
        errors: 0.3,
        ..LoadOptions::default()
    }
}

#[test]
fn every_pump_gets_its_own_selection_of_the_same_records() {
    Lists::both().for_each(|lists| every_pump_gets_its_own_selection_of_the_same_records_in(&lists));
}

fn every_pump_gets_its_own_selection_of_the_same_records_in(lists: &Lists) {
    let pumps = json!({
        "failures": {
            "type": "stdout",
            "filters": {"skip_response_codes": [200]},
            "meta": {"format": "json", "log_field_name": "failure"},
        },
        "anonymous": {
            "type": "stdout",
            "ignore_fields": ["api_key"],
            "meta": {"format": "json", "log_field_name": "anonymous"},
        },
    });
    let site = lists.site(pumps);
    site.push_serials(records(2_000));
    let daemon = site.start_ready();
    site.wait_until_empty(20);
    let (_, status) = site.status("FAILURES").unwrap();
    assert!(daemon.stop().success());

    let text = fs::read_to_string(site.path("stdout")).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |field: &str| -> Vec<&Value> { lines.iter().filter_map(|line| line.get(field)).collect() };
    let (failures, anonymous) = (of("failure"), of("anonymous"));
    assert_eq!(anonymous.len(), 2_000);
    assert!(anonymous.iter().all(|record| record["api_key"] == ""));
    let failed = anonymous.iter().filter(|record| record["response_code"] != 200).count();
    assert!(failed > 0 && failures.len() == failed, "{} of {failed}", failures.len());
    assert!(
        failures
            .iter()
            .all(|record| record["response_code"] != 200 && record["api_key"] != "")
    );
    assert_eq!(
        (&status["delivered"], &status["filtered"]),
        (&json!(failed), &json!(2_000 - failed))
    );
}

#[test]
fn elements_of_an_unknown_encoding_stay_until_an_operator_lets_them_go() {
    Lists::both().for_each(|lists| elements_of_an_unknown_encoding_stay_until_an_operator_lets_them_go_in(&lists));
}

fn elements_of_an_unknown_encoding_stay_until_an_operator_lets_them_go_in(lists: &Lists) {
    let site = lists.site(json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}}));
    let daemon = site.start_ready();
    site.push("analytics-tyk-system-analytics_3", &vec![b"no record".to_vec(); 50]);
    let cause = site.wait("the pump to pause", 20, || {
        let (_, csv) = site.status("CSV")?;
        (csv["state"] == "paused").then(|| csv["cause"].to_string())
    });
    assert!(cause.contains("50 of 50 elements"), "{cause}");
    assert_eq!(site.get("/readyz").unwrap().0, 503);
    let claims = site.operate_json("claims list --json");
    assert_eq!((claims.len(), &claims[0]["len"]), (1, &json!(50)), "{claims:?}");
    assert!(site.operate_json("dlq list --json").is_empty());

    assert!(!site.operate("lane accept-refusals NOBODY").status.success());
    assert!(site.operate("lane accept-refusals !undecodable").status.success());
    site.wait_until_empty(20);
    assert_eq!(site.operate_json("dlq list --json").len(), 50);
    site.push_serials(records(1_000));
    site.wait_until_empty(20);
    site.wait_until_ready();
    assert!(daemon.stop().success());
    Tally::of(1_000, csv_serials(&site.path("csv"))).assert_exactly_once();
}

/// A site whose pump cannot start, and may hold next to nothing in Redis.
fn site_over_its_budget(lists: &Lists) -> Site {
    let pumps = json!({
        "csv": {"type": "csv", "meta": {"csv_dir": "@/file/csv"}},
        "good": {"type": "csv", "meta": {"csv_dir": "@/good"}},
    });
    let site = lists
        .site(pumps)
        .configure("/purge_chunk", json!(500))
        .configure("/delivery/max_unacked", json!(1_000_000))
        .configure("/delivery/max_backlog", json!("1GiB"));
    fs::write(site.path("file"), "in the way").unwrap();
    site
}

#[test]
fn what_redis_may_not_hold_for_a_failing_pump_waits_on_disk() {
    Lists::both().for_each(|lists| what_redis_may_not_hold_for_a_failing_pump_waits_on_disk_in(&lists));
}

fn what_redis_may_not_hold_for_a_failing_pump_waits_on_disk_in(lists: &Lists) {
    let site = site_over_its_budget(lists).configure("/delivery/spool_dir", json!("@/spool"));
    site.push_serials(records(10_000));
    let daemon = site.start();
    site.wait("rows in the spool", 20, || {
        let (_, csv) = site.status("CSV")?;
        (csv["spooled_rows"].as_u64()? > 0 && csv["backlog_bytes"].as_u64()? <= 1_000_000).then_some(())
    });
    assert!(fs::read_dir(site.path("spool/CSV")).unwrap().count() > 1);
    fs::remove_file(site.path("file")).unwrap();
    site.wait_until_empty(60);
    site.wait("an empty spool", 60, || {
        let (_, csv) = site.status("CSV")?;
        (csv["spooled_rows"] == 0 && csv["backlog_rows"] == 0).then_some(())
    });
    assert!(daemon.stop().success());
    Tally::of(10_000, csv_serials(&site.path("file/csv"))).assert_exactly_once();
    Tally::of(10_000, csv_serials(&site.path("good"))).assert_exactly_once();
}

#[test]
fn without_a_spool_the_oldest_go_and_are_counted() {
    Lists::both().for_each(|lists| without_a_spool_the_oldest_go_and_are_counted_in(&lists));
}

fn without_a_spool_the_oldest_go_and_are_counted_in(lists: &Lists) {
    let site = site_over_its_budget(lists);
    site.push_serials(records(10_000));
    let daemon = site.start();
    let dropped = site.wait("dropped rows", 20, || {
        let (_, csv) = site.status("CSV")?;
        let dropped = csv["dropped"]["budget"].as_u64()?;
        (csv["backlog_bytes"].as_u64()? <= 1_000_000).then_some(dropped as usize)
    });
    assert!(dropped > 0 && dropped < 10_000, "{dropped}");
    fs::remove_file(site.path("file")).unwrap();
    site.wait_until_empty(60);
    assert!(daemon.stop().success());
    let rest = Tally::of(10_000, csv_serials(&site.path("file/csv")));
    assert!(
        rest.lost.len() == dropped && rest.doubled.is_empty(),
        "dropped {dropped}: {rest}"
    );
    Tally::of(10_000, csv_serials(&site.path("good"))).assert_exactly_once();
}

/// While the pump runs; records of a Redis could be moved without it, those of the pump's own store only by it.
#[test]
fn records_of_a_pump_under_its_old_name_are_adopted_or_dropped() {
    Lists::both().for_each(|lists| adopted_or_dropped_in(&lists));
}

fn adopted_or_dropped_in(lists: &Lists) {
    let site = lists.site(json!({
        "good": {"type": "csv", "meta": {"csv_dir": "@/good"}},
        "old": {"type": "csv", "meta": {"csv_dir": "@/file/old"}},
        "gone": {"type": "csv", "meta": {"csv_dir": "@/file/gone"}},
    }));
    // A third of it goes by before a claim is looked at again.
    let site = site.configure("/delivery/lease", json!("3s"));
    fs::write(site.path("file"), "in the way").unwrap();
    site.push_serials(records(2_000));
    let first = site.start();
    site.wait("the good pump", 20, || {
        let (_, good) = site.status("GOOD")?;
        (good["delivered"] == 2_000).then_some(())
    });
    assert!(first.stop().success());

    let site = site.configure(
        "/pumps",
        json!({
            "good": {"type": "csv", "meta": {"csv_dir": "@/good"}},
            "new": {"type": "csv", "meta": {"csv_dir": "@/new"}},
        }),
    );
    let second = site.start_ready();
    let claims = site.operate_json("claims list --json");
    let waiting = claims
        .iter()
        .map(|claim| (&claim["cursors"]["OLD"], &claim["cursors"]["GONE"]));
    assert_eq!(waiting.collect::<Vec<_>>(), [(&json!(0), &json!(0))], "{claims:?}");
    let said = |words: &str| {
        let output = site.operate(words);
        assert!(output.status.success(), "{words}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    for (words, meant) in [
        ("claims drop --pump gome", "GONE"),
        ("claims adopt OLD newer", "NEW"),
        ("dlq list --pump goood", "GOOD"),
        ("dlq drop --pump goood", "GOOD"),
        ("dlq replay --pump goood", "GOOD"),
        ("lane accept-refusals goood", "GOOD"),
    ] {
        let output = site.operate(words);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{words}: {output:?}");
        assert!(said.contains(&format!("did you mean \"{meant}\"?")), "{words}: {said}");
    }
    let armed = site.operate("lane accept-refusals good");
    let words = String::from_utf8_lossy(&armed.stderr).into_owned();
    assert!(
        armed.status.code() == Some(1) && words.contains("not held back"),
        "a healthy pump: {armed:?}"
    );
    assert!(said("dlq drop --pump Good").contains("nothing to drop"));
    assert!(said("claims drop --pump good").contains("nothing to drop"));
    assert!(said("claims adopt old new").starts_with("2000 records"));
    assert!(said("claims drop --pump gone").starts_with("2000 records"));
    site.wait_until_empty(30);
    assert!(second.stop().success());
    Tally::of(2_000, csv_serials(&site.path("new"))).assert_exactly_once();
    Tally::of(2_000, csv_serials(&site.path("good"))).assert_exactly_once();
}
