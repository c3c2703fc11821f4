//! A pipe in memory.

use std::{
    io::{self, Write},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::Gate;

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

    /// While it is stalled, writes wait.
    pub fn set_stalled(&self, stalled: bool) {
        self.0.gate.set_shut(stalled);
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
