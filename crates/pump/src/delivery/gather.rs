//! What a lane writes next: consecutive windows of one key, of one or many claims, up to the sink's liking.

use std::{sync::Arc, time::Duration};

use analytics::{Decoded, Key, RowRanges, Selection};

use super::{
    held::Held,
    lane::{Lane, Origin, WorkId},
    reader::{Loaded, ReadError},
    report::Context,
    spool::SpoolError,
};
use crate::source::SourceError;

/// Windows with fewer rows and bytes than these do not count for the average size of a row.
const TELLING_ROWS: usize = 20;
const TELLING_BYTES: usize = 64 << 10;

/// Part of a group: rows of one window.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) work: WorkId,
    /// Keeps the window within the memory budget.
    pub(super) _window: Option<Arc<Loaded>>,
    pub(super) selection: Selection,
}

impl Lane {
    /// Reads the next group. The first window is always read, further ones only while memory and the sink's liking
    /// allow; windows that nobody has claimed yet are waited for as long as the sink says. With `compat` and `purge_chunk`
    /// a group is one window: the reference hands each chunk over by itself, and aggregates have a bucket for each.
    pub(super) async fn gather(&mut self) -> Result<Vec<Piece>, ReadError> {
        let mut pieces = Vec::new();
        let (mut rows, mut bytes) = (0, 0);
        let mut key: Option<Arc<Key>> = None;
        let deadline = tokio::time::Instant::now() + self.spec.gather.wait;
        let mut at: Option<(WorkId, u64)> = None;
        while rows < self.spec.gather.rows && bytes < self.spec.gather.bytes {
            let Some((id, row)) = self.next(at, key.as_deref()) else {
                let wait = deadline.saturating_duration_since(tokio::time::Instant::now());
                if pieces.is_empty() || wait.is_zero() || !self.wait_for_company(wait).await {
                    break;
                }
                continue;
            };
            let Some((piece, first, end)) = self.read_piece(id, row, pieces.is_empty()).await? else {
                break;
            };
            let Some(piece) = piece else { continue };
            key.get_or_insert_with(|| piece.selection.batch().key.clone());
            rows += (end - first) as usize;
            bytes += piece.selection.batch().buffer.len();
            at = Some((id, end));
            pieces.push(piece);
            if self.shared.in_chunks && self.settings.compat {
                break;
            }
        }
        if let Some((id, row)) = at {
            self.prefetch(id, row, key.as_deref(), pieces.len());
        }
        Ok(pieces)
    }

    /// The next unfinished row behind `at`, of the same key once there is one.
    fn next(&self, at: Option<(WorkId, u64)>, key: Option<&Key>) -> Option<(WorkId, u64)> {
        for (id, work) in &self.work {
            let from = match at {
                Some((current, _)) if *id < current => continue,
                Some((current, row)) if *id == current => row,
                _ => 0,
            };
            let lost = matches!(&work.origin, Origin::Claim(held) if held.is_lost());
            let same_key = match (&work.origin, key) {
                (Origin::Claim(held), Some(key)) => *held.reference.key == *key,
                (Origin::Spool(_, own), Some(key)) => **own == *key,
                (_, None) => true,
            };
            if let (Some(row), true, false) = (work.progress.next_unfinished(from), same_key, lost) {
                return Some((*id, row));
            }
        }
        None
    }

    /// Reads the window at `row`. `None`: no room for it now. `Some((None, …))`: the work turned out to be void.
    async fn read_piece(
        &mut self,
        id: WorkId,
        row: u64,
        first: bool,
    ) -> Result<Option<(Option<Piece>, u64, u64)>, ReadError> {
        let Some(work) = self.work.get(&id) else {
            return Ok(Some((None, row, row)));
        };
        match work.origin.clone() {
            Origin::Claim(held) => {
                let window = self.claimed_window(&held, row, first).await?;
                let Some(window) = window else { return Ok(None) };
                let batch = window.batch.clone();
                self.learn_row_size(batch.buffer.len(), batch.len());
                let (start, end) = (row, batch.end_row());
                let range = (start - batch.first_row) as usize..batch.len();
                let selection = Selection::new(batch, range, self.shared.transform(self.number));
                Ok(Some((
                    Some(Piece {
                        work: id,
                        _window: Some(window),
                        selection,
                    }),
                    start,
                    end,
                )))
            }
            Origin::Spool(file, _) => {
                let Some(spool) = &self.spool else { return Ok(None) };
                match spool.load(&file) {
                    Ok(spooled) => {
                        let batch = Arc::new(spooled.batch);
                        let (start, end) = (batch.first_row, batch.end_row());
                        let range = 0..batch.len();
                        let selection = Selection::new(batch, range, self.shared.transform(self.number));
                        Ok(Some((
                            Some(Piece {
                                work: id,
                                _window: None,
                                selection,
                            }),
                            start,
                            end,
                        )))
                    }
                    Err(error @ SpoolError::Corrupt { .. }) => {
                        let to = spool.quarantine(&file);
                        let text = match to {
                            Ok(to) => format!("a spool file is damaged and was moved to {}: {error}", to.display()),
                            Err(second) => format!("a spool file is damaged and cannot be moved: {error}; {second}"),
                        };
                        self.shared.log.error(&text, Context::pump(&self.settings.name));
                        let lost = self.work.remove(&id).map_or(0, |work| work.progress.left());
                        self.board.dropped("spool_damaged", lost);
                        Ok(Some((None, row, row)))
                    }
                    Err(error) => Err(SourceError::Unavailable(error.into()).into()),
                }
            }
        }
    }

    async fn claimed_window(&self, held: &Arc<Held>, row: u64, first: bool) -> Result<Option<Arc<Loaded>>, ReadError> {
        let reader = &self.shared.reader;
        let lanes = self.shared.lanes();
        crate::failpoints::hit(crate::failpoints::BEFORE_READ);
        if first {
            return reader.window(held, row, self.number, lanes).await.map(Some);
        }
        reader.window_if_room(held, row, self.number, lanes).await
    }

    /// Reads the next group while this one, of so many windows, is written.
    fn prefetch(&self, id: WorkId, row: u64, key: Option<&Key>, windows: usize) {
        let Some(next) = self
            .next(Some((id, row)), key)
            .or_else(|| self.next(Some((id, row)), None))
        else {
            return;
        };
        let (mut from, mut at) = (Vec::new(), Some(next));
        while from.len() < windows {
            let Some((id, row)) = at else { break };
            let Some(Origin::Claim(held)) = self.work.get(&id).map(|work| &work.origin) else {
                break;
            };
            from.push((held.clone(), row));
            at = self.next(Some((id, held.len)), Some(&held.reference.key));
        }
        let reader = self.shared.reader.clone();
        tokio::spawn(async move { reader.prefetch(from, windows).await });
    }

    async fn wait_for_company(&mut self, time: Duration) -> bool {
        tokio::select! {
            () = tokio::time::sleep(time) => false,
            () = self.shared.stop.cancelled() => false,
            message = self.inbox.recv() => match message {
                Some(message) => {
                    self.accept(message);
                    true
                }
                None => false,
            },
        }
    }

    /// Average size of a row, for the budgets. A few rows say little about those behind them.
    fn learn_row_size(&mut self, bytes: usize, rows: usize) {
        if rows < TELLING_ROWS && bytes < TELLING_BYTES {
            return;
        }
        let seen = bytes.checked_div(rows).unwrap_or_default() as u64;
        self.row_bytes = match self.row_bytes {
            0 => seen,
            known => (known * 7 + seen) / 8,
        };
    }

    /// What of a piece is still to be written: finished rows are left out and stay out of the ledger, rows that the
    /// pump does not want are left out and count as done.
    pub(super) fn select(&self, piece: &Piece) -> Piece {
        let mut piece = piece.clone();
        let Some(work) = self.work.get(&piece.work) else {
            return piece;
        };
        let rows = piece.selection.rows();
        let mut finished = RowRanges::new();
        let mut from = rows.start;
        while from < rows.end {
            let next = work.progress.next_unfinished(from).unwrap_or(rows.end).min(rows.end);
            finished.insert(from..next);
            from = (next..rows.end)
                .find(|&row| work.progress.is_finished(row))
                .unwrap_or(rows.end);
        }
        if !finished.is_empty() {
            piece.selection = piece.selection.exclude(&finished);
        }
        piece.selection = self.filter(piece.selection);
        piece
    }

    /// Leaves out what the pump does not want.
    pub(super) fn filter(&self, selection: Selection) -> Selection {
        let filter = &self.settings.filter;
        if filter.is_empty() {
            return selection;
        }
        let (batch, transform) = (selection.batch().clone(), selection.transform().clone());
        selection.retain(|index| match batch.rows.get(index) {
            Some(Decoded::Record(record)) => {
                filter.accepts(&analytics::RecordView::new(&batch.buffer, record, &transform))
            }
            other => other.is_some(),
        })
    }
}
