//! The daemon's own lane: elements that are no records become dead letters, once a claim and row.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use analytics::{Batch, Decoded};
use parking_lot::{Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{
    dead_letter::DeadLetters,
    held::HeldClaim,
    refusals::Refusals,
    report::{Context, Report},
    retry::Backoff,
    status::StatusBoard,
    window::Loaded,
};
use crate::{
    clock::now_ms,
    instrumentation::Instrumentation,
    source::{Acknowledged, Claims, DeadLetter, ElementForm, SourceError},
};

/// Name of the lane, in cursors and dead letters.
pub const LANE: &str = "!undecodable";

/// Bytes of windows that may wait to be stored. What does not fit is read again once the other lanes are through.
const WAITING: u64 = 16 << 20;

/// Windows that hold undecodable elements, not stored yet.
#[derive(Default)]
struct Waiting {
    windows: VecDeque<(Arc<HeldClaim>, Arc<Loaded>)>,
    bytes: u64,
}

/// Follows what the other lanes read. Windows without undecodable elements are finished in passing; their cursor
/// travels with the acknowledgements of the other lanes.
pub struct Undecodable {
    source: Arc<dyn Claims>,
    dead: Arc<DeadLetters>,
    status: Arc<StatusBoard>,
    instrumentation: Arc<Instrumentation>,
    refusals: Mutex<Refusals>,
    /// The window that was judged last holds too many undecodable elements.
    refusing: AtomicBool,
    waiting: Mutex<Waiting>,
    wake: Notify,
    log: Report,
}

impl Undecodable {
    /// The lane; [`Undecodable::run`] must be spawned.
    pub fn new(
        source: Arc<dyn Claims>,
        dead: Arc<DeadLetters>,
        status: Arc<StatusBoard>,
        instrumentation: Arc<Instrumentation>,
    ) -> Self {
        Self {
            instrumentation,
            source,
            dead,
            status,
            refusals: Mutex::default(),
            refusing: AtomicBool::new(false),
            waiting: Mutex::default(),
            wake: Notify::new(),
            log: Report::new(Duration::from_secs(10)),
        }
    }

    fn refusals(&self) -> MutexGuard<'_, Refusals> {
        self.refusals.lock()
    }

    /// An operator wants undecodable elements in the dead letters, however many there are.
    pub fn let_through(&self) {
        self.refusals().let_through();
    }

    /// Refuses a window that holds so many undecodable elements that a new encoding is more likely than damage: it
    /// must not drain into the dead letters.
    pub fn judge(&self, held: &HeldClaim, window: &Loaded) -> Result<(), String> {
        let (all, bad) = (window.batch.len(), window.undecodable());
        let mut refusals = self.refusals();
        let refused = bad > 0 && !refusals.refuse(bad, false);
        self.refusing.store(refused, Ordering::Release);
        if refused {
            return Err(format!(
                "cannot read this gateway's records: {bad} of {all} elements of {} are undecodable; they stay in Redis \
                 (after a look at them: tyk-pump lane accept-refusals {LANE})",
                held.reference.key.name,
            ));
        }
        refusals.accept(all - bad);
        if bad == 0 {
            refusals.settle();
        }
        Ok(())
    }

    /// Whether undecodable elements wait for [`Undecodable::let_through`], perhaps in rows that no other lane reads.
    pub fn is_refusing(&self) -> bool {
        self.refusing.load(Ordering::Acquire)
    }

    /// Counts a window that was read, and takes note of it.
    pub fn observe(&self, held: &Arc<HeldClaim>, window: &Arc<Loaded>) {
        let records = (window.batch.len() - window.undecodable()) as u64;
        self.status.decoded.fetch_add(records, Ordering::Relaxed);
        self.instrumentation.record(records);
        self.note(held, window);
    }

    /// Puts the undecodable elements of a window aside, to be stored. `false`: too many wait already.
    pub fn note(&self, held: &Arc<HeldClaim>, window: &Arc<Loaded>) -> bool {
        let rows = window.batch.first_row..window.batch.end_row();
        if window.undecodable() == 0 {
            held.undecodable().finish(rows);
            return true;
        }
        if rows.end <= held.undecodable().run_end() {
            return true;
        }
        let mut waiting = self.waiting.lock();
        if waiting.bytes > 0 && waiting.bytes + window.size() > WAITING {
            return false;
        }
        waiting.bytes += window.size();
        waiting.windows.push_back((held.clone(), window.clone()));
        self.wake.notify_one();
        true
    }

    /// Whether no window waits to be stored.
    pub fn is_idle(&self) -> bool {
        self.waiting.lock().windows.is_empty()
    }

    /// Stores what [`Undecodable::note`] has put aside, until the task is aborted.
    pub async fn run(self: Arc<Self>) {
        loop {
            let next = self.waiting.lock().windows.front().cloned();
            let Some((held, window)) = next else {
                self.wake.notified().await;
                continue;
            };
            self.store(&held, &window.batch).await;
            self.acknowledge(&held).await;
            let mut waiting = self.waiting.lock();
            waiting.windows.pop_front();
            waiting.bytes -= window.size();
        }
    }

    async fn store(&self, held: &HeldClaim, batch: &Batch) {
        let mut letters = Vec::new();
        for (index, row) in batch.rows.iter().enumerate() {
            let id = batch.row_id(index);
            let Decoded::Undecodable(reason) = row else { continue };
            if held.undecodable().is_finished(id.row) {
                continue;
            }
            let key: &str = &batch.key.short;
            let context = Context {
                analytic_key: Some(key),
                ..Context::default()
            };
            self.log
                .error(&format!("Couldn't unmarshal analytics data:{reason}"), context);
            letters.push(DeadLetter {
                lane: LANE.into(),
                key: batch.key.name.clone(),
                form: Some(ElementForm::of(&batch.key)),
                row: id,
                cause: reason.to_string(),
                at_ms: now_ms(),
                raw: batch.buffer.slice_ref(batch.element(index)),
            });
        }
        let mut backoff = Backoff::default();
        loop {
            match self.dead.store(&letters).await {
                Ok(kept) => {
                    kept.losses()
                        .for_each(|(reason, rows)| self.status.undecodable_dropped(reason, rows));
                    break;
                }
                Err(_) if held.is_lost() => return,
                Err(error) => {
                    let text = format!("undecodable elements cannot be stored as dead letters, trying again: {error}");
                    self.log.error(&text, Context::default());
                    self.status.source(|source| source.undecodable_waits = Some(text));
                    tokio::time::sleep(backoff.next(None)).await;
                }
            }
        }
        self.status.source(|source| source.undecodable_waits = None);
        self.status
            .undecodable
            .fetch_add(letters.len() as u64, Ordering::Relaxed);
        held.undecodable().finish(batch.first_row..batch.end_row());
    }

    /// Acknowledges what is finished; keeps trying while the claim is ours.
    pub async fn acknowledge(&self, held: &HeldClaim) {
        let mut backoff = Backoff::default();
        while !held.is_lost() {
            let Some(cursor) = held.undecodable().unacknowledged() else {
                return;
            };
            match self.source.acknowledge(&held.reference, &[(LANE.into(), cursor)]).await {
                Ok(state) => {
                    held.undecodable().acknowledge(cursor);
                    if state == Acknowledged::Finished {
                        held.finish();
                    }
                }
                Err(SourceError::LeaseLost(_)) => held.lose(),
                Err(SourceError::Vanished(_)) => held.vanish(),
                Err(_) => tokio::time::sleep(backoff.next(None)).await,
            }
        }
    }
}
