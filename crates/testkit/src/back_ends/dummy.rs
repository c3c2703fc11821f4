//! The back-end of `dummy`: nothing.

use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use fakes::rows::Alter;
use sinks::{BuildContext, BuildError, Sink};

use crate::{BackEnd, Reason};

/// See [`crate::Harness`].
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async { Box::new(Nothing) as Box<dyn BackEnd> }.boxed()
}

struct Nothing;

const NOTHING: Reason = "it writes nothing";

#[async_trait]
impl BackEnd for Nothing {
    fn options(&self) -> Value {
        json!({})
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        let build = sinks::dummy::SPEC.build;
        build(context).await
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        Err(NOTHING)
    }

    async fn fail(&self) -> Result<(), Reason> {
        Err(NOTHING)
    }

    async fn stall(&self) -> Result<(), Reason> {
        Err(NOTHING)
    }

    async fn heal(&self) {}

    fn refused(&self) -> Result<Alter, Reason> {
        Err(NOTHING)
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err(NOTHING)
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Err(NOTHING)
    }
}
