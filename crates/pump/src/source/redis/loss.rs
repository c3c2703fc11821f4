//! Telling claims that somebody else has from claims that Redis has lost.
//!
//! A claim that is finished, put back or given up leaves nothing behind, and neither does one that went with the data of
//! the server. What tells them apart is the random id of the store: it goes with the data, and whoever finds another one
//! knows that everything before is lost. A state that was evicted by itself leaves its entry in the index.

use std::sync::Arc;

use analytics::{ClaimId, Key};

use super::{
    commands::{command, decode, pipeline},
    instance::RedisSource,
};
use crate::source::{ClaimRef, Lost, SourceError};

impl RedisSource {
    /// Whether the claim of this list is lost with the data of Redis, or somebody else's business; `lost` are all those
    /// that are not ours any more.
    async fn judge(&self, key: &Key, id: ClaimId, lost: &[ClaimId]) -> Result<Lost, SourceError> {
        let names = self.names_of(key);
        let [list, state, index] = names.of_claim(id);
        let look = pipeline([
            command("EXISTS", &state, [list.as_str()]),
            command("ZSCORE", &index, [id.to_string().as_str()]),
        ]);
        let values = self.link.run_all(&state, &look).await?;
        let [exists, entry] = &values[..] else {
            return Ok(Lost::Taken(id));
        };
        // A list without a state is made a claim anew.
        if decode::<u64>(exists)? > 0 {
            return Ok(Lost::Taken(id));
        }
        let evicted = decode::<Option<f64>>(entry)?.is_some();
        self.look_for_loss(lost).await?;
        Ok(if evicted || self.is_from_before(id) {
            Lost::Vanished(id)
        } else {
            Lost::Taken(id)
        })
    }

    /// Compares the id of the store with the one that was there when it was reached.
    async fn look_for_loss(&self, lost: &[ClaimId]) -> Result<(), SourceError> {
        let Some(known) = self.known_fleet() else { return Ok(()) };
        let found = self.stored_fleet().await?;
        if found != known {
            tracing::error!(
                prefix = "main",
                "Redis has lost its data (restarted without persistence, FLUSHALL or FLUSHDB): records that were claimed \
                 and not delivered are gone with it; they are counted as dropped, reason \"vanished\""
            );
            self.remember_loss(found, lost);
        }
        Ok(())
    }

    /// A claim is not ours any more: lets go of it, unless we have taken it over ourselves in the meantime.
    pub(super) async fn lost(&self, claim: &ClaimRef) -> SourceError {
        let verdict = match self.judge(&claim.key, claim.id, &[claim.id]).await {
            Ok(verdict) => verdict,
            Err(error) => return error,
        };
        self.let_go_of(claim);
        match verdict {
            Lost::Taken(id) => SourceError::LeaseLost(id),
            Lost::Vanished(id) => SourceError::Vanished(id),
        }
    }

    /// Judges claims that could not be renewed.
    pub(super) async fn judge_all(&self, claims: &[ClaimRef], lost: Vec<ClaimId>) -> Result<Vec<Lost>, SourceError> {
        let mut judged = Vec::with_capacity(lost.len());
        for &id in &lost {
            let key: Option<&Arc<Key>> = claims.iter().find(|claim| claim.id == id).map(|claim| &claim.key);
            judged.push(match key {
                Some(key) => self.judge(key, id, &lost).await?,
                None => Lost::Taken(id),
            });
        }
        Ok(judged)
    }
}
