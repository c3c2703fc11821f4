//! Records from Redis: one server, a master behind sentinels, or a cluster.

mod claim;
mod commands;
mod connect;
mod dead;
mod entry;
mod failure;
mod fleet;
mod identity;
mod index;
mod instance;
mod keys;
mod lease;
mod legacy;
mod local;
mod loss;
mod peek;
mod probe;
mod restore;
mod script;
mod strategy;
pub(super) mod tls;
mod transaction;
mod usage;
mod watch;
mod window;
mod wire;

use std::sync::Arc;

use analytics::{ClaimId, Key};
use async_trait::async_trait;

pub use self::instance::{ListSettings, RedisSource};
use self::{
    commands::{command, decode},
    instance::Rights,
    script::argument,
};
use super::{
    Acknowledged, Claim, ClaimRef, ClaimReport, Claims, DeadLetter, DeadLetterId, DeadLimits, DeadStore, DeadStored,
    Ledgers, Lost, Mode, Operate, Pending, Restored, SourceError, SpoolNotes, Terms, Usage, Window, lists::VERSION_KEY,
};

#[async_trait]
impl Claims for RedisSource {
    async fn open(&self) -> Result<Mode, SourceError> {
        let chosen = self.probe().await?;
        let mode = chosen.mode.clone();
        self.choose(chosen);
        Ok(mode)
    }

    async fn fleet(&self) -> Result<Arc<str>, SourceError> {
        if let Some(fleet) = self.known_fleet() {
            return Ok(fleet);
        }
        let fleet = self.stored_fleet().await?;
        self.remember_fleet(fleet.clone());
        Ok(fleet)
    }

    fn keys(&self) -> &[Arc<Key>] {
        &self.keys
    }

    async fn pending(&self) -> Result<Vec<Pending>, SourceError> {
        self.lengths().await
    }

    async fn claim(&self, key: &Arc<Key>, lanes: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        self.strategy()?.claim(self, key, lanes).await
    }

    async fn renew(&self, claims: &[ClaimRef], lanes: &[Arc<str>]) -> Result<Vec<Lost>, SourceError> {
        let lost = self.strategy()?.renew(self, claims, lanes).await?;
        self.judge_all(claims, lost).await
    }

    async fn take_over(&self, lanes: &[Arc<str>], held: &[ClaimId]) -> Result<Vec<Claim>, SourceError> {
        let strategy = self.strategy()?;
        if !strategy.keeps_claims() || lanes.is_empty() {
            return Ok(Vec::new());
        }
        let mut taken = Vec::new();
        for abandoned in self.abandoned(held).await? {
            match strategy.take(self, &abandoned, lanes).await {
                Ok(claim) => taken.extend(claim),
                Err(error) if taken.is_empty() => return Err(error),
                Err(_) => break, // what is ours already must be worked on
            }
        }
        Ok(taken)
    }

    async fn read(&self, claim: &ClaimRef, first_row: u64, max_rows: usize) -> Result<Window, SourceError> {
        self.strategy()?.read(self, claim, first_row, max_rows).await
    }

    async fn acknowledge(&self, claim: &ClaimRef, cursors: &[(Arc<str>, u64)]) -> Result<Acknowledged, SourceError> {
        self.strategy()?.acknowledge(self, claim, cursors).await
    }

    async fn release(&self, claims: &[ClaimRef]) -> Result<(), SourceError> {
        self.strategy()?.release(self, claims).await
    }

    async fn usage(&self) -> Result<Usage, SourceError> {
        self.figures().await
    }

    async fn announce_version(&self, version: &str) -> Result<(), SourceError> {
        let set = command("SET", VERSION_KEY, [version]);
        self.link.run(VERSION_KEY, &set).await.map(drop)
    }
}

#[async_trait]
impl DeadStore for RedisSource {
    async fn store_dead(&self, letters: &[DeadLetter], limits: DeadLimits) -> Result<DeadStored, SourceError> {
        self.keep_dead(letters, limits).await
    }

    async fn list_dead(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError> {
        self.dead_letters(lane, limit).await
    }

    async fn remove_dead(&self, ids: &[DeadLetterId]) -> Result<u64, SourceError> {
        self.forget_dead(ids).await
    }
}

#[async_trait]
impl SpoolNotes for RedisSource {
    async fn note_spooled(&self, claim: &ClaimRef, lane: &str, waiting: bool) -> Result<(), SourceError> {
        let name = self.names_of(&claim.key).spooled();
        let entry = format!("{}/{lane}", claim.id);
        if self.rights() == Rights::Script {
            let arguments = [argument(entry), argument(u8::from(waiting))];
            script::SPOOLED.run(&self.link, &[name], &arguments).await?;
        } else {
            let what = if waiting { "SADD" } else { "SREM" };
            self.link.run(&name, &command(what, &name, [entry.as_str()])).await?;
        }
        Ok(())
    }

    async fn spooled(&self) -> Result<Vec<(ClaimId, Arc<str>)>, SourceError> {
        let names: Vec<String> = self.names.iter().map(|names| names.spooled()).collect();
        let commands = names.iter().map(|name| (name.as_str(), command("SMEMBERS", name, [])));
        let mut spooled = Vec::new();
        for value in self.run_each(commands.collect()).await? {
            for entry in decode::<Vec<String>>(&value)? {
                let Some((id, lane)) = entry.split_once('/') else {
                    continue;
                };
                if let Ok(id) = ulid::Ulid::from_string(id) {
                    spooled.push((ClaimId(id), lane.into()));
                }
            }
        }
        Ok(spooled)
    }
}

#[async_trait]
impl Operate for RedisSource {
    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError> {
        self.reports().await
    }

    async fn restore(&self, claim: ClaimId, ledgers: &dyn Ledgers, terms: Terms) -> Result<Restored, SourceError> {
        self.put_back(claim, ledgers, terms).await
    }

    async fn drop_lane(&self, lane: &str) -> Result<u64, SourceError> {
        self.drop_rows(lane).await
    }

    async fn adopt_lane(&self, old: &str, new: &str) -> Result<u64, SourceError> {
        self.rename_lane(old, new).await
    }
}
