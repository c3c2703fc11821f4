//! Offering dead letters to their pumps once more, under their old names: a ledger accepts each of them once.

use std::{collections::HashSet, sync::Arc};

use analytics::{Batch, Decoded, Key, RowId, Span};
use serde::{Deserialize, Serialize};

use super::{
    Engine,
    facts::LaneState,
    lanes::LaneHandle,
    letters::{ReplayAnswer, ReplayRequest},
    undecodable,
};
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

impl Engine {
    /// Replays up to `limit` letters of `lane`, or of all.
    pub async fn replay(&self, lane: Option<&str>, limit: usize) -> anyhow::Result<Replayed> {
        let letters = self.services.dead.list(lane, limit).await?;
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
                self.services.dead.remove(&ids).await?;
                outcome.accepted += ids.len() as u64;
            }
        }
        Ok(outcome)
    }

    /// Offers letters to the lane that they belong to; elements that could not be decoded go to every lane if they can
    /// be now. Returns the rows that nobody needs any more.
    async fn offer(&self, lane: &str, letters: &[DeadLetter], outcome: &mut Replayed) -> Vec<RowId> {
        let batches = letters
            .iter()
            .map(|letter| Arc::new(batch_of(self.key_of(letter), letter)));
        let (decodable, not): (Vec<_>, Vec<_>) =
            batches.partition(|batch| matches!(batch.rows.first(), Some(Decoded::Record(_) | Decoded::Uptime(_))));
        if !not.is_empty() {
            outcome.keep(not.len(), "still undecodable");
        }
        let wanted = |known: &LaneHandle, key: &Key| {
            let addressed = lane == undecodable::LANE || known.id.pump.eq_ignore_ascii_case(lane);
            known.records == key.records && addressed
        };
        let mut accepted: Vec<RowId> = decodable.iter().map(|batch| batch.row_id(0)).collect();
        let answers: Vec<_> = {
            let lanes = self.lanes.look();
            let asked = lanes.values().filter_map(|known| {
                let letters = decodable.iter().filter(|batch| wanted(known, &batch.key));
                let letters: Vec<_> = letters.cloned().collect();
                let rows: HashSet<RowId> = letters.iter().map(|batch| batch.row_id(0)).collect();
                let (request, answered) = (!letters.is_empty()).then(|| ReplayRequest::new(letters))?;
                let starts = matches!(known.facts.borrow().state, LaneState::Starting | LaneState::Disabled);
                if !starts {
                    known.replay(request);
                }
                Some((known.id.pump.clone(), rows, answered))
            });
            asked.collect()
        };
        let mut offered: HashSet<RowId> = HashSet::new();
        for (pump, asked, answered) in answers {
            let ReplayAnswer { accepted: rows, cause } = answered.await.unwrap_or_default();
            let rows: HashSet<RowId> = rows.into_iter().collect();
            let before = accepted.len();
            accepted.retain(|row| !asked.contains(row) || rows.contains(row));
            offered.extend(asked);
            if accepted.len() < before {
                let cause = cause.unwrap_or_else(|| format!("pump {pump} does not run"));
                outcome.keep(before - accepted.len(), cause);
            }
        }
        let before = accepted.len();
        accepted.retain(|row| offered.contains(row));
        if accepted.len() < before {
            let cause = match lane {
                undecodable::LANE => "no pump takes records of their kind".to_owned(),
                lane => format!("no pump {lane} is configured"),
            };
            outcome.keep(before - accepted.len(), cause);
        }
        accepted
    }

    /// The list of a letter, as what it was when the letter was stored.
    fn key_of(&self, letter: &DeadLetter) -> Arc<Key> {
        let known = self.services.source.keys().iter().find(|key| key.name == letter.key);
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

fn batch_of(key: Arc<Key>, letter: &DeadLetter) -> Batch {
    let element = Span {
        start: 0,
        len: letter.raw.len() as u32,
    };
    Batch::decode(letter.row.claim, key, letter.row.row, letter.raw.clone(), vec![element])
}
