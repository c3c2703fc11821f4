//! Type `dummy`: counts records, for tests and measurements.

use analytics::{RecordKind, Selection};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{BuildContext, BuildError, Gather, Guarantee, Sink, SinkSpec, WriteError, Written, options};

/// Writes nothing: a log line says how many records it received. For tests and measurements.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Options {}

/// The type `dummy`.
pub const SPEC: SinkSpec = SinkSpec {
    name: "dummy",
    title: "Dummy Pump",
    log_prefix: "dummy-pump",
    env_prefix: "",
    records: RecordKind::Traffic,
    guarantee: Guarantee::BestEffort,
    gather: Gather::WINDOW,
    decodes_bodies: true,
    writes_empty: false,
    purge_line: false,
    options: options::schema::<Options>,
    build: Some(build),
    migrate: None,
    indexes: None,
    #[cfg(feature = "testkit")]
    harness: Some(crate::testkit::dummy::start),
};

fn build(_context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    tracing::info!(prefix = SPEC.log_prefix, "Dummy Initialized");
    async { Ok(Box::new(Dummy) as Box<dyn Sink>) }.boxed()
}

struct Dummy;

#[async_trait]
impl Sink for Dummy {
    async fn write(&self, group: &[Selection]) -> Result<Written, WriteError> {
        let records: usize = group.iter().map(Selection::len).sum();
        tracing::info!(prefix = SPEC.log_prefix, "Writing {records} records");
        Ok(Written::default())
    }
}
