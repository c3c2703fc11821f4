//! What all lanes of a process use.

use std::{
    collections::HashMap,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

use analytics::ClaimId;
use parking_lot::Mutex;

use super::{
    dead_letter::DeadLetters, disk::Disk, held::HeldClaim, reader::Reader, report::Report, undecodable::Undecodable,
};
use crate::{
    instrumentation::Instrumentation,
    source::{ClaimRef, Source},
};

/// What all lanes of a process use.
pub(super) struct Services {
    pub(super) source: Arc<dyn Source>,
    pub(super) reader: Arc<Reader>,
    pub(super) dead: Arc<DeadLetters>,
    pub(super) undecodable: Arc<Undecodable>,
    pub(super) disk: Disk,
    pub(super) holdings: Holdings,
    pub(super) instrumentation: Arc<Instrumentation>,
    pub(super) log: Report,
    pub(super) lease: Duration,
    pub(super) purge_delay: Duration,
    /// How long a write may go on without a row being accepted before its lane counts as failing.
    pub(super) write_stall: Duration,
    /// `purge_chunk` is set: where values are to be upstream's, each window is written by itself.
    pub(super) in_chunks: bool,
    /// What is claimed now is all that will come for the time being: nobody waits for more.
    pub(super) drains: AtomicBool,
}

/// The claims that this instance holds.
#[derive(Default)]
pub(super) struct Holdings(Mutex<HashMap<ClaimId, Arc<HeldClaim>>>);

impl Holdings {
    pub(super) fn add(&self, held: Arc<HeldClaim>) {
        self.0.lock().insert(held.id(), held);
    }

    /// Lets go of a claim, unless it was taken up again in the meantime.
    pub(super) fn remove(&self, held: &Arc<HeldClaim>) {
        let mut claims = self.0.lock();
        if claims.get(&held.id()).is_some_and(|known| Arc::ptr_eq(known, held)) {
            claims.remove(&held.id());
        }
    }

    /// Lets go of claims that are finished, lost, or of which only rows of pumps are left that we do not have. The
    /// latter are returned, to be given back.
    pub(super) fn sweep(&self) -> Vec<ClaimRef> {
        let mut releases = Vec::new();
        self.0.lock().retain(|_, held| {
            if held.is_finished() || held.is_lost() {
                return false;
            }
            let through = held.is_through();
            if through {
                releases.push(held.reference.clone());
            }
            !through
        });
        releases
    }

    pub(super) fn all(&self) -> Vec<Arc<HeldClaim>> {
        self.0.lock().values().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.lock().is_empty()
    }

    /// Whether nothing is left to do for what is held.
    pub(super) fn is_idle(&self) -> bool {
        let claims = self.0.lock();
        claims
            .values()
            .all(|held| held.is_finished() || held.is_lost() || held.is_through())
    }
}
