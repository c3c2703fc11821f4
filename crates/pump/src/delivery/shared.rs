//! What all lanes of a process share.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use analytics::{ClaimId, Transform};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{dead_letter::DeadLetters, held::Held, reader::Reader, report::Report, undecodable::Undecodable};
use crate::{
    instrumentation::Instrumentation,
    source::{ClaimRef, Source},
};

/// What all lanes of a process share.
pub(super) struct Shared {
    pub(super) source: Arc<dyn Source>,
    pub(super) reader: Arc<Reader>,
    pub(super) dead: Arc<DeadLetters>,
    pub(super) undecodable: Arc<Undecodable>,
    pub(super) holdings: Holdings,
    pub(super) instrumentation: Arc<Instrumentation>,
    pub(super) log: Report,
    pub(super) lease: Duration,
    pub(super) purge_delay: Duration,
    /// `purge_chunk` is set: where values are to be the reference's, each window is written by itself.
    pub(super) in_chunks: bool,
    pub(super) stop: CancellationToken,
    pub(super) controls: Vec<LaneControl>,
}

/// What others tell a lane.
pub(super) struct LaneControl {
    pub(super) transform: Arc<Transform>,
    /// Bytes that the lane may hold while it fails; `u64::MAX`: as many as it likes.
    pub(super) allowance: AtomicU64,
    pub(super) relief: Notify,
    pub(super) woken: Notify,
    pub(super) accepts_refusals: AtomicBool,
    /// Another process uses what the pump needs, and delivers.
    pub(super) stands_by: AtomicBool,
}

impl LaneControl {
    pub(super) fn new(transform: Transform) -> Self {
        Self {
            transform: Arc::new(transform),
            allowance: AtomicU64::new(u64::MAX),
            relief: Notify::new(),
            woken: Notify::new(),
            accepts_refusals: AtomicBool::new(false),
            stands_by: AtomicBool::new(false),
        }
    }
}

impl Shared {
    pub(super) fn lanes(&self) -> usize {
        self.controls.len()
    }

    pub(super) fn transform(&self, lane: usize) -> Arc<Transform> {
        self.controls
            .get(lane)
            .map(|control| control.transform.clone())
            .unwrap_or_default()
    }

    /// Says whether another process delivers in the place of a lane.
    pub(super) fn stand_by(&self, lane: usize, stands_by: bool) {
        if let Some(control) = self.controls.get(lane) {
            control.stands_by.store(stands_by, Ordering::Release);
        }
    }

    /// Whether this instance only waits to take another's place: it must claim nothing then.
    pub(super) fn stands_by(&self) -> bool {
        self.controls
            .iter()
            .any(|control| control.stands_by.load(Ordering::Acquire))
    }

    /// Resolves when the lane should shed rows.
    pub(super) async fn relief(&self, lane: usize) {
        match self.controls.get(lane) {
            Some(control) => control.relief.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Resolves when somebody wants the lane to try again at once.
    pub(super) async fn woken(&self, lane: usize) {
        match self.controls.get(lane) {
            Some(control) => control.woken.notified().await,
            None => std::future::pending().await,
        }
    }

    /// Bytes that a lane holding `held` bytes must shed.
    pub(super) fn excess(&self, lane: usize, held: u64) -> Option<u64> {
        let allowance = self.controls.get(lane)?.allowance.load(Ordering::Relaxed);
        held.checked_sub(allowance).filter(|&excess| excess > 0)
    }

    /// Whether an operator has accepted the refusals of a lane; asked once, answered once.
    pub(super) fn accepts_refusals(&self, lane: usize) -> bool {
        self.controls
            .get(lane)
            .is_some_and(|control| control.accepts_refusals.swap(false, Ordering::AcqRel))
    }

    /// Waits; `true`: the process stops.
    pub(super) async fn stopped_for(&self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => false,
            () = self.stop.cancelled() => true,
        }
    }
}

/// The claims that this instance holds.
#[derive(Default)]
pub(super) struct Holdings {
    claims: Mutex<HashMap<ClaimId, Arc<Held>>>,
}

impl Holdings {
    fn claims(&self) -> std::sync::MutexGuard<'_, HashMap<ClaimId, Arc<Held>>> {
        self.claims.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, held: Arc<Held>) {
        self.claims().insert(held.id(), held);
    }

    /// Lets go of a claim, unless it was taken up again in the meantime.
    pub(super) fn remove(&self, held: &Arc<Held>) {
        let mut claims = self.claims();
        if claims.get(&held.id()).is_some_and(|known| Arc::ptr_eq(known, held)) {
            claims.remove(&held.id());
        }
    }

    /// Lets go of claims that are finished, lost, or of which only rows of pumps are left that we do not have. The
    /// latter are returned, to be given back.
    pub(super) fn sweep(&self) -> Vec<ClaimRef> {
        let mut releases = Vec::new();
        self.claims().retain(|_, held| {
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

    pub(super) fn all(&self) -> Vec<Arc<Held>> {
        self.claims().values().cloned().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.claims().is_empty()
    }
}
