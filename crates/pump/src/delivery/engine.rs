//! The engine: what all lanes use, the lanes themselves, and how they are started, replaced and stopped.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;
use sinks::Fleet;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout, timeout_at},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    cause::{Cause, CauseClass},
    dead_letter::DeadLetters,
    disk::Disk,
    facts::LaneState,
    held::HeldClaim,
    lane::{self, Backlog, Desk, Estate, Lane, LaneControl, LaneId, Message, Spooling},
    lanes::{LaneHandle, Lanes},
    reader::{ReadError, Reader},
    report::{Context, Report},
    services::{Holdings, Services},
    status::StatusBoard,
    undecodable::{self, Undecodable},
};
use crate::{
    config::{OnFull, Settings},
    instrumentation::Instrumentation,
    plan::Pump,
    source::{Claim, DeadLimits, Mode, Source, SourceError},
};

/// Rows of a window unless `purge_chunk` lowers them.
const WINDOW_ROWS: u64 = 5_000;
/// How long the start waits for pumps before it goes on in the background.
const BUILD_PATIENCE: Duration = Duration::from_secs(5);
/// How long a lane may take to end after it has been told to give up its write.
const GIVING_UP: Duration = Duration::from_secs(2);

/// What comes of accepting refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Accepting {
    /// The next refused rows become dead letters, until one is accepted.
    Next,
    /// Nothing refused holds the pump up.
    NothingRefused,
    /// There is no such pump.
    UnknownPump,
}

/// Claims records and delivers them through one lane a pump. When it is dropped, everything ends at once, as in a crash.
pub struct Engine {
    pub(super) services: Arc<Services>,
    pub(super) lanes: Lanes,
    pub(super) status: Arc<StatusBoard>,
    pub(super) settings: Settings,
    pub(super) stop: CancellationToken,
    pub(super) mode: Mutex<Mode>,
    pub(super) claiming_held: AtomicBool,
    pub(super) eviction_warned: AtomicBool,
    fleet: Fleet,
    source_down: AtomicBool,
    /// Lanes are changed one after the other.
    changing: tokio::sync::Mutex<()>,
    /// Rows that nobody reads any more are looked through one claim at a time.
    catching_up: Arc<tokio::sync::Mutex<()>>,
    undecodable: AbortOnDropHandle<()>,
}

impl Engine {
    /// Makes the lanes and starts them, side by side. Pumps that are not up within some seconds go on starting in the
    /// background.
    pub async fn start(
        settings: Settings,
        pumps: Vec<Pump>,
        source: Arc<dyn Source>,
        status: Arc<StatusBoard>,
        instrumentation: Arc<Instrumentation>,
        fleet: Fleet,
    ) -> anyhow::Result<Arc<Self>> {
        let disk = Disk::default();
        Self::start_on(disk, settings, pumps, source, status, instrumentation, fleet).await
    }

    /// Like [`Engine::start`], with a disk of the caller's.
    pub async fn start_on(
        disk: Disk,
        settings: Settings,
        pumps: Vec<Pump>,
        source: Arc<dyn Source>,
        status: Arc<StatusBoard>,
        instrumentation: Arc<Instrumentation>,
        fleet: Fleet,
    ) -> anyhow::Result<Arc<Self>> {
        let services = services(&settings, source, disk, &status, instrumentation);
        let undecodable = services.undecodable.clone();
        let engine = Arc::new(Self {
            services,
            lanes: Lanes::default(),
            status,
            settings,
            stop: CancellationToken::new(),
            mode: Mutex::new(Mode::memory()),
            claiming_held: AtomicBool::new(false),
            eviction_warned: AtomicBool::new(false),
            fleet,
            source_down: AtomicBool::new(false),
            changing: tokio::sync::Mutex::default(),
            catching_up: Arc::default(),
            undecodable: AbortOnDropHandle::new(tokio::spawn(undecodable.run())),
        });
        for pump in pumps {
            let lane = engine.lane(pump, None);
            engine.lanes.put(lane, None);
        }
        engine.wait_for_pumps().await;
        Ok(engine)
    }

    /// Waits until every lane has tried to start, but not for ever.
    async fn wait_for_pumps(&self) {
        let facts: Vec<_> = self.lanes.look().values().map(|lane| lane.facts.clone()).collect();
        let deadline = Instant::now() + BUILD_PATIENCE;
        for mut facts in facts {
            // It goes on in the background; and a lane that has ended has said so.
            let _ = timeout_at(deadline, facts.wait_for(|facts| facts.state != LaneState::Starting)).await;
        }
    }

    /// Starts a lane, with what its predecessor has left.
    fn lane(&self, pump: Pump, former: Option<(mpsc::UnboundedSender<Message>, Estate)>) -> LaneHandle {
        let id = self.lanes.name(&pump.settings.name);
        let builder = lane::builder(&pump, self.settings.log, &self.fleet);
        let Pump { settings: pump, spec } = pump;
        let folder = self.settings.delivery.spool_dir.clone();
        let folder = folder.filter(|_| pump.on_full == OnFull::Spool);
        let wants_spool = folder.is_some();
        let spool = Spooling::new(folder, &pump.name, self.services.disk.clone());
        let mut adopts = false;
        let (inbox, estate) = match former {
            Some((inbox, estate)) => {
                self.status
                    .show_lane(pump.name.clone(), spec.name, Some(spec.guarantee), &estate.facts);
                (inbox, estate)
            }
            None => {
                let (inbox, receiver) = mpsc::unbounded_channel();
                let facts = self.status.add_lane(pump.name.clone(), spec.name, Some(spec.guarantee));
                let estate = Estate {
                    backlog: Backlog::default(),
                    spool: Spooling::new(None, &pump.name, self.services.disk.clone()),
                    facts,
                    inbox: receiver,
                };
                (inbox, estate)
            }
        };
        let Estate {
            backlog,
            spool: mut spooling,
            facts,
            inbox: receiver,
        } = estate;
        // What a predecessor has on disk is delivered, also where nothing is to be added to it.
        if wants_spool && !spooling.exists() {
            (spooling, adopts) = (spool, true);
        }
        facts.enter(LaneState::Starting, None);
        let control = Arc::new(LaneControl::new(self.stop.child_token()));
        let handle = LaneHandle {
            id: id.clone(),
            records: spec.records,
            on_full: pump.on_full,
            control: control.clone(),
            facts: facts.follow(),
            inbox,
            task: None,
            retired: false,
        };
        let desk = Desk::new(id, pump, spec, self.services.clone(), control, facts, receiver);
        let lane = Lane::new(desk, backlog, spooling, builder);
        LaneHandle {
            task: Some(AbortOnDropHandle::new(tokio::spawn(lane.run(adopts)))),
            ..handle
        }
    }

    /// Starts a lane for a pump that had none. Claims that are made from now on have rows for it.
    ///
    /// # Errors
    /// There is one of this name.
    pub async fn add_lane(&self, pump: Pump) -> anyhow::Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        let name = &pump.settings.name;
        anyhow::ensure!(self.lanes.of(name).is_none(), "pump {name} runs already");
        let lane = self.lane(pump, None);
        self.lanes.put(lane, None);
        Ok(())
    }

    /// Stops the lane of a pump, which finishes its write within `stop_deadline` or gives it up, and starts another one in
    /// its place, with these settings, that goes on with its rows. Claims go on to be made for it meanwhile.
    ///
    /// # Errors
    /// There is no such pump, or its lane does not end; it is shown as stopped then.
    pub async fn replace_lane(&self, pump: Pump) -> anyhow::Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        let name = pump.settings.name.clone();
        let known = self.lanes.of(&name);
        let id = known.ok_or_else(|| anyhow::anyhow!("there is no pump {name}"))?;
        let estate = self.end_lane(&id).await?;
        let inbox = self.lanes.look().get(&id).map(|lane| lane.inbox.clone());
        let inbox = inbox.ok_or_else(|| anyhow::anyhow!("pump {name} is gone"))?;
        let lane = self.lane(pump, Some((inbox, estate)));
        self.lanes.put(lane, Some(&id));
        Ok(())
    }

    /// Stops the lane of a pump for good. Its rows wait in the source as those of a pump that nobody has configured, its
    /// files where they are.
    ///
    /// # Errors
    /// There is no such pump, or its lane does not end.
    pub async fn remove_lane(&self, pump: &str) -> anyhow::Result<()> {
        let _one_at_a_time = self.changing.lock().await;
        let known = self.lanes.of(pump);
        let id = known.ok_or_else(|| anyhow::anyhow!("there is no pump {pump}"))?;
        self.lanes.retire(&id);
        let ended = self.end_lane(&id).await;
        self.lanes.remove(&id);
        self.status.remove_lane(&id.pump);
        ended?.leave();
        Ok(())
    }

    /// Ends a lane within the deadline, by giving up its write if need be.
    async fn end_lane(&self, id: &LaneId) -> anyhow::Result<Estate> {
        let task = self.lanes.take_task(id);
        let (control, task) = task.ok_or_else(|| anyhow::anyhow!("pump {} does not run", id.pump))?;
        control.stop.cancel();
        let deadline = Instant::now() + self.settings.delivery.stop_deadline;
        end(&id.pump, &control, task, deadline)
            .await
            .ok_or_else(|| anyhow::anyhow!("pump {} does not end; its rows are delivered after a restart", id.pump))
    }

    /// Name, state and its cause of every lane.
    pub fn lanes(&self) -> Vec<(Arc<str>, LaneState, Option<Cause>)> {
        let lanes = self.lanes.look();
        let facts = lanes.values().map(|lane| {
            let facts = lane.facts.borrow();
            (lane.id.pump.clone(), facts.state, facts.cause.clone())
        });
        facts.collect()
    }

    /// Stops as [`Engine::close`], and says so.
    pub async fn stop(&self) {
        let lanes = self.lanes.look().len();
        tracing::info!(prefix = "main", "Shutting down {lanes} pumps...");
        self.close().await;
    }

    /// Stops claiming, lets running writes end, gives the rest back, closes every sink.
    pub async fn close(&self) {
        self.stop.cancel();
        let deadline = Instant::now() + self.settings.delivery.stop_deadline;
        let ids: Vec<LaneId> = self.lanes.look().keys().cloned().collect();
        let ends = ids.iter().filter_map(|id| {
            let (control, task) = self.lanes.take_task(id)?;
            Some(async move { end(&id.pump, &control, task, deadline).await })
        });
        // What they leave goes back to the source.
        let estates = futures::future::join_all(ends).await;
        self.undecodable.abort();
        crate::failpoints::hit(crate::failpoints::BEFORE_RELEASE);
        let mut held = self.services.holdings.sweep();
        held.extend(self.services.holdings.all().iter().map(|held| held.reference.clone()));
        if !held.is_empty()
            && let Err(error) = self.services.source.release(&held).await
        {
            tracing::warn!(
                prefix = "main",
                "claims could not be given back, they are taken up when their lease is over: {error}"
            );
        }
        drop(estates);
    }

    /// Lets the refused rows of a pump (or undecodable elements) that hold it up into the dead letters, whatever their
    /// share. Where nothing holds it up, nothing changes: what is refused later is judged when it comes.
    pub fn accept_refusals(&self, lane: &str) -> Accepting {
        let lanes = self.lanes.look();
        let held_up = |lane: &LaneHandle, class| {
            let facts = lane.facts.borrow();
            facts.state == LaneState::Paused && facts.cause.as_ref().is_some_and(|cause| cause.class == class)
        };
        if lane == undecodable::LANE {
            let holds_up = lanes.values().any(|lane| held_up(lane, CauseClass::Undecodable));
            if !holds_up && !self.services.undecodable.is_refusing() {
                return Accepting::NothingRefused;
            }
            self.services.undecodable.let_through();
            lanes.values().for_each(|lane| lane.control.wake());
            return Accepting::Next;
        }
        match lanes.values().find(|known| known.id.pump.eq_ignore_ascii_case(lane)) {
            None => Accepting::UnknownPump,
            Some(lane) if held_up(lane, CauseClass::Refused) => {
                lane.control.accept_refusals();
                Accepting::Next
            }
            Some(_) => Accepting::NothingRefused,
        }
    }

    /// The source was reached for the first time.
    pub fn source_is_open(&self) {
        self.source_down.store(false, Ordering::Release);
        self.status.source(|source| source.state = "up".to_owned());
    }

    /// The source has answered.
    pub fn source_is_up(&self) {
        if self.source_down.swap(false, Ordering::AcqRel) {
            let mode = self.mode.lock().clone();
            tracing::info!(prefix = "main", mode = mode.label, reason = %mode.reason, "records can be taken again");
        }
        self.status.source(|source| source.state = "up".to_owned());
    }

    /// The source does not answer, or refuses.
    pub fn source_is_down(&self, error: &SourceError) {
        self.source_down.store(true, Ordering::Release);
        self.report(error);
        self.status.source(|source| {
            source.state = "down".to_owned();
            source.last_error = Some(error.to_string());
            source.last_error_at = Some(crate::clock::now_ms() / 1000);
        });
    }

    pub(super) fn report(&self, error: &SourceError) {
        let text = format!("Error on Purge Loop. Is Temporal Storage down?: {error}");
        self.services.log.error(&text, Context::default());
    }

    /// Hands a claim to the lanes that have rows in it.
    pub(super) fn hold(&self, claim: &Claim, confirmed_ms: u64) {
        let lanes = self.lanes.look();
        let wanting: Vec<(&LaneHandle, u64)> = lanes
            .values()
            .filter_map(|lane| claim.cursors.get(&lane.id.pump).map(|&cursor| (lane, cursor)))
            .filter(|(lane, cursor)| *cursor < claim.len && !lane.retired)
            .collect();
        let undecodable = claim.cursors.get(undecodable::LANE).copied().unwrap_or(claim.len);
        let held = Arc::new(HeldClaim::new(claim, undecodable, wanting.len(), confirmed_ms));
        self.services.holdings.add(held.clone());
        let first_read = wanting.iter().map(|(_, cursor)| *cursor).min().unwrap_or(claim.len);
        if undecodable < first_read {
            self.catch_up(held.clone(), undecodable, first_read);
        }
        for (lane, cursor) in wanting {
            lane.claim(&held, cursor);
        }
    }

    /// Looks for undecodable elements in rows that no other lane will read again.
    pub(super) fn catch_up(&self, held: Arc<HeldClaim>, from: u64, to: u64) {
        let (services, stop, turn) = (self.services.clone(), self.stop.clone(), self.catching_up.clone());
        tokio::spawn(async move {
            let _one_at_a_time = turn.lock().await;
            let mut row = from;
            while row < to && !held.is_lost() && !stop.is_cancelled() {
                match services.reader.window(&held, row, None).await {
                    Ok(window) if services.undecodable.note(&held, &window) => row = window.batch.end_row(),
                    Err(ReadError::Source(SourceError::LeaseLost(_))) => held.lose(),
                    Err(ReadError::Source(SourceError::Vanished(_))) => held.vanish(),
                    Err(ReadError::Source(SourceError::Evicted { rows, .. })) => {
                        held.undecodable().finish(rows.clone());
                        row = rows.end;
                    }
                    // Until what waits to be stored is stored, or the source answers.
                    Ok(_) | Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
                }
            }
            services.undecodable.acknowledge(&held).await;
        });
    }
}

/// What lanes use.
fn services(
    settings: &Settings,
    source: Arc<dyn Source>,
    disk: Disk,
    status: &Arc<StatusBoard>,
    instrumentation: Arc<Instrumentation>,
) -> Arc<Services> {
    let delivery = &settings.delivery;
    let limits = DeadLimits {
        count: delivery.dead_letter_max_count,
        bytes: delivery.dead_letter_max_bytes,
    };
    let spool_dir = delivery.spool_dir.as_deref();
    let dead = Arc::new(DeadLetters::new(source.clone(), spool_dir, disk.clone(), limits));
    let undecodable = Undecodable::new(source.clone(), dead.clone(), status.clone(), instrumentation.clone());
    let undecodable = Arc::new(undecodable);
    let rows = match settings.purge_chunk {
        0 => WINDOW_ROWS,
        chunk => chunk.min(WINDOW_ROWS),
    };
    let (budget, bad) = (delivery.memory_budget, undecodable.clone());
    let reader = Reader::new(source.clone(), bad, rows as usize, budget);
    Arc::new(Services {
        source,
        reader: Arc::new(reader),
        dead,
        undecodable,
        disk,
        holdings: Holdings::default(),
        instrumentation,
        log: Report::new(Duration::from_secs(10)),
        lease: delivery.lease,
        purge_delay: settings.purge_delay,
        write_stall: delivery.write_stall,
        in_chunks: settings.purge_chunk > 0,
        drains: AtomicBool::new(false),
    })
}

/// Waits for a lane that was told to stop. `None`: it did not, not even after it was told to give up its write.
async fn end(
    pump: &str,
    control: &LaneControl,
    mut task: AbortOnDropHandle<Estate>,
    deadline: Instant,
) -> Option<Estate> {
    if let Ok(ended) = timeout_at(deadline, &mut task).await {
        return ended.ok();
    }
    tracing::error!(
        prefix = "main",
        pump,
        "a write was still running at the stop deadline; its rows are delivered after the next start"
    );
    control.abandon.cancel();
    timeout(GIVING_UP, task).await.ok()?.ok()
}
