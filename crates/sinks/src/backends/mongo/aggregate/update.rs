//! What an aggregate adds to a stored document.

use std::collections::HashMap;

use analytics::{
    aggregate::{Aggregate, Counter, Dimension, Entry},
    gotime::Civil,
};
use mongodb::bson::{Bson, DateTime, Document};

use crate::backends::mongo::bson::milliseconds;

/// Key that takes what a full dimension has no room for.
pub(super) const OTHER: &str = "__other__";

/// The operators of an update, built counter by counter. A path that comes twice is added up.
#[derive(Default)]
pub(super) struct Update {
    inc: Document,
    set: Document,
    max: Document,
    min: Document,
}

/// Where an entry is counted, if not under its own key.
pub(super) type Moved = HashMap<usize, String>;

impl Update {
    /// `moved`: paths of entries, by number, that differ from [`path`].
    pub(super) fn of(aggregate: &Aggregate, moved: &Moved) -> Update {
        let mut update = Update::default();
        update.count("total", b"", b"", &aggregate.total, true);
        for (number, entry) in aggregate.entries.iter().enumerate() {
            let has_network = entry.dimension < Dimension::Methods;
            match moved.get(&number) {
                Some(path) => update.count(path, OTHER.as_bytes(), b"", &entry.counter, has_network),
                None => {
                    if let Some(path) = path(entry) {
                        let (identifier, human) = (entry.identifier(), entry.human_identifier());
                        update.count(&path, identifier, human, &entry.counter, has_network);
                    }
                }
            }
        }
        let bucket = Civil::of(aggregate.bucket);
        for (key, value) in [
            ("timestamp", date(aggregate.bucket)),
            ("expireAt", date(aggregate.expire_at)),
            ("timeid.year", int(bucket.year)),
            ("timeid.month", int(bucket.month.into())),
            ("timeid.day", int(bucket.day.into())),
            ("timeid.hour", int(bucket.hour.into())),
            ("lasttime", date(aggregate.last_time)),
        ] {
            update.set.insert(key, value);
        }
        update
    }

    fn count(&mut self, path: &str, identifier: &[u8], human: &[u8], counter: &Counter, has_network: bool) {
        let key = |field: &str| format!("{path}.{field}");
        add(&mut self.inc, key("hits"), counter.hits);
        add(&mut self.inc, key("success"), counter.success);
        add(&mut self.inc, key("errortotal"), counter.error);
        for (code, count) in counter.codes.iter() {
            add(&mut self.inc, format!("{path}.errormap.{code}"), count);
        }
        add_double(&mut self.inc, key("totalrequesttime"), counter.total_request_time);
        add_long(&mut self.inc, key("totallatency"), counter.total_latency);
        add_long(
            &mut self.inc,
            key("totalupstreamlatency"),
            counter.total_upstream_latency,
        );
        self.set.insert(key("identifier"), text(identifier));
        self.set.insert(key("humanidentifier"), text(human));
        self.set.insert(key("lasttime"), date(counter.last_time));
        if has_network {
            self.set.insert(key("openconnections"), counter.open_connections);
            self.set.insert(key("closedconnections"), counter.closed_connections);
            self.set.insert(key("bytesin"), counter.bytes_in);
            self.set.insert(key("bytesout"), counter.bytes_out);
        }
        keep(&mut self.max, key("maxlatency"), counter.max_latency, i64::max);
        keep(
            &mut self.max,
            key("maxupstreamlatency"),
            counter.max_upstream_latency,
            i64::max,
        );
        if counter.has_minimum() {
            keep(&mut self.min, key("minlatency"), counter.min_latency, i64::min);
            keep(
                &mut self.min,
                key("minupstreamlatency"),
                counter.min_upstream_latency,
                i64::min,
            );
        }
    }

    /// Sets a field of the document itself.
    pub(super) fn set(&mut self, key: String, value: impl Into<Bson>) {
        self.set.insert(key, value);
    }

    pub(super) fn into_document(self) -> Document {
        let mut document = Document::new();
        for (operator, fields) in [
            ("$inc", self.inc),
            ("$set", self.set),
            ("$max", self.max),
            ("$min", self.min),
        ] {
            if !fields.is_empty() {
                document.insert(operator, fields);
            }
        }
        document
    }
}

/// The path of an entry's counter; `None`: a component of it would be empty, which no server takes.
pub(super) fn path(entry: &Entry) -> Option<String> {
    let is_empty = entry.key().is_empty() || (entry.dimension.is_nested() && entry.outer().is_empty());
    let value = entry.value();
    (!is_empty).then(|| format!("{}.{}", entry.dimension.name(), String::from_utf8_lossy(&value)))
}

/// Bytes that an entry adds to a document that has no counter of its own for it yet: the counter, and its copy in a list.
pub(super) fn weight(entry: &Entry) -> usize {
    let texts = 2 * (entry.identifier().len() + entry.human_identifier().len());
    let codes = entry.counter.codes.iter().len() * 120;
    entry.outer().len() + entry.key().len() + texts + codes + 2 * 480
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn date(time: analytics::Time) -> Bson {
    DateTime::from_millis(milliseconds(time)).into()
}

/// 32 bits wide where the value fits, else 64.
pub(in crate::backends::mongo) fn int(value: i64) -> Bson {
    i32::try_from(value).map_or(Bson::Int64(value), Bson::Int32)
}

fn so_far(document: &Document, key: &str) -> i64 {
    match document.get(key) {
        Some(Bson::Int32(value)) => i64::from(*value),
        Some(Bson::Int64(value)) => *value,
        _ => 0,
    }
}

fn add(document: &mut Document, key: String, value: i64) {
    let sum = so_far(document, &key).wrapping_add(value);
    document.insert(key, int(sum));
}

fn add_long(document: &mut Document, key: String, value: i64) {
    let sum = so_far(document, &key).wrapping_add(value);
    document.insert(key, sum);
}

fn add_double(document: &mut Document, key: String, value: f64) {
    let sum = document.get_f64(&key).unwrap_or_default() + value;
    document.insert(key, sum);
}

fn keep(document: &mut Document, key: String, value: i64, choose: fn(i64, i64) -> i64) {
    let kept = document.get_i64(&key).map_or(value, |other| choose(other, value));
    document.insert(key, kept);
}
