//! A lane as others see it: who it is, what it is told, how it is stopped.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::delivery::{held::HeldClaim, letters::ReplayRequest};

/// Who a lane is. A pump keeps its key when its settings change, and with it cursors, ledger and letters; the lane that
/// delivers for it is another one then.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(in crate::delivery) struct LaneId {
    /// Unique in this process.
    pub(in crate::delivery) incarnation: u64,
    /// The pump's key.
    pub(in crate::delivery) pump: Arc<str>,
}

/// What a lane is told.
pub(in crate::delivery) enum Message {
    /// A claim, with the lane's next row in it.
    Claim(Arc<HeldClaim>, u64),
    /// Dead letters to write once more.
    Replay(ReplayRequest),
}

/// What others demand of a lane while it works.
pub(in crate::delivery) struct LaneControl {
    /// Bytes that the lane may hold while it fails; `u64::MAX`: as many as it likes.
    allowance: AtomicU64,
    relief: Notify,
    woken: Notify,
    accepts_refusals: AtomicBool,
    stands_by: AtomicBool,
    /// Take up nothing more.
    pub(in crate::delivery) stop: CancellationToken,
    /// Give up what is running.
    pub(in crate::delivery) abandon: CancellationToken,
}

impl LaneControl {
    pub(in crate::delivery) fn new(stop: CancellationToken) -> Self {
        Self {
            allowance: AtomicU64::new(u64::MAX),
            relief: Notify::new(),
            woken: Notify::new(),
            accepts_refusals: AtomicBool::new(false),
            stands_by: AtomicBool::new(false),
            stop,
            abandon: CancellationToken::new(),
        }
    }

    /// The lane may hold so many bytes from now on; it is told if it `holds` more.
    pub(in crate::delivery) fn allow(&self, bytes: u64, holds: u64) {
        self.allowance.store(bytes, Ordering::Relaxed);
        if holds > bytes {
            self.relief.notify_one();
        }
    }

    /// Bytes that a lane holding `held` bytes must shed.
    pub(super) fn excess(&self, held: u64) -> Option<u64> {
        let allowance = self.allowance.load(Ordering::Relaxed);
        held.checked_sub(allowance).filter(|&excess| excess > 0)
    }

    /// Resolves when the lane should shed rows.
    pub(super) async fn relief(&self) {
        self.relief.notified().await;
    }

    /// Makes the lane try again at once.
    pub(in crate::delivery) fn wake(&self) {
        self.woken.notify_one();
    }

    /// Resolves when somebody wants the lane to try again at once.
    pub(super) async fn woken(&self) {
        self.woken.notified().await;
    }

    /// What the back-end refuses may become dead letters, whatever its share.
    pub(in crate::delivery) fn accept_refusals(&self) {
        self.accepts_refusals.store(true, Ordering::Release);
        self.wake();
    }

    /// Whether an operator has accepted the refusals; asked once, answered once.
    pub(super) fn accepts_refusals(&self) -> bool {
        self.accepts_refusals.swap(false, Ordering::AcqRel)
    }

    /// Says whether another process uses what the pump needs, and delivers.
    pub(super) fn stand_by(&self, stands_by: bool) {
        self.stands_by.store(stands_by, Ordering::Release);
    }

    /// Whether this instance only waits to take another's place: it must claim nothing then.
    pub(in crate::delivery) fn stands_by(&self) -> bool {
        self.stands_by.load(Ordering::Acquire)
    }
}
