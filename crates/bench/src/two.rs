//! `bench two`: two instances, one of which sleeps longer than its lease.

use std::{
    path::PathBuf,
    sync::atomic::AtomicU64,
    thread,
    time::{Duration, Instant},
};

use anyhow::bail;
use serde_json::{Map, Value};

use crate::{
    backlog,
    exact::expected_bytes,
    files,
    follow::{self, Growth},
    pump::{Kind, Setup},
    redis::Redis,
    serials::Serials,
    spread::thousands,
};

const LEASE_SECONDS: u64 = 3;
/// The first instance that has written this share of the records is put to sleep.
const SHARE: f64 = 0.1;
const INTERVAL: Duration = Duration::from_millis(2);

/// What is tried.
pub(crate) struct Plan {
    pub(crate) bin: PathBuf,
    pub(crate) records: u64,
    pub(crate) keys: usize,
    /// Records that may be in both directories: a group that was being written when its writer fell asleep.
    pub(crate) group: u64,
    pub(crate) limit: Duration,
}

/// Runs it; whether nothing was lost, and no more was doubled than may be.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<bool> {
    let redis = Redis::start()?;
    let lists = backlog::keys(plan.keys);
    backlog::push_serials(redis.port, &lists, plan.records, None, &AtomicU64::new(0))?;
    let setups = [setup(plan, redis.port, "one")?, setup(plan, redis.port, "two")?];
    let enough = expected_bytes(plan.records)? * SHARE;
    let mut client = redis.client()?;

    let mut pumps = [setups[0].start()?, setups[1].start()?];
    let started = Instant::now();
    let sleeper = loop {
        for pump in &mut pumps {
            pump.check()?;
        }
        let written = setups
            .iter()
            .position(|setup| files::size(&setup.csv_dir()) as f64 >= enough);
        if let Some(index) = written {
            break index;
        }
        if started.elapsed() > plan.limit {
            bail!("neither instance has written {:.0} % of the records", SHARE * 100.0);
        }
        thread::sleep(INTERVAL);
    };
    pumps[sleeper].pause()?;
    let slept = Instant::now();
    let work_left = follow::is_work_left(&mut client, &lists)?;
    let claims = follow::claim_keys(&mut client)?.len();

    let mut growth = Growth::new(vec![setups[1 - sleeper].csv_dir()]);
    follow::until_done(
        &mut pumps[1 - sleeper],
        &mut growth,
        &mut client,
        &lists,
        plan.limit,
        |_| Ok(true),
    )?;
    let done_after = growth.at.saturating_duration_since(slept);
    thread::sleep(Duration::from_secs(2 * LEASE_SECONDS).saturating_sub(slept.elapsed()));
    let sleep = slept.elapsed();
    pumps[sleeper].go_on()?;
    let mut growth = Growth::new(setups.iter().map(Setup::csv_dir).collect());
    let settled = follow::until_done(
        &mut pumps[sleeper],
        &mut growth,
        &mut client,
        &lists,
        plan.limit,
        |_| Ok(true),
    );
    if let Err(error) = &settled {
        println!("the one that slept: {error:#}");
    }
    for pump in &mut pumps {
        // A pump that does not stop in time is killed; what it delivered is counted all the same.
        let _ = pump.stop();
    }

    let (mut all, mut doubled_within, mut strange) = (Serials::new(plan.records), 0, 0);
    println!("attempts            {:>12}", thousands(plan.records as f64));
    for (index, setup) in setups.iter().enumerate() {
        let mut serials = Serials::new(plan.records);
        strange += files::note_serials(&setup.csv_dir(), &mut serials)?;
        let part = if index == sleeper {
            "the one that slept"
        } else {
            "the other"
        };
        println!(
            "delivered           {:>12}   ({part}; doubled within: {})",
            thousands(serials.seen() as f64),
            serials.doubled()
        );
        doubled_within += serials.doubled();
        all.merge(&serials);
    }
    let left = follow::claim_keys(&mut client)?;
    let across = all.doubled().saturating_sub(doubled_within);
    println!("put to sleep with   {claims:>12}   claim keys (work left: {work_left})");
    println!("slept, s            {:>12.2}", sleep.as_secs_f64());
    println!(
        "other was done, s   {:>12.2}   after that (lease: {LEASE_SECONDS} s)",
        done_after.as_secs_f64()
    );
    println!("lost                {:>12}", all.lost());
    println!("doubled within      {doubled_within:>12}");
    println!("doubled across      {across:>12}   (at most {})", plan.group);
    println!("strange rows        {:>12}", strange + all.foreign());
    println!("claim keys left     {:>12}   {}", left.len(), left.join(" "));
    let clean = all.lost() + doubled_within + strange + all.foreign() == 0;
    Ok(clean && across <= plan.group && left.is_empty() && work_left && settled.is_ok())
}

fn setup(plan: &Plan, redis_port: u16, instance: &str) -> anyhow::Result<Setup> {
    let mut delivery: Map<String, Value> = Map::new();
    delivery.insert("instance_id".to_owned(), instance.into());
    delivery.insert("lease".to_owned(), format!("{LEASE_SECONDS}s").into());
    Setup::new(&plan.bin, Kind::Csv, redis_port, delivery)
}
