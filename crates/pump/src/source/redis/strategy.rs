//! The ways to take records: with claims in Redis, by script or by WATCH; in place; or popped.

use std::sync::Arc;

use analytics::{ClaimId, Key};
use async_trait::async_trait;

use super::{
    entry::Abandoned,
    instance::{RedisSource, Strategy},
};
use crate::source::{Acknowledged, Claim, ClaimRef, SourceError, Window};

/// Claims by script.
pub(super) struct ByScript;
/// Claims by WATCH and MULTI.
pub(super) struct ByWatch;
/// Rows are removed after they are delivered.
pub(super) struct InPlace;
/// Rows are removed before they are delivered.
pub(super) struct Popping;

#[async_trait]
impl Strategy for ByScript {
    fn keeps_claims(&self) -> bool {
        true
    }

    async fn claim(
        &self,
        source: &RedisSource,
        key: &Arc<Key>,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        source.claim_by_script(key, lanes).await
    }

    async fn renew(
        &self,
        source: &RedisSource,
        claims: &[ClaimRef],
        lanes: &[Arc<str>],
    ) -> Result<Vec<ClaimId>, SourceError> {
        source.renew_by_script(claims, lanes).await
    }

    async fn take(
        &self,
        source: &RedisSource,
        abandoned: &Abandoned,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        let Abandoned { entry, seen, gone } = abandoned;
        source.take_by_script(entry, seen, *gone, lanes).await
    }

    async fn read(
        &self,
        source: &RedisSource,
        claim: &ClaimRef,
        first_row: u64,
        max_rows: usize,
    ) -> Result<Window, SourceError> {
        source.read_claim(claim, first_row, max_rows).await
    }

    async fn acknowledge(
        &self,
        source: &RedisSource,
        claim: &ClaimRef,
        cursors: &[(Arc<str>, u64)],
    ) -> Result<Acknowledged, SourceError> {
        source.acknowledge_by_script(claim, cursors).await
    }

    async fn release(&self, source: &RedisSource, claims: &[ClaimRef]) -> Result<(), SourceError> {
        source.release_by_script(claims).await
    }
}

#[async_trait]
impl Strategy for ByWatch {
    fn keeps_claims(&self) -> bool {
        true
    }

    async fn claim(
        &self,
        source: &RedisSource,
        key: &Arc<Key>,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        source.claim_by_watch(key, lanes).await
    }

    async fn renew(
        &self,
        source: &RedisSource,
        claims: &[ClaimRef],
        lanes: &[Arc<str>],
    ) -> Result<Vec<ClaimId>, SourceError> {
        source.renew_by_watch(claims, lanes).await
    }

    async fn take(
        &self,
        source: &RedisSource,
        abandoned: &Abandoned,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        let Abandoned { entry, seen, gone } = abandoned;
        source.take_by_watch(entry, seen, *gone, lanes).await
    }

    async fn read(
        &self,
        source: &RedisSource,
        claim: &ClaimRef,
        first_row: u64,
        max_rows: usize,
    ) -> Result<Window, SourceError> {
        source.read_claim(claim, first_row, max_rows).await
    }

    async fn acknowledge(
        &self,
        source: &RedisSource,
        claim: &ClaimRef,
        cursors: &[(Arc<str>, u64)],
    ) -> Result<Acknowledged, SourceError> {
        source.acknowledge_by_watch(claim, cursors).await
    }

    async fn release(&self, source: &RedisSource, claims: &[ClaimRef]) -> Result<(), SourceError> {
        source.release_by_watch(claims).await
    }
}

#[async_trait]
impl Strategy for InPlace {
    fn keeps_claims(&self) -> bool {
        false
    }

    async fn claim(
        &self,
        source: &RedisSource,
        key: &Arc<Key>,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        source.claim_by_peek(key, lanes).await
    }

    async fn renew(
        &self,
        source: &RedisSource,
        claims: &[ClaimRef],
        _: &[Arc<str>],
    ) -> Result<Vec<ClaimId>, SourceError> {
        source.renew_peeks(claims).await
    }

    async fn take(&self, _: &RedisSource, _: &Abandoned, _: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        Ok(None)
    }

    async fn read(
        &self,
        source: &RedisSource,
        claim: &ClaimRef,
        first_row: u64,
        max_rows: usize,
    ) -> Result<Window, SourceError> {
        source.read_peek(claim, first_row, max_rows).await
    }

    async fn acknowledge(
        &self,
        source: &RedisSource,
        claim: &ClaimRef,
        cursors: &[(Arc<str>, u64)],
    ) -> Result<Acknowledged, SourceError> {
        source.acknowledge_peek(claim, cursors).await
    }

    async fn release(&self, source: &RedisSource, claims: &[ClaimRef]) -> Result<(), SourceError> {
        source.release_peeks(claims).await
    }
}

#[async_trait]
impl Strategy for Popping {
    fn keeps_claims(&self) -> bool {
        false
    }

    async fn claim(
        &self,
        source: &RedisSource,
        key: &Arc<Key>,
        lanes: &[Arc<str>],
    ) -> Result<Option<Claim>, SourceError> {
        source.pop(key, lanes).await
    }

    async fn renew(&self, _: &RedisSource, _: &[ClaimRef], _: &[Arc<str>]) -> Result<Vec<ClaimId>, SourceError> {
        Ok(Vec::new())
    }

    async fn take(&self, _: &RedisSource, _: &Abandoned, _: &[Arc<str>]) -> Result<Option<Claim>, SourceError> {
        Ok(None)
    }

    async fn read(
        &self,
        source: &RedisSource,
        claim: &ClaimRef,
        first_row: u64,
        max_rows: usize,
    ) -> Result<Window, SourceError> {
        source.read_popped(claim, first_row, max_rows)
    }

    async fn acknowledge(
        &self,
        source: &RedisSource,
        claim: &ClaimRef,
        cursors: &[(Arc<str>, u64)],
    ) -> Result<Acknowledged, SourceError> {
        source.acknowledge_popped(claim, cursors)
    }

    /// Popped rows exist nowhere else: they stay until the process ends.
    async fn release(&self, _: &RedisSource, _: &[ClaimRef]) -> Result<(), SourceError> {
        Ok(())
    }
}
