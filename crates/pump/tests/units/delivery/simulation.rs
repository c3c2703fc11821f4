//! Random histories: whatever happens, once it is over everything is where it belongs.

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use analytics::{Key, RecordKind, Wire};
use futures::FutureExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tyk_pump::{
    config::OnFull,
    delivery::{cause::CauseClass, status::LaneState},
    source::{Claims, Operate, memory::MemorySource},
};

use super::{
    back_end::{Act, BackEnd, Kind, Phase, Script},
    process::{Options, Process},
    world::{Item, LanePlan, UNDECODABLE, World},
};

const SEEDS: u64 = 240;
const STEPS: u32 = 25;
/// How long a lane may stand still after the last fault before an operator steps in.
const PATIENCE: Duration = Duration::from_secs(180);
const DRAINED_WITHIN: Duration = Duration::from_secs(1200);

/// What changes from seed to seed.
struct History {
    rng: StdRng,
    world: Arc<World>,
    options: Vec<Options>,
    processes: Vec<Option<Process>>,
    /// Rows that lanes of ended processes have dropped.
    dropped: Vec<u64>,
    faulty: Arc<AtomicBool>,
    pushed: u64,
    evicts: bool,
    _folders: Vec<tempfile::TempDir>,
}

fn faults(seed: u64, faulty: Arc<AtomicBool>) -> Script {
    let rng = Mutex::new(StdRng::seed_from_u64(seed));
    Box::new(move |_| {
        let mut rng = rng.lock().unwrap();
        let latency = Duration::from_millis(rng.random_range(0..1500) * u64::from(rng.random_bool(0.3)));
        if !faulty.load(Ordering::Relaxed) {
            return (Duration::ZERO, Act::Accept);
        }
        let act = match rng.random_range(0..100) {
            0..55 => Act::Accept,
            55..65 => Act::Retry(None),
            65..67 => Act::Retry(Some(Duration::from_secs(5))),
            67..70 => Act::Config,
            70..77 => Act::Hang,
            77..84 => Act::Half,
            84..88 => Act::HalfThenHang,
            88..95 => Act::LostReply,
            _ => Act::LostAnswer,
        };
        (latency, act)
    })
}

fn key(name: &str) -> Key {
    Key {
        name: name.into(),
        short: name.into(),
        wire: Wire::Msgpack,
        records: RecordKind::Traffic,
    }
}

impl History {
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let faulty = Arc::new(AtomicBool::new(true));
        let memory = MemorySource::new(vec![(key("one"), Vec::new()), (key("two"), Vec::new())]);
        let on_full = match rng.random_range(0..4) {
            0 => OnFull::DropOldest,
            1 => OnFull::Spool,
            _ => OnFull::Block,
        };
        let evicts = rng.random_bool(0.1);
        let lanes = (0..rng.random_range(1..=3))
            .map(|number| {
                let kind = [Kind::Ledger, Kind::Items, Kind::Whole][rng.random_range(0..3)];
                let script = faults(seed ^ (number as u64 + 1) << 32, faulty.clone());
                LanePlan {
                    back_end: BackEnd::new(&format!("P{number}"), number, kind, script),
                    filtered: rng.random_bool(0.3),
                    omits_bodies: rng.random_bool(0.3),
                    drops: on_full == OnFull::DropOldest,
                }
            })
            .collect();
        let instances = rng.random_range(1..=2);
        let mut folders = Vec::new();
        let chunk = [1, 3, 7, 20, 0][rng.random_range(0..5)];
        let options: Vec<Options> = (0..instances)
            .map(|instance| {
                let spool_dir = (on_full == OnFull::Spool).then(|| {
                    folders.push(tempfile::tempdir().unwrap());
                    folders[instance].path().to_owned()
                });
                Options {
                    lease: Duration::from_secs(5),
                    purge_chunk: chunk,
                    timeout: Some(Duration::from_secs(2)),
                    on_full,
                    max_unacked: Some(if on_full == OnFull::Block { 1 << 20 } else { 3_000 }),
                    spool_dir,
                    lost_answers: 25,
                    seed: seed + instance as u64,
                    ..Options::default()
                }
            })
            .collect();
        let spools = options.iter().filter_map(|options| options.spool_dir.clone()).collect();
        Self {
            world: World::new(memory, lanes, spools),
            processes: options.iter().map(|_| None).collect(),
            options,
            dropped: vec![0; 3],
            faulty,
            pushed: 0,
            evicts,
            _folders: folders,
            rng,
        }
    }

    async fn start(&mut self, instance: usize) {
        if self.processes[instance].is_none() {
            let process = Process::start(&self.world, &format!("i{instance}"), &self.options[instance]).await;
            self.processes[instance] = Some(process);
        }
    }

    fn take(&mut self, instance: usize) -> Option<Process> {
        let process = self.processes[instance].take()?;
        for lane in 0..self.world.lanes.len() {
            self.dropped[lane] += process.dropped(lane);
        }
        Some(process)
    }

    fn push(&mut self) {
        let rows = self.rng.random_range(1..30);
        let items = (0..rows)
            .map(|_| {
                self.pushed += 1;
                let mut item = Item::good(self.pushed);
                item.api = self.rng.random_range(0..4);
                item.decodable = !self.rng.random_bool(0.02);
                if self.rng.random_bool(0.03) {
                    item.refused_by = self.rng.random_range(1..8);
                }
                item
            })
            .collect();
        let key = self.rng.random_range(0..2);
        self.world.push(key, items);
    }

    async fn step(&mut self) {
        let instance = self.rng.random_range(0..self.processes.len());
        match self.rng.random_range(0..100) {
            0..42 => self.push(),
            42..45 => self.replace(instance).await,
            45..55 => self.world.memory.fail_next(self.rng.random_range(1..8)),
            55..65 => {
                if let Some(process) = self.take(instance) {
                    process.crash().await;
                }
            }
            65..70 => {
                if let Some(process) = self.take(instance) {
                    process.stop().await;
                }
            }
            70..85 => self.start(instance).await,
            85..97 => {
                if let Some(process) = &self.processes[instance] {
                    let phase = match *process.gate.borrow() {
                        Phase::Runs => Phase::Paused,
                        other => [Phase::Runs, other][usize::from(other == Phase::Dead)],
                    };
                    process.gate.send_replace(phase);
                }
            }
            _ => self.evict().await,
        }
        let pause = self.rng.random_range(0..4_000);
        tokio::time::sleep(Duration::from_millis(pause)).await;
    }

    /// A lane is stopped and another one goes on with its rows.
    async fn replace(&mut self, instance: usize) {
        let lane = self.rng.random_range(0..self.world.lanes.len());
        if let Some(process) = &self.processes[instance]
            && *process.gate.borrow() == Phase::Runs
        {
            process.replace(lane).await;
        }
    }

    async fn evict(&mut self) {
        if !self.evicts {
            return;
        }
        if self.rng.random_bool(0.2) {
            self.world.lose();
            return;
        }
        let claims = self.world.memory.list().await.unwrap_or_default();
        if let Some(claim) = claims.first() {
            let id = ulid::Ulid::from_string(&claim.id).unwrap();
            self.world.evict(analytics::ClaimId(id));
        }
    }

    /// Everybody works again: everything must come to an end.
    async fn drain(&mut self) {
        self.faulty.store(false, Ordering::Relaxed);
        self.world.memory.fail_next(0);
        for instance in 0..self.processes.len() {
            self.options[instance].lost_answers = 0;
            match &self.processes[instance] {
                Some(process) => {
                    process.gate.send_replace(Phase::Runs);
                }
                None => self.start(instance).await,
            }
        }
        let began = tokio::time::Instant::now();
        while !self.is_drained().await {
            if began.elapsed() > PATIENCE {
                self.accept_refusals();
            }
            if began.elapsed() > DRAINED_WITHIN {
                let claims = self.world.memory.list().await.unwrap_or_default();
                let boards: Vec<_> = self.processes.iter().flatten().map(|p| p.status.snapshot()).collect();
                self.world
                    .violation(format!("does not come to an end: {claims:#?} {boards:#?}"));
                return;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }

    async fn is_drained(&self) -> bool {
        let (waiting, claims) = (self.world.memory.pending().await, self.world.memory.list().await);
        waiting.is_ok_and(|lists| lists.is_empty())
            && claims.is_ok_and(|claims| claims.is_empty())
            && !self.world.has_spool_files()
    }

    fn accept_refusals(&mut self) {
        for process in self.processes.iter().flatten() {
            for (name, state, cause) in process.engine.lanes() {
                match cause.filter(|_| state == LaneState::Paused).map(|cause| cause.class) {
                    Some(CauseClass::Refused) => process.engine.accept_refusals(&name),
                    Some(CauseClass::Undecodable) => process.engine.accept_refusals(UNDECODABLE),
                    _ => continue,
                };
            }
        }
    }

    async fn run(mut self) -> Vec<String> {
        self.start(0).await;
        for _ in 0..STEPS {
            self.step().await;
        }
        self.drain().await;
        for instance in 0..self.processes.len() {
            if let Some(process) = self.take(instance) {
                process.crash().await;
            }
        }
        self.world.check_end(&self.dropped);
        self.world.violations()
    }
}

fn play(seed: u64) -> Vec<String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let history = AssertUnwindSafe(async { History::new(seed).run().await });
    let outcome = runtime.block_on(history.catch_unwind());
    runtime.shutdown_background();
    outcome.unwrap_or_else(|_| vec!["panicked, see above".to_owned()])
}

/// `DELIVERY_SEED=<n>` plays one history again, `DELIVERY_SEEDS=<n>` that many.
#[test]
fn nothing_is_lost_doubled_or_misplaced_whatever_happens() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let seeds = match number("DELIVERY_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("DELIVERY_SEEDS").unwrap_or(SEEDS),
    };
    let mut failed = Vec::new();
    for seed in seeds {
        let violations = play(seed);
        if !violations.is_empty() {
            println!(
                "DELIVERY_SEED={seed}: {:#?}",
                &violations[violations.len().saturating_sub(12)..]
            );
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} break promises");
}
