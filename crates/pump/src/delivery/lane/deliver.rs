//! Writing a group until every row of it is accepted, is a dead letter, or belongs to somebody else: an attempt, the verdict
//! on it, what follows.

use std::{collections::VecDeque, time::Duration};

use analytics::Selection;
use sinks::{Rejected, Sink, WriteError, Written};

use super::{
    acknowledge::acknowledge,
    backlog::{Backlog, WorkId},
    desk::{Desk, PROBE, Waited},
    gather::{Offer, Piece, select},
    refuse::{Refused, finish_all_but, keep_letters, refuse},
    spooling::Spooling,
    write::{Attempt, attempt, rows_of},
};
use crate::delivery::{
    cause::{Cause, CauseClass},
    facts::LaneState,
    refusals::Refusals,
    retry::Backoff,
};

/// How far a pump's `timeout` is stretched when writes keep exceeding it.
const LONGEST_STRETCH: u32 = 10;

/// Single refused rows that are found before the search is given up.
const SUSPECTS: usize = 20;

/// Failed attempts after which dead letters that are replayed go back to where they were.
const REPLAY_ATTEMPTS: u32 = 3;

/// The sink of a lane, and what it has refused lately.
pub(super) struct Writer {
    sink: Box<dyn Sink>,
    refusals: Refusals,
}

impl Writer {
    pub(super) fn new(sink: Box<dyn Sink>) -> Self {
        Self {
            sink,
            refusals: Refusals::default(),
        }
    }

    pub(super) fn sink(&self) -> &dyn Sink {
        &*self.sink
    }

    /// Rows have reached the back-end.
    fn accepted(&mut self, desk: &Desk, rows: u64) {
        desk.facts.accepted(rows);
        self.refusals.accept(rows as usize);
    }
}

/// What follows from an attempt.
enum Verdict {
    /// The back-end has all rows but these.
    Accepted(Written),
    /// The same rows again.
    Again(Pause, String),
    /// The first window alone, with more time.
    Smaller(String),
    /// Nothing was applied, because of these rows.
    Refused(Vec<Rejected>),
    /// Nothing was applied, because of rows that the back-end does not name.
    Poisoned(String),
    /// The lane ends.
    Abandoned,
}

/// How long to wait.
enum Pause {
    BackOff(Option<Duration>),
    Probe,
}

/// What is left to do of a group.
struct Round {
    queue: VecDeque<Vec<Piece>>,
    backoff: Backoff,
    stretch: u32,
    /// Rows that are refused alone. What else is in the group is tried first: it tells poison from a wrong set-up.
    suspects: Vec<(Selection, Rejected)>,
    /// Attempts without a row accepted.
    failures: u32,
}

impl Round {
    fn new(group: Vec<Piece>) -> Self {
        Self {
            queue: VecDeque::from([group]),
            backoff: Backoff::default(),
            stretch: 1,
            suspects: Vec::new(),
            failures: 0,
        }
    }

    /// The next pieces that still need work and are ours.
    fn next(&mut self, backlog: &Backlog) -> Option<Vec<Piece>> {
        loop {
            let mut pieces = self.queue.pop_front()?;
            pieces.retain(|piece| backlog.wants(piece.work, &piece.rows()));
            if !pieces.is_empty() {
                return Some(pieces);
            }
        }
    }

    /// Rows have moved.
    fn progress(&mut self) {
        self.backoff.reset();
        self.stretch = 1;
        self.failures = 0;
    }
}

/// Writes a group. Returns when it is finished, or when the lane should look at its work anew.
pub(super) async fn deliver(
    desk: &mut Desk,
    backlog: &mut Backlog,
    spool: &mut Spooling,
    writer: &mut Writer,
    group: Vec<Piece>,
) -> Waited {
    let mut round = Round::new(group);
    while let Some(pieces) = round.next(backlog) {
        if !may_write(desk, backlog, &pieces) {
            round.queue.push_front(pieces);
            match desk.pause(Duration::from_millis(100), backlog).await {
                Waited::Over => continue,
                ended => return ended,
            }
        }
        let offer = select(desk, backlog, &pieces);
        if offer.rows == 0 && !desk.spec.writes_empty {
            finish(desk, backlog, &offer);
            continue;
        }
        backlog.fly(rows_of(&offer));
        desk.facts.change(|facts| facts.in_flight = offer.rows as u64);
        let attempt = attempt(desk, backlog, spool, writer.sink.as_ref(), &offer, round.stretch).await;
        desk.facts.change(|facts| facts.in_flight = 0);
        backlog.fly(std::iter::empty());
        let offered = offer.pieces.iter().map(|piece| (piece.work, &piece.selection));
        let moved = backlog.finish_applied(offered);
        if moved > 0 {
            writer.accepted(desk, moved);
            round.progress();
        }
        let wait = match verdict(attempt) {
            Verdict::Abandoned => {
                acknowledge(desk, backlog, spool, None).await;
                return Waited::Stop;
            }
            Verdict::Accepted(written) => {
                round.progress();
                match accept(desk, backlog, writer, &offer, written, moved).await {
                    Refused::Settled => {
                        acknowledge(desk, backlog, spool, Some(writer.sink())).await;
                        continue;
                    }
                    Refused::Doubtful => PROBE,
                    Refused::Abandoned => return Waited::Over,
                }
            }
            Verdict::Again(pause, text) => {
                fail(
                    desk,
                    &mut round,
                    &offer,
                    (&pause, CauseClass::Unavailable),
                    moved,
                    text.clone(),
                );
                if give_up(backlog, &round, &offer, &pause, &text) {
                    continue;
                }
                round.queue.push_front(pieces);
                match pause {
                    Pause::BackOff(asked) => round.backoff.next(asked),
                    Pause::Probe => PROBE,
                }
            }
            Verdict::Smaller(text) => {
                let pause = Pause::BackOff(None);
                if moved == 0 {
                    round.stretch = (round.stretch * 2).min(LONGEST_STRETCH);
                }
                fail(
                    desk,
                    &mut round,
                    &offer,
                    (&pause, CauseClass::Timeout),
                    moved,
                    text.clone(),
                );
                if give_up(backlog, &round, &offer, &pause, &text) {
                    continue;
                }
                let mut pieces = pieces;
                let rest = pieces.split_off(1);
                round.queue.push_front(rest);
                round.queue.push_front(pieces);
                round.backoff.next(None)
            }
            Verdict::Poisoned(reason) => {
                if divide(backlog, &mut round, &pieces, &offer, &reason) {
                    continue;
                }
                break;
            }
            Verdict::Refused(refused) if offer.is_of_letters() => {
                keep_refused(backlog, &refused);
                round.queue.push_front(pieces);
                continue;
            }
            Verdict::Refused(refused) => {
                round.queue.push_front(pieces);
                let all = refused.len() >= offer.rows;
                match refuse(desk, backlog, &mut writer.refusals, &offer.selections, refused, all).await {
                    Refused::Settled => continue,
                    Refused::Doubtful => PROBE,
                    Refused::Abandoned => return Waited::Over,
                }
            }
        };
        acknowledge(desk, backlog, spool, Some(writer.sink())).await;
        match desk.pause(wait, backlog).await {
            Waited::Over if wait == PROBE => return Waited::Over,
            Waited::Over => {}
            ended => return ended,
        }
    }
    let (selections, refused): (Vec<Selection>, Vec<Rejected>) = round.suspects.into_iter().unzip();
    if refused.is_empty() {
        return Waited::Over;
    }
    match refuse(desk, backlog, &mut writer.refusals, &selections, refused, true).await {
        Refused::Doubtful => desk.pause(PROBE, backlog).await,
        Refused::Settled | Refused::Abandoned => Waited::Over,
    }
}

fn may_write(desk: &Desk, backlog: &Backlog, pieces: &[Piece]) -> bool {
    let claimed = pieces
        .iter()
        .filter(|piece| matches!(piece.work, WorkId::Claimed { .. }));
    claimed
        .filter_map(|piece| backlog.held(piece.work.claim()))
        .all(|held| held.may_write(desk.services.lease))
}

fn verdict(attempt: Attempt) -> Verdict {
    match attempt {
        Attempt::Written(written) => Verdict::Accepted(written),
        Attempt::TimedOut(text) => Verdict::Smaller(text),
        Attempt::Abandoned => Verdict::Abandoned,
        Attempt::Failed(WriteError::Retry { after, source }) => {
            Verdict::Again(Pause::BackOff(after), source.to_string())
        }
        Attempt::Failed(WriteError::Config(source)) => Verdict::Again(Pause::Probe, source.to_string()),
        Attempt::Failed(WriteError::Reject { rows, source }) if rows.is_empty() => {
            Verdict::Poisoned(source.to_string())
        }
        Attempt::Failed(WriteError::Reject { rows, .. }) => Verdict::Refused(rows),
    }
}

/// Every row is done, what the pump does not want included.
fn finish(desk: &Desk, backlog: &mut Backlog, offer: &Offer) {
    count_unwanted(desk, offer);
    for (id, rows) in rows_of(offer) {
        backlog.finish(id, rows);
    }
}

fn count_unwanted(desk: &Desk, offer: &Offer) {
    if offer.unwanted > 0 {
        desk.facts.change(|facts| facts.filtered += offer.unwanted);
    }
}

/// The back-end has all rows but those that it rejects; `moved` of them are counted already.
async fn accept(
    desk: &mut Desk,
    backlog: &mut Backlog,
    writer: &mut Writer,
    offer: &Offer,
    written: Written,
    moved: u64,
) -> Refused {
    let accepted = offer.rows.saturating_sub(written.rejected.len());
    writer.accepted(desk, (accepted as u64).saturating_sub(moved));
    if written.possibly_doubled > 0 {
        desk.facts
            .change(|facts| facts.possibly_doubled += written.possibly_doubled);
    }
    if desk.spec.purge_line {
        tracing::info!(prefix = desk.spec.log_prefix, "Purged {accepted} records...");
    }
    if written.rejected.is_empty() {
        writer.refusals.settle();
        desk.recover();
        finish(desk, backlog, offer);
        return Refused::Settled;
    }
    count_unwanted(desk, offer);
    finish_all_but(backlog, offer, &written.rejected);
    if offer.is_of_letters() {
        keep_refused(backlog, &written.rejected);
        return Refused::Settled;
    }
    refuse(
        desk,
        backlog,
        &mut writer.refusals,
        &offer.selections,
        written.rejected,
        true,
    )
    .await
}

/// An attempt has failed. That is shown, unless rows were accepted all the same, or only dead letters are concerned.
fn fail(desk: &Desk, round: &mut Round, offer: &Offer, (pause, class): (&Pause, CauseClass), moved: u64, text: String) {
    desk.facts.change(|facts| facts.retries += 1);
    let line = format!("Error Writing to: {} - Error:{text}", desk.spec.title);
    desk.services.log.warning(&line, desk.context());
    if moved > 0 {
        desk.facts.failed(&text);
        desk.facts.enter(LaneState::Running, None);
        return;
    }
    round.failures += 1;
    if offer.is_of_letters() {
        desk.facts.failed(&text);
        return;
    }
    match pause {
        Pause::BackOff(_) => desk.show_failure(LaneState::Retrying, Cause::new(class, text)),
        Pause::Probe => desk.show_failure(LaneState::Paused, Cause::new(CauseClass::Configuration, text)),
    }
}

/// Dead letters are not tried for ever: they keep, and other rows wait behind them.
fn give_up(backlog: &mut Backlog, round: &Round, offer: &Offer, pause: &Pause, cause: &str) -> bool {
    let gives_up = offer.is_of_letters() && (round.failures >= REPLAY_ATTEMPTS || matches!(pause, Pause::Probe));
    if gives_up {
        // Those that wait for their turn in this round as well: the back-end is away.
        let waiting = round.queue.iter().flatten().chain(&offer.pieces);
        keep_letters(backlog, waiting.map(|piece| piece.work), cause);
    }
    gives_up
}

fn keep_refused(backlog: &mut Backlog, refused: &[Rejected]) {
    for Rejected { row, reason } in refused {
        let id = WorkId::Letter {
            claim: row.claim,
            row: row.row,
        };
        keep_letters(backlog, [id], reason);
    }
}

/// Looks for the rows that a back-end does not name. `false`: there are too many of them.
fn divide(backlog: &mut Backlog, round: &mut Round, pieces: &[Piece], offer: &Offer, reason: &str) -> bool {
    if offer.rows > 1 {
        let (left, right) = halve(pieces, offer);
        round.queue.push_front(right);
        round.queue.push_front(left);
        return true;
    }
    if offer.is_of_letters() {
        keep_letters(backlog, offer.pieces.iter().map(|piece| piece.work), reason);
        return true;
    }
    for selection in &offer.selections {
        let rows = selection.indexes().map(|index| selection.batch().row_id(index));
        round.suspects.extend(rows.map(|row| {
            let reason = reason.to_owned();
            (selection.clone(), Rejected { row, reason })
        }));
    }
    round.suspects.len() <= SUSPECTS
}

/// Cuts a group into two with about as many selected rows each. What is left out of an offer stays in the halves, where
/// it is left out, and counted, again.
fn halve(pieces: &[Piece], offer: &Offer) -> (Vec<Piece>, Vec<Piece>) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut taken = 0;
    for (piece, offered) in pieces.iter().zip(&offer.selections) {
        let len = offered.len();
        let room = (offer.rows / 2).saturating_sub(taken);
        if len <= room {
            left.push(piece.clone());
        } else if room == 0 {
            right.push(piece.clone());
        } else {
            let span = piece.rows();
            let index = offered.indexes().nth(room).unwrap_or_default();
            let middle = offered.batch().row_id(index).row;
            left.push(piece.slice(span.start..middle));
            right.push(piece.slice(middle..span.end));
        }
        taken += len;
    }
    (left, right)
}
