//! Rows that travel in one request.

use std::sync::Arc;

use analytics::{RecordView, RowId, Selection};
use bytes::Bytes;
use tokio::sync::mpsc;

use crate::Rejected;

/// Rows that travel in one request; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Parcel {
    /// Their encodings, separated.
    pub(crate) body: Bytes,
    /// Which rows.
    pub(crate) rows: Arc<[RowId]>,
    /// Where the encoding of each ends, in bytes of `body`.
    ends: Arc<[usize]>,
    separator: &'static [u8],
}

impl Parcel {
    /// The encoding of the row at this position; empty: there is no such row.
    pub(crate) fn encoding(&self, at: usize) -> &[u8] {
        let before = at.checked_sub(1).and_then(|before| self.ends.get(before));
        let start = before.map_or(0, |end| end + self.separator.len());
        let end = self.ends.get(at).copied().unwrap_or(start);
        self.body.get(start..end).unwrap_or_default()
    }

    /// The rows whose positions `keep` accepts; `None`: there are none.
    pub(crate) fn retain(&self, keep: impl Fn(usize) -> bool) -> Option<Parcel> {
        let (mut body, mut rows, mut ends) = (Vec::with_capacity(self.body.len()), Vec::new(), Vec::new());
        for (at, &row) in self.rows.iter().enumerate().filter(|(at, _)| keep(*at)) {
            if !rows.is_empty() {
                body.extend_from_slice(self.separator);
            }
            body.extend_from_slice(self.encoding(at));
            rows.push(row);
            ends.push(body.len());
        }
        (!rows.is_empty()).then(|| Parcel {
            body: body.into(),
            rows: rows.into(),
            ends: ends.into(),
            separator: self.separator,
        })
    }

    /// Two parcels of about the same size; `None`: there is only one row.
    pub(crate) fn halves(&self) -> Option<(Parcel, Parcel)> {
        let middle = self.body.len() / 2;
        let at = self.ends.partition_point(|&end| end <= middle);
        let at = at.clamp(1, self.rows.len().checked_sub(1).filter(|&last| last > 0)?);
        let cut = *self.ends.get(at - 1)?;
        let from = (cut + self.separator.len()).min(self.body.len());
        let left = Parcel {
            body: self.body.slice(..cut),
            rows: self.rows.get(..at)?.into(),
            ends: self.ends.get(..at)?.into(),
            separator: self.separator,
        };
        let right = Parcel {
            body: self.body.slice(from..),
            rows: self.rows.get(at..)?.into(),
            ends: self.ends.get(at..)?.iter().map(|end| end - from).collect(),
            separator: self.separator,
        };
        Some((left, right))
    }
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

/// A group that is being packed.
#[derive(Debug)]
pub(crate) struct Parcels {
    packing: Packing,
    out: mpsc::Sender<Parcel>,
    /// Nobody sends them any more.
    is_stopped: bool,
    body: Vec<u8>,
    rows: Vec<RowId>,
    ends: Vec<usize>,
    rejected: Vec<Rejected>,
}

impl Parcels {
    pub(crate) fn new(packing: Packing, out: mpsc::Sender<Parcel>) -> Parcels {
        Parcels {
            packing,
            out,
            is_stopped: false,
            body: Vec::new(),
            rows: Vec::new(),
            ends: Vec::new(),
            rejected: Vec::new(),
        }
    }

    /// Adds every row of a group, as [`Parcels::write`] does.
    pub(crate) fn write_all<E: ToString>(
        &mut self,
        group: &[Selection],
        mut encode: impl FnMut(&mut Vec<u8>, RowId, &RecordView<'_>) -> Result<bool, E>,
    ) {
        for (row, record) in group.iter().flat_map(Selection::records) {
            self.write(row, |out| encode(out, row, &record));
        }
    }

    /// Adds a row, whose encoding `encode` appends. `Ok(false)`: it is not sent. An error refuses it for good; what was
    /// appended before the error goes. The answer: whether the row is in a parcel now, the one that is being filled.
    pub(crate) fn write<E: ToString>(
        &mut self,
        row: RowId,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<bool, E>,
    ) -> bool {
        if self.is_stopped {
            return false;
        }
        if self.rows.len() >= self.packing.rows {
            self.seal();
        }
        let end = self.body.len();
        if !self.rows.is_empty() {
            self.body.extend_from_slice(self.packing.separator);
        }
        let start = self.body.len();
        match encode(&mut self.body) {
            Ok(true) => {}
            Ok(false) => {
                self.body.truncate(end);
                return false;
            }
            Err(error) => {
                self.body.truncate(end);
                self.reject(row, error);
                return false;
            }
        }
        if !self.rows.is_empty() && self.body.len() > self.packing.bytes {
            let alone = self.body.split_off(start);
            self.body.truncate(end);
            self.seal();
            self.body = alone;
        }
        self.rows.push(row);
        self.ends.push(self.body.len());
        true
    }

    /// Bytes and rows of the parcel that is being filled.
    pub(crate) fn filled(&self) -> (usize, usize) {
        (self.body.len(), self.rows.len())
    }

    /// Hands the parcel over, as soon as somebody has room for it; the next row begins another one.
    pub(crate) fn seal(&mut self) {
        if self.rows.is_empty() {
            return;
        }
        let parcel = Parcel {
            body: std::mem::take(&mut self.body).into(),
            rows: std::mem::take(&mut self.rows).into(),
            ends: std::mem::take(&mut self.ends).into(),
            separator: self.packing.separator,
        };
        self.is_stopped |= self.out.blocking_send(parcel).is_err();
    }

    /// A row that cannot be sent.
    pub(crate) fn reject(&mut self, row: RowId, reason: impl ToString) {
        let reason = reason.to_string();
        self.rejected.push(Rejected { row, reason });
    }

    /// Hands over the last parcel; rows without an encoding.
    pub(crate) fn close(mut self) -> Vec<Rejected> {
        self.seal();
        self.rejected
    }
}
