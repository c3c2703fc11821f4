//! The claims that there are, of every instance, as their index and their states say.

use analytics::ClaimId;
use redis::Value;

use super::{
    commands::decode,
    entry::{Entry, State},
    instance::RedisSource,
};
use crate::source::SourceError;

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
