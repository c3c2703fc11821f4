//! Groups that go out in several requests.

use analytics::{ClaimId, RowId, Selection};
use futures::{StreamExt, stream::FuturesUnordered};
use tokio::sync::Mutex;

use crate::{Rejected, WriteError, Written, contract::ledger::Ledger};

/// Requests of one write that may wait for their answers at the same time.
const AT_ONCE: usize = 4;

/// Rows that travel in one request.
#[derive(Debug, Default)]
pub(crate) struct Parcel {
    /// Their encodings.
    pub(crate) body: Vec<u8>,
    /// Which rows.
    pub(crate) rows: Vec<RowId>,
}

/// A group on its way.
#[derive(Debug, Default)]
pub(crate) struct Parcels {
    /// In order.
    pub(crate) parcels: Vec<Parcel>,
    /// Rows that have no encoding.
    pub(crate) rejected: Vec<Rejected>,
}

/// How rows are put into parcels.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packing {
    /// Between two rows.
    pub(crate) separator: &'static [u8],
    /// The most rows of a parcel.
    pub(crate) rows: usize,
    /// The most bytes of a parcel; a row with more travels alone.
    pub(crate) bytes: usize,
}

impl Parcels {
    /// Adds the encoding of a row.
    pub(crate) fn add(&mut self, packing: Packing, row: RowId, encoding: &[u8]) {
        let fits = |parcel: &&mut Parcel| {
            let bytes = parcel.body.len() + packing.separator.len() + encoding.len();
            parcel.rows.len() < packing.rows && bytes <= packing.bytes
        };
        if let Some(parcel) = self.parcels.last_mut().filter(fits) {
            parcel.body.extend_from_slice(packing.separator);
            parcel.body.extend_from_slice(encoding);
            parcel.rows.push(row);
            return;
        }
        self.parcels.push(Parcel {
            body: encoding.to_vec(),
            rows: vec![row],
        });
    }

    /// Reports a row that cannot be sent.
    pub(crate) fn reject(&mut self, row: RowId, reason: impl ToString) {
        let reason = reason.to_string();
        self.rejected.push(Rejected { row, reason });
    }
}

/// Sends parcels, and knows which rows have been accepted: when the rest of a group has to be tried again, they are not
/// sent a second time.
#[derive(Debug, Default)]
pub(crate) struct Outbox(Mutex<Ledger>);

impl Outbox {
    /// `pack` gets the group and says of each row whether it is wanted; `send` returns once a parcel is accepted.
    pub(crate) async fn deliver<Sending: Future<Output = Result<(), WriteError>>>(
        &self,
        group: &[Selection],
        pack: impl FnOnce(&[Selection], &dyn Fn(RowId) -> bool) -> Parcels + Send + 'static,
        send: impl Fn(Parcel) -> Sending,
    ) -> Result<Written, WriteError> {
        // One write at a time, also when the future of an earlier one was dropped.
        let mut sent = self.0.lock().await;
        let (group, known) = (group.to_vec(), sent.clone());
        let packed = tokio::task::spawn_blocking(move || pack(&group, &|row| !known.contains(row)))
            .await
            .map_err(WriteError::retry)?;
        let mut waiting = packed.parcels.into_iter();
        let mut under_way = FuturesUnordered::new();
        // The first one goes alone: a service that is down, or refuses everything, is asked once.
        let mut at_once = 1;
        let mut failed = None;
        loop {
            while failed.is_none() && under_way.len() < at_once {
                let Some(parcel) = waiting.next() else { break };
                let rows = parcel.rows.clone();
                let sending = send(parcel);
                under_way.push(async move { (rows, sending.await) });
            }
            match under_way.next().await {
                None => break,
                Some((rows, Ok(()))) => {
                    for row in rows {
                        sent.insert(row.claim, row.row..row.row + 1);
                    }
                    at_once = AT_ONCE;
                }
                Some((_, Err(error))) => failed = failed.or(Some(error)),
            }
        }
        if let Some(error) = failed {
            return Err(error);
        }
        Ok(Written {
            rejected: packed.rejected,
            possibly_doubled: 0,
        })
    }

    /// Rows of these claims will not come again.
    pub(crate) async fn forget(&self, claims: &[ClaimId]) {
        self.0.lock().await.forget(claims);
    }
}
