//! `bench run` and `bench drain`: a backlog through a whole pump, side by side with another one.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::bail;
use serde_json::{Map, Value, json};

use crate::{
    backlog,
    database::Database,
    files,
    follow::{self, Growth},
    machine,
    probe::{Probe, Stalls},
    pump::{Kind, Pump, Setup},
    redis::{self, Redis},
    sink::HttpSink,
    spread::{Spread, thousands},
    window,
};

const MEGABYTE: f64 = 1e6;

/// A pump to measure.
#[derive(Clone, Debug)]
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) bin: PathBuf,
    /// `delivery.mode`, if one is to be set.
    pub(crate) mode: Option<String>,
}

/// What is measured.
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) records: u64,
    /// Elements that the backlog repeats instead of the built-in records.
    pub(crate) file: Option<PathBuf>,
    pub(crate) runs: usize,
    pub(crate) limit: Duration,
    /// The product first, then a baseline if there is one.
    pub(crate) contenders: Vec<Contender>,
}

/// Figures of one run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    seconds: f64,
    records_per_second: f64,
    cpu_seconds_per_million: f64,
    pub(crate) peak_memory_mb: f64,
    redis_peak_memory_mb: f64,
    pub(crate) stalls: Stalls,
    bare_records_per_second: Option<f64>,
}

/// A column of the summary.
type Figure = (&'static str, fn(&Sample) -> Option<f64>);

const RATE: &str = "records_per_second";
const FIGURES: [Figure; 11] = [
    (RATE, |sample| Some(sample.records_per_second)),
    ("seconds", |sample| Some(sample.seconds)),
    ("cpu_seconds_per_million", |sample| Some(sample.cpu_seconds_per_million)),
    ("peak_memory_mb", |sample| Some(sample.peak_memory_mb)),
    ("redis_peak_memory_mb", |sample| Some(sample.redis_peak_memory_mb)),
    ("ping_p50_ms", |sample| Some(sample.stalls.p50)),
    ("ping_p99_ms", |sample| Some(sample.stalls.p99)),
    ("ping_p99_9_ms", |sample| Some(sample.stalls.p999)),
    ("ping_p99_9_steady_ms", |sample| Some(sample.stalls.steady_p999)),
    ("ping_max_ms", |sample| Some(sample.stalls.max)),
    ("rate_to_bare_client", |sample| {
        Some(sample.records_per_second / sample.bare_records_per_second?)
    }),
];

/// Measures all contenders in ABBA order, prints a summary, and returns the samples of each.
pub(crate) fn run(plan: &Plan, output: Option<&Path>) -> anyhow::Result<Vec<Vec<Sample>>> {
    let mut samples = vec![Vec::new(); plan.contenders.len()];
    for run in 0..plan.runs {
        let mut order: Vec<usize> = (0..plan.contenders.len()).collect();
        if run % 2 == 1 {
            order.reverse();
        }
        for index in order {
            let contender = &plan.contenders[index];
            let sample = measure(plan, contender)?;
            println!("{} run {}: {}", contender.name, run + 1, line(&sample));
            samples[index].push(sample);
        }
    }
    let report = summarise(plan, &samples)?;
    if let Some(output) = output {
        std::fs::write(output, serde_json::to_vec_pretty(&report)?)?;
    }
    Ok(samples)
}

fn line(sample: &Sample) -> String {
    let rate = thousands(sample.records_per_second);
    let (cpu, memory, worst) = (sample.cpu_seconds_per_million, sample.peak_memory_mb, sample.stalls.max);
    format!("{rate} records/s, {cpu:.2} CPU s per million, {memory:.0} MB, worst PING {worst:.1} ms")
}

fn measure(plan: &Plan, contender: &Contender) -> anyhow::Result<Sample> {
    let redis = Redis::start()?;
    let lists = backlog::keys(1);
    backlog::fill(redis.port, &lists, plan.records, &backlog::pool(plan.file.as_deref())?)?;
    let bare = match plan.kind {
        Kind::Dummy => Some(window::read(redis.port, &lists[0], plan.records)?.records_per_second),
        // The bare client of a database copies the rows that the pump has written.
        _ => None,
    };
    let database = plan.kind.is_database().then(Database::create).transpose()?;
    let sink = plan.kind.is_http().then(|| HttpSink::start(plan.kind)).transpose()?;
    let mut delivery = Map::new();
    if let Some(mode) = &contender.mode {
        delivery.insert("mode".to_owned(), mode.as_str().into());
    }
    let url = database
        .as_ref()
        .map(Database::url)
        .or_else(|| sink.as_ref().map(HttpSink::url));
    let url = url.unwrap_or_default();
    let setup = Setup::towards(&url, &contender.bin, plan.kind, redis.port, delivery)?;
    let (mut client, mut growth) = (redis.client()?, Growth::new(vec![setup.csv_dir()]));

    let probe = Probe::start(redis.port)?;
    let started = Instant::now();
    let mut pump = setup.start()?;
    let delivered = |pump: &Pump<'_>| match (plan.kind, &sink) {
        (_, Some(sink)) => Ok(Some(sink.records())),
        (Kind::Csv, _) => files::count_rows(&setup.csv_dir()).map(Some),
        (Kind::Postgres, _) => database.as_ref().map(Database::rows).transpose(),
        (Kind::PostgresAggregate, _) => database.as_ref().map(Database::hits).transpose(),
        _ => pump.delivered(),
    };
    let finished = follow::until_done(&mut pump, &mut growth, &mut client, &lists, plan.limit, |pump| {
        Ok(delivered(pump)?.is_none_or(|delivered| delivered == plan.records))
    })?;
    let (cpu, peak) = (pump.cpu_seconds()?, pump.peak_memory()?);
    let stalls = probe.stop(finished)?;
    let delivered = delivered(&pump)?;
    pump.stop()?;
    if let Some(delivered) = delivered
        && delivered != plan.records
    {
        bail!(
            "{} of {} records are delivered; the pump's log:\n{}",
            delivered,
            plan.records,
            setup.log_tail()
        );
    }
    let bare = match (plan.kind, &database) {
        (Kind::Postgres, Some(database)) => Some(database.bare_copy_rate()?),
        _ => bare,
    };
    let (seconds, records) = ((finished - started).as_secs_f64(), plan.records as f64);
    Ok(Sample {
        seconds,
        records_per_second: records / seconds,
        cpu_seconds_per_million: cpu / records * 1e6,
        peak_memory_mb: peak as f64 / MEGABYTE,
        redis_peak_memory_mb: redis.peak_memory()? as f64 / MEGABYTE,
        stalls,
        bare_records_per_second: bare,
    })
}

fn summarise(plan: &Plan, samples: &[Vec<Sample>]) -> anyhow::Result<Value> {
    let redis = Redis::start()?;
    let mut report = json!({
        "machine": machine::describe(),
        "redis": redis::version(&mut redis.client()?)?,
        "sink": format!("{:?}", plan.kind).to_lowercase(),
        "records": plan.records,
    });
    let mut spreads = Vec::new();
    for (contender, samples) in plan.contenders.iter().zip(samples) {
        println!("\n{}, {} runs: min / median / max", contender.name, samples.len());
        let (mut figures, mut medians) = (Map::new(), Vec::new());
        for (name, figure) in FIGURES {
            let values: Vec<f64> = samples.iter().filter_map(figure).collect();
            if values.is_empty() {
                continue;
            }
            let spread = Spread::of(values);
            let [min, median, max] = [spread.min, spread.median, spread.max].map(readable);
            println!("  {name:<24} {min:>12} {median:>12} {max:>12}");
            figures.insert(name.to_owned(), spread.json());
            medians.push((name, spread.median));
        }
        let runs: Vec<Value> = samples.iter().map(Sample::json).collect();
        report[contender.name] = json!({
            "bin": contender.bin, "mode": contender.mode, "summary": figures, "runs": runs,
        });
        spreads.push(medians);
    }
    if let [ours, baseline] = spreads.as_slice() {
        report["ratios"] = ratios(ours, baseline);
    }
    Ok(report)
}

/// How many times better the product is, by medians: its rate over the baseline's, the baseline's costs over its own.
fn ratios(ours: &[(&str, f64)], baseline: &[(&str, f64)]) -> Value {
    println!("\nhow many times better than the baseline, by medians");
    let mut ratios = Map::new();
    for ((name, ours), (_, baseline)) in ours.iter().zip(baseline) {
        let ratio = match *name {
            RATE | "rate_to_bare_client" => ours / baseline,
            _ => baseline / ours,
        };
        println!("  {name:<24} {ratio:>12.2}");
        ratios.insert((*name).to_owned(), ratio.into());
    }
    Value::Object(ratios)
}

fn readable(value: f64) -> String {
    if value >= 1_000.0 {
        thousands(value)
    } else {
        format!("{value:.2}")
    }
}

impl Sample {
    fn json(&self) -> Value {
        let figures = FIGURES
            .into_iter()
            .filter_map(|(name, figure)| Some((name.to_owned(), figure(self)?.into())));
        Value::Object(figures.collect())
    }
}

/// Limits of `bench drain`.
pub(crate) struct Limits {
    pub(crate) peak_memory_mb: f64,
    pub(crate) ping_p999_ms: f64,
}

/// Whether every run kept the limits; says which did not.
pub(crate) fn judge(samples: &[Sample], limits: &Limits) -> bool {
    let worst = |figure: fn(&Sample) -> f64| samples.iter().map(figure).fold(0.0, f64::max);
    let checks = [
        (
            "peak memory, MB",
            worst(|sample| sample.peak_memory_mb),
            limits.peak_memory_mb,
        ),
        (
            "PING p99.9, ms",
            worst(|sample| sample.stalls.p999),
            limits.ping_p999_ms,
        ),
    ];
    println!("\nworst of {} runs", samples.len());
    for (name, value, limit) in checks {
        let verdict = if value <= limit { "kept" } else { "EXCEEDED" };
        println!("  {name:<24} {value:>12.2}   limit {limit} {verdict}");
    }
    println!("  {:<24} {:>12.2}", "worst PING, ms", worst(|sample| sample.stalls.max));
    checks.iter().all(|(_, value, limit)| value <= limit)
}
