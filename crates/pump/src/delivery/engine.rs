//! Taking claims, handing them to lanes, keeping their leases.

use std::{
    sync::{Arc, PoisonError, RwLock, atomic::AtomicBool},
    time::{Duration, Instant},
};

use analytics::{Key, RecordKind};
use sinks::{BuildError, Fleet};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    dead_letter::DeadLetters,
    held::{Held, boot_clock_ms},
    lane::{Builder, Lane, Message},
    reader::{ReadError, Reader},
    refusals::Refusals,
    replay::ReplayRequest,
    report::{Context, Report},
    shared::{Holdings, LaneControl, Shared},
    spool::Spool,
    status::{LaneState, StatusBoard},
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
/// A claim of at least this many rows says that there is a backlog: the next one follows at once.
const BACKLOG_ROWS: u64 = 5_000;
/// With `compat` the first claim is made this long after the start, or sooner if `purge_delay` is shorter.
const COMPAT_START: Duration = Duration::from_millis(200);
/// How long the start waits for a pump before it goes on in the background.
const BUILD_PATIENCE: Duration = Duration::from_secs(5);

/// What the engine knows about a lane.
pub(super) struct LaneHandle {
    pub(super) name: Arc<str>,
    pub(super) records: RecordKind,
    pub(super) on_full: OnFull,
    pub(super) board: Arc<super::status::LaneBoard>,
    inbox: mpsc::UnboundedSender<Message>,
    task: AbortOnDropHandle<()>,
}

impl LaneHandle {
    /// Hands dead letters to the lane. `false`: it has ended.
    pub(super) fn replay(&self, request: ReplayRequest) -> bool {
        self.inbox.send(Message::Replay(request)).is_ok()
    }
}

/// Claims records and delivers them through one lane a pump. When it is dropped, everything ends at once, as in a crash.
pub struct Engine {
    pub(super) shared: Arc<Shared>,
    pub(super) lanes: Vec<LaneHandle>,
    pub(super) status: Arc<StatusBoard>,
    pub(super) settings: Settings,
    pub(super) mode: RwLock<Mode>,
    pub(super) eviction_warned: AtomicBool,
    undecodable: AbortOnDropHandle<()>,
}

impl Engine {
    /// Makes the lanes and starts them. Pumps that are not up within some seconds go on starting in the background.
    pub async fn start(
        settings: Settings,
        pumps: Vec<Pump>,
        source: Arc<dyn Source>,
        status: Arc<StatusBoard>,
        instrumentation: Arc<Instrumentation>,
        fleet: Fleet,
    ) -> anyhow::Result<Arc<Self>> {
        let delivery = &settings.delivery;
        let limits = DeadLimits {
            count: delivery.dead_letter_max_count,
            bytes: delivery.dead_letter_max_bytes,
        };
        let dead = Arc::new(DeadLetters::new(source.clone(), delivery.spool_dir.as_deref(), limits));
        let undecodable = Arc::new(Undecodable::new(
            source.clone(),
            dead.clone(),
            status.clone(),
            instrumentation.clone(),
        ));
        let rows = if settings.purge_chunk == 0 {
            WINDOW_ROWS
        } else {
            settings.purge_chunk.min(WINDOW_ROWS)
        };
        let reader = Reader::new(
            source.clone(),
            undecodable.clone(),
            rows as usize,
            delivery.memory_budget,
        );
        let shared = Arc::new(Shared {
            source,
            reader: Arc::new(reader),
            dead,
            undecodable: undecodable.clone(),
            holdings: Holdings::default(),
            instrumentation,
            log: Report::new(Duration::from_secs(10)),
            lease: delivery.lease,
            purge_delay: settings.purge_delay,
            in_chunks: settings.purge_chunk > 0,
            stop: CancellationToken::new(),
            controls: pumps
                .iter()
                .map(|pump| LaneControl::new(pump.settings.transform.clone()))
                .collect(),
        });
        let mut lanes = Vec::new();
        for (number, pump) in pumps.into_iter().enumerate() {
            lanes.push(start_lane(number, pump, &settings, &shared, &status, &fleet).await?);
        }
        Ok(Arc::new(Self {
            shared,
            lanes,
            status,
            settings,
            mode: RwLock::new(Mode::memory()),
            eviction_warned: AtomicBool::new(false),
            undecodable: AbortOnDropHandle::new(tokio::spawn(undecodable.run())),
        }))
    }

    /// Claims and delivers until [`Engine::stop`] or, with `drain`, until there is nothing left.
    pub async fn run(self: &Arc<Self>, mode: Mode, drain: bool) {
        *self.mode.write().unwrap_or_else(PoisonError::into_inner) = mode.clone();
        let _keeper = AbortOnDropHandle::new(tokio::spawn(self.clone().keep()));
        let mut smallest_ttl = None;
        // The reference lets a whole `purge_delay` go by first, and whoever watches the lists sees what was waiting.
        if self.settings.compat
            && !drain
            && self
                .shared
                .stopped_for(self.settings.purge_delay.min(COMPAT_START))
                .await
        {
            return;
        }
        while !self.shared.stop.is_cancelled() {
            let began = Instant::now();
            let claimed = self.claim_all(&mode, &mut smallest_ttl).await;
            self.shared.instrumentation.cycle(began.elapsed());
            if drain && claimed == Some(0) && self.is_idle() {
                break;
            }
            let pause = match claimed {
                Some(rows) if rows >= BACKLOG_ROWS && self.lanes_keep_up() => Duration::ZERO,
                _ if drain => Duration::from_millis(5),
                _ => self
                    .settings
                    .purge_delay
                    .min(smallest_ttl.map_or(Duration::MAX, |ttl: Duration| ttl / 3)),
            };
            if self.shared.stopped_for(pause).await {
                break;
            }
        }
    }

    /// Name, state and its cause of every lane.
    pub fn lanes(&self) -> impl Iterator<Item = (&str, LaneState, Option<String>)> {
        self.lanes
            .iter()
            .map(|lane| (&*lane.name, lane.board.state(), lane.board.cause()))
    }

    /// Stops as [`Engine::close`], and says so.
    pub async fn stop(&self) {
        tracing::info!(prefix = "main", "Shutting down {} pumps...", self.lanes.len());
        self.close().await;
    }

    /// Stops claiming, lets running writes end, gives the rest back, closes every sink.
    pub async fn close(&self) {
        self.shared.stop.cancel();
        let deadline = tokio::time::Instant::now() + self.settings.delivery.stop_deadline;
        for lane in &self.lanes {
            while !lane.task.is_finished() && tokio::time::Instant::now() < deadline {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            if !lane.task.is_finished() {
                tracing::error!(prefix = "main", pump = %lane.name, "a write was still running at the stop deadline; its rows are delivered after the next start");
                lane.task.abort();
            }
        }
        self.undecodable.abort();
        crate::failpoints::hit(crate::failpoints::BEFORE_RELEASE);
        self.shared.holdings.sweep();
        let held: Vec<_> = self
            .shared
            .holdings
            .all()
            .iter()
            .map(|held| held.reference.clone())
            .collect();
        if !held.is_empty()
            && let Err(error) = self.shared.source.release(&held).await
        {
            tracing::warn!(
                prefix = "main",
                "claims could not be given back, they are taken up when their lease is over: {error}"
            );
        }
    }

    /// Lets the refused rows of a pump (or undecodable elements) into the dead letters, whatever their share.
    /// `false`: there is no such pump.
    pub fn accept_refusals(&self, lane: &str) -> bool {
        use std::sync::atomic::Ordering::Release;
        let wake = |number: usize| {
            if let Some(control) = self.shared.controls.get(number) {
                control.woken.notify_one();
            }
        };
        if lane == undecodable::LANE {
            self.shared.undecodable.let_through();
            (0..self.lanes.len()).for_each(wake);
            return true;
        }
        let Some(number) = self
            .lanes
            .iter()
            .position(|known| known.name.eq_ignore_ascii_case(lane))
        else {
            return false;
        };
        if let Some(control) = self.shared.controls.get(number) {
            control.accepts_refusals.store(true, Release);
        }
        wake(number);
        true
    }

    /// Names of the lanes that deliver the records of `key`, with that for undecodable elements.
    pub(super) fn lanes_of(&self, key: &Key) -> Vec<Arc<str>> {
        let wanted = self
            .lanes
            .iter()
            .filter(|lane| lane.records == key.records)
            .map(|lane| lane.name.clone());
        wanted.chain([undecodable::LANE.into()]).collect()
    }

    /// Claims every list that has elements. Returns the number of rows; `None` when the source is away, or nothing may be claimed now.
    async fn claim_all(&self, mode: &Mode, smallest_ttl: &mut Option<Duration>) -> Option<u64> {
        // A popped list lives in this process alone: never more than one round of them.
        let held_back = self.held_back()
            || self.shared.stands_by()
            || (mode.one_round_at_a_time && !self.shared.holdings.is_empty());
        if held_back {
            return None;
        }
        let pending = match self.shared.source.pending().await {
            Ok(pending) => {
                self.source_is_up();
                pending
            }
            Err(error) => {
                self.source_is_down(&error);
                return None;
            }
        };
        let mut not_lists = Vec::new();
        let mut rows = 0;
        for (index, length) in pending {
            let Some(key) = self.shared.source.keys().get(index).cloned() else {
                continue;
            };
            if let Err(error) = length {
                if matches!(error, SourceError::NotAList { .. }) {
                    not_lists.push(key.name.to_string());
                }
                self.report(&error);
                continue;
            }
            let sent_ms = boot_clock_ms();
            match self.shared.source.claim(&key, &self.lanes_of(&key)).await {
                Ok(Some(claim)) => {
                    crate::failpoints::hit(crate::failpoints::AFTER_CLAIM);
                    rows += claim.len;
                    *smallest_ttl = [*smallest_ttl, claim.ttl].into_iter().flatten().min();
                    self.hold(&claim, sent_ms);
                }
                Ok(None) => {}
                Err(error) => self.report(&error),
            }
        }
        self.status.source(|source| source.not_lists = not_lists);
        Some(rows)
    }

    fn report(&self, error: &SourceError) {
        let text = format!("Error on Purge Loop. Is Temporal Storage down?: {error}");
        self.shared.log.error(&text, Context::default());
    }

    /// The source was reached for the first time.
    pub fn source_is_open(&self) {
        self.status.source(|source| source.state = "up".to_owned());
    }

    /// The source has answered.
    pub fn source_is_up(&self) {
        let mut was_down = false;
        self.status.source(|source| {
            was_down = source.state == "down";
            source.state = "up".to_owned();
        });
        if was_down {
            let mode = self.mode.read().unwrap_or_else(PoisonError::into_inner).clone();
            tracing::info!(prefix = "main", mode = mode.label, reason = %mode.reason, "records can be taken again");
        }
    }

    /// The source does not answer, or refuses.
    pub fn source_is_down(&self, error: &SourceError) {
        self.report(error);
        self.status.source(|source| {
            source.state = "down".to_owned();
            source.last_error = Some(error.to_string());
            source.last_error_at = Some(crate::clock::now_ms() / 1000);
        });
    }

    /// Hands a claim to the lanes that have rows in it.
    pub(super) fn hold(&self, claim: &Claim, confirmed_ms: u64) {
        let wanting: Vec<(&LaneHandle, u64)> = self
            .lanes
            .iter()
            .filter_map(|lane| claim.cursors.get(&lane.name).map(|&cursor| (lane, cursor)))
            .filter(|(_, cursor)| *cursor < claim.len)
            .collect();
        let undecodable = claim.cursors.get(undecodable::LANE).copied().unwrap_or(claim.len);
        let held = Arc::new(Held::new(claim, undecodable, wanting.len(), confirmed_ms));
        self.shared.holdings.add(held.clone());
        let first_read = wanting.iter().map(|(_, cursor)| *cursor).min().unwrap_or(claim.len);
        if undecodable < first_read {
            self.catch_up(held.clone(), undecodable, first_read);
        }
        for (lane, cursor) in wanting {
            // A lane that has ended because the process stops no longer listens.
            let _ = lane.inbox.send(Message::Claim(held.clone(), cursor));
        }
    }

    /// Looks for undecodable elements in rows that no other lane will read again.
    pub(super) fn catch_up(&self, held: Arc<Held>, from: u64, to: u64) {
        let shared = self.shared.clone();
        tokio::spawn(async move {
            let mut row = from;
            while row < to && !held.is_lost() && !shared.stop.is_cancelled() {
                match shared.reader.window(&held, row, usize::MAX, 1).await {
                    Ok(window) => row = window.batch.end_row(),
                    Err(ReadError::Source(SourceError::LeaseLost(_))) => held.lose(),
                    Err(ReadError::Source(SourceError::Vanished(_))) => held.vanish(),
                    Err(ReadError::Source(SourceError::Evicted { rows, .. })) => {
                        held.undecodable().finish(rows.clone());
                        row = rows.end;
                    }
                    Err(_) => tokio::time::sleep(Duration::from_millis(500)).await,
                }
            }
            shared.undecodable.acknowledge(&held).await;
        });
    }

    /// Whether every lane is nearly through with what it was given.
    fn lanes_keep_up(&self) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        self.lanes.iter().all(|lane| {
            lane.board.state() == LaneState::Running && lane.board.backlog_rows.load(Relaxed) < 4 * BACKLOG_ROWS
        })
    }

    fn is_idle(&self) -> bool {
        self.shared.holdings.sweep();
        self.shared.holdings.is_empty() && self.shared.undecodable.is_idle()
    }
}

/// Makes one lane and waits some seconds for its sink.
async fn start_lane(
    number: usize,
    pump: Pump,
    settings: &Settings,
    shared: &Arc<Shared>,
    status: &StatusBoard,
    fleet: &Fleet,
) -> anyhow::Result<LaneHandle> {
    let builder = builder(&pump, settings, fleet);
    let Pump { settings: pump, spec } = pump;
    let name = pump.name.clone();
    let board = status.add_lane(name.clone(), spec.name, Some(spec.guarantee));
    let spool = match (&settings.delivery.spool_dir, pump.on_full) {
        (Some(folder), OnFull::Spool) => Some(Spool::open(folder, &name)?),
        _ => None,
    };
    let (inbox, receiver) = mpsc::unbounded_channel();
    let (records, on_full) = (spec.records, pump.on_full);
    let mut building = builder();
    let mut lane = Lane {
        number,
        settings: pump,
        spec,
        shared: shared.clone(),
        board: board.clone(),
        inbox: receiver,
        work: std::collections::BTreeMap::new(),
        refusals: Refusals::default(),
        applied: Arc::default(),
        spool,
        row_bytes: 0,
        replays: Vec::new(),
        adoptions: Vec::new(),
        inherited: std::collections::BTreeSet::new(),
        builder,
    };
    lane.adopt_spool()?;
    lane.update_board();
    let building = match tokio::time::timeout(BUILD_PATIENCE, &mut building).await {
        Ok(built) => {
            match &built {
                Err(BuildError::Options(error)) => lane.disable(error),
                Err(BuildError::Occupied(_)) => shared.stand_by(number, true),
                Ok(_) | Err(BuildError::Unavailable(_)) => {}
            }
            Box::pin(std::future::ready(built))
        }
        Err(_) => building,
    };
    let task = AbortOnDropHandle::new(tokio::spawn(lane.run(building)));
    Ok(LaneHandle {
        name,
        records,
        on_full,
        board,
        inbox,
        task,
    })
}

/// How the sink of a pump is made.
fn builder(pump: &Pump, settings: &Settings, fleet: &Fleet) -> Builder {
    let spec = pump.spec;
    let context = pump.context(settings.log, fleet);
    let refused = pump.settings.refused.clone();
    Box::new(move || {
        let (context, refused) = (context.clone(), refused.clone());
        // A task of its own: the attempt goes on while the lane looks after its claims.
        let attempt = tokio::spawn(async move {
            if let Some(reason) = refused {
                return Err(BuildError::Options(reason));
            }
            let name = context.pump.clone();
            let sink = (spec.build)(context).await?;
            tracing::info!(prefix = "main", "Init Pump: {name}");
            Ok(sink)
        });
        Box::pin(async move {
            attempt
                .await
                .unwrap_or_else(|error| Err(BuildError::Unavailable(error.into())))
        })
    })
}
