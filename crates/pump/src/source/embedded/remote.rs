//! The store of a running daemon, for the subcommands: everything goes through its admin port.

use std::{collections::BTreeMap, sync::Arc};

use analytics::{ClaimId, Key};
use async_trait::async_trait;
use serde::de::DeserializeOwned;

use crate::{
    admin::{
        client::Client,
        store::{Letter, Wanted},
    },
    source::{
        Acknowledged, Claim, ClaimRef, ClaimReport, DeadLetter, DeadLetterId, DeadLimits, DeadStored, Ledgers, Mode,
        Restored, Source, SourceError, Usage, Window,
    },
};

/// Dead letters that one request names.
const REMOVED_AT_ONCE: usize = 200;

/// Asks a running daemon.
#[derive(Debug)]
pub struct RemoteStore {
    daemon: Client,
}

impl RemoteStore {
    /// Does not connect yet.
    pub fn new(daemon: Client) -> Self {
        Self { daemon }
    }

    async fn ask<T: DeserializeOwned>(&self, wanted: Wanted, field: &str) -> Result<T, SourceError> {
        let answer = self.daemon.store(&wanted)
            .await
            .map_err(SourceError::Unavailable)?;
        let value = answer.get(field).cloned().unwrap_or_default();
        serde_json::from_value(value).map_err(|error| SourceError::Unavailable(error.into()))
    }
}

/// Whatever only the daemon itself may do.
fn refused<T>() -> Result<T, SourceError> {
    Err(SourceError::Refused(anyhow::anyhow!(
        "the pump runs and works on its store: stop it first, then this command opens the store itself"
    )))
}

#[async_trait]
impl Source for RemoteStore {
    async fn open(&self) -> Result<Mode, SourceError> {
        Ok(Mode::Embedded)
    }

    fn mode_reason(&self) -> String {
        format!("through {} of a running pump", self.daemon.address())
    }

    async fn fleet(&self) -> Result<Arc<str>, SourceError> {
        refused()
    }

    fn keys(&self) -> &[Arc<Key>] {
        &[]
    }

    async fn pending(&self) -> Result<Vec<(usize, Result<u64, SourceError>)>, SourceError> {
        refused()
    }

    async fn claim(&self, _: &Arc<Key>, _: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        refused()
    }

    async fn renew(&self, _: &[ClaimRef], _: &[Arc<str>]) -> Result<Vec<ClaimId>, SourceError> {
        refused()
    }

    async fn take_over(&self, _: &[Arc<str>], _: &[ClaimId]) -> Result<Vec<Claim>, SourceError> {
        refused()
    }

    async fn read(&self, _: &ClaimRef, _: u64, _: usize) -> Result<Window, SourceError> {
        refused()
    }

    async fn acknowledge(&self, _: &ClaimRef, _: &[(Arc<str>, u64)]) -> Result<Acknowledged, SourceError> {
        refused()
    }

    async fn release(&self, _: &[ClaimRef]) -> Result<(), SourceError> {
        refused()
    }

    async fn usage(&self) -> Result<Usage, SourceError> {
        refused()
    }

    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError> {
        self.ask(Wanted::List, "claims").await
    }

    async fn store_dead(&self, _: &[DeadLetter], _: DeadLimits) -> Result<DeadStored, SourceError> {
        refused()
    }

    async fn list_dead(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError> {
        let lane = lane.map(str::to_owned);
        let letters: Vec<Letter> = self.ask(Wanted::ListDead { lane, limit }, "letters").await?;
        Ok(letters.into_iter().filter_map(Letter::decode).collect())
    }

    async fn remove_dead(&self, ids: &[DeadLetterId]) -> Result<u64, SourceError> {
        let mut by_lane: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for id in ids {
            by_lane.entry(&id.lane).or_default().push(id.row.to_string());
        }
        let mut removed = 0;
        for (lane, rows) in by_lane {
            for part in rows.chunks(REMOVED_AT_ONCE) {
                let wanted = Wanted::RemoveDead {
                    lane: lane.to_owned(),
                    rows: part.join(","),
                };
                removed += self.ask::<u64>(wanted, "rows").await?;
            }
        }
        Ok(removed)
    }

    async fn note_spooled(&self, _: &ClaimRef, _: &str, _: bool) -> Result<(), SourceError> {
        refused()
    }

    async fn spooled(&self) -> Result<Vec<(ClaimId, Arc<str>)>, SourceError> {
        refused()
    }

    async fn restore(&self, _: ClaimId, _: &dyn Ledgers, _: bool) -> Result<Restored, SourceError> {
        refused()
    }

    async fn drop_lane(&self, lane: &str) -> Result<u64, SourceError> {
        let lane = lane.to_owned();
        self.ask(Wanted::DropLane { lane }, "rows").await
    }

    async fn adopt_lane(&self, old: &str, new: &str) -> Result<u64, SourceError> {
        let (old, new) = (old.to_owned(), new.to_owned());
        self.ask(Wanted::AdoptLane { old, new }, "rows").await
    }
}
