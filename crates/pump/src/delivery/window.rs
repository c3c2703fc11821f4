//! Decoded windows of claims in memory.

use std::{
    ops::Range,
    sync::{
        Arc, Weak,
        atomic::{AtomicU64, Ordering},
    },
};

use analytics::{Batch, Decoded};

/// A decoded window, counted against the memory budget while anybody holds it.
#[derive(Debug)]
pub struct Loaded {
    /// The rows.
    pub batch: Arc<Batch>,
    size: u64,
    used: Arc<AtomicU64>,
}

impl Loaded {
    /// Counts `batch` in `used` from now on.
    pub fn new(batch: Batch, used: &Arc<AtomicU64>) -> Self {
        let size = batch.footprint() as u64;
        used.fetch_add(size, Ordering::AcqRel);
        Self {
            batch: Arc::new(batch),
            size,
            used: used.clone(),
        }
    }

    /// Bytes that it takes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Elements that are no records.
    pub fn undecodable(&self) -> usize {
        let rows = self.batch.rows.iter();
        rows.filter(|row| matches!(row, Decoded::Undecodable(_))).count()
    }
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
    /// Incarnations of the lanes that have had it.
    served: Vec<u64>,
}

impl Cached {
    /// Keeps `window`.
    pub fn new(window: Arc<Loaded>) -> Self {
        Self {
            rows: window.batch.first_row..window.batch.end_row(),
            window: Arc::downgrade(&window),
            kept: Some(window),
            served: Vec::new(),
        }
    }

    /// Whether anybody still has the window.
    pub fn is_alive(&self) -> bool {
        self.window.strong_count() > 0
    }

    /// Rows of the window.
    pub fn rows(&self) -> &Range<u64> {
        &self.rows
    }

    /// The window, for the lane of this incarnation out of `lanes`, or for nobody in particular.
    pub fn serve(&mut self, lane: Option<u64>, lanes: usize) -> Option<Arc<Loaded>> {
        let window = self.window.upgrade()?;
        if let Some(lane) = lane.filter(|lane| !self.served.contains(lane)) {
            self.served.push(lane);
        }
        if self.served.len() >= lanes {
            self.kept = None;
        }
        Some(window)
    }

    /// No longer keeps the window for lanes that have not had it.
    pub fn let_go(&mut self) {
        self.kept = None;
    }
}
