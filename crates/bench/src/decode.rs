//! Rates of the pure work on one core: decoding and rendering.

use std::{hint::black_box, path::Path, sync::Arc};

use analytics::{
    Batch, ClaimId, DecodeError, Key, Record, RecordKind, RecordView, Span, Transform, Wire, csv, json, msgpack,
    protobuf,
};
use anyhow::bail;
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use serde_json::{Map, Value};

use crate::{
    fixture::Ordinary,
    machine,
    spread::{Spread, thousands},
};

/// Rows of one window, as the pump decodes them.
const ROWS: u64 = 5_000;
pub(crate) const RUNS: usize = 7;
/// CPU seconds.
const RUN_TIME: f64 = 0.4;

type Decode = fn(&[u8], Span) -> Result<Record, DecodeError>;

/// `bench decode`.
pub(crate) fn run(file: Option<&Path>, output: Option<&Path>) -> anyhow::Result<()> {
    let mut report = Map::new();
    report.insert("machine".to_owned(), machine::describe());
    println!("records per CPU second of one core, {RUNS} runs: min / median / max");
    let windows = match file {
        Some(file) => vec![Ordinary::from_file(file, Some(ROWS))?],
        None => vec![Ordinary::msgpack(ROWS), Ordinary::protobuf(ROWS)?],
    };
    for window in &windows {
        report.insert(format!("{:?}", window.wire).to_lowercase(), measure(window)?);
    }
    if let Some(output) = output {
        std::fs::write(output, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(())
}

fn measure(window: &Ordinary) -> anyhow::Result<Value> {
    let decode: Decode = match window.wire {
        Wire::Msgpack => msgpack::decode,
        Wire::Protobuf => protobuf::decode,
    };
    let records = decoded(window, decode)?;
    let views = || {
        records
            .iter()
            .map(|record| RecordView::new(&window.buffer, record, &Transform::NONE))
    };
    println!("\n{:?}, {:.0} bytes a record", window.wire, window.average_bytes());
    let mut table = Table::new(window);
    table
        .rows
        .insert("average_bytes".to_owned(), window.average_bytes().into());

    table.add("decode", || {
        for &element in &window.elements {
            let _ = black_box(decode(&window.buffer, black_box(element)));
        }
    });
    table.add("decode and check UTF-8", || {
        for &element in &window.elements {
            if let Ok(record) = decode(&window.buffer, black_box(element)) {
                black_box(RecordView::new(&window.buffer, &record, &Transform::NONE).is_utf8());
                black_box(&record);
            }
        }
    });
    let (key, buffer) = (Arc::new(key(window.wire)), Bytes::copy_from_slice(&window.buffer));
    table.add("decode into a batch", || {
        let claim = ClaimId(ulid::Ulid::nil());
        black_box(Batch::decode(
            claim,
            key.clone(),
            0,
            buffer.clone(),
            window.elements.clone(),
        ));
    });
    let mut out = Vec::new();
    table.add("render JSON lines", || {
        out.clear();
        for view in views() {
            // A record without a JSON form would have failed in `decoded`.
            let _ = json::write_record(&mut out, &view);
            out.push(b'\n');
        }
        black_box(&out);
    });
    table.add("render CSV rows", || {
        out.clear();
        views().for_each(|view| csv::write_row(&mut out, &view));
        black_box(&out);
    });
    Ok(Value::Object(table.rows))
}

/// The records of a window.
///
/// # Errors
/// One is not a record that can be rendered: its rate would say nothing.
fn decoded(window: &Ordinary, decode: Decode) -> anyhow::Result<Vec<Record>> {
    let mut records = Vec::with_capacity(window.elements.len());
    for (index, &element) in window.elements.iter().enumerate() {
        let record = decode(&window.buffer, element)?;
        let view = RecordView::new(&window.buffer, &record, &Transform::NONE);
        json::write_record(&mut Vec::new(), &view)?;
        if !view.is_utf8() {
            bail!("element {index} of the fixture is not UTF-8");
        }
        records.push(record);
    }
    Ok(records)
}

fn key(wire: Wire) -> Key {
    Key {
        name: "analytics-bench".into(),
        short: "bench".into(),
        wire,
        records: RecordKind::Traffic,
    }
}

/// Rates of passes over the same records.
pub(crate) struct Table {
    /// By name.
    pub(crate) rows: Map<String, Value>,
    records: usize,
    bytes: usize,
}

impl Table {
    pub(crate) fn new(window: &Ordinary) -> Table {
        Table {
            rows: Map::new(),
            records: window.elements.len(),
            bytes: window.buffer.len(),
        }
    }

    /// Measures and prints one pass.
    pub(crate) fn add(&mut self, name: &str, mut pass: impl FnMut()) {
        pass();
        let rates = (0..RUNS).map(|_| {
            let (started, mut passes, mut used) = (cpu_seconds(), 0_usize, 0.0);
            while used < RUN_TIME {
                pass();
                passes += 1;
                used = cpu_seconds() - started;
            }
            (passes * self.records) as f64 / used
        });
        let rates = Spread::of(rates);
        let gigabytes = rates.median * self.bytes as f64 / self.records as f64 / 1e9;
        let [min, median, max] = [rates.min, rates.median, rates.max].map(thousands);
        println!("  {name:<24} {min:>12} {median:>12} {max:>12}   {gigabytes:.2} GB/s of input");
        self.rows.insert(name.to_owned(), rates.json());
    }
}

/// CPU seconds of this thread: what others do on the machine hardly counts.
fn cpu_seconds() -> f64 {
    let used = clock_gettime(ClockId::ThreadCPUTime);
    used.tv_sec as f64 + used.tv_nsec as f64 / 1e9
}
