//! Batches: rows of one claim, decoded once and shared by every sink.

use std::{fmt, ops::Range, sync::Arc};

use bytes::Bytes;

use crate::{DecodeError, Record, RecordView, RowRanges, Span, Transform, UptimeRecord, UptimeView};

/// Identity of a claim: a list that was renamed away from the key that gateways push to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClaimId(pub ulid::Ulid);

impl fmt::Display for ClaimId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Identity of a row, for ever: the claim and the position in it, counted from 0 before any filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId {
    /// The claim.
    pub claim: ClaimId,
    /// Position in the claim.
    pub row: u64,
}

impl fmt::Display for RowId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.claim, self.row)
    }
}

/// What kind of records a list holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RecordKind {
    /// One record per request that a gateway served.
    Traffic,
    /// Results of the gateway's host checker.
    Uptime,
}

/// How the elements of a list are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wire {
    /// MessagePack as `msgpack.v2` of Go writes it.
    Msgpack,
    /// Protobuf message `AnalyticsRecord`.
    Protobuf,
}

/// A list that gateways push to.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Full name in Redis.
    pub name: Arc<str>,
    /// Name without the configured prefix, as logs show it.
    pub short: Arc<str>,
    /// Encoding of its elements.
    pub wire: Wire,
    /// What its elements are.
    pub records: RecordKind,
}

/// One row after decoding.
///
/// Nearly every row is a record: boxing them would cost an allocation a row to save nothing.
#[derive(Clone, Debug, PartialEq)]
#[allow(clippy::large_enum_variant)]
pub enum Decoded {
    /// A traffic record.
    Record(Record),
    /// An uptime record.
    Uptime(UptimeRecord),
    /// Bytes that are no record.
    Undecodable(DecodeError),
}

/// Rows of one claim. The bytes of all rows lie in one buffer; records hold positions in it.
#[derive(Debug)]
pub struct Batch {
    /// The claim that the rows belong to.
    pub claim: ClaimId,
    /// The list that the claim was taken from.
    pub key: Arc<Key>,
    /// Number of the first row.
    pub first_row: u64,
    /// The rows' bytes (and possibly framing between them).
    pub buffer: Bytes,
    /// Position of each row's element in `buffer`.
    pub elements: Vec<Span>,
    /// The rows, decoded; as long as `elements`.
    pub rows: Vec<Decoded>,
}

impl Batch {
    /// Decodes every element. Never fails: what cannot be decoded becomes [`Decoded::Undecodable`].
    pub fn decode(claim: ClaimId, key: Arc<Key>, first_row: u64, buffer: Bytes, elements: Vec<Span>) -> Batch {
        let mut rows = Vec::with_capacity(elements.len());
        for &element in &elements {
            Self::decode_one(&key, &buffer, element, &mut rows);
        }
        Batch {
            claim,
            key,
            first_row,
            buffer,
            elements,
            rows,
        }
    }

    fn decode_one(key: &Key, buffer: &[u8], element: Span, rows: &mut Vec<Decoded>) {
        let decoded = match (key.records, key.wire) {
            (RecordKind::Traffic, Wire::Msgpack) => {
                rows.push(Decoded::Record(Record::default()));
                let Some(Decoded::Record(record)) = rows.last_mut() else {
                    return;
                };
                let Err(error) = crate::msgpack::decode_into(buffer, element, record) else {
                    return;
                };
                rows.pop();
                Err(error)
            }
            (RecordKind::Traffic, Wire::Protobuf) => crate::protobuf::decode(buffer, element).map(Decoded::Record),
            (RecordKind::Uptime, _) => crate::msgpack::decode_uptime(buffer, element).map(Decoded::Uptime),
        };
        rows.push(decoded.unwrap_or_else(Decoded::Undecodable));
    }

    /// Number of rows, undecodable ones included.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The row after the last one.
    pub fn end_row(&self) -> u64 {
        self.first_row + self.rows.len() as u64
    }

    /// Bytes that the batch keeps in memory, approximately.
    pub fn footprint(&self) -> usize {
        self.buffer.len() + self.rows.len() * (size_of::<Decoded>() + size_of::<Span>())
    }

    /// Identity of the row at `index`.
    pub fn row_id(&self, index: usize) -> RowId {
        RowId {
            claim: self.claim,
            row: self.first_row + index as u64,
        }
    }

    /// The bytes of the row at `index` as they came.
    pub fn element(&self, index: usize) -> &[u8] {
        self.elements
            .get(index)
            .map(|span| span.of(&self.buffer))
            .unwrap_or_default()
    }
}

/// The rows of one batch that one sink is to write, and how it sees them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Selection {
    batch: Arc<Batch>,
    /// Indexes into the batch that this selection spans, selected or not.
    range: Range<usize>,
    /// Indexes of the selected rows, in order; `None`: every decodable row of `range`.
    chosen: Option<Arc<[u32]>>,
    /// Rows that are no business of this write.
    excluded: Option<Arc<RowRanges>>,
    transform: Arc<Transform>,
}

impl Selection {
    /// All decodable rows in `range`.
    pub fn new(batch: Arc<Batch>, range: Range<usize>, transform: Arc<Transform>) -> Selection {
        Selection {
            batch,
            range,
            chosen: None,
            excluded: None,
            transform,
        }
    }

    /// Only the rows whose index `keep` accepts.
    pub fn retain(&self, mut keep: impl FnMut(usize) -> bool) -> Selection {
        let chosen = self
            .indexes()
            .filter(|&index| keep(index))
            .map(|index| index as u32)
            .collect();
        Selection {
            chosen: Some(chosen),
            ..self.clone()
        }
    }

    /// Leaves `rows` of the claim out, and out of the ledger: they are finished, or dead letters that may be replayed.
    pub fn exclude(&self, rows: &RowRanges) -> Selection {
        let first = self.batch.first_row;
        let mut excluded = self.excluded.as_deref().cloned().unwrap_or_default();
        rows.iter().for_each(|range| excluded.insert(range.clone()));
        let kept = self.retain(|index| !excluded.contains(first + index as u64));
        Selection {
            excluded: Some(Arc::new(excluded)),
            ..kept
        }
    }

    /// What a ledger records once this selection is written: the rows that it spans, without excluded and undecodable
    /// ones, so that those can still be replayed.
    pub fn covered(&self) -> RowRanges {
        let mut covered = RowRanges::new();
        let mut from = self.rows().start;
        for index in self.range.clone() {
            let row = self.batch.first_row + index as u64;
            let undecodable = matches!(self.batch.rows.get(index), Some(Decoded::Undecodable(_)));
            if undecodable || self.excluded.as_ref().is_some_and(|excluded| excluded.contains(row)) {
                covered.insert(from..row);
                from = row + 1;
            }
        }
        covered.insert(from..self.rows().end);
        covered
    }

    /// The part whose rows lie in `rows` of the claim.
    pub fn slice(&self, rows: Range<u64>) -> Selection {
        let first = self.batch.first_row;
        let clamp = |row: u64| (row.saturating_sub(first) as usize).clamp(self.range.start, self.range.end);
        let range = clamp(rows.start)..clamp(rows.end).max(clamp(rows.start));
        let chosen = self.chosen.as_ref().map(|chosen| {
            chosen
                .iter()
                .copied()
                .filter(|&index| range.contains(&(index as usize)))
                .collect()
        });
        Selection {
            range,
            chosen,
            ..self.clone()
        }
    }

    /// The same rows, seen through another transformation.
    pub fn with_transform(self, transform: Arc<Transform>) -> Selection {
        Selection { transform, ..self }
    }

    /// The batch.
    pub fn batch(&self) -> &Arc<Batch> {
        &self.batch
    }

    /// How the sink sees each row.
    pub fn transform(&self) -> &Arc<Transform> {
        &self.transform
    }

    /// The rows of the claim that this selection spans, selected or not: what a ledger records once it is written.
    pub fn rows(&self) -> Range<u64> {
        self.batch.first_row + self.range.start as u64..self.batch.first_row + self.range.end as u64
    }

    /// Indexes of the selected rows in the batch.
    pub fn indexes(&self) -> impl Iterator<Item = usize> + '_ {
        let all = self.chosen.is_none().then(|| {
            self.range
                .clone()
                .filter(|&index| !matches!(self.batch.rows.get(index), None | Some(Decoded::Undecodable(_))))
        });
        let chosen = self
            .chosen
            .iter()
            .flat_map(|chosen| chosen.iter().map(|&index| index as usize));
        all.into_iter().flatten().chain(chosen)
    }

    /// Number of selected rows.
    pub fn len(&self) -> usize {
        match &self.chosen {
            Some(chosen) => chosen.len(),
            None => self.indexes().count(),
        }
    }

    /// Whether no row is selected.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The selected traffic records.
    pub fn records(&self) -> impl Iterator<Item = (RowId, RecordView<'_>)> + '_ {
        self.indexes().filter_map(|index| match self.batch.rows.get(index)? {
            Decoded::Record(record) => {
                let view = RecordView::new(&self.batch.buffer, record, &self.transform);
                Some((self.batch.row_id(index), view))
            }
            _ => None,
        })
    }

    /// The selected uptime records.
    pub fn uptime(&self) -> impl Iterator<Item = (RowId, UptimeView<'_>)> + '_ {
        self.indexes().filter_map(|index| match self.batch.rows.get(index)? {
            Decoded::Uptime(record) => {
                let view = UptimeView::new(&self.batch.buffer, record);
                Some((self.batch.row_id(index), view))
            }
            _ => None,
        })
    }
}
