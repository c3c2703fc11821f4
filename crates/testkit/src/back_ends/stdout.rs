//! The back-end of `stdout`: a pipe in memory.

use async_trait::async_trait;
use fakes::{
    Pipe,
    rows::{self, Alter},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sinks::{BuildContext, BuildError, Sink, stdout::Stdout};

use crate::{BackEnd, Reason};

/// See [`crate::Harness`].
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async { Box::new(Output(Pipe::default())) as Box<dyn BackEnd> }.boxed()
}

struct Output(Pipe);

#[async_trait]
impl BackEnd for Output {
    fn options(&self) -> Value {
        json!({"format": "json"})
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(Stdout::new(&context, Some(Box::new(self.0.clone())))?))
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        Ok(rows::serials(&self.0.content()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.0.set_broken(true);
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.0.set_stalled(true);
        Ok(())
    }

    async fn heal(&self) {
        self.0.set_broken(false);
        self.0.set_stalled(false);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        // The year 33658 has no form in JSON.
        Ok(|record| record.time[0].seconds = 1_000_000_000_000)
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("every record is refused or written by itself")
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Err("it keeps no ledger: at least once")
    }
}
