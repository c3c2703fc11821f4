//! One attempt to write a group.

use std::{
    collections::BTreeSet,
    future::pending,
    time::{Duration, Instant},
};

use analytics::ClaimId;
use sinks::{Applied, Sink, WriteError, Written};
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    backlog::{Backlog, WorkId},
    desk::Desk,
    gather::Offer,
    relief::relieve,
    spooling::Spooling,
};
use crate::delivery::{
    cause::{Cause, CauseClass},
    facts::LaneState,
};

/// What became of an attempt.
pub(super) enum Attempt {
    Written(Written),
    Failed(WriteError),
    /// There was no answer within the pump's timeout: nobody knows how far it went.
    TimedOut(String),
    /// The lane must end before the write does.
    Abandoned,
}

/// One write, with the pump's timeout, and what becomes of the lane while it runs: it hears of claims, sheds rows when it
/// must, and says so when nothing moves.
pub(super) async fn attempt(
    desk: &mut Desk,
    backlog: &mut Backlog,
    spool: &mut Spooling,
    sink: &dyn Sink,
    offer: &Offer,
    stretch: u32,
) -> Attempt {
    crate::failpoints::hit(crate::failpoints::BEFORE_WRITE);
    let (began, control, applied) = (Instant::now(), desk.control.clone(), backlog.applied().clone());
    let stall = desk.services.write_stall;
    let deadline = match (desk.settings.timeout, offer.is_of_letters()) {
        (Some(timeout), _) => Some(timeout.saturating_mul(stretch)),
        // Somebody waits for an answer.
        (None, true) => Some(stall),
        (None, false) => None,
    };
    let over = async {
        match deadline {
            Some(deadline) => sleep(deadline).await,
            None => pending().await,
        }
    };
    let slow = sleep(desk.services.purge_delay);
    let write = sink.write(&offer.selections, &applied);
    let mut look = interval((stall / 10).max(Duration::from_millis(100)));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    tokio::pin!(over, slow, write);
    let (mut warned, mut watch) = (false, StallWatch::new(stall, offer, &applied));
    let attempt = loop {
        tokio::select! {
            biased;
            written = &mut write => break match written {
                Ok(written) => Attempt::Written(written),
                Err(error) => Attempt::Failed(error),
            },
            () = &mut over => {
                tracing::warn!(prefix = "main", pump = %desk.settings.name, "Timeout Writing to: {}", desk.spec.title);
                break Attempt::TimedOut(format!("no answer within {} s", deadline.unwrap_or_default().as_secs()));
            }
            () = control.abandon.cancelled() => break Attempt::Abandoned,
            () = &mut slow, if !warned => {
                warned = true;
                warn_slow(desk);
            }
            _ = look.tick() => watch.look(desk, &applied),
            () = control.relief() => relieve(desk, backlog, spool, None).await,
            message = desk.hear() => match message {
                Some(message) => desk.accept(message, backlog),
                // Nobody holds the lane any more.
                None => break Attempt::Abandoned,
            },
        }
    };
    crate::failpoints::hit(crate::failpoints::AFTER_WRITE);
    let took = began.elapsed();
    desk.facts.change(|facts| facts.latency.observe(took));
    desk.services.instrumentation.pump_write(desk.spec.title, took);
    attempt
}

/// Notices a write that moves nothing.
struct StallWatch {
    stall: Duration,
    since: tokio::time::Instant,
    claims: BTreeSet<ClaimId>,
    /// Rows of these claims that are marked.
    marked: u64,
}

impl StallWatch {
    fn new(stall: Duration, offer: &Offer, applied: &Applied) -> Self {
        let mut watch = Self {
            stall,
            since: tokio::time::Instant::now(),
            claims: offer.pieces.iter().map(|piece| piece.work.claim()).collect(),
            marked: 0,
        };
        watch.marked = watch.count(applied);
        watch
    }

    fn count(&self, applied: &Applied) -> u64 {
        self.claims.iter().map(|claim| applied.ranges(*claim).len()).sum()
    }

    fn look(&mut self, desk: &Desk, applied: &Applied) {
        let marked = self.count(applied);
        let stalled = desk.facts.state() == LaneState::Stalled;
        if marked > self.marked {
            self.marked = marked;
            self.since = tokio::time::Instant::now();
            desk.facts.moved();
            if stalled {
                desk.facts.enter(LaneState::Running, None);
            }
        } else if self.since.elapsed() >= self.stall && !stalled {
            let text = format!("a write has moved nothing for {} s", self.stall.as_secs());
            desk.error(&text);
            desk.show_failure(LaneState::Stalled, Cause::new(CauseClass::Stalled, text));
        }
    }
}

fn warn_slow(desk: &Desk) {
    let advice = match desk.settings.timeout {
        None => "try to set a timeout for this pump",
        Some(timeout) if timeout > desk.services.purge_delay => "try lowering the timeout configured for this pump",
        Some(_) => return,
    };
    tracing::warn!(
        prefix = "main",
        pump = %desk.settings.name,
        "Pump  {} is taking more time than the value configured of purge_delay. You should {advice}.",
        desk.spec.title
    );
}

/// The rows of a group, as the backlog knows them.
pub(super) fn rows_of(offer: &Offer) -> impl Iterator<Item = (WorkId, std::ops::Range<u64>)> {
    offer.pieces.iter().map(|piece| (piece.work, piece.rows()))
}
