//! `bench exact`: every record once, whatever dies.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::anyhow;
use rand::Rng;
use serde_json::{Map, Value};

use crate::{
    backlog, files,
    fixture::{Fixture, Ordinary},
    follow::{self, Growth},
    popper::Popper,
    pump::{Kind, Setup},
    redis::Redis,
    serials::Serials,
    spread::thousands,
    wire::Client,
};

/// Kills happen between these shares of the work.
const WORK: std::ops::Range<f64> = 0.02..0.93;
/// Every so many kills hit a process that has just started.
const EARLY: usize = 4;
/// How long after its start at most.
const EARLY_MILLIS: u64 = 80;
/// How long at most after the work that a kill waits for, so that it hits every phase of a write.
const LATE_MILLIS: u64 = 40;
/// With the popper beside it the records come over this time.
const STREAM_PER_MILLION: Duration = Duration::from_secs(30);
const INTERVAL: Duration = Duration::from_millis(2);

/// What is tried.
pub(crate) struct Plan {
    pub(crate) bin: PathBuf,
    pub(crate) records: u64,
    pub(crate) kills: usize,
    pub(crate) keys: usize,
    pub(crate) popper: bool,
    pub(crate) limit: Duration,
}

/// Bytes that so many rows take in CSV files, nearly.
pub(crate) fn expected_bytes(records: u64) -> anyhow::Result<f64> {
    const SAMPLE: u64 = 2_000;
    let (mut fixture, mut rows, mut element) = (Fixture::new(), Vec::new(), Vec::new());
    for sample in 0..SAMPLE {
        element.clear();
        fixture.write_serial(&mut element, sample * records.div_ceil(SAMPLE));
        let record = analytics::msgpack::decode(&element, Ordinary::whole(&element))?;
        let view = analytics::RecordView::new(&element, &record, &analytics::Transform::NONE);
        analytics::csv::write_row(&mut rows, &view);
    }
    Ok(rows.len() as f64 / SAMPLE as f64 * records as f64)
}

/// When a process is killed.
#[derive(Clone, Copy, Debug)]
enum Moment {
    /// So long after its start, whatever it does.
    Early(Duration),
    /// When this share of the work is done, and so long after.
    Share(f64, Duration),
}

fn moments(kills: usize) -> Vec<Moment> {
    let mut rng = rand::rng();
    let mut shares: Vec<f64> = (0..kills).map(|_| rng.random_range(WORK)).collect();
    shares.sort_by(f64::total_cmp);
    let moments = shares
        .into_iter()
        .enumerate()
        .map(|(index, share)| match index % EARLY {
            3 => Moment::Early(Duration::from_millis(rng.random_range(0..EARLY_MILLIS))),
            _ => Moment::Share(share, Duration::from_millis(rng.random_range(0..LATE_MILLIS))),
        });
    moments.collect()
}

/// How much of the work is done.
struct Work {
    records: u64,
    pushed: Arc<AtomicU64>,
    /// What the files will hold; `None`: only what is pushed tells.
    bytes: Option<f64>,
    growth: Growth,
}

impl Work {
    fn share(&mut self) -> f64 {
        self.growth.look();
        match self.bytes {
            Some(bytes) => self.growth.size as f64 / bytes,
            None => self.pushed.load(Ordering::Relaxed) as f64 / self.records as f64,
        }
    }
}

#[derive(Debug, Default)]
struct Counts {
    kills_with_work: usize,
    recovered: usize,
}

/// Runs it; whether nothing was lost, doubled or left.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<bool> {
    let redis = Redis::start()?;
    let lists = backlog::keys(plan.keys);
    let delivery: Map<String, Value> = [("instance_id".to_owned(), "bench".into())].into_iter().collect();
    let setup = Setup::new(&plan.bin, Kind::Csv, redis.port, delivery)?;
    let mut client = redis.client()?;
    let pushed = Arc::new(AtomicU64::new(0));

    let (mut pusher, mut popper) = (None, None);
    if plan.popper {
        pusher = Some(stream(redis.port, &lists, plan.records, pushed.clone()));
        popper = Some(Popper::start(redis.port, lists.clone(), plan.records)?);
    } else {
        backlog::push_serials(redis.port, &lists, plan.records, None, &pushed)?;
    }
    let mut work = Work {
        records: plan.records,
        pushed,
        bytes: if plan.popper {
            None
        } else {
            Some(expected_bytes(plan.records)?)
        },
        growth: Growth::new(vec![setup.csv_dir()]),
    };
    let mut counts = Counts::default();
    for moment in moments(plan.kills) {
        let mut pump = setup.start()?;
        wait_for(moment, &mut pump, &mut work, plan.limit)?;
        pump.kill()?;
        counts.note(&mut client, &lists)?;
    }
    let mut pump = setup.start()?;
    if let Some(pusher) = pusher {
        while !pusher.is_finished() {
            work.share();
            thread::sleep(INTERVAL);
        }
        pusher.join().map_err(|_| anyhow!("the pusher has crashed"))??;
    }
    let popped = popper.map(Popper::stop).transpose()?;
    let finished = follow::until_done(&mut pump, &mut work.growth, &mut client, &lists, plan.limit, |_| {
        Ok(true)
    });
    if let Err(error) = &finished {
        println!("{error:#}");
    }
    // A pump that does not stop in time is killed; what it delivered is counted all the same.
    let _ = pump.stop();
    report(plan, &setup, &work, &counts, popped, &follow::claim_keys(&mut client)?).map(|kept| kept && finished.is_ok())
}

fn stream(port: u16, lists: &[String], records: u64, pushed: Arc<AtomicU64>) -> JoinHandle<anyhow::Result<()>> {
    let over = STREAM_PER_MILLION.mul_f64(records as f64 / 1e6);
    let lists = lists.to_vec();
    thread::spawn(move || backlog::push_serials(port, &lists, records, Some(over), &pushed))
}

fn wait_for(moment: Moment, pump: &mut crate::pump::Pump<'_>, work: &mut Work, limit: Duration) -> anyhow::Result<()> {
    let started = Instant::now();
    let (share, delay) = match moment {
        Moment::Early(delay) => (0.0, delay),
        Moment::Share(share, delay) => (share, delay),
    };
    while work.share() < share {
        pump.check()?;
        if started.elapsed() > limit {
            anyhow::bail!("no progress; the pump's log:\n{}", pump.setup.log_tail());
        }
        thread::sleep(INTERVAL);
    }
    thread::sleep(delay);
    Ok(())
}

impl Counts {
    /// Notes a kill; the process started next finds what this one leaves.
    fn note(&mut self, client: &mut Client, lists: &[String]) -> anyhow::Result<()> {
        self.kills_with_work += usize::from(follow::is_work_left(client, lists)?);
        self.recovered += usize::from(!follow::claim_keys(client)?.is_empty());
        Ok(())
    }
}

fn report(
    plan: &Plan,
    setup: &Setup,
    work: &Work,
    counts: &Counts,
    popped: Option<Serials>,
    left: &[String],
) -> anyhow::Result<bool> {
    let mut serials = Serials::new(plan.records);
    let strange = files::note_serials(&setup.csv_dir(), &mut serials)?;
    let (delivered, doubled_in_files) = (serials.seen(), serials.doubled());
    println!("attempts            {:>12}", thousands(plan.records as f64));
    println!("delivered           {:>12}", thousands(delivered as f64));
    if let Some(popped) = popped {
        println!("popper's share      {:>12}", thousands(popped.seen() as f64));
        serials.merge(&popped);
    }
    println!("lost                {:>12}", serials.lost());
    println!(
        "doubled             {:>12}   (within the files: {doubled_in_files})",
        serials.doubled()
    );
    println!("strange rows        {:>12}", strange + serials.foreign());
    println!(
        "kills               {:>12}   (with work left: {})",
        plan.kills, counts.kills_with_work
    );
    println!(
        "recovered           {:>12}   (restarts that found claims)",
        counts.recovered
    );
    println!("longest pause, s    {:>12.2}", work.growth.longest_pause.as_secs_f64());
    println!("claim keys left     {:>12}   {}", left.len(), left.join(" "));
    Ok(serials.lost() + serials.doubled() + strange + serials.foreign() == 0 && left.is_empty())
}
