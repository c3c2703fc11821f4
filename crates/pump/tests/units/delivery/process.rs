//! One running instance: its view of the source, its engine, and how it ends.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use analytics::{
    ClaimId, Filter, Key, RowId, Transform,
    logrus::{LogForm, LogFormat, LogLevel},
};
use async_trait::async_trait;
use rand::{Rng, SeedableRng, rngs::StdRng};
use tokio::{sync::watch, task::JoinHandle};
use tyk_pump::{
    config::{DeliverySettings, ModeChoice, OnFull, PumpSettings, RedisSettings, RedisTopology, Secret, Settings},
    delivery::{
        Engine,
        disk::Disk,
        status::{LaneState, LaneStatus, StatusBoard},
    },
    instrumentation::Instrumentation,
    plan::Pump,
    source::{
        Acknowledged, Claim, ClaimRef, ClaimReport, Claims, DeadLetter, DeadLetterId, DeadLimits, DeadStore,
        DeadStored, Ledgers, Lost, Mode, Operate, Pending, Restored, SourceError, SpoolNotes, Terms, Usage, Window,
        memory::MemorySource,
    },
};

use super::{
    back_end::{Gate, Phase, open_desk},
    world::{LanePlan, UNWANTED, World},
};

/// `maxmemory`, where `used_memory` is known.
pub const MAX_MEMORY: u64 = 10_000_000;

/// What differs between the processes of the tests.
#[derive(Clone, Debug)]
pub struct Options {
    pub lease: Duration,
    pub purge_chunk: u64,
    pub compat: bool,
    pub most_per_second: Option<std::num::NonZeroU64>,
    pub timeout: Option<Duration>,
    pub on_full: OnFull,
    pub max_unacked: Option<u64>,
    pub memory_budget: u64,
    pub spool_dir: Option<PathBuf>,
    pub disk: Disk,
    pub write_stall: Duration,
    pub dead_letters: u64,
    pub used_memory: Option<Arc<AtomicU64>>,
    /// One answer of the source in this many is lost after it did what it was asked; 0: none.
    pub lost_answers: u32,
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            purge_chunk: 0,
            compat: false,
            most_per_second: None,
            timeout: None,
            on_full: OnFull::Block,
            max_unacked: None,
            memory_budget: 256 << 20,
            spool_dir: None,
            disk: Disk::default(),
            write_stall: Duration::from_secs(60),
            dead_letters: 100_000,
            used_memory: None,
            lost_answers: 0,
            seed: 0,
        }
    }
}

pub struct Process {
    pub engine: Arc<Engine>,
    pub status: Arc<StatusBoard>,
    pub gate: watch::Sender<Phase>,
    /// Dead letters cannot be stored in the source.
    pub no_letters: Arc<AtomicBool>,
    world: Arc<World>,
    options: Options,
    run: JoinHandle<()>,
}

impl Process {
    pub async fn start(world: &Arc<World>, owner: &str, options: &Options) -> Self {
        let (gate, phase) = watch::channel(Phase::Runs);
        let no_letters = Arc::new(AtomicBool::new(false));
        let source = Watched {
            no_letters: no_letters.clone(),
            used_memory: options.used_memory.clone(),
            inner: world.memory.instance(owner).lease(options.lease),
            world: world.clone(),
            gate: Gate(phase.clone()),
            rng: std::sync::Mutex::new(StdRng::seed_from_u64(options.seed)),
            lost_answers: options.lost_answers,
        };
        let pumps: Vec<Pump> = world
            .lanes
            .iter()
            .map(|plan| pump(world, plan, &phase, options))
            .collect();
        let status = Arc::new(StatusBoard::new(owner.to_owned()));
        let engine = Engine::start_on(
            options.disk.clone(),
            settings(owner, options),
            pumps,
            Arc::new(source),
            status.clone(),
            Arc::new(Instrumentation::off()),
            Arc::default(),
        )
        .await
        .unwrap();
        let running = engine.clone();
        let run = tokio::spawn(async move { running.run(Mode::memory(), false).await });
        Self {
            engine,
            status,
            gate,
            no_letters,
            world: world.clone(),
            options: options.clone(),
            run,
        }
    }

    /// Ends without a word to anybody.
    pub async fn crash(self) {
        self.gate.send_replace(Phase::Dead);
        self.run.abort();
        let _ = self.run.await;
        drop(self.engine);
        // The runtime drops aborted tasks, and with them the lock of the spool, when it comes to them.
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Ends in order.
    pub async fn stop(self) {
        self.gate.send_replace(Phase::Runs);
        self.engine.close().await;
        self.run.abort();
        let _ = self.run.await;
        drop(self.engine);
        tokio::time::sleep(Duration::from_millis(1)).await;
    }

    /// Stops a lane and puts another one in its place.
    pub async fn replace(&self, number: usize) {
        let pump = pump(
            &self.world,
            &self.world.lanes[number],
            &self.gate.subscribe(),
            &self.options,
        );
        self.engine.replace_lane(pump).await.unwrap();
    }

    /// Gives a lane that was removed back.
    pub async fn add(&self, number: usize) {
        let pump = pump(
            &self.world,
            &self.world.lanes[number],
            &self.gate.subscribe(),
            &self.options,
        );
        self.engine.add_lane(pump).await.unwrap();
    }

    pub fn lane(&self, number: usize) -> LaneStatus {
        self.status.snapshot().pumps[number].clone()
    }

    pub fn dropped(&self, number: usize) -> u64 {
        self.lane(number).dropped.values().sum()
    }

    /// Waits until a lane is in `state`.
    pub async fn reaches(&self, number: usize, state: LaneState, within: Duration) {
        let text = format!("lane {number} is {state:?}");
        until(&text, within, || self.lane(number).state == state).await;
    }
}

/// A pump that writes to the back-end of `plan`.
pub fn pump(world: &Arc<World>, plan: &LanePlan, phase: &watch::Receiver<Phase>, options: &Options) -> Pump {
    let desk = open_desk(world.clone(), plan.back_end.clone(), Gate(phase.clone()));
    let mut filter = Filter::default();
    if plan.filtered {
        filter.skip_api_ids.push(format!("api{UNWANTED}"));
    }
    let settings = PumpSettings {
        name: plan.back_end.name.clone(),
        kind: "test".to_owned(),
        filter,
        transform: Transform {
            omit_detailed: plan.omits_bodies,
            ..Transform::NONE
        },
        timeout: options.timeout,
        compat: options.compat,
        most_per_second: options.most_per_second,
        on_full: options.on_full,
        meta: desk.into(),
        refused: None,
    };
    Pump {
        settings,
        spec: plan.back_end.kind.spec(),
    }
}

/// Polls in virtual time.
pub async fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + within;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "not within {within:?}: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub fn settings(owner: &str, options: &Options) -> Settings {
    Settings {
        redis: RedisSettings {
            topology: RedisTopology::Single,
            addrs: Vec::new(),
            username: String::new(),
            password: Secret::default(),
            database: 0,
            timeout: Duration::from_secs(5),
            key_prefix: String::new(),
            tls: None,
        },
        delivery: DeliverySettings {
            mode: ModeChoice::Auto,
            lease: options.lease,
            instance_id: owner.to_owned(),
            max_unacked: options.max_unacked,
            max_backlog: options.max_unacked.map(|_| u64::MAX),
            memory_budget: options.memory_budget,
            spool_dir: options.spool_dir.clone(),
            stop_deadline: Duration::from_secs(10),
            write_stall: options.write_stall,
            dead_letter_max_count: options.dead_letters,
            dead_letter_max_bytes: 1 << 30,
        },
        pumps: Vec::new(),
        uptime: None,
        compat: options.compat,
        purge_delay: Duration::from_millis(200),
        purge_chunk: options.purge_chunk,
        storage_expiration_time: 0,
        log: LogForm {
            format: LogFormat::Text,
            level: LogLevel::Error,
        },
        health_name: String::new(),
        admin: tyk_pump::config::AdminAccess::default(),
        health_port: 0,
        profiler: false,
        embedded: None,
        statsd: None,
    }
}

/// A source that tells the world what is asked of it, and answers nobody who is dead.
struct Watched {
    inner: MemorySource,
    world: Arc<World>,
    gate: Gate,
    rng: std::sync::Mutex<StdRng>,
    lost_answers: u32,
    no_letters: Arc<AtomicBool>,
    used_memory: Option<Arc<AtomicU64>>,
}

impl Watched {
    async fn answer<T>(&self, result: Result<T, SourceError>) -> Result<T, SourceError> {
        self.gate.pass().await;
        let is_lost = self.lost_answers > 0 && self.rng.lock().unwrap().random_ratio(1, self.lost_answers);
        if is_lost && result.is_ok() {
            return Err(SourceError::Unavailable(anyhow::anyhow!("the answer was lost")));
        }
        result
    }
}

#[async_trait]
impl Claims for Watched {
    async fn open(&self) -> Result<Mode, SourceError> {
        self.inner.open().await
    }

    async fn fleet(&self) -> Result<Arc<str>, SourceError> {
        self.inner.fleet().await
    }

    fn keys(&self) -> &[Arc<Key>] {
        self.inner.keys()
    }

    async fn pending(&self) -> Result<Vec<Pending>, SourceError> {
        self.gate.pass().await;
        self.inner.pending().await
    }

    async fn claim(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        self.gate.pass().await;
        self.answer(self.inner.claim(key, lanes).await).await
    }

    async fn renew(&self, claims: &[ClaimRef], lanes: &[Arc<str>]) -> Result<Vec<Lost>, SourceError> {
        self.gate.pass().await;
        self.answer(self.inner.renew(claims, lanes).await).await
    }

    async fn take_over(&self, lanes: &[Arc<str>], held: &[ClaimId]) -> Result<Vec<Claim>, SourceError> {
        self.gate.pass().await;
        self.answer(self.inner.take_over(lanes, held).await).await
    }

    async fn read(&self, claim: &ClaimRef, first_row: u64, max_rows: usize) -> Result<Window, SourceError> {
        self.gate.pass().await;
        let window = self.inner.read(claim, first_row, max_rows).await?;
        for (row, span) in (window.first_row..).zip(&window.elements) {
            let row = RowId { claim: claim.id, row };
            self.world.was_read(row, span.of(&window.buffer));
        }
        self.answer(Ok(window)).await
    }

    async fn acknowledge(&self, claim: &ClaimRef, cursors: &[(Arc<str>, u64)]) -> Result<Acknowledged, SourceError> {
        self.gate.pass().await;
        for (lane, cursor) in cursors {
            self.world.check_cursor(lane, claim.id, *cursor);
        }
        let result = self.inner.acknowledge(claim, cursors).await;
        if result.is_ok() {
            for (lane, cursor) in cursors {
                self.world.acknowledged(lane, claim.id, *cursor);
            }
        }
        self.answer(result).await
    }

    async fn release(&self, claims: &[ClaimRef]) -> Result<(), SourceError> {
        self.gate.pass().await;
        self.inner.release(claims).await
    }

    async fn usage(&self) -> Result<Usage, SourceError> {
        self.gate.pass().await;
        let mut usage = self.inner.usage().await?;
        if let Some(used) = &self.used_memory {
            usage.used_memory = Some(used.load(Ordering::Relaxed));
            usage.max_memory = Some(MAX_MEMORY);
        }
        Ok(usage)
    }
}

#[async_trait]
impl DeadStore for Watched {
    async fn store_dead(&self, letters: &[DeadLetter], limits: DeadLimits) -> Result<DeadStored, SourceError> {
        self.gate.pass().await;
        if self.no_letters.load(Ordering::Relaxed) {
            return Err(SourceError::Unavailable(anyhow::anyhow!("no letters")));
        }
        let result = self.inner.store_dead(letters, limits).await;
        if result.is_ok() {
            for letter in letters {
                self.world.became_dead(&letter.lane, letter.row);
            }
        }
        self.answer(result).await
    }

    async fn list_dead(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError> {
        self.inner.list_dead(lane, limit).await
    }

    async fn remove_dead(&self, ids: &[DeadLetterId]) -> Result<u64, SourceError> {
        self.inner.remove_dead(ids).await
    }
}

#[async_trait]
impl SpoolNotes for Watched {
    async fn note_spooled(&self, claim: &ClaimRef, lane: &str, waiting: bool) -> Result<(), SourceError> {
        self.gate.pass().await;
        let result = self.inner.note_spooled(claim, lane, waiting).await;
        self.answer(result).await
    }

    async fn spooled(&self) -> Result<Vec<(ClaimId, Arc<str>)>, SourceError> {
        self.inner.spooled().await
    }
}

#[async_trait]
impl Operate for Watched {
    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError> {
        self.inner.list().await
    }

    async fn restore(&self, claim: ClaimId, ledgers: &dyn Ledgers, terms: Terms) -> Result<Restored, SourceError> {
        self.inner.restore(claim, ledgers, terms).await
    }

    async fn drop_lane(&self, lane: &str) -> Result<u64, SourceError> {
        self.inner.drop_lane(lane).await
    }

    async fn adopt_lane(&self, old: &str, new: &str) -> Result<u64, SourceError> {
        self.inner.adopt_lane(old, new).await
    }
}
