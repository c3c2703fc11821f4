//! A lane: one pump's way through the claims.
//!
//! The lane owns everything that the pump does not: which rows come next, grouping, retry, dead letters, the spool and
//! acknowledgements. Its parts are in [`super::gather`] (what to write next), [`super::deliver`] (writing it) and
//! [`super::relief`] (what happens when a back-end is away for too long).

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use analytics::{ClaimId, Key};
use futures::future::BoxFuture;
use sinks::{Applied, BuildError, Sink, SinkSpec, WriteError};
use tokio::sync::mpsc;

use super::{
    gather::Piece,
    held::Held,
    progress::Progress,
    reader::ReadError,
    refusals::Refusals,
    replay::ReplayRequest,
    report::Context,
    retry::Backoff,
    shared::Shared,
    spool::{Spool, SpoolFile},
    status::{LaneBoard, LaneState},
};
use crate::{
    config::PumpSettings,
    source::{Acknowledged, ClaimRef, SourceError},
};

/// How long a paused lane waits before it probes.
pub(super) const PROBE: Duration = Duration::from_secs(30);

/// How often an instance that stands by looks whether it may take the other's place.
const STANDBY: Duration = Duration::from_secs(2);

/// Order of work: the spool first, then claims, oldest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum WorkId {
    Spooled { claim: ClaimId, first_row: u64 },
    Claimed { claim: ClaimId },
}

/// Rows that this lane has to write.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) origin: Origin,
    pub(super) progress: Progress,
}

/// Where rows are read from.
#[derive(Clone, Debug)]
pub(super) enum Origin {
    Claim(Arc<Held>),
    Spool(SpoolFile, Arc<Key>),
}

/// What a lane is told.
pub(super) enum Message {
    /// A claim, with the lane's next row in it.
    Claim(Arc<Held>, u64),
    /// Dead letters to write once more.
    Replay(ReplayRequest),
}

/// An attempt to make the sink.
pub(super) type Building = BoxFuture<'static, Result<Box<dyn Sink>, BuildError>>;

/// How a lane makes its sink, again and again until it succeeds.
pub(super) type Builder = Box<dyn Fn() -> Building + Send + Sync>;

/// Why a wait ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Waited {
    /// The time is over.
    Over,
    /// The process stops.
    Stop,
    /// The lane holds more than it may: see [`super::relief`].
    Relief,
}

/// One pump's way through the claims.
pub(super) struct Lane {
    /// Position among the lanes of this process.
    pub(super) number: usize,
    pub(super) settings: PumpSettings,
    pub(super) spec: &'static SinkSpec,
    pub(super) shared: Arc<Shared>,
    pub(super) board: Arc<LaneBoard>,
    pub(super) inbox: mpsc::UnboundedReceiver<Message>,
    pub(super) work: BTreeMap<WorkId, Work>,
    pub(super) refusals: Refusals,
    /// Rows that the back-end has taken, of claims that are not done yet.
    pub(super) applied: Arc<Applied>,
    pub(super) spool: Option<Spool>,
    pub(super) row_bytes: u64,
    pub(super) replays: Vec<ReplayRequest>,
    /// Claims that were made under a former name of the pump, whose ledger must be asked first.
    pub(super) adoptions: Vec<(ClaimId, Arc<str>)>,
    /// Claims of spool files from before the start. A crash may have come between a file and its cursor, so the ledger
    /// must know their rows until the claim itself is done.
    pub(super) inherited: BTreeSet<ClaimId>,
    pub(super) builder: Builder,
}

impl Lane {
    /// Delivers until the process stops. `building` is the first attempt to make the sink.
    pub(super) async fn run(mut self, building: Building) {
        let Some(sink) = self.build(building).await else {
            self.board.enter(LaneState::Stopped, None, None);
            return;
        };
        while !self.shared.stop.is_cancelled() {
            self.accept_messages();
            self.answer_replays(&*sink).await;
            self.drop_lost();
            self.apply_adoptions(&*sink).await;
            if !self.adoptions.is_empty() {
                self.pause(Duration::from_secs(1)).await;
                continue;
            }
            self.update_board();
            self.board.promise(sink.guarantee());
            if self.work.is_empty() {
                if self.board.state() == LaneState::Retrying {
                    // What failed is somebody else's now.
                    self.board.enter(LaneState::Running, None, None);
                }
                self.idle().await;
                continue;
            }
            match self.gather().await {
                Ok(pieces) => {
                    self.update_board();
                    self.deliver(&*sink, pieces).await;
                }
                Err(error) => self.cannot_read(&error, &*sink).await,
            }
            self.finish_done(&*sink).await;
        }
        match sink.close().await {
            Ok(()) => tracing::info!(prefix = "main", "{} gracefully stopped.", self.spec.title),
            Err(error) => tracing::error!(
                prefix = "main",
                pump = %self.settings.name,
                "Error trying to gracefully shutdown  {}:{error}", self.spec.title
            ),
        }
        self.board.enter(LaneState::Stopped, None, None);
    }

    /// Makes the sink; until then the lane only takes care that it does not hold too much. `None`: the process stops.
    async fn build(&mut self, mut building: Building) -> Option<Box<dyn Sink>> {
        let mut backoff = Backoff::default();
        loop {
            let built = tokio::select! {
                built = &mut building => built,
                message = self.inbox.recv() => {
                    self.accept(message?);
                    self.update_board();
                    continue;
                }
                () = self.shared.relief(self.number) => {
                    self.relieve(None).await;
                    continue;
                }
                () = self.shared.stop.cancelled() => return None,
            };
            let pause = match built {
                Ok(sink) => {
                    self.shared.stand_by(self.number, false);
                    self.board.enter(LaneState::Running, None, None);
                    return Some(sink);
                }
                Err(BuildError::Options(error)) => {
                    self.disable(&error);
                    Duration::MAX
                }
                Err(BuildError::Unavailable(error)) => {
                    self.shared.stand_by(self.number, false);
                    self.cannot_build(&error.to_string(), &mut backoff)
                }
                Err(BuildError::Occupied(error)) => {
                    self.shared.stand_by(self.number, true);
                    self.cannot_build(&error.to_string(), &mut backoff);
                    STANDBY
                }
            };
            loop {
                match self.pause(pause).await {
                    Waited::Over => break,
                    Waited::Stop => return None,
                    Waited::Relief => self.relieve(None).await,
                }
            }
            building = (self.builder)();
        }
    }

    /// The options are wrong: only a restart with better ones can help.
    pub(super) fn disable(&self, error: &str) {
        if self.board.state() == LaneState::Disabled {
            return;
        }
        let remedy = "correct the configuration and restart; its records wait in the source";
        let context = Context {
            remedy: Some(remedy),
            ..Context::pump(&self.settings.name)
        };
        self.shared
            .log
            .error(&format!("Pump init error (skipping): {error}"), context);
        self.board
            .enter(LaneState::Disabled, Some(error.to_owned()), Some(remedy.to_owned()));
    }

    fn cannot_build(&mut self, error: &str, backoff: &mut Backoff) -> Duration {
        let pause = backoff.next(None);
        let name = &self.settings.name;
        let text = format!("pump cannot start yet, trying again: {error}");
        self.shared.log.error(&text, Context::pump(name));
        self.board.failed(error);
        self.board.enter(LaneState::Retrying, Some(error.to_owned()), None);
        pause
    }

    /// Waits, while the lane goes on to accept messages.
    pub(super) async fn pause(&mut self, time: Duration) -> Waited {
        let until = tokio::time::sleep(time.min(Duration::from_secs(3600 * 24 * 365)));
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return Waited::Over,
                () = self.shared.stop.cancelled() => return Waited::Stop,
                () = self.shared.relief(self.number) => return Waited::Relief,
                () = self.shared.woken(self.number) => return Waited::Over,
                message = self.inbox.recv() => match message {
                    Some(message) => {
                        self.accept(message);
                        self.update_board();
                    }
                    None => return Waited::Stop,
                },
            }
        }
    }

    /// Nothing to do: waits for a claim.
    async fn idle(&mut self) {
        tokio::select! {
            () = self.shared.stop.cancelled() => {}
            message = self.inbox.recv() => match message {
                Some(message) => self.accept(message),
                None => self.shared.stop.cancelled().await,
            },
        }
    }

    fn accept_messages(&mut self) {
        while let Ok(message) = self.inbox.try_recv() {
            self.accept(message);
        }
    }

    pub(super) fn accept(&mut self, message: Message) {
        let (held, cursor) = match message {
            Message::Claim(held, cursor) => (held, cursor),
            Message::Replay(request) => {
                self.replays.push(request);
                return;
            }
        };
        let mut progress = Progress::new(cursor, held.len);
        // Rows that this instance has on disk since before a crash need no second copy.
        for work in self.work.values() {
            if let Origin::Spool(file, _) = &work.origin
                && file.claim == held.id()
            {
                progress.finish(file.first_row..work.progress.end());
            }
        }
        if let Some(former) = held.adopted.get(&self.settings.name) {
            self.adoptions.push((held.id(), former.clone()));
        }
        let id = WorkId::Claimed { claim: held.id() };
        self.work.insert(
            id,
            Work {
                origin: Origin::Claim(held),
                progress,
            },
        );
    }

    async fn cannot_read(&mut self, error: &ReadError, sink: &dyn Sink) {
        if let ReadError::Source(SourceError::Evicted { claim, rows }) = error {
            self.evicted(*claim, rows.clone(), sink).await;
            return;
        }
        if let ReadError::Source(SourceError::LeaseLost(claim)) = error {
            self.lose(*claim);
            return;
        }
        if let ReadError::Source(SourceError::Vanished(claim)) = error {
            self.vanish(*claim);
            return;
        }
        let text = error.to_string();
        self.shared.log.error(
            &format!("cannot read records, trying again: {text}"),
            Context::default(),
        );
        self.board.failed(&text);
        let pause = match error {
            ReadError::Unreadable(_) => {
                let remedy = format!(
                    "look at the elements, then tyk-pump lane accept-refusals {}",
                    super::undecodable::LANE
                );
                self.board.enter(LaneState::Paused, Some(text), Some(remedy));
                PROBE
            }
            ReadError::Source(_) => {
                self.board.enter(LaneState::Retrying, Some(text), None);
                Duration::from_millis(500)
            }
        };
        if self.pause(pause).await == Waited::Relief {
            self.relieve(None).await;
        }
    }

    /// The rows of these pieces need no further work.
    pub(super) fn finish(&mut self, pieces: &[Piece]) {
        for piece in pieces {
            if let Some(work) = self.work.get_mut(&piece.work) {
                work.progress.finish(piece.selection.rows());
            }
        }
    }

    /// Acknowledges what is finished, and forgets work that is done.
    pub(super) async fn finish_done(&mut self, sink: &dyn Sink) {
        let moved: Vec<WorkId> = self
            .work
            .iter()
            .filter(|(_, work)| work.progress.unacknowledged().is_some())
            .map(|(id, _)| *id)
            .collect();
        let mut forget = Vec::new();
        for id in moved {
            if self.acknowledge(id).await {
                let (WorkId::Claimed { claim } | WorkId::Spooled { claim, .. }) = id;
                self.work.remove(&id);
                if matches!(id, WorkId::Claimed { .. }) {
                    self.inherited.remove(&claim);
                }
                forget.push(claim);
            }
        }
        let mut kept = self.inherited.clone();
        kept.extend(self.work.keys().map(|id| {
            let (WorkId::Claimed { claim } | WorkId::Spooled { claim, .. }) = id;
            *claim
        }));
        forget.retain(|claim| !kept.contains(claim));
        if !forget.is_empty() {
            self.applied.forget(&forget);
            sink.forget(&forget).await;
        }
    }

    /// Acknowledges one piece of work. `true`: it is done.
    async fn acknowledge(&mut self, id: WorkId) -> bool {
        let Some(work) = self.work.get(&id) else { return false };
        let Some(cursor) = work.progress.unacknowledged() else {
            return false;
        };
        match work.origin.clone() {
            Origin::Claim(held) => self.acknowledge_claim(id, &held, cursor).await,
            Origin::Spool(file, key) => {
                let done = cursor >= work.progress.end();
                if done {
                    self.remove_spooled(&file, key).await;
                }
                done
            }
        }
    }

    async fn acknowledge_claim(&mut self, id: WorkId, held: &Arc<Held>, cursor: u64) -> bool {
        crate::failpoints::hit(crate::failpoints::BEFORE_ACK);
        let mut backoff = Backoff::default();
        loop {
            let mut cursors = vec![(self.settings.name.clone(), cursor)];
            let undecodable = held.undecodable().unacknowledged();
            cursors.extend(undecodable.map(|cursor| (super::undecodable::LANE.into(), cursor)));
            match self.shared.source.acknowledge(&held.reference, &cursors).await {
                Ok(state) => {
                    crate::failpoints::hit(crate::failpoints::AFTER_ACK);
                    if let Some(cursor) = undecodable {
                        held.undecodable().acknowledge(cursor);
                    }
                    let Some(work) = self.work.get_mut(&id) else {
                        return true;
                    };
                    work.progress.acknowledge(cursor);
                    let done = work.progress.is_done();
                    if state == Acknowledged::Finished {
                        held.finish();
                    }
                    if done {
                        held.lane_done();
                    }
                    return done;
                }
                Err(SourceError::LeaseLost(claim)) => {
                    self.lose(claim);
                    return false;
                }
                Err(SourceError::Vanished(claim)) => {
                    self.vanish(claim);
                    return false;
                }
                Err(error) => {
                    let text = format!("cannot acknowledge, trying again: {error}");
                    self.shared.log.error(&text, Context::pump(&self.settings.name));
                    self.board.failed(&text);
                    if held.is_lost() || self.shared.stopped_for(backoff.next(None)).await {
                        return false;
                    }
                }
            }
        }
    }

    async fn remove_spooled(&mut self, file: &SpoolFile, key: Arc<Key>) {
        let Some(spool) = &self.spool else { return };
        let name = &self.settings.name;
        if let Err(error) = spool.remove(file) {
            let text = format!("a delivered spool file cannot be removed; its rows may be delivered again: {error}");
            self.shared.log.error(&text, Context::pump(name));
        }
        let files = self
            .work
            .keys()
            .filter(|id| matches!(id, WorkId::Spooled { claim, .. } if *claim == file.claim));
        if files.count() > 1 {
            return;
        }
        let claim = ClaimRef {
            id: file.claim,
            key,
            fence: 0,
        };
        if let Err(error) = self.shared.source.note_spooled(&claim, name, false).await {
            let text = format!("cannot note that the spool is empty: {error}");
            self.shared.log.warning(&text, Context::pump(name));
        }
    }

    /// Average bytes of a row; a guess until one was read.
    pub(super) fn row_size(&self) -> u64 {
        match self.row_bytes {
            0 => super::maintenance::ROW_BYTES,
            seen => seen,
        }
    }

    /// Shows what the lane holds.
    pub(super) fn update_board(&self) {
        use std::sync::atomic::Ordering::Relaxed;
        let (mut rows, mut spooled_rows, mut files, mut oldest) = (0, 0, 0, 0);
        for work in self.work.values() {
            match &work.origin {
                Origin::Claim(held) => {
                    rows += work.progress.left();
                    oldest = if oldest == 0 {
                        held.claimed_at_ms
                    } else {
                        oldest.min(held.claimed_at_ms)
                    };
                }
                Origin::Spool(file, _) => {
                    spooled_rows += work.progress.left();
                    files += 1;
                    let made = file.claim.0.timestamp_ms();
                    oldest = if oldest == 0 { made } else { oldest.min(made) };
                }
            }
        }
        self.board.backlog_rows.store(rows, Relaxed);
        self.board.backlog_bytes.store(rows * self.row_size(), Relaxed);
        self.board.spooled_rows.store(spooled_rows, Relaxed);
        self.board.spooled_files.store(files, Relaxed);
        self.board.oldest_claim_ms.store(oldest, Relaxed);
    }

    /// A write failed in a way that time, or somebody, must mend.
    pub(super) fn show_failure(&self, state: LaneState, error: &WriteError, remedy: Option<String>) {
        let text = error.to_string();
        self.board.failed(&text);
        self.board.enter(state, Some(text), remedy);
    }
}
