//! Offering dead letters to their pumps once more, under their old names: a ledger accepts each of them once.

use std::sync::Arc;

use analytics::{Batch, Decoded, Key, RecordKind, RowId, Selection, Span};
use serde::{Deserialize, Serialize};
use sinks::{Applied, Sink, WriteError, Written};
use tokio::sync::oneshot;

use super::{Engine, lane::Lane, undecodable};
use crate::source::{DeadLetter, DeadLetterId, ElementForm};

/// Letters that are offered at once.
const GROUP: usize = 500;

/// Outcome of a replay.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// Letters that were accepted and removed.
    pub accepted: u64,
    /// Letters that stay, with the cause of the first.
    pub kept: u64,
    /// Why letters stay.
    pub cause: Option<String>,
}

impl Replayed {
    fn keep(&mut self, letters: usize, cause: impl Into<String>) {
        self.kept += letters as u64;
        self.cause.get_or_insert_with(|| cause.into());
    }
}

/// Letters for one lane, and where to say which of them it has accepted.
pub(super) struct ReplayRequest {
    pub(super) letters: Vec<(Arc<Key>, DeadLetter)>,
    pub(super) answer: oneshot::Sender<ReplayAnswer>,
}

/// What a lane says of letters that were offered to it.
#[derive(Debug, Default)]
pub(super) struct ReplayAnswer {
    /// Rows that its back-end has accepted, or that it does not want.
    accepted: Vec<RowId>,
    /// Why others stay.
    cause: Option<String>,
}

impl Engine {
    /// Replays up to `limit` letters of `lane`, or of all.
    pub async fn replay(&self, lane: Option<&str>, limit: usize) -> anyhow::Result<Replayed> {
        let letters = self.shared.dead.list(lane, limit).await?;
        let mut outcome = Replayed::default();
        let mut by_lane: Vec<(Arc<str>, Vec<DeadLetter>)> = Vec::new();
        for letter in letters {
            match by_lane.iter_mut().find(|(lane, _)| *lane == letter.lane) {
                Some((_, letters)) => letters.push(letter),
                None => by_lane.push((letter.lane.clone(), vec![letter])),
            }
        }
        for (lane, letters) in by_lane {
            for group in letters.chunks(GROUP) {
                let accepted = self.offer(&lane, group, &mut outcome).await;
                let ids: Vec<_> = accepted
                    .into_iter()
                    .map(|row| DeadLetterId {
                        lane: lane.clone(),
                        row,
                    })
                    .collect();
                self.shared.dead.remove(&ids).await?;
                outcome.accepted += ids.len() as u64;
            }
        }
        Ok(outcome)
    }

    /// Offers letters to the lane that they belong to; elements that could not be decoded go to every lane if they can
    /// be now. Returns the rows that nobody needs any more.
    async fn offer(&self, lane: &str, letters: &[DeadLetter], outcome: &mut Replayed) -> Vec<RowId> {
        let keyed: Vec<(Arc<Key>, DeadLetter)> = letters
            .iter()
            .map(|letter| (self.key_of(letter), letter.clone()))
            .collect();
        let (decodable, not): (Vec<_>, Vec<_>) = keyed.into_iter().partition(|(key, letter)| {
            matches!(
                batch_of(key, letter).rows.first(),
                Some(Decoded::Record(_) | Decoded::Uptime(_))
            )
        });
        if !not.is_empty() {
            outcome.keep(not.len(), "still undecodable");
        }
        let wanted = |known: &Arc<str>, records: RecordKind, key: &Key| {
            records == key.records && (lane == undecodable::LANE || known.eq_ignore_ascii_case(lane))
        };
        let mut accepted: Vec<RowId> = decodable.iter().map(|(_, letter)| letter.row).collect();
        let mut offered = false;
        for handle in &self.lanes {
            let letters: Vec<_> = decodable
                .iter()
                .filter(|(key, _)| wanted(&handle.name, handle.records, key))
                .cloned()
                .collect();
            if letters.is_empty() {
                continue;
            }
            offered = true;
            let (answer, answered) = oneshot::channel();
            let sent = handle.replay(ReplayRequest { letters, answer });
            let ReplayAnswer { accepted: rows, cause } = match (sent, answered.await) {
                (true, Ok(answer)) => answer,
                _ => ReplayAnswer {
                    cause: Some(format!("pump {} does not run", handle.name)),
                    ..ReplayAnswer::default()
                },
            };
            let before = accepted.len();
            accepted.retain(|row| rows.contains(row));
            if let Some(cause) = cause {
                outcome.keep(before - accepted.len(), cause);
            }
        }
        if !offered && !decodable.is_empty() {
            outcome.keep(decodable.len(), format!("no pump {lane} is configured"));
            accepted.clear();
        }
        accepted
    }

    /// The list of a letter, as what it was when the letter was stored.
    fn key_of(&self, letter: &DeadLetter) -> Arc<Key> {
        let known = self.shared.source.keys().iter().find(|key| key.name == letter.key);
        match (known, letter.form) {
            (Some(key), None) => key.clone(),
            (Some(key), Some(form)) if ElementForm::of(key) == form => key.clone(),
            (_, form) => {
                let form = form.unwrap_or_else(|| guess(&letter.key));
                Arc::new(Key {
                    name: letter.key.clone(),
                    short: letter.key.clone(),
                    wire: form.wire(),
                    records: form.records(),
                })
            }
        }
    }
}

/// What the elements of a list are, by the names that gateways use: for letters of versions that did not keep it.
fn guess(list: &str) -> ElementForm {
    if list.ends_with("tyk-uptime-analytics") {
        ElementForm::Uptime
    } else if list.ends_with("_protobuf") {
        ElementForm::Protobuf
    } else {
        ElementForm::Msgpack
    }
}

impl Lane {
    /// Writes the letters that wait to be replayed.
    pub(super) async fn answer_replays(&mut self, sink: &dyn Sink) {
        for request in std::mem::take(&mut self.replays) {
            let mut accepted = Vec::new();
            let mut cause = None;
            let applied = Arc::default();
            let selections: Vec<Selection> = request
                .letters
                .iter()
                .map(|(key, letter)| {
                    let batch = Arc::new(batch_of(key, letter));
                    self.filter(Selection::new(batch, 0..1, self.shared.transform(self.number)))
                })
                .collect();
            if sink
                .write(&selections, &applied)
                .await
                .is_ok_and(|written| written.rejected.is_empty())
            {
                accepted = request.letters.iter().map(|(_, letter)| letter.row).collect();
            } else {
                for (selection, (_, letter)) in selections.iter().zip(&request.letters) {
                    match self.offer(sink, std::slice::from_ref(selection), &applied).await {
                        Ok(written) if written.rejected.is_empty() => accepted.push(letter.row),
                        Ok(written) => cause = written.rejected.into_iter().next().map(|row| row.reason),
                        Err(error @ WriteError::Reject { .. }) => cause = Some(error.to_string()),
                        Err(error) => {
                            cause = Some(error.to_string());
                            break;
                        }
                    }
                }
            }
            // Whoever asked may have gone away; the letters stay then, and a ledger knows them.
            let _ = request.answer.send(ReplayAnswer { accepted, cause });
        }
    }
}

impl Lane {
    /// One write within the pump's timeout.
    async fn offer(&self, sink: &dyn Sink, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        match self.settings.timeout {
            Some(timeout) => tokio::time::timeout(timeout, sink.write(group, applied))
                .await
                .map_err(WriteError::retry)?,
            None => sink.write(group, applied).await,
        }
    }
}

fn batch_of(key: &Arc<Key>, letter: &DeadLetter) -> Batch {
    let element = Span {
        start: 0,
        len: letter.raw.len() as u32,
    };
    Batch::decode(
        letter.row.claim,
        key.clone(),
        letter.row.row,
        letter.raw.clone(),
        vec![element],
    )
}
