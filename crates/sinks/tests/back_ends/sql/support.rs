//! Building sinks and rows.

use analytics::{ClaimId, Selection, record::Builder};
use fakes::{postgres::Place, rows};
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
    rows::all(&rows::batch_of_built(claim, first, records))
}
