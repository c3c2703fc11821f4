//! What a lane writes next: consecutive windows of one key, of one or many claims, up to the sink's liking.

use std::{
    ops::Range,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use analytics::{Decoded, Key, Selection};
use tokio::time::Instant;

use super::{
    backlog::{Backlog, Origin, WorkId},
    desk::Desk,
    spooling::Spooling,
};
use crate::{
    delivery::{held::HeldClaim, reader::ReadError, spool::SpoolError, spool::SpoolFile, window::Loaded},
    source::SourceError,
};

/// Part of a group: rows of one window.
#[derive(Clone)]
pub(super) struct Piece {
    pub(super) work: WorkId,
    /// Keeps the window within the memory budget.
    _window: Option<Arc<Loaded>>,
    pub(super) selection: Selection,
}

impl Piece {
    /// The rows that it spans.
    pub(super) fn rows(&self) -> Range<u64> {
        self.selection.rows()
    }

    /// The part that spans so many rows at most.
    fn first(self, rows: usize) -> Self {
        let span = self.rows();
        match span.start.saturating_add(rows as u64) {
            end if end < span.end => self.slice(span.start..end),
            _ => self,
        }
    }

    /// The part whose rows lie in `rows` of the claim.
    pub(super) fn slice(&self, rows: Range<u64>) -> Self {
        Self {
            selection: self.selection.slice(rows),
            ..self.clone()
        }
    }
}

/// What a look at a row of the backlog has brought.
enum Looked {
    Piece(Piece),
    /// The work turned out to be void.
    Void,
    /// There is no room in memory now.
    NoRoom,
}

/// Reads the next group. The first window is always read, further ones only while memory and the sink's liking allow;
/// windows that nobody has claimed yet are waited for as long as the sink says, unless all is claimed. With `purge_chunk` a
/// group is one window: each chunk is handed over by itself, as upstream does it.
pub(super) async fn gather(desk: &mut Desk, backlog: &mut Backlog, spool: &Spooling) -> Result<Vec<Piece>, ReadError> {
    let liking = desk.spec.gather;
    let most = match desk.settings.most_per_second {
        Some(most) => usize::try_from(most.get()).unwrap_or(usize::MAX),
        None => usize::MAX,
    };
    let mut pieces: Vec<Piece> = Vec::new();
    let (mut rows, mut bytes) = (0, 0);
    let mut key: Option<Arc<Key>> = None;
    let wait = match desk.services.drains.load(Ordering::Relaxed) {
        true => Duration::ZERO,
        false => liking.wait,
    };
    let deadline = Instant::now() + wait;
    let mut at: Option<(WorkId, u64)> = None;
    while rows < liking.rows.min(most) && bytes < liking.bytes {
        let Some((id, row)) = backlog.next(at, key.as_deref()) else {
            let wait = deadline.saturating_duration_since(Instant::now());
            let waits = !pieces.is_empty() && !wait.is_zero() && at.is_some_and(|(id, _)| !id.is_letter());
            if !waits || !company(desk, backlog, deadline).await {
                break;
            }
            continue;
        };
        let piece = match look(desk, backlog, spool, id, row, pieces.is_empty()).await? {
            Looked::Piece(piece) => piece.first(most - rows),
            Looked::Void => continue,
            Looked::NoRoom => break,
        };
        let batch = piece.selection.batch();
        key.get_or_insert_with(|| batch.key.clone());
        let end = piece.rows().end;
        rows += (end - piece.rows().start) as usize;
        bytes += batch.buffer.len();
        at = Some((id, end));
        pieces.push(piece);
        if desk.services.in_chunks {
            break;
        }
    }
    if let Some((id, row)) = at {
        prefetch(desk, backlog, id, row, key.as_deref(), pieces.len());
    }
    Ok(pieces)
}

/// Waits for more work. `false`: there is none in time.
async fn company(desk: &mut Desk, backlog: &mut Backlog, deadline: Instant) -> bool {
    let control = desk.control.clone();
    tokio::select! {
        () = tokio::time::sleep_until(deadline) => false,
        () = control.stop.cancelled() => false,
        message = desk.hear() => match message {
            Some(message) => {
                desk.accept(message, backlog);
                true
            }
            None => false,
        },
    }
}

/// Reads the window at `row`; `first`: whether memory allows it or not.
async fn look(
    desk: &Desk,
    backlog: &mut Backlog,
    spool: &Spooling,
    id: WorkId,
    row: u64,
    first: bool,
) -> Result<Looked, ReadError> {
    match backlog.origin(id).cloned() {
        None => Ok(Looked::Void),
        Some(Origin::Claim(held)) => {
            let Some(window) = claimed_window(desk, &held, row, first).await? else {
                return Ok(Looked::NoRoom);
            };
            let batch = window.batch.clone();
            backlog.learn_row_size(batch.buffer.len(), batch.len());
            let range = (row - batch.first_row) as usize..batch.len();
            Ok(Looked::Piece(Piece {
                work: id,
                _window: Some(window),
                selection: Selection::new(batch, range, desk.transform.clone()),
            }))
        }
        Some(Origin::Spool(file, _)) => spooled_window(desk, backlog, spool, id, file).await,
        Some(Origin::Letter(batch, _)) => Ok(Looked::Piece(Piece {
            work: id,
            _window: None,
            selection: Selection::new(batch, 0..1, desk.transform.clone()),
        })),
    }
}

async fn claimed_window(
    desk: &Desk,
    held: &Arc<HeldClaim>,
    row: u64,
    first: bool,
) -> Result<Option<Arc<Loaded>>, ReadError> {
    let (reader, lane) = (&desk.services.reader, Some(desk.id.incarnation));
    crate::failpoints::hit(crate::failpoints::BEFORE_READ);
    if first {
        return reader.window(held, row, lane).await.map(Some);
    }
    reader.window_if_room(held, row, lane).await
}

async fn spooled_window(
    desk: &Desk,
    backlog: &mut Backlog,
    spool: &Spooling,
    id: WorkId,
    file: SpoolFile,
) -> Result<Looked, ReadError> {
    match spool.load(file.clone()).await {
        Ok(spooled) => {
            let batch = Arc::new(spooled.batch);
            let range = 0..batch.len();
            Ok(Looked::Piece(Piece {
                work: id,
                _window: None,
                selection: Selection::new(batch, range, desk.transform.clone()),
            }))
        }
        Err(error @ SpoolError::Corrupt { .. }) => {
            let text = match spool.quarantine(file).await {
                Ok(to) => format!("a spool file is damaged and was moved to {}: {error}", to.display()),
                Err(second) => format!("a spool file is damaged and cannot be moved: {error}; {second}"),
            };
            desk.error(&text);
            desk.facts.dropped("spool_damaged", backlog.left(id));
            backlog.remove(id);
            Ok(Looked::Void)
        }
        Err(error) => Err(SourceError::Unavailable(error.into()).into()),
    }
}

/// Reads the next group while this one, of so many windows, is written.
fn prefetch(desk: &Desk, backlog: &Backlog, id: WorkId, row: u64, key: Option<&Key>, windows: usize) {
    let next = backlog.next(Some((id, row)), key);
    let Some(next) = next.or_else(|| backlog.next(Some((id, row)), None)) else {
        return;
    };
    let (mut from, mut at) = (Vec::new(), Some(next));
    while from.len() < windows {
        let Some((id, row)) = at else { break };
        let Some(Origin::Claim(held)) = backlog.origin(id) else {
            break;
        };
        from.push((held.clone(), row));
        at = backlog.next(Some((id, held.len)), Some(&held.reference.key));
    }
    let reader = desk.services.reader.clone();
    tokio::spawn(async move { reader.prefetch(from, windows).await });
}

/// What is to be written of a group, and what is left out.
pub(super) struct Offer {
    pub(super) pieces: Vec<Piece>,
    pub(super) selections: Vec<Selection>,
    /// Selected rows.
    pub(super) rows: usize,
    /// Rows that the pump does not want.
    pub(super) unwanted: u64,
}

impl Offer {
    /// Whether this is a replay of dead letters.
    pub(super) fn is_of_letters(&self) -> bool {
        self.pieces.first().is_some_and(|piece| piece.work.is_letter())
    }
}

/// What of these pieces is still to be written: finished rows are left out and stay out of the ledger, rows that the pump
/// does not want are left out and count as done.
pub(super) fn select(desk: &Desk, backlog: &Backlog, pieces: &[Piece]) -> Offer {
    let mut offer = Offer {
        pieces: Vec::with_capacity(pieces.len()),
        selections: Vec::with_capacity(pieces.len()),
        rows: 0,
        unwanted: 0,
    };
    for piece in pieces {
        let mut piece = piece.clone();
        let finished = backlog.finished(piece.work, &piece.rows());
        if !finished.is_empty() {
            piece.selection = piece.selection.exclude(&finished);
        }
        let all = piece.selection.len();
        piece.selection = filter(desk, piece.selection);
        let wanted = piece.selection.len();
        offer.rows += wanted;
        offer.unwanted += (all - wanted) as u64;
        offer.selections.push(piece.selection.clone());
        offer.pieces.push(piece);
    }
    offer
}

/// Leaves out what the pump does not want.
fn filter(desk: &Desk, selection: Selection) -> Selection {
    let filter = &desk.settings.filter;
    if filter.is_empty() {
        return selection;
    }
    let (batch, transform) = (selection.batch().clone(), selection.transform().clone());
    selection.retain(|index| match batch.rows.get(index) {
        Some(Decoded::Record(record)) => filter.accepts(&analytics::RecordView::new(&batch.buffer, record, &transform)),
        other => other.is_some(),
    })
}
