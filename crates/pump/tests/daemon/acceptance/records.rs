//! Records as they come: damaged, enormous, and from real gateways.

use std::{collections::BTreeMap, fs, path::PathBuf};

use analytics::{Text, msgpack, record::Builder};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::support::{
    daemon::{Site, csv_rows},
    lists::Lists,
};

pub(crate) const KEY: &str = "analytics-tyk-system-analytics";

fn golden(path: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/golden")
        .join(path)
}

/// Elements of a deck or a capture, by list.
pub(crate) fn elements(path: &str) -> BTreeMap<String, Vec<Vec<u8>>> {
    let text = fs::read_to_string(golden(path)).unwrap();
    let mut lists: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for line in text.lines() {
        let element: Value = serde_json::from_str(line).unwrap();
        let bytes = STANDARD.decode(element["b64"].as_str().unwrap()).unwrap();
        lists
            .entry(element["key"].as_str().unwrap().to_owned())
            .or_default()
            .push(bytes);
    }
    lists
}

fn encoded(build: impl FnOnce(&mut Builder)) -> Vec<u8> {
    let mut record = Builder::new();
    build(&mut record);
    let mut element = Vec::new();
    msgpack::encode(&mut element, &record.view());
    element
}

fn csv_and_stdout(lists: &Lists) -> Site {
    let pumps = json!({
        "csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}},
        "stdout": {"type": "stdout", "meta": {"format": "json"}},
    });
    lists.site(pumps)
}

#[test]
fn damaged_and_enormous_elements_cost_only_themselves() {
    Lists::both().for_each(|lists| damaged_and_enormous_elements_in(&lists));
}

fn damaged_and_enormous_elements_in(lists: &Lists) {
    let broken = elements("decks/broken.jsonl").remove(KEY).unwrap();
    let good: Vec<Vec<u8>> = (0..10_000)
        .map(|number| {
            encoded(|record| {
                record.text(Text::Path, format!("/good/{number}").as_bytes());
            })
        })
        .collect();
    let tags: Vec<String> = (0..65_000).map(|tag| format!("t{tag}")).collect();
    let enormous = encoded(|record| {
        record.text(Text::RawResponse, vec![b'A'; 20 << 20]);
    });
    let tagged = encoded(|record| {
        record.tags(tags.iter().map(String::as_bytes));
    });
    let site = lists.site(json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}}));
    let open = site.way();
    site.push(KEY, &good[..5_000]);
    site.push(KEY, &broken);
    site.push(KEY, &[enormous, tagged]);
    site.push(KEY, &good[5_000..]);
    drop(open);

    let mut daemon = site.start_ready();
    site.wait_until_empty(60);
    let letters = site.operate_json("dlq list --json");
    let rows = csv_rows(&site.path("csv"));
    assert_eq!(rows.len() + letters.len(), 10_000 + broken.len() + 2);
    assert_eq!(
        rows.iter().filter(|row| row.contains("/good/")).count(),
        10_000 + 18,
        "18 good ones are in the deck"
    );
    assert!(rows.iter().any(|row| row.len() > 20 << 20));
    assert!(rows.iter().any(|row| row.contains(";t64999")));
    assert!(
        letters
            .iter()
            .all(|letter| letter["pump"] == "!undecodable" && letter["cause"] != ""),
        "{letters:?}"
    );

    let replayed = site.operate("dlq replay");
    assert!(String::from_utf8_lossy(&replayed.stdout).contains(&format!("0 accepted, {} kept", letters.len())));
    assert!(site.operate("dlq drop --pump !undecodable").status.success());
    assert!(site.operate_json("dlq list --json").is_empty());
    assert!(daemon.ended().is_none());
    assert!(daemon.stop().success());
}

#[test]
fn records_of_real_gateways_arrive_completely() {
    for (capture, lists) in [
        "msgpack-plain",
        "msgpack-detailed-ten-keys",
        "protobuf-detailed-ten-keys",
    ]
    .into_iter()
    .flat_map(|capture| Lists::both().map(move |lists| (capture, lists)))
    {
        let site = csv_and_stdout(&lists);
        let pushed = elements(&format!("gateway/{capture}.jsonl"));
        let traffic = |list: &&String| list.starts_with(KEY);
        let records: usize = pushed
            .iter()
            .filter(|(list, _)| traffic(list))
            .map(|(_, elements)| elements.len())
            .sum();
        assert!(records > 200, "{capture}: {records}");
        let open = site.way();
        for (list, elements) in &pushed {
            site.push(list, elements);
        }
        drop(open);
        let daemon = site.start_ready();
        site.wait_until_empty(30);
        assert!(daemon.stop().success());
        let text = fs::read_to_string(site.path("stdout")).unwrap();
        assert_eq!(text.lines().count(), records, "{capture}");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(
            lines
                .iter()
                .all(|line| line["tyk-analytics-record"]["timestamp"].is_string())
        );
        // A body may hold line ends, so that CSV rows are told apart by their number of records, not of lines.
        assert!(csv_rows(&site.path("csv")).len() >= records, "{capture}");
        assert!(site.operate_json("dlq list --json").is_empty(), "{capture}");
    }
}
