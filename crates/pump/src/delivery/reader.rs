//! Reading windows of claims: decoded once, shared by all lanes, within a budget of memory.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use analytics::Batch;
use parking_lot::Mutex;

use super::{
    held::HeldClaim,
    undecodable::Undecodable,
    window::{Cached, Loaded},
};
use crate::source::{Claims, SourceError};

/// What a window is expected to need before it is read: 2 MiB of elements and their records.
const EXPECTED_WINDOW: u64 = 4 << 20;

/// Why a window cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// So many elements are undecodable that the fault is ours, not theirs.
    #[error("{0}")]
    Unreadable(String),
}

/// Reads windows for all lanes.
pub struct Reader {
    source: Arc<dyn Claims>,
    undecodable: Arc<Undecodable>,
    max_rows: usize,
    budget: u64,
    used: Arc<AtomicU64>,
    /// Windows that are kept, oldest first: the first to go when memory is short.
    kept: Mutex<VecDeque<(Weak<HeldClaim>, u64)>>,
}

impl Reader {
    /// Windows of up to `max_rows` rows, up to `budget` bytes in memory at a time.
    pub fn new(source: Arc<dyn Claims>, undecodable: Arc<Undecodable>, max_rows: usize, budget: u64) -> Self {
        Self {
            source,
            undecodable,
            max_rows,
            budget,
            used: Arc::default(),
            kept: Mutex::default(),
        }
    }

    /// The window that holds `row`, for the lane of this incarnation, or for nobody in particular. Always answers, even if
    /// the budget is exhausted: a lane can make progress with one window.
    pub async fn window(&self, held: &Arc<HeldClaim>, row: u64, lane: Option<u64>) -> Result<Arc<Loaded>, ReadError> {
        if let Some(window) = serve(held, row, lane) {
            return Ok(window);
        }
        let _one_at_a_time = held.reading.lock().await;
        if let Some(window) = serve(held, row, lane) {
            return Ok(window);
        }
        self.has_room();
        self.load(held, row).await?;
        serve(held, row, lane).ok_or_else(|| SourceError::LeaseLost(held.id()).into())
    }

    /// Like [`Reader::window`], or `None` when memory is short.
    pub async fn window_if_room(
        &self,
        held: &Arc<HeldClaim>,
        row: u64,
        lane: Option<u64>,
    ) -> Result<Option<Arc<Loaded>>, ReadError> {
        if let Some(window) = serve(held, row, lane) {
            return Ok(Some(window));
        }
        if !self.has_room() {
            return Ok(None);
        }
        self.window(held, row, lane).await.map(Some)
    }

    /// Reads up to `windows` windows ahead of time, from the given rows of claims on, if there is room; only the first may
    /// take the place of windows that are kept for other lanes. Errors are left to whoever wants the window.
    pub async fn prefetch(&self, from: Vec<(Arc<HeldClaim>, u64)>, windows: usize) {
        let mut left = windows;
        for (held, mut row) in from {
            while left > 0 && !held.is_lost() && row < held.len {
                let has_room = || match left == windows {
                    true => self.has_room(),
                    false => self.fits(),
                };
                let Some(end) = self.read_ahead(&held, row, has_room).await else {
                    return;
                };
                (row, left) = (end, left - 1);
            }
        }
    }

    /// The row behind the window at `row`, which is in memory now. `None`: it is not.
    async fn read_ahead(&self, held: &Arc<HeldClaim>, row: u64, has_room: impl FnOnce() -> bool) -> Option<u64> {
        if let Some(end) = end_of(held, row) {
            return Some(end);
        }
        if !has_room() {
            return None;
        }
        let _one_at_a_time = held.reading.lock().await;
        if end_of(held, row).is_none() {
            self.load(held, row).await.ok()?;
        }
        end_of(held, row)
    }

    async fn load(&self, held: &Arc<HeldClaim>, row: u64) -> Result<(), ReadError> {
        let window = self.source.read(&held.reference, row, self.max_rows).await?;
        crate::failpoints::hit(crate::failpoints::AFTER_READ);
        let (claim, key) = (held.id(), held.reference.key.clone());
        let decode = move || Batch::decode(claim, key, window.first_row, window.buffer, window.elements);
        let batch = tokio::task::spawn_blocking(decode)
            .await
            .map_err(|e| SourceError::Unavailable(e.into()))?;
        let loaded = Arc::new(Loaded::new(batch, &self.used));
        self.undecodable.judge(held, &loaded).map_err(ReadError::Unreadable)?;
        self.undecodable.observe(held, &loaded);
        let first = loaded.batch.first_row;
        let mut cache = held.cache();
        cache.retain(Cached::is_alive);
        cache.push(Cached::new(loaded));
        drop(cache);
        self.kept.lock().push_back((Arc::downgrade(held), first));
        Ok(())
    }

    fn fits(&self) -> bool {
        self.used.load(Ordering::Acquire) + EXPECTED_WINDOW <= self.budget
    }

    /// Whether another window fits into the budget, after letting go of windows that are only kept for lanes behind.
    fn has_room(&self) -> bool {
        let mut kept = self.kept.lock();
        while !self.fits() {
            let Some((held, first)) = kept.pop_front() else {
                return false;
            };
            if let Some(held) = held.upgrade() {
                let mut cache = held.cache();
                cache
                    .iter_mut()
                    .filter(|cached| cached.rows().start == first)
                    .for_each(Cached::let_go);
            }
        }
        // Entries of windows that went the ordinary way would pile up here.
        if kept.len() > 1024 {
            kept.retain(|(held, _)| held.strong_count() > 0);
        }
        true
    }
}

/// The row behind the window that holds `row`, if it is in memory.
fn end_of(held: &HeldClaim, row: u64) -> Option<u64> {
    let cache = held.cache();
    let mut live = cache.iter().filter(|cached| cached.is_alive());
    live.find(|cached| cached.rows().contains(&row))
        .map(|cached| cached.rows().end)
}

fn serve(held: &HeldClaim, row: u64, lane: Option<u64>) -> Option<Arc<Loaded>> {
    let lanes = held.lanes();
    let mut cache = held.cache();
    let cached = cache
        .iter_mut()
        .find(|cached| cached.rows().contains(&row) && cached.is_alive())?;
    cached.serve(lane, lanes)
}
