//! The claims that there are, of every instance, as their index and their states say.

use std::{collections::BTreeMap, sync::Arc};

use analytics::{ClaimId, Key};
use redis::{FromRedisValue, Value};

use super::{RedisSource, failure, keys::Names};
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

/// Takes a reply apart; a form that Redis never sends is an error, not a panic.
pub(super) fn decode<T: FromRedisValue>(value: &Value) -> Result<T, SourceError> {
    if let Some(text) = failure::text(value) {
        return Err(failure::of_reply(&text).error);
    }
    T::from_redis_value_ref(value).map_err(|error| SourceError::Unavailable(anyhow::anyhow!("{error}")))
}

impl RedisSource {
    /// Every claim of every list.
    pub(super) async fn entries(&self) -> Result<Vec<Entry>, SourceError> {
        let indexes: Vec<String> = self.names.iter().map(|names| names.index()).collect();
        let mut commands = Vec::with_capacity(indexes.len());
        for index in &indexes {
            let mut command = redis::cmd("ZRANGE");
            command.arg(index).arg(0).arg(-1).arg("WITHSCORES");
            commands.push((index.as_str(), command));
        }
        let mut entries = Vec::new();
        for ((value, key), names) in self.run_each(commands).await?.iter().zip(&self.keys).zip(&self.names) {
            let members: Vec<(String, f64)> = decode(value)?;
            for (id, lease_end) in members {
                let Ok(id) = ulid::Ulid::from_string(&id) else { continue };
                entries.push(Entry {
                    key: key.clone(),
                    names: names.clone(),
                    id: ClaimId(id),
                    lease_end,
                });
            }
        }
        Ok(entries)
    }

    /// The states of claims, in their order.
    pub(super) async fn states(&self, entries: &[Entry]) -> Result<Vec<Option<State>>, SourceError> {
        let names: Vec<String> = entries.iter().map(|entry| entry.names.state(entry.id)).collect();
        let mut states = Vec::with_capacity(names.len());
        for part in names.chunks(500) {
            let mut commands = Vec::with_capacity(part.len());
            for name in part {
                let mut command = redis::cmd("HGETALL");
                command.arg(name);
                commands.push((name.as_str(), command));
            }
            for value in self.run_each(commands).await? {
                states.push(State::parse(&value)?);
            }
        }
        Ok(states)
    }

    /// Runs commands, each on the server that has its key, in one pipeline a server. Errors of single commands are
    /// among the values.
    pub(super) async fn run_each(&self, commands: Vec<(&str, redis::Cmd)>) -> Result<Vec<Value>, SourceError> {
        let keys: Vec<&str> = commands.iter().map(|(key, _)| *key).collect();
        let mut values = vec![Value::Nil; commands.len()];
        for group in self.link.by_node(&keys).await? {
            let mut pipeline = redis::pipe();
            for (_, command) in group.iter().filter_map(|&index| commands.get(index)) {
                pipeline.add_command(command.clone());
            }
            let Some(key) = group.first().and_then(|&index| keys.get(index)) else {
                continue;
            };
            let answers = self.link.run_all(key, &pipeline).await?;
            for (&index, answer) in group.iter().zip(answers) {
                if let Some(value) = values.get_mut(index) {
                    *value = answer;
                }
            }
        }
        Ok(values)
    }

    /// Milliseconds of Redis' clock.
    pub(super) async fn now_ms(&self, key: &str) -> Result<u64, SourceError> {
        let value = self.link.run(key, &redis::cmd("TIME")).await?;
        let (seconds, micros): (u64, u64) = decode(&value)?;
        Ok(seconds * 1000 + micros / 1000)
    }
}
