//! Dead letters on their way back to a lane.

use std::sync::Arc;

use analytics::{Batch, RowId};
use parking_lot::Mutex;
use tokio::sync::oneshot;

/// Letters for one lane.
pub(super) struct ReplayRequest {
    /// One row each, under its old number.
    pub(super) letters: Vec<Arc<Batch>>,
    pub(super) slip: Arc<Slip>,
}

impl ReplayRequest {
    /// Asks for these letters to be written; what becomes of them is received once nothing keeps the request any more.
    pub(super) fn new(letters: Vec<Arc<Batch>>) -> (Self, oneshot::Receiver<ReplayAnswer>) {
        let (answer, answered) = oneshot::channel();
        let slip = Arc::new(Slip(Mutex::new((ReplayAnswer::default(), Some(answer)))));
        (Self { letters, slip }, answered)
    }
}

/// What a lane says of letters that were offered to it.
#[derive(Debug, Default)]
pub(super) struct ReplayAnswer {
    /// Rows that its back-end has accepted, or that it does not want.
    pub(super) accepted: Vec<RowId>,
    /// Why others stay.
    pub(super) cause: Option<String>,
}

/// Collects what becomes of the letters of one request. It is sent when the last letter lets go of it, however that ends.
#[derive(Debug)]
pub(super) struct Slip(Mutex<(ReplayAnswer, Option<oneshot::Sender<ReplayAnswer>>)>);

impl Slip {
    /// The back-end has this row, or does not want it.
    pub(super) fn accept(&self, row: RowId) {
        self.0.lock().0.accepted.push(row);
    }

    /// A row stays where it is.
    pub(super) fn keep(&self, cause: &str) {
        self.0.lock().0.cause.get_or_insert_with(|| cause.to_owned());
    }
}

impl Drop for Slip {
    fn drop(&mut self) {
        let (answer, sender) = self.0.get_mut();
        if let Some(sender) = sender.take() {
            // Whoever asked may have gone away; the letters stay then, and a ledger knows them.
            let _ = sender.send(std::mem::take(answer));
        }
    }
}
