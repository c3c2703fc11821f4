//! A lane: one pump's way through the claims.
//!
//! The lane owns everything that the pump does not: which rows come next, grouping, retry, dead letters, the spool and
//! acknowledgements. It is put together from parts that know nothing of each other's insides: [`Backlog`] (which rows, and
//! how far), [`Spooling`] (files), [`Desk`] (settings, what it hears and says) and, once there is a sink, a
//! [`Writer`](deliver::Writer). [`gather`] reads what comes next, [`deliver`] writes it, [`acknowledge`] says what is
//! finished, [`relief`] sheds rows when a back-end is away for too long.

mod acknowledge;
mod backlog;
mod build;
mod custody;
mod deliver;
mod desk;
mod gather;
mod handle;
mod refuse;
mod relief;
mod spooling;
mod write;

use std::time::Duration;

use tokio::{sync::mpsc, time::Instant};

pub(super) use self::{
    backlog::Backlog,
    build::{Builder, builder},
    desk::Desk,
    handle::{LaneControl, LaneId, Message},
    spooling::Spooling,
};
use self::{
    deliver::Writer,
    desk::{PROBE, Waited},
};
use super::{
    cause::{Cause, CauseClass},
    facts::{Facts, LaneState},
    reader::ReadError,
};
use crate::source::SourceError;

/// Whether a lane can write already.
enum Stage {
    Building(Builder),
    Running(Writer),
}

/// One pump's way through the claims.
pub(super) struct Lane {
    desk: Desk,
    backlog: Backlog,
    spool: Spooling,
    stage: Stage,
}

/// What a lane leaves to its successor.
pub(super) struct Estate {
    pub(super) backlog: Backlog,
    pub(super) spool: Spooling,
    pub(super) facts: Facts,
    pub(super) inbox: mpsc::UnboundedReceiver<Message>,
}

impl Estate {
    /// The pump is gone: its rows are nobody's here. Its files stay where they are.
    pub(super) fn leave(mut self) {
        self.inbox.close();
        while let Ok(message) = self.inbox.try_recv() {
            match message {
                Message::Claim(held, _) => held.lane_done(),
                Message::Replay(_) => {}
            }
        }
        self.backlog.leave();
    }
}

impl Lane {
    /// A lane that goes on with `backlog` once `builder` has made its sink.
    pub(super) fn new(desk: Desk, backlog: Backlog, spool: Spooling, builder: Builder) -> Self {
        Self {
            desk,
            backlog,
            spool,
            stage: Stage::Building(builder),
        }
    }

    /// Delivers until the lane is stopped. `adopts`: what is in the spool is not in the backlog yet.
    pub(super) async fn run(mut self, adopts: bool) -> Estate {
        if adopts {
            relief::adopt_spool(&self.desk, &mut self.backlog, &mut self.spool).await;
        }
        if let Stage::Building(builder) = &self.stage
            && let Some(sink) = build::build(&mut self.desk, &mut self.backlog, &mut self.spool, builder).await
        {
            self.stage = Stage::Running(Writer::new(sink));
        }
        if let Stage::Running(writer) = &mut self.stage {
            while !self.desk.is_stopped() {
                work(&mut self.desk, &mut self.backlog, &mut self.spool, writer).await;
            }
            close(&self.desk, writer).await;
        }
        self.desk.show(&self.backlog);
        self.desk.facts.enter(LaneState::Stopped, None);
        let (facts, inbox) = self.desk.leave();
        Estate {
            backlog: self.backlog,
            spool: self.spool,
            facts,
            inbox,
        }
    }
}

/// One group, or a wait for one.
async fn work(desk: &mut Desk, backlog: &mut Backlog, spool: &mut Spooling, writer: &mut Writer) {
    desk.accept_all(backlog);
    custody::drop_lost(desk, backlog);
    custody::apply_adoptions(desk, backlog, writer.sink()).await;
    if backlog.has_adoptions() {
        desk.pause(Duration::from_secs(1), backlog).await;
        return;
    }
    desk.show(backlog);
    let guarantee = writer.sink().guarantee();
    let notice = writer.sink().notice();
    desk.facts.change(|facts| {
        facts.guarantee = guarantee;
        facts.notice = notice;
    });
    if backlog.is_empty() {
        if desk.facts.state() == LaneState::Retrying {
            // What failed is somebody else's now.
            desk.facts.enter(LaneState::Running, None);
        }
        desk.idle(backlog).await;
        return;
    }
    let (began, mut rows) = (Instant::now(), 0_u64);
    let waited = match gather::gather(desk, backlog, spool).await {
        Ok(pieces) => {
            rows = pieces.iter().map(|piece| piece.rows().end - piece.rows().start).sum();
            desk.show(backlog);
            deliver::deliver(desk, backlog, spool, writer, pieces).await
        }
        Err(error) => cannot_read(desk, backlog, &error).await,
    };
    if waited == Waited::Relief {
        relief::relieve(desk, backlog, spool, Some(writer.sink())).await;
    }
    acknowledge::acknowledge(desk, backlog, spool, Some(writer.sink())).await;
    if let (Some(most), Waited::Over) = (desk.settings.most_per_second, waited) {
        let time = Duration::from_secs_f64(rows as f64 / most.get() as f64).saturating_sub(began.elapsed());
        if !time.is_zero() {
            desk.pause(time, backlog).await;
        }
    }
}

async fn cannot_read(desk: &mut Desk, backlog: &mut Backlog, error: &ReadError) -> Waited {
    let text = error.to_string();
    let (state, cause, pause) = match error {
        ReadError::Source(SourceError::Evicted { claim, rows }) => {
            custody::evicted(desk, backlog, *claim, rows.clone());
            return Waited::Over;
        }
        ReadError::Source(SourceError::LeaseLost(claim)) => {
            custody::lose(desk, backlog, *claim);
            return Waited::Over;
        }
        ReadError::Source(SourceError::Vanished(claim)) => {
            custody::vanish(desk, backlog, *claim);
            return Waited::Over;
        }
        ReadError::Source(_) => {
            let cause = Cause::new(CauseClass::Source, &*text);
            (LaneState::Retrying, cause, Duration::from_millis(500))
        }
        ReadError::Unreadable(_) => {
            let remedy = format!(
                "look at the elements, then tyk-pump lane accept-refusals {}",
                super::undecodable::LANE
            );
            let cause = Cause::new(CauseClass::Undecodable, &*text).with_remedy(remedy);
            (LaneState::Paused, cause, PROBE)
        }
    };
    desk.error(&format!("cannot read records, trying again: {text}"));
    desk.show_failure(state, cause);
    desk.pause(pause, backlog).await
}

async fn close(desk: &Desk, writer: &Writer) {
    let name = &desk.settings.name;
    tokio::select! {
        closed = writer.sink().close() => match closed {
            Ok(()) => tracing::info!(prefix = "main", "{} gracefully stopped.", desk.spec.title),
            Err(error) => tracing::error!(
                prefix = "main",
                pump = %name,
                "Error trying to gracefully shutdown  {}:{error}", desk.spec.title
            ),
        },
        () = desk.control.abandon.cancelled() => {
            tracing::error!(prefix = "main", pump = %name, "{} was not closed in time", desk.spec.title);
        }
    }
}
