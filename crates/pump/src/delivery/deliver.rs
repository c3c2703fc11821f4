//! Writing a group until every row of it is accepted, is a dead letter, or belongs to somebody else.

use std::{
    collections::VecDeque,
    sync::atomic::Ordering::Relaxed,
    time::{Duration, Instant},
};

use analytics::{RowId, Selection};
use sinks::{Rejected, Sink, WriteError, Written};

use super::{
    gather::Piece,
    lane::{Lane, Origin, PROBE, Waited},
    report::Context,
    retry::Backoff,
    status::LaneState,
};
use crate::source::{DeadLetter, ElementForm};

/// How far a pump's `timeout` is stretched when writes keep exceeding it.
const LONGEST_STRETCH: u32 = 10;

/// Single refused rows that are found before the search is given up.
const SUSPECTS: usize = 20;

/// What became of one attempt.
enum Attempt {
    Written(Written),
    Failed(WriteError),
    TimedOut,
}

/// What to do after rows were refused.
#[derive(PartialEq, Eq)]
enum Refused {
    /// They are dead letters now.
    Settled,
    /// They are too many to be poison.
    Doubtful,
    /// The process stops, or the claim is gone.
    Abandoned,
}

impl Lane {
    /// Writes a group. Returns when it is finished, or when the lane should look at its work anew.
    pub(super) async fn deliver(&mut self, sink: &dyn Sink, group: Vec<Piece>) {
        let mut queue = VecDeque::from([group]);
        let mut backoff = Backoff::default();
        let mut stretch = 1;
        // Rows that are refused alone. What else is in the group is tried first: it tells poison from a wrong set-up.
        let mut suspects: Vec<(Selection, Rejected)> = Vec::new();
        while let Some(pieces) = queue.pop_front() {
            let pieces: Vec<Piece> = pieces.into_iter().filter(|piece| self.is_wanted(piece)).collect();
            if pieces.is_empty() {
                continue;
            }
            if !self.may_write(&pieces) {
                queue.push_front(pieces);
                if self.pause(Duration::from_millis(100)).await != Waited::Over {
                    return;
                }
                continue;
            }
            let selected: Vec<Piece> = pieces.iter().map(|piece| self.select(piece)).collect();
            let selections: Vec<Selection> = selected.iter().map(|piece| piece.selection.clone()).collect();
            let rows: usize = selections.iter().map(Selection::len).sum();
            if rows == 0 && !self.spec.writes_empty {
                self.count_filtered(&pieces, rows);
                self.finish(&pieces);
                continue;
            }
            self.board.in_flight.store(rows as u64, Relaxed);
            let attempt = self.attempt(sink, &selections, stretch).await;
            self.board.in_flight.store(0, Relaxed);
            if !matches!(attempt, Attempt::Written(_)) {
                self.finish_applied(&selected);
            }
            let pause = match attempt {
                Attempt::Written(written) => {
                    self.accepted(rows, &written);
                    self.count_filtered(&pieces, rows);
                    backoff.reset();
                    stretch = 1;
                    if written.rejected.is_empty() {
                        self.finish(&pieces);
                        self.finish_done(sink).await;
                        continue;
                    }
                    self.finish_all_but(&selected, &written.rejected);
                    match self.refuse(&selections, written.rejected, true).await {
                        Refused::Settled => {
                            self.finish(&pieces);
                            continue;
                        }
                        Refused::Doubtful => PROBE,
                        Refused::Abandoned => return,
                    }
                }
                Attempt::TimedOut => {
                    self.board.retries.fetch_add(1, Relaxed);
                    stretch = (stretch * 2).min(LONGEST_STRETCH);
                    let mut pieces = pieces;
                    let rest = pieces.split_off(1);
                    if !rest.is_empty() {
                        queue.push_front(rest);
                    }
                    queue.push_front(pieces);
                    backoff.next(None)
                }
                Attempt::Failed(WriteError::Retry { after, source }) => {
                    queue.push_front(pieces);
                    let error = WriteError::Retry { after, source };
                    self.failed(&error);
                    self.show_failure(LaneState::Retrying, &error, None);
                    backoff.next(after)
                }
                Attempt::Failed(error @ WriteError::Config(_)) => {
                    queue.push_front(pieces);
                    self.failed(&error);
                    let remedy = "correct the cause; the pump tries again every 30 s".to_owned();
                    self.show_failure(LaneState::Paused, &error, Some(remedy));
                    PROBE
                }
                Attempt::Failed(WriteError::Reject { rows: refused, source }) => {
                    let refused = match (refused.is_empty(), rows) {
                        (false, _) => refused,
                        (true, 1) => {
                            let row = only_row(&selections, &source.to_string());
                            suspects.extend(selections.iter().filter(|s| !s.is_empty()).cloned().zip(row));
                            if suspects.len() > SUSPECTS {
                                break;
                            }
                            continue;
                        }
                        (true, _) => {
                            let (left, right) = halve(&selected, rows);
                            queue.push_front(right);
                            queue.push_front(left);
                            continue;
                        }
                    };
                    queue.push_front(pieces);
                    let all = refused.len() >= rows;
                    match self.refuse(&selections, refused, all).await {
                        Refused::Settled => continue,
                        Refused::Doubtful => PROBE,
                        Refused::Abandoned => return,
                    }
                }
            };
            match self.pause(pause).await {
                Waited::Over if pause == PROBE => return,
                Waited::Over => {}
                Waited::Stop => return,
                Waited::Relief => {
                    self.relieve(Some(sink)).await;
                    return;
                }
            }
        }
        let (selections, refused): (Vec<Selection>, Vec<Rejected>) = suspects.into_iter().unzip();
        if !refused.is_empty()
            && self.refuse(&selections, refused, true).await == Refused::Doubtful
            && self.pause(PROBE).await == Waited::Relief
        {
            self.relieve(Some(sink)).await;
        }
    }

    /// Whether rows of a piece still need work, and are ours.
    fn is_wanted(&self, piece: &Piece) -> bool {
        let Some(work) = self.work.get(&piece.work) else {
            return false;
        };
        let lost = matches!(&work.origin, Origin::Claim(held) if held.is_lost());
        let rows = piece.selection.rows();
        !lost
            && work
                .progress
                .next_unfinished(rows.start)
                .is_some_and(|row| row < rows.end)
    }

    fn may_write(&self, pieces: &[Piece]) -> bool {
        pieces
            .iter()
            .all(|piece| match self.work.get(&piece.work).map(|work| &work.origin) {
                Some(Origin::Claim(held)) => held.may_write(self.shared.lease),
                _ => true,
            })
    }

    /// One write, with the pump's timeout and upstream's warning about slow pumps.
    async fn attempt(&self, sink: &dyn Sink, selections: &[Selection], stretch: u32) -> Attempt {
        crate::failpoints::hit(crate::failpoints::BEFORE_WRITE);
        let began = Instant::now();
        let title = self.spec.title;
        let deadline = self.settings.timeout.map(|timeout| timeout.saturating_mul(stretch));
        let over = async {
            match deadline {
                Some(deadline) => tokio::time::sleep(deadline).await,
                None => std::future::pending().await,
            }
        };
        let slow = tokio::time::sleep(self.shared.purge_delay);
        let write = sink.write(selections, &self.applied);
        tokio::pin!(over, slow, write);
        let mut warned = false;
        let attempt = loop {
            tokio::select! {
                written = &mut write => break match written {
                    Ok(written) => Attempt::Written(written),
                    Err(error) => Attempt::Failed(error),
                },
                () = &mut over => {
                    tracing::warn!(prefix = "main", pump = %self.settings.name, "Timeout Writing to: {title}");
                    let text = format!("no answer within {} s", deadline.unwrap_or_default().as_secs());
                    self.board.failed(&text);
                    self.board.enter(LaneState::Retrying, Some(text), None);
                    break Attempt::TimedOut;
                }
                () = &mut slow, if !warned => {
                    warned = true;
                    self.warn_slow();
                }
            }
        };
        crate::failpoints::hit(crate::failpoints::AFTER_WRITE);
        self.shared.instrumentation.pump_write(title, began.elapsed());
        attempt
    }

    fn warn_slow(&self) {
        let advice = match self.settings.timeout {
            None => "try to set a timeout for this pump",
            Some(timeout) if timeout > self.shared.purge_delay => "try lowering the timeout configured for this pump",
            Some(_) => return,
        };
        tracing::warn!(
            prefix = "main",
            pump = %self.settings.name,
            "Pump  {} is taking more time than the value configured of purge_delay. You should {advice}.",
            self.spec.title
        );
    }

    fn accepted(&mut self, rows: usize, written: &Written) {
        let accepted = rows.saturating_sub(written.rejected.len());
        self.board.delivered.fetch_add(accepted as u64, Relaxed);
        self.board.possibly_doubled.fetch_add(written.possibly_doubled, Relaxed);
        self.refusals.accept(accepted);
        if written.rejected.is_empty() {
            self.refusals.settle();
            if self.board.state() != LaneState::Running {
                tracing::info!(prefix = "main", pump = %self.settings.name, "pump works again");
                self.board.enter(LaneState::Running, None, None);
            }
        }
        if self.spec.purge_line {
            tracing::info!(prefix = self.spec.log_prefix, "Purged {accepted} records...");
        }
    }

    fn count_filtered(&self, pieces: &[Piece], selected: usize) {
        let offered: usize = pieces.iter().map(|piece| piece.selection.len()).sum();
        self.board
            .filtered
            .fetch_add(offered.saturating_sub(selected) as u64, Relaxed);
    }

    fn failed(&self, error: &WriteError) {
        self.board.retries.fetch_add(1, Relaxed);
        let text = format!("Error Writing to: {} - Error:{error}", self.spec.title);
        self.shared.log.warning(&text, Context::pump(&self.settings.name));
    }

    /// Rows that the back-end took are finished although the write as a whole is not.
    fn finish_applied(&mut self, pieces: &[Piece]) {
        let mut taken = 0;
        for piece in pieces {
            let span = piece.selection.rows();
            let Some(work) = self.work.get_mut(&piece.work) else {
                continue;
            };
            for rows in self.applied.ranges(piece.selection.batch().claim).iter() {
                let rows = rows.start.max(span.start)..rows.end.min(span.end);
                if !rows.is_empty() {
                    taken += piece.selection.slice(rows.clone()).len();
                    work.progress.finish(rows);
                }
            }
        }
        self.board.delivered.fetch_add(taken as u64, Relaxed);
    }

    /// Rows that the back-end accepted are finished although others of the same write are not.
    fn finish_all_but(&mut self, pieces: &[Piece], rejected: &[Rejected]) {
        for piece in pieces {
            let claim = piece.selection.batch().claim;
            let mut from = piece.selection.rows().start;
            let mut refused: Vec<u64> = rejected
                .iter()
                .filter(|r| r.row.claim == claim)
                .map(|r| r.row.row)
                .collect();
            refused.push(piece.selection.rows().end);
            refused.sort_unstable();
            if let Some(work) = self.work.get_mut(&piece.work) {
                for row in refused
                    .into_iter()
                    .filter(|row| piece.selection.rows().contains(row) || *row == piece.selection.rows().end)
                {
                    work.progress.finish(from..row);
                    from = row + 1;
                }
            }
        }
    }

    /// Makes dead letters of refused rows, unless so many are refused that the configuration must be at fault. `all`:
    /// nothing else was in the group that might be accepted.
    async fn refuse(&mut self, selections: &[Selection], refused: Vec<Rejected>, all: bool) -> Refused {
        if self.shared.accepts_refusals(self.number) {
            self.refusals.let_through();
        }
        let reason = refused.first().map(|row| row.reason.clone()).unwrap_or_default();
        let letters: Vec<DeadLetter> = refused
            .into_iter()
            .filter_map(|rejected| self.letter(selections, rejected))
            .collect();
        if letters.is_empty() {
            let text = format!("the back-end names rows as refused that it was not offered: {reason}");
            self.shared.log.error(&text, Context::pump(&self.settings.name));
            self.board.enter(LaneState::Paused, Some(text), None);
            return Refused::Doubtful;
        }
        if !self.refusals.refuse(letters.len(), all) {
            let text = format!("the back-end refuses {} of the rows offered: {reason}", letters.len());
            let remedy = format!(
                "correct the configuration, or, if the rows are at fault: tyk-pump lane accept-refusals {}",
                self.settings.name
            );
            let context = Context {
                remedy: Some(&remedy),
                ..Context::pump(&self.settings.name)
            };
            self.shared.log.error(&text, context);
            self.board.failed(&text);
            self.board.enter(LaneState::Paused, Some(text), Some(remedy));
            return Refused::Doubtful;
        }
        let mut backoff = Backoff::default();
        loop {
            match self.shared.dead.store(&letters).await {
                Ok(stored) => {
                    self.board.dropped("dead_letters_full", stored.all_evicted());
                    if stored.all_too_large() > 0 {
                        self.board.dropped("dead_letter_too_large", stored.all_too_large());
                    }
                    break;
                }
                Err(error) => {
                    let text = format!("refused rows cannot be stored as dead letters, trying again: {error}");
                    self.shared.log.error(&text, Context::pump(&self.settings.name));
                    self.board.failed(&text);
                    if self.pause(backoff.next(None)).await != Waited::Over {
                        return Refused::Abandoned;
                    }
                }
            }
        }
        self.board.dead.fetch_add(letters.len() as u64, Relaxed);
        if self.board.state() == LaneState::Paused {
            self.board.enter(LaneState::Running, None, None);
        }
        let text = format!("rows were refused and are dead letters now: {reason}");
        let context = Context {
            rows: Some(letters.len() as u64),
            ..Context::pump(&self.settings.name)
        };
        self.shared.log.error(&text, context);
        for letter in &letters {
            for work in self.work.values_mut() {
                let claim = match &work.origin {
                    Origin::Claim(held) => held.id(),
                    Origin::Spool(file, _) => file.claim,
                };
                if claim == letter.row.claim {
                    work.progress.finish(letter.row.row..letter.row.row + 1);
                }
            }
        }
        Refused::Settled
    }

    fn letter(&self, selections: &[Selection], rejected: Rejected) -> Option<DeadLetter> {
        let RowId { claim, row } = rejected.row;
        let holds = |selection: &&Selection| selection.batch().claim == claim && selection.rows().contains(&row);
        let batch = selections.iter().find(holds)?.batch();
        let element = batch.element((row - batch.first_row) as usize);
        Some(DeadLetter {
            lane: self.settings.name.clone(),
            key: batch.key.name.clone(),
            form: Some(ElementForm::of(&batch.key)),
            row: rejected.row,
            cause: rejected.reason,
            at_ms: crate::clock::now_ms(),
            raw: bytes::Bytes::copy_from_slice(element),
        })
    }
}

fn only_row(selections: &[Selection], reason: &str) -> Vec<Rejected> {
    let rows = selections.iter().flat_map(|selection| {
        selection
            .indexes()
            .map(|index| selection.batch().row_id(index))
            .collect::<Vec<_>>()
    });
    rows.map(|row| Rejected {
        row,
        reason: reason.to_owned(),
    })
    .collect()
}

/// Cuts a group into two with about as many selected rows each.
fn halve(pieces: &[Piece], rows: usize) -> (Vec<Piece>, Vec<Piece>) {
    let (mut left, mut right) = (Vec::new(), Vec::new());
    let mut taken = 0;
    for piece in pieces {
        let len = piece.selection.len();
        let room = (rows / 2).saturating_sub(taken);
        if len <= room {
            left.push(piece.clone());
        } else if room == 0 {
            right.push(piece.clone());
        } else {
            let span = piece.selection.rows();
            let index = piece.selection.indexes().nth(room).unwrap_or_default();
            let middle = piece.selection.batch().row_id(index).row;
            left.push(Piece {
                selection: piece.selection.slice(span.start..middle),
                ..piece.clone()
            });
            right.push(Piece {
                selection: piece.selection.slice(middle..span.end),
                ..piece.clone()
            });
        }
        taken += len;
    }
    (left, right)
}
