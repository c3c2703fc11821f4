//! The lanes of this process, by who they are.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use analytics::{Key, RecordKind};
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;

use super::{
    facts::LaneFacts,
    held::HeldClaim,
    lane::{Estate, LaneControl, LaneId, Message},
    letters::ReplayRequest,
};
use crate::config::OnFull;

/// A running lane; when it is dropped, the lane ends at once, as in a crash.
pub(super) struct LaneHandle {
    pub(super) id: LaneId,
    pub(super) records: RecordKind,
    pub(super) on_full: OnFull,
    pub(super) control: Arc<LaneControl>,
    pub(super) facts: watch::Receiver<LaneFacts>,
    pub(super) inbox: mpsc::UnboundedSender<Message>,
    /// `None`: somebody is stopping it.
    pub(super) task: Option<AbortOnDropHandle<Estate>>,
    /// The pump is about to go.
    pub(super) retired: bool,
}

impl LaneHandle {
    /// Hands dead letters to the lane. `false`: it has ended.
    pub(super) fn replay(&self, request: ReplayRequest) -> bool {
        self.inbox.send(Message::Replay(request)).is_ok()
    }

    /// Hands the lane a claim, from row `cursor` on.
    pub(super) fn claim(&self, held: &Arc<HeldClaim>, cursor: u64) {
        if self.inbox.send(Message::Claim(held.clone(), cursor)).is_err() {
            held.lane_done();
        }
    }
}

/// The lanes, in the order in which they were made.
#[derive(Default)]
pub(super) struct Lanes {
    running: RwLock<BTreeMap<LaneId, LaneHandle>>,
    incarnations: AtomicU64,
}

impl Lanes {
    /// A name for a new lane of `pump`.
    pub(super) fn name(&self, pump: &Arc<str>) -> LaneId {
        LaneId {
            incarnation: self.incarnations.fetch_add(1, Ordering::Relaxed),
            pump: pump.clone(),
        }
    }

    /// Adds a lane; in the place of `former`, so that there is always one or the other.
    pub(super) fn put(&self, lane: LaneHandle, former: Option<&LaneId>) {
        let mut running = self.running.write();
        if let Some(former) = former {
            running.remove(former);
        }
        running.insert(lane.id.clone(), lane);
    }

    /// The pump is about to go: nothing is claimed for it any more.
    pub(super) fn retire(&self, id: &LaneId) {
        if let Some(lane) = self.running.write().get_mut(id) {
            lane.retired = true;
        }
    }

    pub(super) fn remove(&self, id: &LaneId) -> Option<LaneHandle> {
        self.running.write().remove(id)
    }

    /// Looks at all lanes. Nothing may be waited for meanwhile.
    pub(super) fn look(&self) -> RwLockReadGuard<'_, BTreeMap<LaneId, LaneHandle>> {
        self.running.read()
    }

    /// The lane of a pump, whatever the case of its name.
    pub(super) fn of(&self, pump: &str) -> Option<LaneId> {
        let running = self.running.read();
        running.keys().find(|id| id.pump.eq_ignore_ascii_case(pump)).cloned()
    }

    /// Takes what is needed to stop a lane; it stays among the lanes.
    pub(super) fn take_task(&self, id: &LaneId) -> Option<(Arc<LaneControl>, AbortOnDropHandle<Estate>)> {
        let mut running = self.running.write();
        let lane = running.get_mut(id)?;
        Some((lane.control.clone(), lane.task.take()?))
    }

    /// Pumps that take the records of `key`.
    pub(super) fn taking(&self, key: &Key) -> Vec<Arc<str>> {
        let running = self.running.read();
        let taking = running
            .values()
            .filter(|lane| lane.records == key.records && !lane.retired);
        taking.map(|lane| lane.id.pump.clone()).collect()
    }

    /// All pumps.
    pub(super) fn pumps(&self) -> Vec<Arc<str>> {
        self.running.read().keys().map(|id| id.pump.clone()).collect()
    }

    /// Whether this instance only waits to take another's place: it must claim nothing then.
    pub(super) fn stand_by(&self) -> bool {
        self.running.read().values().any(|lane| lane.control.stands_by())
    }
}
