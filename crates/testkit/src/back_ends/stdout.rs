//! The back-end of `stdout`: a pipe in memory.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use super::{BackEnd, Gate, Reason, rows, rows::Alter};
use crate::{BuildContext, BuildError, Sink, stdout::Stdout};

/// See [`super::Harness`].
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async { Box::new(Pipe::default()) as Box<dyn BackEnd> }.boxed()
}

/// A stream that can break or stall; clones are the same stream.
#[derive(Clone, Default)]
pub struct Pipe(Arc<Inner>);

#[derive(Default)]
struct Inner {
    content: Mutex<Vec<u8>>,
    gate: Gate,
    broken: AtomicBool,
}

impl Pipe {
    /// What has been written.
    pub fn content(&self) -> Vec<u8> {
        self.0.content.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Breaks or mends it. A broken pipe takes 1,000 bytes of each write and then fails.
    pub fn set_broken(&self, broken: bool) {
        self.0.broken.store(broken, Ordering::SeqCst);
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.gate.pass();
        let broken = self.0.broken.load(Ordering::SeqCst);
        if broken && bytes.len() <= 1000 {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let taken = bytes.len().min(if broken { bytes.len() - 1000 } else { 10_000 });
        let mut content = self.0.content.lock().unwrap_or_else(PoisonError::into_inner);
        content.extend_from_slice(bytes.get(..taken).unwrap_or_default());
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[async_trait]
impl BackEnd for Pipe {
    fn options(&self) -> Value {
        json!({"format": "json"})
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        Ok(Box::new(Stdout::new(&context, Some(Box::new(self.clone())))?))
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        Ok(rows::serials(&self.content()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.set_broken(true);
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.0.gate.set_shut(true);
        Ok(())
    }

    async fn heal(&self) {
        self.set_broken(false);
        self.0.gate.set_shut(false);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        // The year 33658 has no form in JSON.
        Ok(|record| record.time[0].seconds = 1_000_000_000_000)
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("every record is refused or written by itself")
    }

    fn deaths(&self) -> Result<&'static [&'static str], Reason> {
        Err("it keeps no ledger: at least once")
    }

    async fn die_at(&self, _death: usize) {}
}
