//! A claim that this instance holds.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use analytics::ClaimId;
use parking_lot::{Mutex, MutexGuard};

use super::{progress::Progress, window::Cached};
use crate::source::{Claim, ClaimRef};

/// Milliseconds of a clock that goes on while the machine sleeps.
pub fn boot_clock_ms() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    now.tv_sec.unsigned_abs() * 1000 + now.tv_nsec.unsigned_abs() / 1_000_000
}

/// A claim that this instance holds, shared by its lanes.
#[derive(Debug)]
pub struct HeldClaim {
    /// How the source knows it.
    pub reference: ClaimRef,
    /// Rows.
    pub len: u64,
    /// Lanes to which the claim was given, and the names under which their ledgers know it.
    pub adopted: BTreeMap<Arc<str>, Arc<str>>,
    /// When it was made, milliseconds since 1970 by the source's clock.
    pub claimed_at_ms: u64,
    /// One reader at a time.
    pub reading: tokio::sync::Mutex<()>,
    cache: Mutex<Vec<Cached>>,
    undecodable: Mutex<Progress>,
    confirmed_ms: AtomicU64,
    lost: AtomicBool,
    vanished: AtomicBool,
    finished: AtomicBool,
    lanes: usize,
    lanes_left: AtomicU64,
    catching_up: AtomicBool,
}

impl HeldClaim {
    /// A claim that was made or taken over by a request sent at `confirmed_ms`; `undecodable` is the cursor of the
    /// lane for undecodable elements.
    pub fn new(claim: &Claim, undecodable: u64, lanes: usize, confirmed_ms: u64) -> Self {
        Self {
            reference: claim.reference(),
            len: claim.len,
            adopted: claim.adopted.clone(),
            claimed_at_ms: claim.claimed_at_ms,
            reading: tokio::sync::Mutex::new(()),
            cache: Mutex::default(),
            undecodable: Mutex::new(Progress::new(undecodable, claim.len)),
            confirmed_ms: AtomicU64::new(confirmed_ms),
            lost: AtomicBool::new(false),
            vanished: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            lanes,
            lanes_left: AtomicU64::new(lanes as u64),
            catching_up: AtomicBool::new(false),
        }
    }

    /// Identity.
    pub fn id(&self) -> ClaimId {
        self.reference.id
    }

    /// The source has confirmed the lease for a request that was sent at `sent_ms`.
    pub fn confirm(&self, sent_ms: u64) {
        self.confirmed_ms.fetch_max(sent_ms, Ordering::AcqRel);
    }

    /// Another instance owns the claim now, or it is gone.
    pub fn lose(&self) {
        self.lost.store(true, Ordering::Release);
        self.cache().clear();
    }

    /// The source has lost the claim, and its rows with it.
    pub fn vanish(&self) {
        self.vanished.store(true, Ordering::Release);
        self.lose();
    }

    /// Whether what is not delivered of it is lost, and not somebody else's.
    pub fn has_vanished(&self) -> bool {
        self.vanished.load(Ordering::Acquire)
    }

    /// Whether the claim was lost.
    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// Whether a write may start: the claim is ours for certain.
    pub fn may_write(&self, lease: Duration) -> bool {
        let age = boot_clock_ms().saturating_sub(self.confirmed_ms.load(Ordering::Acquire));
        !self.is_lost() && u128::from(age) < lease.as_millis()
    }

    /// Lanes of this instance that were given the claim.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// One lane of this instance is through, or is gone.
    pub fn lane_done(&self) {
        self.lanes_left.fetch_sub(1, Ordering::AcqRel);
    }

    /// Every lane of this instance is through, that for undecodable elements included.
    pub fn is_through(&self) -> bool {
        self.lanes_left.load(Ordering::Acquire) == 0 && self.undecodable().is_done()
    }

    /// The first row that no lane of this instance will read any more although nobody has looked for undecodable
    /// elements in it: rows that were dropped, or spooled before a crash. The end of the claim if somebody has, after the
    /// last lane's acknowledgement, with which that would have travelled. Answered once.
    pub fn to_catch_up(&self) -> Option<u64> {
        if self.lanes_left.load(Ordering::Acquire) > 0 || self.is_lost() || self.is_finished() {
            return None;
        }
        let row = {
            let undecodable = self.undecodable();
            if undecodable.is_done() {
                return None;
            }
            undecodable.next_unfinished(0).unwrap_or(self.len)
        };
        (!self.catching_up.swap(true, Ordering::AcqRel)).then_some(row)
    }

    /// The source has removed the claim: every lane of every instance is through.
    pub fn finish(&self) {
        self.finished.store(true, Ordering::Release);
    }

    /// Whether the claim is gone because it is finished.
    pub fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Decoded windows of this claim.
    pub fn cache(&self) -> MutexGuard<'_, Vec<Cached>> {
        self.cache.lock()
    }

    /// Progress of the lane for undecodable elements.
    pub fn undecodable(&self) -> MutexGuard<'_, Progress> {
        self.undecodable.lock()
    }
}
