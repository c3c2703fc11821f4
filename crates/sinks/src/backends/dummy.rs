//! Type `dummy`: counts records, for tests and measurements.

use std::sync::Arc;

use analytics::Selection;
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Applied, BuildContext, BuildError, Guarantee, Sink, SinkSpec, WriteError, Written, options};

/// Writes nothing: a log line says how many records it received. For tests and measurements.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct Options {}

/// The type `dummy`.
pub const SPEC: SinkSpec = SinkSpec {
    guarantee: Guarantee::BestEffort,
    purge_line: false,
    options: options::schema::<Options>,
    ..SinkSpec::new("dummy", "Dummy Pump", "dummy-pump", "", build)
};

fn build(_context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    tracing::info!(prefix = SPEC.log_prefix, "Dummy Initialized");
    async { Ok(Box::new(Dummy) as Box<dyn Sink>) }.boxed()
}

struct Dummy;

#[async_trait]
impl Sink for Dummy {
    async fn write(&self, group: &[Selection], _applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let records: usize = group.iter().map(Selection::len).sum();
        tracing::info!(prefix = SPEC.log_prefix, "Writing {records} records");
        Ok(Written::default())
    }
}
