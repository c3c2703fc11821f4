//! Aggregates as rows.

use std::sync::Arc;

use analytics::aggregate::{Aggregate, Counter, Dimension, Entry, hex};

use super::{
    super::table::{Rows, Value},
    layout::{CODE_COLUMNS, Shape, code_column},
};

/// A row of a table of counters.
struct Row {
    /// Primary key, the same as upstream's: hexadecimal of bucket, owner, dimension and value without separators.
    id: Box<[u8]>,
    /// Position of its aggregate.
    aggregate: usize,
    /// Position of its entry; `None`: the total.
    entry: Option<usize>,
}

/// Rows sorted by key, no key twice.
pub(super) struct AggregateRows {
    shape: Shape,
    aggregates: Arc<Vec<Aggregate>>,
    rows: Vec<Row>,
}

impl AggregateRows {
    /// The rows of `aggregates`, in lists that are to be written one after the other. There is one, but for keys that two
    /// different rows share (without separators `a` + `apiid` and `aapiid` look the same), and for rows whose key is
    /// longer than `long`: the database may refuse those.
    pub(super) fn lists(shape: Shape, aggregates: Vec<Aggregate>, long: usize) -> Vec<AggregateRows> {
        let aggregates = Arc::new(aggregates);
        let mut rows = Vec::with_capacity(aggregates.iter().map(|one| one.entries.len() + 1).sum());
        for (at, aggregate) in aggregates.iter().enumerate() {
            let mut id = IdWriter::new(aggregate);
            let entries = aggregate.entries.iter().enumerate();
            rows.extend(entries.map(|(entry, row)| Row {
                id: id.of(row.dimension, &[row.outer(), row.key()]),
                aggregate: at,
                entry: Some(entry),
            }));
            rows.push(Row {
                id: id.of(Dimension::Total, &[b"", TOTAL]),
                aggregate: at,
                entry: None,
            });
        }
        // Entries come in order already, dimension by dimension: a sort that looks for runs is nearly free.
        rows.sort_by(|a, b| a.id.cmp(&b.id));
        let (short, mut rest): (Vec<Row>, Vec<Row>) = rows.into_iter().partition(|row| row.id.len() <= long);
        let mut lists = Vec::new();
        let mut next = short;
        while !next.is_empty() || !rest.is_empty() {
            let (rows, again) = distinct(next);
            if !rows.is_empty() {
                let aggregates = aggregates.clone();
                lists.push(AggregateRows {
                    shape,
                    aggregates,
                    rows,
                });
            }
            next = if again.is_empty() {
                std::mem::take(&mut rest)
            } else {
                again
            };
        }
        lists
    }

    /// Dimension of a row; empty for totals.
    pub(super) fn dimension(&self, index: usize) -> &'static str {
        let entry = self.rows.get(index).and_then(|row| {
            let aggregate = self.aggregates.get(row.aggregate)?;
            aggregate.entries.get(row.entry?)
        });
        entry.map_or("", |entry| entry.dimension.name())
    }
}

/// `dimension_value` of totals.
const TOTAL: &[u8] = b"total";

/// Sorted rows without repeated keys, and the repeated ones.
fn distinct(rows: Vec<Row>) -> (Vec<Row>, Vec<Row>) {
    let (mut unique, mut again): (Vec<Row>, Vec<Row>) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        match unique.last() {
            Some(last) if last.id == row.id => again.push(row),
            _ => unique.push(row),
        }
    }
    (unique, again)
}

/// Writes the keys of one aggregate's rows.
struct IdWriter {
    text: Vec<u8>,
    /// Length of bucket and owner.
    prefix: usize,
}

impl IdWriter {
    fn new(aggregate: &Aggregate) -> IdWriter {
        let mut text = aggregate.bucket.seconds.to_string().into_bytes();
        text.extend_from_slice(&aggregate.owner);
        IdWriter {
            prefix: text.len(),
            text,
        }
    }

    /// `[outer, key]`; outer keys are those of nested dimensions.
    fn of(&mut self, dimension: Dimension, [outer, key]: &[&[u8]; 2]) -> Box<[u8]> {
        self.text.truncate(self.prefix);
        self.text.extend_from_slice(dimension.name().as_bytes());
        if dimension.is_nested() {
            self.text.extend_from_slice(outer);
            self.text.push(b'.');
        }
        self.text.extend_from_slice(key);
        hex(&self.text)
    }
}

impl Rows for AggregateRows {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn write(&self, index: usize, out: &mut dyn FnMut(Value<'_>)) -> Result<(), String> {
        let missing = || "no such row".to_owned();
        let row = self.rows.get(index).ok_or_else(missing)?;
        let aggregate = self.aggregates.get(row.aggregate).ok_or_else(missing)?;
        let entry = match row.entry {
            Some(at) => Some(aggregate.entries.get(at).ok_or_else(missing)?),
            None => None,
        };
        let counter = entry.map_or(&aggregate.total, |entry| &entry.counter);
        let value = entry.map_or(TOTAL.into(), Entry::value);
        let dimension = entry.map_or("", |entry| entry.dimension.name());

        out(Value::Text(&row.id));
        let start = Value::Int(aggregate.bucket.seconds);
        let place = [&aggregate.org_id, dimension.as_bytes(), &value].map(Value::Text);
        match self.shape {
            Shape::Organisation => {
                write_counter(counter, entry, out);
                out(start);
                place.into_iter().for_each(&mut *out);
                write_codes(counter, out);
            }
            Shape::Api => {
                place.into_iter().for_each(&mut *out);
                out(Value::Text(&aggregate.owner));
                write_counter(counter, entry, out);
                write_codes(counter, out);
                out(start);
            }
        }
        Ok(())
    }
}

fn write_counter(counter: &Counter, entry: Option<&Entry>, out: &mut dyn FnMut(Value<'_>)) {
    out(Value::Int(counter.hits));
    out(Value::Int(counter.success));
    out(Value::Int(counter.error));
    out(Value::Float(counter.request_time()));
    out(Value::Float(counter.total_request_time));
    out(Value::Text(entry.map_or(b"", Entry::identifier)));
    out(Value::Text(entry.map_or(b"", Entry::human_identifier)));
    out(Value::Time(counter.last_time));
    out(Value::Int(counter.open_connections));
    out(Value::Int(counter.closed_connections));
    out(Value::Int(counter.bytes_in));
    out(Value::Int(counter.bytes_out));
    out(Value::Int(counter.max_upstream_latency));
    out(Value::Int(counter.min_upstream_latency));
    out(Value::Int(counter.total_upstream_latency));
    out(Value::Float(counter.upstream_latency()));
    out(Value::Int(counter.max_latency));
    out(Value::Int(counter.min_latency));
    out(Value::Int(counter.total_latency));
    out(Value::Float(counter.latency()));
    // Never filled: the codes have columns.
    out(Value::Text(b"{}"));
    out(Value::Text(b"[]"));
}

fn write_codes(counter: &Counter, out: &mut dyn FnMut(Value<'_>)) {
    let mut columns = [0_i64; CODE_COLUMNS];
    for (code, count) in counter.codes.iter() {
        if let Some(column) = code_column(code).and_then(|at| columns.get_mut(at)) {
            *column += count;
        }
    }
    columns.into_iter().map(Value::Int).for_each(out);
}

#[cfg(test)]
mod tests;
