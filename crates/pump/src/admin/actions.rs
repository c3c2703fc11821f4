//! What operators can ask of running lanes.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{delivery::replay::Replayed, source::Source};

/// Why an action did nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// There is no such pump.
    #[error("there is no pump {0}; /status lists them")]
    UnknownPump(String),
    /// The pump is not paused because of refused records.
    #[error("pump {0} is not held back by refused records, so there is nothing to accept")]
    NothingRefused(String),
}

/// The lanes, as the admin server sees them.
#[async_trait]
pub trait Actions: Send + Sync {
    /// Lets the records that the back-end of `pump` refuses become dead letters, so that its lane goes on. Names are
    /// compared without regard to case.
    async fn accept_refusals(&self, pump: &str) -> Result<(), Refused>;

    /// Where records come from, once it is open.
    fn source(&self) -> Option<Arc<dyn Source>> {
        None
    }

    /// Offers up to `limit` dead letters of `pump`, or of all pumps, to their back-ends once more.
    async fn replay(&self, pump: Option<&str>, limit: usize) -> anyhow::Result<Replayed>;
}
