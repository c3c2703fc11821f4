//! The log of a run, as scripts that read the original's log expect it.

use serde_json::{Value, json};
use tyk_pump::load::LoadOptions;

use crate::support::{self, Server, daemon::Site, oracle::push_serials};

/// The log of a start, ten records and a stop, in this form.
fn log_of_a_run(redis: &Server, form: &str) -> String {
    let site = Site::new(redis, json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}}))
        .configure("/log_format", json!(form));
    let daemon = site.start_ready();
    let options = LoadOptions {
        records: 10,
        ..LoadOptions::default()
    };
    push_serials(redis, options);
    site.wait_until_drained(redis, 20);
    assert!(daemon.stop().success());
    site.log()
}

/// Prefix and message of every line; the port of the health endpoint is another in every run.
fn expected() -> Vec<(&'static str, String)> {
    let version = format!("## Tyk Pump, {} ##", env!("CARGO_PKG_VERSION"));
    let lines = [
        ("main", version.as_str()),
        (
            "server",
            "Serving health check endpoint at http://localhost:PORT/health ...",
        ),
        ("csv-pump", "CSV Pump Initialized"),
        ("main", "Init Pump: CSV"),
        ("main", "Starting purge loop @1, chunk size 0"),
        ("csv-pump", "Purged 10 records..."),
        ("main", "Shutting down 1 pumps..."),
        ("main", "CSV Pump gracefully stopped."),
        ("main", "Tyk-pump stopped."),
    ];
    lines.map(|(prefix, message)| (prefix, message.to_owned())).to_vec()
}

fn without_port(log: &str) -> String {
    let (before, rest) = log.split_once("localhost:").unwrap();
    let (_, after) = rest.split_once('/').unwrap();
    format!("{before}localhost:PORT/{after}")
}

#[test]
fn start_purges_and_stop_are_told_in_the_originals_words_and_order() {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let log = without_port(&log_of_a_run(&redis, "text"));
    let all = log
        .lines()
        .map(|line| line.split_once("Z\" ").expect("a time in UTC").1);
    // One line more than the original has: how records are taken.
    let (mode, lines): (Vec<&str>, Vec<&str>) = all.partition(|line| line.contains(" mode="));
    assert!(mode.len() == 1 && mode[0].contains(" mode=claims-script "), "{mode:?}");
    let wanted: Vec<String> = expected()
        .iter()
        .map(|(prefix, message)| match message.contains(' ') {
            true => format!("level=info message=\"{message}\" prefix={prefix}"),
            false => format!("level=info message={message} prefix={prefix}"),
        })
        .collect();
    assert_eq!(lines, wanted);
}

#[test]
fn the_json_log_tells_the_same() {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let log = without_port(&log_of_a_run(&redis, "json"));
    let mut lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    lines.retain(|line| line["mode"].is_null());
    let told: Vec<(&str, String)> = lines
        .iter()
        .map(|line| {
            assert_eq!(line["level"], "info", "{line}");
            assert!(line["time"].is_string(), "{line}");
            (
                line["prefix"].as_str().unwrap(),
                line["message"].as_str().unwrap().to_owned(),
            )
        })
        .collect();
    assert_eq!(told, expected());
}
