//! Reading windows of claims: decoded once, shared by all lanes, within a budget of memory.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use analytics::{Batch, Decoded};

use super::{held::Held, undecodable::Undecodable};
use crate::source::{Claims, SourceError};

/// What a window is expected to need before it is read: 2 MiB of elements and their records.
const EXPECTED_WINDOW: u64 = 4 << 20;

/// A decoded window, counted against the memory budget while anybody holds it.
#[derive(Debug)]
pub struct Loaded {
    /// The rows.
    pub batch: Arc<Batch>,
    size: u64,
    used: Arc<AtomicU64>,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.used.fetch_sub(self.size, Ordering::AcqRel);
    }
}

/// A window in the cache of its claim. It is kept until every lane has had it, or memory is short.
#[derive(Debug)]
pub struct Cached {
    rows: Range<u64>,
    window: Weak<Loaded>,
    kept: Option<Arc<Loaded>>,
    served: Vec<usize>,
}

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
    kept: Mutex<VecDeque<(Weak<Held>, u64)>>,
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

    /// The window that holds `row`, for the lane with number `lane`, out of `lanes` that will want it. Always answers,
    /// even if the budget is exhausted: a lane can make progress with one window.
    pub async fn window(
        &self,
        held: &Arc<Held>,
        row: u64,
        lane: usize,
        lanes: usize,
    ) -> Result<Arc<Loaded>, ReadError> {
        if let Some(window) = serve(held, row, lane, lanes) {
            return Ok(window);
        }
        let _one_at_a_time = held.reading.lock().await;
        if let Some(window) = serve(held, row, lane, lanes) {
            return Ok(window);
        }
        self.has_room();
        self.load(held, row).await?;
        serve(held, row, lane, lanes).ok_or_else(|| SourceError::LeaseLost(held.id()).into())
    }

    /// Like [`Reader::window`], or `None` when memory is short.
    pub async fn window_if_room(
        &self,
        held: &Arc<Held>,
        row: u64,
        lane: usize,
        lanes: usize,
    ) -> Result<Option<Arc<Loaded>>, ReadError> {
        if let Some(window) = serve(held, row, lane, lanes) {
            return Ok(Some(window));
        }
        if !self.has_room() {
            return Ok(None);
        }
        self.window(held, row, lane, lanes).await.map(Some)
    }

    /// Reads up to `windows` windows ahead of time, from the given rows of claims on, if there is room; only the first may
    /// take the place of windows that are kept for other lanes. Errors are left to whoever wants the window.
    pub async fn prefetch(&self, from: Vec<(Arc<Held>, u64)>, windows: usize) {
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
    async fn read_ahead(&self, held: &Arc<Held>, row: u64, has_room: impl FnOnce() -> bool) -> Option<u64> {
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

    async fn load(&self, held: &Arc<Held>, row: u64) -> Result<(), ReadError> {
        let window = self.source.read(&held.reference, row, self.max_rows).await?;
        crate::failpoints::hit(crate::failpoints::AFTER_READ);
        let (claim, key) = (held.id(), held.reference.key.clone());
        let decode = move || Batch::decode(claim, key, window.first_row, window.buffer, window.elements);
        let batch = tokio::task::spawn_blocking(decode)
            .await
            .map_err(|e| SourceError::Unavailable(e.into()))?;
        let bad = batch
            .rows
            .iter()
            .filter(|row| matches!(row, Decoded::Undecodable(_)))
            .count();
        self.undecodable
            .judge(held, &batch, bad)
            .map_err(ReadError::Unreadable)?;
        let size = batch.footprint() as u64;
        self.used.fetch_add(size, Ordering::AcqRel);
        let loaded = Arc::new(Loaded {
            batch: Arc::new(batch),
            size,
            used: self.used.clone(),
        });
        self.undecodable.observe(held, &loaded, bad);
        let rows = loaded.batch.first_row..loaded.batch.end_row();
        let mut cache = held.cache();
        cache.retain(|cached| cached.window.strong_count() > 0);
        let first = rows.start;
        cache.push(Cached {
            rows,
            window: Arc::downgrade(&loaded),
            kept: Some(loaded),
            served: Vec::new(),
        });
        drop(cache);
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push_back((Arc::downgrade(held), first));
        Ok(())
    }

    fn fits(&self) -> bool {
        self.used.load(Ordering::Acquire) + EXPECTED_WINDOW <= self.budget
    }

    /// Whether another window fits into the budget, after letting go of windows that are only kept for lanes behind.
    fn has_room(&self) -> bool {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        while !self.fits() {
            let Some((held, first)) = kept.pop_front() else {
                return false;
            };
            if let Some(held) = held.upgrade() {
                let mut cache = held.cache();
                cache
                    .iter_mut()
                    .filter(|cached| cached.rows.start == first)
                    .for_each(|cached| cached.kept = None);
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
fn end_of(held: &Held, row: u64) -> Option<u64> {
    let cache = held.cache();
    let mut live = cache.iter().filter(|cached| cached.window.strong_count() > 0);
    live.find(|cached| cached.rows.contains(&row))
        .map(|cached| cached.rows.end)
}

fn serve(held: &Held, row: u64, lane: usize, lanes: usize) -> Option<Arc<Loaded>> {
    let mut cache = held.cache();
    let cached = cache
        .iter_mut()
        .find(|cached| cached.rows.contains(&row) && cached.window.strong_count() > 0)?;
    let window = cached.window.upgrade()?;
    if !cached.served.contains(&lane) {
        cached.served.push(lane);
    }
    if cached.served.len() >= lanes {
        cached.kept = None;
    }
    Some(window)
}
