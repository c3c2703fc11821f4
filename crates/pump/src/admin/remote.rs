//! The store of a running daemon, for the subcommands: everything goes through its admin port.

use std::collections::BTreeMap;

use analytics::ClaimId;
use async_trait::async_trait;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{client::Client, store::Wanted};
use crate::source::{
    ClaimReport, DeadLetter, DeadLetterId, DeadLimits, DeadStore, DeadStored, Ledgers, Operate, Restored, SourceError,
    Terms, letter::Written,
};

/// Why something is not done while a pump runs.
pub(crate) const STORE_IN_USE: &str =
    "the pump runs and works on its store: stop it first, then this command opens the store itself";

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
        let mut answer = self.daemon.store(&wanted).await.map_err(SourceError::Unavailable)?;
        let value = answer.get_mut(field).map(Value::take).unwrap_or_default();
        serde_json::from_value(value).map_err(|error| SourceError::Unavailable(error.into()))
    }
}

/// Whatever only the daemon itself may do.
fn refused<T>() -> Result<T, SourceError> {
    Err(SourceError::Refused(anyhow::anyhow!(STORE_IN_USE)))
}

#[async_trait]
impl Operate for RemoteStore {
    async fn list(&self) -> Result<Vec<ClaimReport>, SourceError> {
        self.ask(Wanted::List, "claims").await
    }

    async fn restore(&self, _: ClaimId, _: &dyn Ledgers, _: Terms) -> Result<Restored, SourceError> {
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

#[async_trait]
impl DeadStore for RemoteStore {
    async fn store_dead(&self, _: &[DeadLetter], _: DeadLimits) -> Result<DeadStored, SourceError> {
        refused()
    }

    async fn list_dead(&self, lane: Option<&str>, limit: usize) -> Result<Vec<DeadLetter>, SourceError> {
        let lane = lane.map(str::to_owned);
        let letters: Vec<Written> = self.ask(Wanted::ListDead { lane, limit }, "letters").await?;
        Ok(letters.into_iter().filter_map(Written::read).collect())
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
}
