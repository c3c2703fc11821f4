//! Claims for users who may not run scripts: WATCH, look, MULTI, EXEC, on a connection of its own.

use std::{collections::BTreeMap, sync::Arc};

use analytics::{ClaimId, Key};
use redis::{Pipeline, Value, cmd};

use super::{
    claim::TRIM_ROWS,
    commands::{command, decode, first_error, pipeline},
    entry::{Entry, State},
    failure,
    instance::RedisSource,
    keys::Names,
    transaction::Next,
};
use crate::source::{Acknowledged, Claim, ClaimRef, SourceError};

impl RedisSource {
    pub(super) async fn claim_by_watch(
        &self,
        key: &Arc<Key>,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        let names = self.names_of(key);
        let found: String = decode(&self.link.run(&key.name, &command("TYPE", &key.name, [])).await?)?;
        match found.as_str() {
            "none" => return Ok(None),
            "list" => {}
            _ => {
                let key = key.name.clone();
                return Err(SourceError::NotAList { key, found });
            }
        }
        let id = self.new_id();
        let [list, state, index] = names.of_claim(id);
        let now = self.now_ms(&index).await?;
        let mut fields = cmd("HMSET");
        fields
            .arg(&state)
            .arg("src")
            .arg(&*key.name)
            .arg("owner")
            .arg(&self.owner_text);
        fields.arg("fence").arg(1).arg("base").arg(0).arg("at").arg(now);
        for lane in lanes {
            fields.arg(format!("c:{lane}")).arg(0);
        }
        // Errors of single commands do not stop EXEC: without the key, a state without a list is what remains.
        let writes = pipeline([
            command("PTTL", &key.name, []),
            command("RENAMENX", &key.name, [list.as_str()]),
            command("PERSIST", &list, []),
            fields,
            command(
                "ZADD",
                &index,
                [(now + self.lease_ms()).to_string().as_str(), &id.to_string()],
            ),
            command("LLEN", &list, []),
        ]);
        let mut taken = self.link.transaction(&key.name).await?;
        let answers = self.execute(&mut taken, &writes).await?.unwrap_or_default();
        self.link.give_back_transaction(taken);
        let [ttl, Value::Int(1), _, _, _, Value::Int(len)] = &answers[..] else {
            let remove = pipeline([
                command("DEL", &state, []),
                command("ZREM", &index, [id.to_string().as_str()]),
            ]);
            self.link.run_all(&index, &remove).await?;
            // What was renamed was no list any more: give it its name back.
            if answers.get(1) == Some(&Value::Int(1)) {
                self.link.run(&list, &command("RENAMENX", &list, [&*key.name])).await?;
            }
            return Ok(None);
        };
        let counted = command("HSET", &state, ["len", &len.to_string()]);
        decode::<i64>(&self.link.run(&state, &counted).await?)?;
        Ok(Some(self.made(key, id, *len as u64, now, decode(ttl)?, lanes)))
    }

    pub(super) async fn take_by_watch(
        &self,
        entry: &Entry,
        seen: &State,
        gone: bool,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        let [list, state, index] = entry.names.of_claim(entry.id);
        let id = entry.id.to_string();
        let look = pipeline([
            command("HGETALL", &state, []),
            command("ZSCORE", &index, [id.as_str()]),
            command("LLEN", &list, []),
            cmd("TIME"),
        ]);
        let watched = [state.as_str(), index.as_str()];
        let taken = self.transact(&state, &watched, &look, |values| {
            let [found, lease_end, len, time] = values else {
                return Ok(Next::Done(None));
            };
            let len: u64 = decode(len)?;
            let forget = pipeline([command("DEL", &state, []), command("ZREM", &index, [id.as_str()])]);
            let Some(mut found) = State::parse(found)? else {
                return Ok(if len == 0 {
                    Next::Write(forget, None)
                } else {
                    Next::Done(None)
                });
            };
            let (seconds, micros): (u64, u64) = decode(time)?;
            let now = seconds * 1000 + micros / 1000;
            let lease_end: Option<f64> = decode(lease_end)?;
            let over = gone || lease_end.is_none_or(|end| end < now as f64);
            if !over || found.owner != seen.owner || found.fence != seen.fence {
                return Ok(Next::Done(None));
            }
            if found.len.is_none() && len == 0 {
                return Ok(Next::Write(forget, None));
            }
            let whole = *found.len.get_or_insert(len);
            if !lanes.is_empty() && lanes.iter().all(|lane| found.waiting(lane) == 0) {
                return Ok(Next::Done(None));
            }
            found.fence += 1;
            let fence = found.fence.to_string();
            let owner = self.owner_text.as_str();
            let end = (now + self.lease_ms()).to_string();
            let writes = pipeline([
                command("PERSIST", &list, []),
                command(
                    "HMSET",
                    &state,
                    ["owner", owner, "fence", &fence, "len", &whole.to_string()],
                ),
                command("ZADD", &index, [end.as_str(), &id]),
            ]);
            Ok(Next::Write(writes, Some(found.claim(entry))))
        });
        let taken = taken.await?;
        if let Some(claim) = &taken {
            self.hold(claim);
        }
        Ok(taken)
    }

    /// A full Redis refuses MULTI, but not the removal of keys. What could not be written then is remembered, so that
    /// a claim whose lanes are all through can still be removed: nothing else makes room.
    pub(super) async fn acknowledge_by_watch(
        &self,
        claim: &ClaimRef,
        cursors: &[(Arc<str>, u64)],
    ) -> Result<Acknowledged, SourceError> {
        let names = self.names_of(&claim.key);
        let [list, state, index] = names.of_claim(claim.id);
        let all = self.remember(claim.id, cursors);
        let look = pipeline([command("HGETALL", &state, [])]);
        let watched = [state.as_str()];
        let done = self.transact(&state, &watched, &look, |values| {
            let mut found = self.still_ours(claim, values)?;
            if let Some((lane, _)) = cursors.iter().find(|(lane, _)| !found.cursors.contains_key(lane)) {
                return Err(SourceError::no_such_lane(claim.id, lane));
            }
            let mut writes = redis::pipe();
            for (lane, cursor) in found.advance(&all) {
                let field = format!("c:{lane}");
                writes.add_command(command("HSET", &state, [field.as_str(), &cursor.to_string()]));
            }
            let low = found.low();
            if low >= found.len.unwrap_or_default() {
                return Ok(Next::Write(
                    removal(claim, &list, &state, &index),
                    Acknowledged::Finished,
                ));
            }
            let mut base = found.base;
            if low - base >= TRIM_ROWS {
                base += TRIM_ROWS;
                writes.add_command(command("LTRIM", &list, [TRIM_ROWS.to_string().as_str(), "-1"]));
                writes.add_command(command("HSET", &state, ["base", &base.to_string()]));
            }
            let open = Acknowledged::Open { base };
            Ok(if writes.is_empty() {
                Next::Done(open)
            } else {
                Next::Write(writes, open)
            })
        });
        let done = match done.await {
            Err(error) if failure::is_full(&error) => self.remove_when_full(claim, &look, &all, error).await,
            other => other,
        };
        match done {
            Ok(Acknowledged::Finished) => self.let_go(claim.id),
            Ok(Acknowledged::Open { base }) => {
                self.note_base(claim, base);
                self.written(claim.id, &all);
            }
            Err(SourceError::LeaseLost(_)) => return Err(self.lost(claim).await),
            Err(_) => {}
        }
        done
    }

    /// Removes a claim whose lanes are all through, as far as this instance knows; else the error stays.
    async fn remove_when_full(
        &self,
        claim: &ClaimRef,
        look: &Pipeline,
        cursors: &BTreeMap<Arc<str>, u64>,
        error: SourceError,
    ) -> Result<Acknowledged, SourceError> {
        let [list, state, index] = self.names_of(&claim.key).of_claim(claim.id);
        let values = self.link.run_all(&state, look).await?;
        let mut found = self.still_ours(claim, &values)?;
        found.advance(cursors);
        if found.low() < found.len.unwrap_or_default() {
            return Err(error);
        }
        // Safe without a transaction: every lane is through, whoever owns the claim by now.
        let removal = removal(claim, &list, &state, &index);
        first_error(&self.link.run_all(&state, &removal).await?)?;
        Ok(Acknowledged::Finished)
    }

    /// The state out of a look, if the claim is still ours.
    fn still_ours(&self, claim: &ClaimRef, values: &[Value]) -> Result<State, SourceError> {
        let found = values.first().map(State::parse).transpose()?.flatten();
        let found = found.filter(|found| found.owner == self.owner_text && found.fence == claim.fence);
        found.ok_or(SourceError::LeaseLost(claim.id))
    }

    /// Extends leases that are ours to `end`, which may be 0. Returns the ids of the others.
    async fn set_lease(
        &self,
        names: &Names,
        part: &[&ClaimRef],
        lease_ms: Option<u64>,
        lanes: &[Arc<str>],
    ) -> Result<Vec<String>, SourceError> {
        let (index, pumps) = (names.index(), names.pumps());
        let states: Vec<String> = part.iter().map(|claim| names.state(claim.id)).collect();
        let mut watched: Vec<&str> = states.iter().map(String::as_str).collect();
        if watched.is_empty() {
            watched.push(&pumps);
        }
        let mut look = pipeline([cmd("TIME"), command("EXISTS", &index, [])]);
        for state in &states {
            look.add_command(command("HMGET", state, ["owner", "fence"]));
        }
        self.transact(&index, &watched, &look, |values| {
            let [time, exists, owners @ ..] = values else {
                return Ok(Next::Done(Vec::new()));
            };
            let (seconds, micros): (u64, u64) = decode(time)?;
            let now = seconds * 1000 + micros / 1000;
            let end = lease_ms.map_or(0, |lease| now + lease).to_string();
            let mut writes = redis::pipe();
            let mut lost = Vec::new();
            for (claim, owner) in part.iter().zip(owners) {
                let (owner, fence): (Option<String>, Option<u64>) = decode(owner)?;
                if owner.as_deref() != Some(&self.owner_text) || fence != Some(claim.fence) {
                    lost.push(claim.id.to_string());
                    continue;
                }
                writes.add_command(command("PERSIST", &names.claim(claim.id), []));
                writes.add_command(command("ZADD", &index, [end.as_str(), &claim.id.to_string()]));
            }
            if lease_ms.is_some() && decode::<u64>(exists)? == 1 {
                for lane in lanes {
                    writes.add_command(command("ZADD", &pumps, [now.to_string().as_str(), lane]));
                }
            }
            Ok(if writes.is_empty() {
                Next::Done(lost)
            } else {
                Next::Write(writes, lost)
            })
        })
        .await
    }

    pub(super) async fn renew_by_watch(
        &self,
        claims: &[ClaimRef],
        lanes: &[Arc<str>],
    ) -> Result<Vec<ClaimId>, SourceError> {
        let mut lost = Vec::new();
        for (names, part) in self.parts(claims) {
            match self.set_lease(&names, &part, Some(self.lease_ms()), lanes).await {
                Ok(others) => lost.extend(others),
                // Nobody can take a claim over now, as that needs memory too; letting go of it would keep Redis full.
                Err(error) if failure::is_full(&error) => lost.extend(self.not_ours(&names, &part).await?),
                Err(error) => return Err(error),
            }
        }
        Ok(self.forget(lost.into_iter()))
    }

    /// The ids of those claims that belong to somebody else.
    async fn not_ours(&self, names: &Names, part: &[&ClaimRef]) -> Result<Vec<String>, SourceError> {
        let mut lost = Vec::new();
        for claim in part {
            let state = names.state(claim.id);
            let look = pipeline([command("HGETALL", &state, [])]);
            if self
                .still_ours(claim, &self.link.run_all(&state, &look).await?)
                .is_err()
            {
                lost.push(claim.id.to_string());
            }
        }
        Ok(lost)
    }

    pub(super) async fn release_by_watch(&self, claims: &[ClaimRef]) -> Result<(), SourceError> {
        for (names, part) in self.parts(claims) {
            if part.is_empty() {
                continue;
            }
            self.set_lease(&names, &part, None, &[]).await?;
            for claim in part {
                self.let_go(claim.id);
            }
        }
        Ok(())
    }
}

/// What removes a claim.
fn removal(claim: &ClaimRef, list: &str, state: &str, index: &str) -> Pipeline {
    pipeline([
        command("DEL", list, []),
        command("DEL", state, []),
        command("ZREM", index, [claim.id.to_string().as_str()]),
    ])
}
