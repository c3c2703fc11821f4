//! Building sinks and rows.

use std::sync::Arc;

use analytics::{Batch, ClaimId, Key, RecordKind, Selection, Span, Transform, Wire, msgpack, record::Builder};
use bytes::Bytes;
use fakes::postgres::Place;
use serde_json::{Value, json};
use sinks::{BuildContext, BuildError, Sink, find};

pub(crate) fn claim(number: u128) -> ClaimId {
    ClaimId(ulid::Ulid(number))
}

/// A sink of this type, called `pump`, with more options.
pub(crate) async fn try_sink(name: &str, pump: &str, meta: Value) -> Result<Box<dyn Sink>, BuildError> {
    (find(name).unwrap().build)(context(pump, meta)).await
}

pub(crate) fn context(pump: &str, meta: Value) -> BuildContext {
    BuildContext::new(pump, "fleet", meta)
}

/// The options of a pump that writes to `place`.
pub(crate) fn meta(place: &Place, more: Value) -> Value {
    let mut meta = json!({"type": "postgres", "connection_string": place.connection_string});
    for (key, value) in more.as_object().unwrap() {
        meta[key] = value.clone();
    }
    meta
}

pub(crate) async fn sink(place: &Place, name: &str, more: Value) -> Box<dyn Sink> {
    try_sink(name, "TEST", meta(place, more)).await.unwrap()
}

/// Rows of `claim` from `first` on.
pub(crate) fn selection(claim: ClaimId, first: u64, records: Vec<Builder>) -> Selection {
    let (mut buffer, mut elements) = (Vec::new(), Vec::new());
    for record in &records {
        let start = buffer.len();
        msgpack::encode(&mut buffer, &record.view());
        elements.push(Span {
            start: start as u32,
            len: (buffer.len() - start) as u32,
        });
    }
    let key = Key {
        name: "analytics-tyk-system-analytics".into(),
        short: "tyk-system-analytics".into(),
        wire: Wire::Msgpack,
        records: RecordKind::Traffic,
    };
    let batch = Batch::decode(claim, Arc::new(key), first, Bytes::from(buffer), elements);
    let rows = 0..batch.len();
    Selection::new(Arc::new(batch), rows, Arc::new(Transform::default()))
}
