//! Renewing and ending leases by script, and saying which lanes are configured.

use std::sync::Arc;

use analytics::ClaimId;
use futures::future::join_all;

use super::{
    commands::decode,
    instance::RedisSource,
    keys::Names,
    script::{self, argument},
};
use crate::source::{ClaimRef, SourceError};

/// Claims that one script call handles.
const CHUNK: usize = 500;

impl RedisSource {
    /// The claims of each list, in parts that one call can take. Every list comes at least once.
    pub(super) fn parts<'a>(&self, claims: &'a [ClaimRef]) -> Vec<(Arc<Names>, Vec<&'a ClaimRef>)> {
        let mut parts = Vec::new();
        for (key, names) in self.keys.iter().zip(&self.names) {
            let own: Vec<&ClaimRef> = claims.iter().filter(|claim| claim.key.name == key.name).collect();
            if own.is_empty() {
                parts.push((names.clone(), Vec::new()));
            }
            parts.extend(own.chunks(CHUNK).map(|part| (names.clone(), part.to_vec())));
        }
        parts
    }

    pub(super) async fn renew_by_script(
        &self,
        claims: &[ClaimRef],
        lanes: &[Arc<str>],
    ) -> Result<Vec<ClaimId>, SourceError> {
        let calls = self.parts(claims).into_iter().map(|(names, part)| async move {
            let mut keys = vec![names.pumps(), names.index()];
            let mut arguments = vec![
                argument(&self.owner_text),
                argument(self.lease_ms()),
                argument(lanes.len()),
            ];
            arguments.extend(lanes.iter().map(argument));
            for claim in part {
                keys.extend([names.claim(claim.id), names.state(claim.id)]);
                arguments.extend([argument(claim.id), argument(claim.fence)]);
            }
            let value = script::RENEW.run(&self.link, &keys, &arguments).await?;
            decode::<Vec<String>>(&value)
        });
        // All of them, whatever happens to one: in a cluster they go to different servers.
        let answers: Result<Vec<Vec<String>>, SourceError> = join_all(calls).await.into_iter().collect();
        Ok(self.forget(answers?.into_iter().flatten()))
    }

    /// Lets go of claims that turned out to be lost.
    pub(super) fn forget(&self, lost: impl Iterator<Item = String>) -> Vec<ClaimId> {
        let ids: Vec<ClaimId> = lost
            .filter_map(|id| ulid::Ulid::from_string(&id).ok().map(ClaimId))
            .collect();
        for id in &ids {
            self.let_go(*id);
        }
        ids
    }

    pub(super) async fn release_by_script(&self, claims: &[ClaimRef]) -> Result<(), SourceError> {
        for (names, part) in self.parts(claims) {
            if part.is_empty() {
                continue;
            }
            let mut keys = vec![names.index()];
            let mut arguments = vec![argument(&self.owner_text)];
            for claim in &part {
                keys.extend([names.claim(claim.id), names.state(claim.id)]);
                arguments.extend([argument(claim.id), argument(claim.fence)]);
            }
            script::RELEASE.run(&self.link, &keys, &arguments).await?;
            for claim in part {
                self.let_go(claim.id);
            }
        }
        Ok(())
    }
}
