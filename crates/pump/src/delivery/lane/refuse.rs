//! Rows that a back-end refuses for good: poison becomes dead letters, a wrong set-up does not.

use analytics::{RowId, Selection};
use bytes::Bytes;
use sinks::Rejected;

use super::{
    backlog::{Backlog, Origin, WorkId},
    desk::{Desk, Waited},
    gather::Offer,
};
use crate::{
    clock::now_ms,
    delivery::{
        cause::{Cause, CauseClass},
        facts::LaneState,
        refusals::Refusals,
        report::Context,
        retry::Backoff,
    },
    source::{DeadLetter, ElementForm},
};

/// What to do after rows were refused.
#[derive(PartialEq, Eq)]
pub(super) enum Refused {
    /// They are dead letters now.
    Settled,
    /// They are too many to be poison.
    Doubtful,
    /// The lane stops, or must look at its work anew.
    Abandoned,
}

/// Makes dead letters of refused rows, unless so many are refused that the configuration must be at fault. `all`:
/// nothing else was in the group that might be accepted.
pub(super) async fn refuse(
    desk: &mut Desk,
    backlog: &mut Backlog,
    refusals: &mut Refusals,
    selections: &[Selection],
    refused: Vec<Rejected>,
    all: bool,
) -> Refused {
    if desk.control.accepts_refusals() {
        refusals.let_through();
    }
    let reason = refused.first().map(|row| row.reason.clone()).unwrap_or_default();
    let letters: Vec<DeadLetter> = refused
        .into_iter()
        .filter_map(|rejected| letter(desk, selections, rejected))
        .collect();
    if letters.is_empty() {
        let text = format!("the back-end names rows as refused that it was not offered: {reason}");
        desk.error(&text);
        let remedy = "this is a fault of the pump: please report it; it tries again every 30 s";
        let cause = Cause::new(CauseClass::Refused, text).with_remedy(remedy);
        desk.facts.enter(LaneState::Paused, Some(cause));
        return Refused::Doubtful;
    }
    if !refusals.refuse(letters.len(), all) {
        doubt(desk, letters.len(), &reason);
        return Refused::Doubtful;
    }
    let mut backoff = Backoff::default();
    loop {
        match desk.services.dead.store(&letters).await {
            Ok(kept) => {
                kept.losses()
                    .for_each(|(reason, rows)| desk.facts.dropped(reason, rows));
                break;
            }
            Err(error) => {
                let text = format!("refused rows cannot be stored as dead letters, trying again: {error}");
                desk.error(&text);
                let remedy = "reach, or make room in, what keeps dead letters: the store of the records, or spool_dir";
                desk.show_failure(
                    LaneState::Retrying,
                    Cause::new(CauseClass::Source, text).with_remedy(remedy),
                );
                if desk.pause(backoff.next(None), backlog).await != Waited::Over {
                    return Refused::Abandoned;
                }
            }
        }
    }
    desk.facts.change(|facts| facts.dead += letters.len() as u64);
    if matches!(desk.facts.state(), LaneState::Paused | LaneState::Retrying) {
        desk.facts.enter(LaneState::Running, None);
    }
    let text = format!("rows were refused and are dead letters now: {reason}");
    let context = Context {
        rows: Some(letters.len() as u64),
        ..desk.context()
    };
    desk.services.log.error(&text, context);
    letters.iter().for_each(|letter| backlog.finish_row(letter.row));
    Refused::Settled
}

fn doubt(desk: &Desk, refused: usize, reason: &str) {
    let text = format!("the back-end refuses {refused} of the rows offered: {reason}");
    let remedy = format!(
        "correct the configuration, or, if the rows are at fault: tyk-pump lane accept-refusals {}",
        desk.settings.name
    );
    let context = Context {
        remedy: Some(&remedy),
        ..desk.context()
    };
    desk.services.log.error(&text, context);
    desk.show_failure(
        LaneState::Paused,
        Cause::new(CauseClass::Refused, text).with_remedy(remedy),
    );
}

fn letter(desk: &Desk, selections: &[Selection], rejected: Rejected) -> Option<DeadLetter> {
    let RowId { claim, row } = rejected.row;
    let holds = |selection: &&Selection| selection.batch().claim == claim && selection.rows().contains(&row);
    let batch = selections.iter().find(holds)?.batch();
    let element = batch.element((row - batch.first_row) as usize);
    Some(DeadLetter {
        lane: desk.settings.name.clone(),
        key: batch.key.name.clone(),
        form: Some(ElementForm::of(&batch.key)),
        row: rejected.row,
        cause: rejected.reason,
        at_ms: now_ms(),
        raw: Bytes::copy_from_slice(element),
    })
}

/// Rows that the back-end accepted are finished although others of the same write are not.
pub(super) fn finish_all_but(backlog: &mut Backlog, offer: &Offer, rejected: &[Rejected]) {
    for piece in &offer.pieces {
        let (claim, rows) = (piece.work.claim(), piece.rows());
        let ours = rejected.iter().map(|rejected| rejected.row);
        let mut refused: Vec<u64> = ours
            .filter(|id| id.claim == claim && rows.contains(&id.row))
            .map(|id| id.row)
            .collect();
        refused.sort_unstable();
        let mut from = rows.start;
        for row in refused {
            backlog.finish(piece.work, from..row);
            from = row + 1;
        }
        backlog.finish(piece.work, from..rows.end);
    }
}

/// Dead letters that are replayed stay what they are.
pub(super) fn keep_letters(backlog: &mut Backlog, ids: impl IntoIterator<Item = WorkId>, cause: &str) {
    for id in ids {
        if let Some(Origin::Letter(_, slip)) = backlog.remove(id) {
            slip.keep(cause);
        }
    }
}
