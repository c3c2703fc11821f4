//! A claim as Redis has it: its entry in the index of its list, and its state.

use std::{collections::BTreeMap, sync::Arc};

use analytics::{ClaimId, Key};
use redis::Value;

use super::{commands::decode, keys::Names};
use crate::source::{Claim, ClaimReport, SourceError};

/// A claim in the index of a list.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) key: Arc<Key>,
    pub(super) names: Arc<Names>,
    pub(super) id: ClaimId,
    /// End of the lease, milliseconds of Redis' clock.
    pub(super) lease_end: f64,
}

/// A claim that may be taken over, as far as can be told from outside.
pub(super) struct Abandoned {
    pub(super) entry: Entry,
    /// What was seen of it.
    pub(super) seen: State,
    /// Whether its process is gone, so that its lease does not matter.
    pub(super) gone: bool,
}

/// State of a claim.
#[derive(Clone, Debug, Default)]
pub(super) struct State {
    pub(super) owner: String,
    pub(super) fence: u64,
    pub(super) base: u64,
    /// Missing while the claim is being made without a script.
    pub(super) len: Option<u64>,
    pub(super) at_ms: u64,
    pub(super) cursors: BTreeMap<Arc<str>, u64>,
    pub(super) adopted: BTreeMap<Arc<str>, Arc<str>>,
}

impl State {
    /// Out of the reply of HGETALL; `None` when there is no state.
    pub(super) fn parse(value: &Value) -> Result<Option<State>, SourceError> {
        let fields: Vec<(String, String)> = decode(value)?;
        let mut state = State::default();
        if fields.is_empty() {
            return Ok(None);
        }
        for (field, value) in fields {
            let number = || value.parse::<u64>().unwrap_or_default();
            match field.as_str() {
                "owner" => state.owner = value,
                "fence" => state.fence = number(),
                "base" => state.base = number(),
                "len" => state.len = Some(number()),
                "at" => state.at_ms = number(),
                _ => match field.split_once(':') {
                    Some(("c", lane)) => drop(state.cursors.insert(lane.into(), number())),
                    Some(("a", lane)) => drop(state.adopted.insert(lane.into(), value.into())),
                    _ => {}
                },
            }
        }
        Ok(Some(state))
    }

    /// Least cursor of all lanes.
    pub(super) fn low(&self) -> u64 {
        let len = self.len.unwrap_or_default();
        self.cursors.values().copied().fold(len, u64::min)
    }

    /// Moves cursors forward; returns those that moved.
    pub(super) fn advance(&mut self, to: &BTreeMap<Arc<str>, u64>) -> Vec<(Arc<str>, u64)> {
        let len = self.len.unwrap_or_default();
        let mut moved = Vec::new();
        for (lane, cursor) in &mut self.cursors {
            let wanted = to.get(lane).copied().unwrap_or_default().min(len);
            if wanted > *cursor {
                *cursor = wanted;
                moved.push((lane.clone(), wanted));
            }
        }
        moved
    }

    /// Rows that wait for a lane.
    pub(super) fn waiting(&self, lane: &str) -> u64 {
        let cursor = self.cursors.get(lane).copied();
        cursor.map_or(0, |cursor| self.len.unwrap_or_default().saturating_sub(cursor))
    }

    /// The claim as its owner sees it.
    pub(super) fn claim(&self, entry: &Entry) -> Claim {
        Claim {
            id: entry.id,
            key: entry.key.clone(),
            fence: self.fence,
            len: self.len.unwrap_or_default(),
            base: self.base,
            cursors: self.cursors.clone(),
            adopted: self.adopted.clone(),
            ttl: None,
            claimed_at_ms: self.at_ms,
        }
    }

    pub(super) fn report(&self, entry: &Entry, now_ms: u64) -> ClaimReport {
        let cursors = self.cursors.iter().map(|(lane, cursor)| (lane.to_string(), *cursor));
        ClaimReport {
            id: entry.id.to_string(),
            key: entry.key.name.to_string(),
            owner: self.owner.clone(),
            fence: self.fence,
            len: self.len.unwrap_or_default(),
            cursors: cursors.collect(),
            lease_ms: entry.lease_end as i64 - now_ms as i64,
            age_ms: now_ms.saturating_sub(self.at_ms),
        }
    }
}
