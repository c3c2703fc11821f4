//! Reading in place: rows leave their list only after they are delivered. For users who may not keep claims.
//!
//! One instance at a time works on a list, by a lock that expires. Before rows are removed, the first and the last of
//! them must still be byte for byte what was delivered: another pump may have popped the list in between.

use std::{collections::BTreeMap, sync::Arc};

use analytics::{ClaimId, Key};
use redis::cmd;
use tokio::sync::RwLock;

use super::{
    commands::{command, decode, pipeline},
    instance::RedisSource,
    keys::Names,
    transaction::Next,
    window::{self, Guarded},
};
use crate::source::{Acknowledged, Claim, ClaimRef, SourceError, Window};

/// How removing finished rows went.
enum Trimmed {
    Done,
    /// The list, or the lock, is not what it was.
    Changed,
}

impl RedisSource {
    pub(super) async fn claim_by_peek(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        if self.local.has(key) || !self.list_exists(key).await? {
            return Ok(None);
        }
        let lock = self.names_of(key).lock();
        let lease = self.lease_ms().to_string();
        let set = command("SET", &lock, [self.owner_text.as_str(), "NX", "PX", &lease]);
        if decode::<Option<String>>(&self.link.run(&lock, &set).await?)?.is_none() {
            return Ok(None);
        }
        let look = pipeline([
            command("PTTL", &key.name, []),
            command("PERSIST", &key.name, []),
            command("LLEN", &key.name, []),
        ]);
        let values = self.link.run_all(&key.name, &look).await?;
        let [ttl, _, len] = &values[..] else { return Ok(None) };
        let (ttl, len) = (decode(ttl)?, decode(len)?);
        if len == 0 {
            self.unlock(&lock).await?;
            return Ok(None);
        }
        let claim = self.local_claim(key, len, ttl, lanes);
        self.local.add(&claim, BTreeMap::new());
        self.hold(&claim);
        Ok(Some(claim))
    }

    pub(super) async fn read_peek(
        &self,
        claim: &ClaimRef,
        first_row: u64,
        max_rows: usize,
    ) -> Result<Window, SourceError> {
        let lock = self.names_of(&claim.key).lock();
        let trimming = self.trimming(claim).await?;
        let _no_trim = trimming.read().await;
        let (base, len) = self.local.with(claim, |part| Ok((part.claim.base, part.claim.len)))?;
        let Some(mut held) = self.held(claim) else {
            return Err(self.lost(claim).await);
        };
        if first_row < base || first_row >= len {
            return Err(SourceError::Refused(anyhow::anyhow!(
                "claim {}: row {first_row} is not there",
                claim.id
            )));
        }
        let max_rows = max_rows.min((len - first_row) as usize);
        let name = &claim.key.name;
        let read = window::read(&self.link, name, &[], first_row - base, max_rows, &mut held.pace).await?;
        // Only this claim takes the lock while it is worked on here: ours now means ours all the time.
        let ours = self.owns_lock(&lock).await?;
        match read {
            Guarded::Rows(elements, _) if ours && !elements.spans.is_empty() => {
                self.note_pace(claim, held.pace);
                let window = window::window(first_row, elements);
                self.local.with(claim, |part| {
                    part.windows.insert(first_row, window.clone());
                    Ok(())
                })?;
                Ok(window)
            }
            // The lock ran out, or another pump popped the list: what is left is for a new claim.
            _ => self.give_up(claim, &lock).await,
        }
    }

    /// The lock between reading and removing, while the claim is there.
    async fn trimming(&self, claim: &ClaimRef) -> Result<Arc<RwLock<()>>, SourceError> {
        let known = self.local.with(claim, |part| Ok(part.trimming.clone()));
        match known {
            // Another lane has found out already.
            Err(SourceError::LeaseLost(_)) => Err(self.lost(claim).await),
            other => other,
        }
    }

    async fn give_up<T>(&self, claim: &ClaimRef, lock: &str) -> Result<T, SourceError> {
        let verdict = self.lost(claim).await;
        self.local.parts().remove(&claim.id);
        self.unlock(lock).await?;
        Err(verdict)
    }

    pub(super) async fn acknowledge_peek(
        &self,
        claim: &ClaimRef,
        cursors: &[(Arc<str>, u64)],
    ) -> Result<Acknowledged, SourceError> {
        let trimming = self.trimming(claim).await?;
        let _alone = trimming.write().await;
        let (base, low, first, last) = self.local.with(claim, |part| {
            let low = part.advance(claim, cursors)?;
            let base = part.claim.base;
            Ok((base, low, part.row(base), part.row(low.saturating_sub(1))))
        })?;
        if low <= base {
            return Ok(Acknowledged::Open { base });
        }
        let lock = self.names_of(&claim.key).lock();
        let (Some(first), Some(last)) = (first, last) else {
            return self.give_up(claim, &lock).await; // rows that were never read cannot be told from others
        };
        match self.trim(&claim.key, &lock, low - base, &first, &last).await? {
            Trimmed::Changed => self.give_up(claim, &lock).await,
            Trimmed::Done => {
                let state = self.local.with(claim, |part| {
                    part.set_base(low);
                    Ok(part.state())
                })?;
                if state == Acknowledged::Finished {
                    self.local.parts().remove(&claim.id);
                    self.let_go(claim.id);
                    self.unlock(&lock).await?;
                }
                Ok(state)
            }
        }
    }

    /// Removes `rows` from the head of a list if they begin and end with these elements and the lock is ours.
    async fn trim(&self, key: &Key, lock: &str, rows: u64, first: &[u8], last: &[u8]) -> Result<Trimmed, SourceError> {
        if !self.owns_lock(lock).await? {
            return Ok(Trimmed::Changed);
        }
        let name = &*key.name;
        let look = pipeline([
            cmd("LINDEX").arg(name).arg(0).clone(),
            cmd("LINDEX").arg(name).arg(rows - 1).clone(),
        ]);
        self.transact(name, &[name], &look, |values| {
            let [head, tail] = values else {
                return Ok(Next::Done(Trimmed::Changed));
            };
            let (head, tail): (Option<Vec<u8>>, Option<Vec<u8>>) = (decode(head)?, decode(tail)?);
            if head.as_deref() != Some(first) || tail.as_deref() != Some(last) {
                return Ok(Next::Done(Trimmed::Changed));
            }
            let trim = cmd("LTRIM").arg(name).arg(rows).arg(-1).clone();
            Ok(Next::Write(pipeline([trim]), Trimmed::Done))
        })
        .await
    }

    pub(super) async fn renew_peeks(&self, claims: &[ClaimRef]) -> Result<Vec<ClaimId>, SourceError> {
        let mut lost = Vec::new();
        for claim in claims {
            let lock = self.names_of(&claim.key).lock();
            if !self.owns_lock(&lock).await? || self.held(claim).is_none() {
                self.local.parts().remove(&claim.id);
                self.let_go(claim.id);
                lost.push(claim.id);
                continue;
            }
            let extend = command("PEXPIRE", &lock, [self.lease_ms().to_string().as_str()]);
            self.link.run(&lock, &extend).await?;
            // Gateways set a time to live again and again; it must not run out while rows wait here.
            self.link
                .run(&claim.key.name, &command("PERSIST", &claim.key.name, []))
                .await?;
        }
        Ok(lost)
    }

    pub(super) async fn release_peeks(&self, claims: &[ClaimRef]) -> Result<(), SourceError> {
        for claim in claims {
            let mine = self.local.parts().remove(&claim.id).is_some();
            self.let_go(claim.id);
            if mine {
                let names: Arc<Names> = self.names_of(&claim.key);
                self.unlock(&names.lock()).await?;
            }
        }
        Ok(())
    }

    async fn owns_lock(&self, lock: &str) -> Result<bool, SourceError> {
        let owner: Option<String> = decode(&self.link.run(lock, &command("GET", lock, [])).await?)?;
        Ok(owner.as_deref() == Some(&self.owner_text))
    }

    /// Gives up the lock if it is ours.
    async fn unlock(&self, lock: &str) -> Result<(), SourceError> {
        let look = pipeline([command("GET", lock, [])]);
        self.transact(lock, &[lock], &look, |values| {
            let owner: Option<String> = values.first().map(decode).transpose()?.flatten();
            if owner.as_deref() != Some(&self.owner_text) {
                return Ok(Next::Done(()));
            }
            Ok(Next::Write(pipeline([command("DEL", lock, [])]), ()))
        })
        .await
    }
}
