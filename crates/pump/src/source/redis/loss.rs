//! Telling claims that somebody else has from claims that Redis has lost.
//!
//! A claim that is finished, put back or given up leaves nothing behind, and neither does one that went with the data of
//! the server. What tells them apart is the random id of the store: it goes with the data, and whoever finds another one
//! knows that everything before is lost. A state that was evicted by itself leaves its entry in the index.

use analytics::ClaimId;

use super::{
    commands::{command, decode},
    instance::RedisSource,
};
use crate::source::{ClaimRef, Lost, SourceError};

/// Claims that are looked at in one go.
const CHUNK: usize = 500;

/// What Redis still has of a claim that is not ours any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Left {
    /// Its state or its list: a list without a state is made a claim anew.
    Claim,
    /// Its entry in the index alone: the state was evicted, and the list is gone.
    Entry,
    Nothing,
}

impl RedisSource {
    /// Whether each of these claims, which are not ours any more, is lost with the data of Redis or somebody else's
    /// business, in their order. `lost` are their ids, and those of others that are lost with them.
    async fn judge(&self, claims: &[&ClaimRef], lost: &[ClaimId]) -> Result<Vec<Lost>, SourceError> {
        let left = self.left_of(claims).await?;
        // After the look at the claims: what is gone by now went with the data, if that is gone.
        if left.iter().any(|left| *left != Left::Claim) {
            self.look_for_loss(lost).await?;
        }
        let verdicts = claims.iter().zip(left).map(|(claim, left)| match left {
            Left::Entry => Lost::Vanished(claim.id),
            Left::Nothing if self.is_from_before(claim.id) => Lost::Vanished(claim.id),
            Left::Claim | Left::Nothing => Lost::Taken(claim.id),
        });
        Ok(verdicts.collect())
    }

    /// What is left of each of these claims, in their order. A mode that keeps no claims leaves nothing, and the names
    /// that its claims would have are not asked for: they may lie on several servers of a cluster.
    async fn left_of(&self, claims: &[&ClaimRef]) -> Result<Vec<Left>, SourceError> {
        if !self.strategy()?.keeps_claims() {
            return Ok(vec![Left::Nothing; claims.len()]);
        }
        let mut left = Vec::with_capacity(claims.len());
        for part in claims.chunks(CHUNK) {
            let mut named = Vec::with_capacity(part.len());
            for claim in part {
                named.push((self.names_of(&claim.key).of_claim(claim.id), claim.id.to_string()));
            }
            let mut commands = Vec::with_capacity(2 * named.len());
            for ([list, state, index], id) in &named {
                commands.push((state.as_str(), command("EXISTS", state, [list.as_str()])));
                commands.push((index.as_str(), command("ZSCORE", index, [id.as_str()])));
            }
            for answers in self.run_each(commands).await?.chunks(2) {
                let [exists, entry] = answers else { continue };
                left.push(if decode::<u64>(exists)? > 0 {
                    Left::Claim
                } else if decode::<Option<f64>>(entry)?.is_some() {
                    Left::Entry
                } else {
                    Left::Nothing
                });
            }
        }
        Ok(left)
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
        let verdict = match self.judge(&[claim], &[claim.id]).await {
            Ok(verdicts) => verdicts.first().copied(),
            Err(error) => return error,
        };
        self.let_go_of(claim);
        match verdict {
            Some(Lost::Vanished(id)) => SourceError::Vanished(id),
            Some(Lost::Taken(_)) | None => SourceError::LeaseLost(claim.id),
        }
    }

    /// Judges claims that could not be renewed, in their order.
    pub(super) async fn judge_all(&self, claims: &[ClaimRef], lost: Vec<ClaimId>) -> Result<Vec<Lost>, SourceError> {
        let known = lost.iter().filter_map(|id| claims.iter().find(|claim| claim.id == *id));
        let known: Vec<&ClaimRef> = known.collect();
        let mut judged = self.judge(&known, &lost).await?;
        // Of one that nobody asked about nothing is known.
        let unknown = lost.iter().filter(|id| !known.iter().any(|claim| claim.id == **id));
        judged.extend(unknown.map(|id| Lost::Taken(*id)));
        Ok(judged)
    }
}
