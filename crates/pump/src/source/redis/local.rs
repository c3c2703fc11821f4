//! Claims that exist in this process alone, for the modes that keep none in Redis.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use analytics::{ClaimId, Key};
use tokio::sync::RwLock;

use crate::source::{Acknowledged, Claim, ClaimRef, SourceError, Window};

/// Rows of one list, and how far the lanes are.
pub(super) struct Part {
    pub(super) claim: Claim,
    /// Windows that are not finished by every lane, by their first row.
    pub(super) windows: BTreeMap<u64, Window>,
    /// Held for reading while a window is read, and for writing while finished rows are removed from the list.
    pub(super) trimming: Arc<RwLock<()>>,
}

#[derive(Default)]
pub(super) struct Local(Mutex<HashMap<ClaimId, Part>>);

impl Local {
    pub(super) fn parts(&self) -> MutexGuard<'_, HashMap<ClaimId, Part>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether rows of this list are being worked on.
    pub(super) fn has(&self, key: &Key) -> bool {
        self.parts().values().any(|part| part.claim.key.name == key.name)
    }

    /// How many there are, and rows in them.
    pub(super) fn figures(&self) -> (u64, u64) {
        let parts = self.parts();
        let rows = parts.values().map(|part| part.claim.len - part.claim.base).sum();
        (parts.len() as u64, rows)
    }

    pub(super) fn add(&self, claim: &Claim, windows: BTreeMap<u64, Window>) {
        let part = Part {
            claim: claim.clone(),
            windows,
            trimming: Arc::default(),
        };
        self.parts().insert(claim.id, part);
    }

    /// Looks at one claim. [`SourceError::LeaseLost`] when it is gone.
    pub(super) fn with<T>(
        &self,
        claim: &ClaimRef,
        look: impl FnOnce(&mut Part) -> Result<T, SourceError>,
    ) -> Result<T, SourceError> {
        look(
            self.parts()
                .get_mut(&claim.id)
                .ok_or(SourceError::LeaseLost(claim.id))?,
        )
    }
}

impl Part {
    /// Moves a lane's cursor and returns the least of all.
    pub(super) fn advance(&mut self, claim: &ClaimRef, cursors: &[(Arc<str>, u64)]) -> Result<u64, SourceError> {
        let len = self.claim.len;
        for (lane, cursor) in cursors {
            let own = self
                .claim
                .cursors
                .get_mut(lane)
                .ok_or_else(|| SourceError::no_such_lane(claim.id, lane))?;
            *own = (*own).max((*cursor).min(len));
        }
        Ok(self.claim.cursors.values().copied().fold(len, u64::min))
    }

    /// Forgets windows whose rows are finished.
    pub(super) fn set_base(&mut self, base: u64) {
        self.claim.base = self.claim.base.max(base);
        let end = |first: u64, window: &Window| first + window.elements.len() as u64;
        self.windows.retain(|&first, window| end(first, window) > base);
    }

    /// The bytes of one row, if its window is still there.
    pub(super) fn row(&self, row: u64) -> Option<Vec<u8>> {
        let (first, window) = self.windows.range(..=row).next_back()?;
        let span = window.elements.get((row - first) as usize)?;
        Some(span.of(&window.buffer).to_vec())
    }

    pub(super) fn state(&self) -> Acknowledged {
        if self.claim.base >= self.claim.len {
            Acknowledged::Finished
        } else {
            Acknowledged::Open { base: self.claim.base }
        }
    }
}
