//! Figures for the budget and for operators.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use redis::Value;

use super::{commands::decode, failure, instance::RedisSource};
use crate::source::{ClaimReport, Pending, SourceError, Usage};

/// How long a lane must not have been configured anywhere before its rows are called orphans.
const ORPHAN_AFTER: Duration = Duration::from_secs(60);

impl RedisSource {
    pub(super) async fn lengths(&self) -> Result<Vec<Pending>, SourceError> {
        let names: Vec<&str> = self.keys.iter().map(|key| &*key.name).collect();
        let mut commands = Vec::with_capacity(names.len());
        for name in names {
            let mut command = redis::cmd("LLEN");
            command.arg(name);
            commands.push((name, command));
        }
        let mut lengths = Vec::new();
        for (index, (value, key)) in self.run_each(commands).await?.iter().zip(&self.keys).enumerate() {
            match failure::text(value) {
                None => match decode(value)? {
                    0 => {}
                    len => lengths.push((index, Ok(len))),
                },
                Some(text) if text.starts_with("WRONGTYPE") => {
                    let mut command = redis::cmd("TYPE");
                    command.arg(&*key.name);
                    let found: String = decode(&self.link.run(&key.name, &command).await?)?;
                    let key = key.name.clone();
                    lengths.push((index, Err(SourceError::NotAList { key, found })));
                }
                Some(text) => lengths.push((index, Err(failure::of_reply(&text).error))),
            }
        }
        Ok(lengths)
    }

    pub(super) async fn figures(&self) -> Result<Usage, SourceError> {
        let mut usage = Usage {
            commands: Some(self.link.commands()),
            ..Usage::default()
        };
        for (index, len) in self.lengths().await? {
            if let (Some(key), Ok(len)) = (self.keys.get(index), len) {
                usage.unclaimed.push((key.clone(), len));
            }
        }
        self.measure_memory(&mut usage).await?;
        if !self.strategy()?.keeps_claims() {
            (usage.claims, usage.claimed_rows) = self.local.figures();
            return Ok(usage);
        }
        let entries = self.entries().await?;
        let states = self.states(&entries).await?;
        let Some(first) = entries.first() else { return Ok(usage) };
        let now = self.now_ms(&first.names.index()).await?;
        let grace = ORPHAN_AFTER.max(3 * self.lease).as_millis() as u64;
        let configured = self.configured(now.saturating_sub(grace)).await?;
        let mut orphans: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for (entry, state) in entries.iter().zip(states) {
            let Some(state) = state else { continue };
            usage.claims += 1;
            usage.claimed_rows += state.len.unwrap_or_default().saturating_sub(state.base);
            if state.at_ms + grace > now {
                continue;
            }
            for lane in state.cursors.keys() {
                let waiting = state.waiting(lane);
                let known = configured.get(&entry.names.pumps());
                if waiting > 0 && !known.is_some_and(|lanes| lanes.iter().any(|known| *known == **lane)) {
                    *orphans.entry(lane.clone()).or_default() += waiting;
                }
            }
        }
        usage.orphans = orphans.into_iter().collect();
        Ok(usage)
    }

    /// Lanes that some instance has had configured since `since_ms`, by the name of the ZSET that says so.
    async fn configured(&self, since_ms: u64) -> Result<BTreeMap<String, Vec<String>>, SourceError> {
        let names: Vec<String> = self.names.iter().map(|names| names.pumps()).collect();
        let mut commands = Vec::with_capacity(names.len());
        for name in &names {
            let mut command = redis::cmd("ZRANGEBYSCORE");
            command.arg(name).arg(since_ms).arg("+inf");
            commands.push((name.as_str(), command));
        }
        let mut configured = BTreeMap::new();
        for (value, name) in self.run_each(commands).await?.iter().zip(&names) {
            configured.insert(name.clone(), decode(value)?);
        }
        Ok(configured)
    }

    /// The memory of the server that is fullest. A user who may not run INFO gets no figures.
    async fn measure_memory(&self, usage: &mut Usage) -> Result<(), SourceError> {
        let names: Vec<&str> = self.keys.iter().map(|key| &*key.name).collect();
        let mut fullest = -1.0;
        for group in self.link.by_node(&names).await? {
            let Some(key) = group.first().and_then(|&index| names.get(index)) else {
                continue;
            };
            let mut command = redis::cmd("INFO");
            command.arg("memory");
            let text = match self.link.run(key, &command).await {
                Ok(value @ (Value::BulkString(_) | Value::VerbatimString { .. })) => decode::<String>(&value)?,
                Ok(_) | Err(SourceError::Refused(_)) => continue,
                Err(error) => return Err(error),
            };
            let fact = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
                line.map(|value| value.trim().to_owned())
            };
            let number = |name: &str| fact(name).and_then(|value| value.parse::<u64>().ok());
            let used = number("used_memory");
            let limit = number("maxmemory").filter(|&limit| limit > 0);
            let fullness = used.unwrap_or_default() as f64 / limit.map_or(f64::MAX, |limit| limit as f64);
            if fullness > fullest {
                fullest = fullness;
                usage.used_memory = used;
                usage.max_memory = limit;
                usage.eviction_policy = fact("maxmemory_policy");
            }
        }
        Ok(())
    }

    pub(super) async fn reports(&self) -> Result<Vec<ClaimReport>, SourceError> {
        let entries = self.entries().await?;
        let Some(first) = entries.first() else {
            return Ok(Vec::new());
        };
        let now = self.now_ms(&first.names.index()).await?;
        let states = self.states(&entries).await?;
        let known = entries.iter().zip(states);
        Ok(known
            .filter_map(|(entry, state)| Some(state?.report(entry, now)))
            .collect())
    }
}
