//! The daemon's own lane: elements that are no records become dead letters, once a claim and row.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::Duration,
};

use analytics::{Batch, Decoded};
use tokio::sync::Notify;

use super::{
    dead_letter::DeadLetters,
    held::Held,
    reader::Loaded,
    refusals::Refusals,
    report::{Context, Report},
    retry::Backoff,
    status::StatusBoard,
};
use crate::{
    clock::now_ms,
    instrumentation::Instrumentation,
    source::{Acknowledged, Claims, DeadLetter, ElementForm, SourceError},
};

/// Name of the lane, in cursors and dead letters.
pub const LANE: &str = "!undecodable";

/// Follows what the other lanes read. Windows without undecodable elements are finished in passing; their cursor
/// travels with the acknowledgements of the other lanes.
pub struct Undecodable {
    source: Arc<dyn Claims>,
    dead: Arc<DeadLetters>,
    status: Arc<StatusBoard>,
    instrumentation: Arc<Instrumentation>,
    refusals: Mutex<Refusals>,
    /// Windows that hold undecodable elements, not stored yet.
    waiting: Mutex<VecDeque<(Arc<Held>, Arc<Loaded>)>>,
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
            waiting: Mutex::default(),
            wake: Notify::new(),
            log: Report::new(Duration::from_secs(10)),
        }
    }

    fn refusals(&self) -> std::sync::MutexGuard<'_, Refusals> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An operator wants undecodable elements in the dead letters, however many there are.
    pub fn let_through(&self) {
        self.refusals().let_through();
    }

    /// Refuses a window that holds so many undecodable elements that a new encoding is more likely than damage: it
    /// must not drain into the dead letters.
    pub fn judge(&self, held: &Held, batch: &Batch, bad: usize) -> Result<(), String> {
        let mut refusals = self.refusals();
        if bad > 0 && !refusals.refuse(bad, false) {
            return Err(format!(
                "cannot read this gateway's records: {bad} of {} elements of {} are undecodable; they stay in Redis \
                 (after a look at them: tyk-pump lane accept-refusals {LANE})",
                batch.len(),
                held.reference.key.name,
            ));
        }
        refusals.accept(batch.len() - bad);
        if bad == 0 {
            refusals.settle();
        }
        Ok(())
    }

    /// Takes note of a window that was read.
    pub fn observe(&self, held: &Arc<Held>, window: &Arc<Loaded>, bad: usize) {
        let batch = &window.batch;
        self.status
            .decoded
            .fetch_add((batch.len() - bad) as u64, Ordering::Relaxed);
        self.instrumentation.record((batch.len() - bad) as u64);
        let rows = batch.first_row..batch.end_row();
        if bad == 0 {
            held.undecodable().finish(rows);
            return;
        }
        if rows.end <= held.undecodable().run_end() {
            return;
        }
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back((held.clone(), window.clone()));
        self.wake.notify_one();
    }

    /// Whether windows wait to be stored.
    pub fn is_idle(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
    }

    /// Stores what [`Undecodable::observe`] has put aside, until the task is aborted.
    pub async fn run(self: Arc<Self>) {
        loop {
            let next = self
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .front()
                .cloned();
            let Some((held, window)) = next else {
                self.wake.notified().await;
                continue;
            };
            self.store(&held, &window.batch).await;
            self.acknowledge(&held).await;
            self.waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        }
    }

    async fn store(&self, held: &Held, batch: &Batch) {
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
        while let Err(error) = self.dead.store(&letters).await {
            if held.is_lost() {
                return;
            }
            let text = format!("undecodable elements cannot be stored as dead letters, trying again: {error}");
            self.log.error(&text, Context::default());
            tokio::time::sleep(backoff.next(None)).await;
        }
        self.status
            .undecodable
            .fetch_add(letters.len() as u64, Ordering::Relaxed);
        held.undecodable().finish(batch.first_row..batch.end_row());
    }

    /// Acknowledges what is finished; keeps trying while the claim is ours.
    pub async fn acknowledge(&self, held: &Held) {
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
