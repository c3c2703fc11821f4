//! Rates of aggregation on one core.

use std::{hint::black_box, path::Path};

use analytics::{
    Record, RecordView, Transform,
    aggregate::{Aggregator, Engine, Rules},
    msgpack,
};
use serde_json::{Map, Value};

use crate::{
    decode::{RUNS, Table},
    fixture::{Fixture, Ordinary},
    machine,
};

/// Records that are aggregated together, as the SQL pumps do it.
const GROUP: u64 = 50_000;
/// Endpoints of an API whose paths hold no numbers.
const ENDPOINTS: u64 = 100;

/// `bench aggregate`.
pub(crate) fn run(output: Option<&Path>) -> anyhow::Result<()> {
    let mut report = Map::new();
    report.insert("machine".to_owned(), machine::describe());
    println!("records per CPU second of one core, groups of {GROUP}, {RUNS} runs: min / median / max");
    for (name, window) in [("few endpoints", window(true)), ("every path another", window(false))] {
        report.insert(name.to_owned(), measure(name, &window)?);
    }
    if let Some(output) = output {
        std::fs::write(output, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

fn window(few_endpoints: bool) -> Ordinary {
    let mut fixture = Fixture::new();
    Ordinary::msgpack_of(GROUP, |serial| {
        let path = few_endpoints.then(|| format!("/v2/orders/{}/items", serial % ENDPOINTS));
        fixture.record(serial, path)
    })
}

fn measure(name: &str, window: &Ordinary) -> anyhow::Result<Value> {
    let decoded: Result<Vec<Record>, _> = window
        .elements
        .iter()
        .map(|&element| msgpack::decode(&window.buffer, element))
        .collect();
    let records = decoded?;
    let entries = |rules: &Rules| -> usize {
        let mut aggregator = Aggregator::new(Engine::Rest, rules);
        for record in &records {
            aggregator.add(&RecordView::new(&window.buffer, record, &Transform::NONE));
        }
        let aggregates = black_box(aggregator.finish());
        aggregates.iter().map(|aggregate| aggregate.entries.len()).sum()
    };
    let mut table = Table::new(window);
    println!("\n{name}");
    for (title, track_all_paths) in [("half of the paths tracked", false), ("all paths tracked", true)] {
        let rules = Rules {
            track_all_paths,
            ..Rules::default()
        };
        let distinct = entries(&rules);
        table.add(title, || {
            black_box(entries(&rules));
        });
        println!("    {distinct} entries");
    }
    Ok(Value::Object(table.rows))
}
