//! Dead letters: rows that were not delivered for good, kept in Redis under their pump, claim and row.

use std::{collections::BTreeMap, sync::Arc};

use analytics::RowId;
use redis::Value;

use super::{
    commands::{command, decode, pipeline},
    instance::{RedisSource, Rights},
    keys::Names,
    script::{self, argument},
    transaction::Next,
};
use crate::source::{DeadLetter, DeadLetterId, DeadLimits, DeadStored, SourceError, letter};

/// Letters and bytes of one call.
const CHUNK: usize = 200;
const CHUNK_BYTES: usize = 1 << 20;
/// Letters that one call without scripts can let go.
const OLDEST: usize = 1000;

fn field(lane: &str, row: RowId) -> String {
    format!("{lane}/{row}")
}

impl RedisSource {
    pub(super) async fn keep_dead(
        &self,
        letters: &[DeadLetter],
        limits: DeadLimits,
    ) -> Result<DeadStored, SourceError> {
        let mut groups: BTreeMap<(Arc<str>, Arc<str>), Vec<&DeadLetter>> = BTreeMap::new();
        for letter in letters {
            groups
                .entry((letter.key.clone(), letter.lane.clone()))
                .or_default()
                .push(letter);
        }
        let mut stored = DeadStored::default();
        for ((key, lane), letters) in groups {
            let names = self.names_by_name(&key);
            let mut part = Vec::new();
            let mut bytes = 0;
            for letter in letters {
                let entry = (field(&lane, letter.row), letter.at_ms, letter::encode(letter));
                if entry.2.len() as u64 > limits.bytes {
                    stored.refuse(&lane, 1);
                    continue;
                }
                if part.len() >= CHUNK || bytes + entry.2.len() > CHUNK_BYTES {
                    stored.evict(&lane, self.keep_part(&names, &lane, &part, limits).await?);
                    part.clear();
                    bytes = 0;
                }
                bytes += entry.2.len();
                part.push(entry);
            }
            stored.evict(&lane, self.keep_part(&names, &lane, &part, limits).await?);
        }
        Ok(stored)
    }

    async fn keep_part(
        &self,
        names: &Names,
        lane: &str,
        part: &[(String, u64, String)],
        limits: DeadLimits,
    ) -> Result<u64, SourceError> {
        if part.is_empty() {
            return Ok(0);
        }
        if self.rights() != Rights::Script {
            return self.keep_part_plainly(names, lane, part, limits).await;
        }
        let mut arguments = vec![argument(lane), argument(limits.count), argument(limits.bytes)];
        for (field, at, letter) in part {
            arguments.extend([argument(field), argument(at), argument(letter)]);
        }
        decode(
            &script::DEAD
                .run(&self.link, &dead_keys(names, lane), &arguments)
                .await?,
        )
    }

    /// The same without scripts.
    async fn keep_part_plainly(
        &self,
        names: &Names,
        lane: &str,
        part: &[(String, u64, String)],
        limits: DeadLimits,
    ) -> Result<u64, SourceError> {
        let [dead, at, bytes] = dead_keys(names, lane);
        let oldest = self.oldest(&dead, &at).await?;
        let last = OLDEST.saturating_sub(1).to_string();
        let look = pipeline([
            command("HMGET", &dead, part.iter().map(|(field, ..)| field.as_str())),
            command("ZRANGE", &at, ["0", &last]),
            command("ZCARD", &at, []),
            command("HGET", &bytes, [lane]),
        ]);
        self.transact(&dead, &[dead.as_str(), &at, &bytes], &look, |values| {
            let [known, order, stored, total] = values else {
                return Ok(Next::Done(0));
            };
            let order: Vec<String> = decode(order)?;
            if !order.iter().eq(oldest.iter().map(|(name, _)| name)) {
                return Err(SourceError::Unavailable(anyhow::anyhow!("{dead}: others change it")));
            }
            let known: Vec<Option<String>> = decode(known)?;
            let stored: u64 = decode(stored)?;
            let mut total: u64 = decode::<Option<u64>>(total)?.unwrap_or_default();
            let mut writes = redis::pipe();
            let mut fresh: Vec<(u64, &str, u64)> = Vec::new();
            for ((field, time, letter), known) in part.iter().zip(known) {
                if known.is_none() {
                    writes.add_command(command("HSET", &dead, [field.as_str(), letter]));
                    writes.add_command(command("ZADD", &at, [time.to_string().as_str(), field]));
                    fresh.push((*time, field, letter.len() as u64));
                    total += letter.len() as u64;
                }
            }
            fresh.sort_unstable();
            let mut count = stored + fresh.len() as u64;
            let mut gone = 0;
            let all_known = stored == oldest.len() as u64;
            let fresh = fresh.iter().map(|(_, name, size)| (*name, *size)).filter(|_| all_known);
            for (name, size) in oldest.iter().map(|(name, size)| (name.as_str(), *size)).chain(fresh) {
                if count <= limits.count && total <= limits.bytes {
                    break;
                }
                writes.add_command(command("HDEL", &dead, [name]));
                writes.add_command(command("ZREM", &at, [name]));
                total = total.saturating_sub(size);
                count -= 1;
                gone += 1;
            }
            if count == 0 {
                writes.add_command(command("HDEL", &bytes, [lane]));
            } else {
                writes.add_command(command("HSET", &bytes, [lane, &total.to_string()]));
            }
            Ok(Next::Write(writes, gone))
        })
        .await
    }

    /// Names and sizes of the letters that would go first.
    async fn oldest(&self, dead: &str, at: &str) -> Result<Vec<(String, u64)>, SourceError> {
        let last = OLDEST.saturating_sub(1).to_string();
        let names: Vec<String> = decode(&self.link.run(at, &command("ZRANGE", at, ["0", &last])).await?)?;
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let sizes = pipeline(names.iter().map(|name| command("HSTRLEN", dead, [name.as_str()])));
        let sizes = self.link.run_all(dead, &sizes).await?;
        names
            .into_iter()
            .zip(&sizes)
            .map(|(name, size)| Ok((name, decode(size)?)))
            .collect()
    }

    pub(super) async fn dead_letters(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError> {
        let counters: Vec<String> = self.names.iter().map(|names| names.dead_bytes()).collect();
        let lanes = counters.iter().map(|name| (name.as_str(), command("HKEYS", name, [])));
        let lanes = self.run_each(lanes.collect()).await?;
        let mut letters = Vec::new();
        for (value, names) in lanes.iter().zip(&self.names) {
            for stored in decode::<Vec<String>>(value)? {
                if lane.is_some_and(|lane| lane != stored) {
                    continue;
                }
                let [dead, at, _] = dead_keys(names, &stored);
                let last = limit.saturating_sub(1).to_string();
                let fields: Vec<String> = decode(&self.link.run(&at, &command("ZRANGE", &at, ["0", &last])).await?)?;
                for part in fields.chunks(CHUNK) {
                    let texts = command("HMGET", &dead, part.iter().map(String::as_str));
                    let texts: Vec<Option<Vec<u8>>> = decode(&self.link.run(&dead, &texts).await?)?;
                    letters.extend(texts.into_iter().flatten().filter_map(|text| letter::decode(&text)));
                }
            }
        }
        letters.sort_by_key(|letter| (letter.at_ms, letter.row));
        letters.truncate(limit);
        Ok(letters)
    }

    pub(super) async fn forget_dead(&self, ids: &[DeadLetterId]) -> Result<u64, SourceError> {
        let mut by_lane: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for id in ids {
            by_lane.entry(&id.lane).or_default().push(field(&id.lane, id.row));
        }
        for fields in by_lane.values_mut() {
            fields.sort_unstable();
            fields.dedup();
        }
        let mut removed = 0;
        // A letter's name does not say which list it came from.
        for names in &self.names {
            let dead = names.dead();
            if self.link.run(&dead, &command("EXISTS", &dead, [])).await? == Value::Int(0) {
                continue;
            }
            for (lane, fields) in &by_lane {
                for part in fields.chunks(CHUNK) {
                    removed += self.forget_part(names, lane, part).await?;
                }
            }
        }
        Ok(removed)
    }

    async fn forget_part(&self, names: &Names, lane: &str, part: &[String]) -> Result<u64, SourceError> {
        let keys = dead_keys(names, lane);
        if self.rights() == Rights::Script {
            let mut arguments = vec![argument(lane)];
            arguments.extend(part.iter().map(argument));
            return decode(&script::DEAD_REMOVE.run(&self.link, &keys, &arguments).await?);
        }
        let [dead, at, bytes] = keys;
        let mut look = redis::pipe();
        look.add_command(command("HMGET", &dead, part.iter().map(String::as_str)));
        look.add_command(command("ZCARD", &at, []));
        self.transact(&dead, &[dead.as_str(), &at, &bytes], &look, |values| {
            let [texts, count] = values else {
                return Ok(Next::Done(0));
            };
            let texts: Vec<Option<Vec<u8>>> = decode(texts)?;
            let count: u64 = decode(count)?;
            let mut writes = redis::pipe();
            let mut removed = 0;
            for (field, text) in part.iter().zip(texts) {
                let Some(text) = text else { continue };
                writes.add_command(command("HDEL", &dead, [field.as_str()]));
                writes.add_command(command("ZREM", &at, [field.as_str()]));
                writes.add_command(command("HINCRBY", &bytes, [lane, &format!("-{}", text.len())]));
                removed += 1;
            }
            if removed == count {
                writes.add_command(command("HDEL", &bytes, [lane]));
            }
            Ok(if removed == 0 {
                Next::Done(0)
            } else {
                Next::Write(writes, removed)
            })
        })
        .await
    }
}

fn dead_keys(names: &Names, lane: &str) -> [String; 3] {
    [names.dead(), names.dead_at(lane), names.dead_bytes()]
}
