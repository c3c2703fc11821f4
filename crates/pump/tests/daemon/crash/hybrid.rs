//! Kills of a pump that sends to the stand-in for MDCB.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};
use tyk_pump::load::LoadOptions;

use super::kills::kill_at_random;
use crate::support::{self, daemon::Site, free_ports, oracle::Tally};

/// Records that one call holds at most: what the lane hands over at once.
const CALL: u64 = 5_000;

/// `tyk-pump mdcb-sink` in a process of its own.
struct Mdcb {
    process: Child,
    lines: PathBuf,
}

impl Mdcb {
    fn start(folder: &Path, port: u16) -> Mdcb {
        let lines = folder.join("calls.jsonl");
        let mut command = Command::new(env!("CARGO_BIN_EXE_tyk-pump"));
        command.args([
            "mdcb-sink",
            "--api-key",
            "key",
            "--listen",
            &format!("127.0.0.1:{port}"),
        ]);
        command.arg("--out").arg(&lines).stdout(Stdio::null());
        let process = command.spawn().unwrap();
        Mdcb { process, lines }
    }

    /// Arguments of the calls of a function, in order.
    fn arguments(&self, function: &str) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.lines).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        lines
            .filter(|line| line["call"] == function)
            .map(|mut line| line["argument"].take())
            .collect()
    }
}

impl Drop for Mdcb {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn serial(record: &Value) -> u64 {
    let path = record["path"].as_str().unwrap();
    path.strip_prefix("/serial/").unwrap().parse().unwrap()
}

fn kills_cost_nothing_and_double_a_call_each(records: u64, kills: usize, patience: u64) {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let port = free_ports(1, &[]);
    let meta = |aggregated| json!({"connection_string": format!("127.0.0.1:{port}"), "api_key": "key", "call_timeout": 120, "aggregated": aggregated});
    let pumps = json!({
        "raw": {"type": "hybrid", "meta": meta(false)},
        "aggregated": {"type": "hybrid", "meta": meta(true)},
    });
    let site = Site::new(&redis, pumps);
    let folder = tempfile::tempdir().unwrap();
    let mdcb = Mdcb::start(folder.path(), port);
    site.push_serials(LoadOptions {
        records,
        keys: "10".to_owned(),
        ..LoadOptions::default()
    });
    kill_at_random(&site, kills, 0..250);
    let last = site.start_ready();
    site.wait_until_drained(&redis, patience);
    assert!(last.stop().success());

    let mut serials = Vec::new();
    for call in mdcb.arguments(".PurgeAnalyticsData") {
        serials.extend(call.as_array().unwrap().iter().map(serial));
    }
    let allowed = CALL * kills as u64;
    let tally = Tally::of(records, serials).after(kills + 1, &site.log());
    println!("{tally}");
    tally.assert_complete();
    assert!(
        tally.doubled.len() as u64 <= allowed,
        "more than a call a kill came twice"
    );

    let mut hits = 0;
    for call in mdcb.arguments(".PurgeAnalyticsDataAggregated") {
        let aggregates = call.as_object().unwrap().values();
        hits += aggregates
            .map(|one| one["Total"]["hits"].as_u64().unwrap())
            .sum::<u64>();
    }
    println!("{hits} hits in aggregates");
    assert!(
        (records..=records + allowed).contains(&hits),
        "{hits} hits of {records} records"
    );
}

#[test]
fn kills_of_a_hybrid_pump_cost_nothing_and_double_a_call_each_at_most() {
    // Few: a debug build takes a second for a thousand.
    kills_cost_nothing_and_double_a_call_each(12_000, 4, 240);
}

#[test]
#[ignore = "full size: 1 M records, 20 kills"]
fn a_million_records_and_twenty_kills_reach_mdcb() {
    kills_cost_nothing_and_double_a_call_each(1_000_000, 20, 600);
}
