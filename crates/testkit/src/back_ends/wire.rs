//! The back-end of `graylog` and `syslog`: a receiver in memory, at the end of a connection.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{BackEnd, Reason, rows, rows::Alter};
use crate::{
    BuildContext, BuildError, Sink, WriteError,
    graylog::Graylog,
    syslog::Syslog,
    wire::{Connect, Stream},
};

/// The harness of `graylog`.
pub fn graylog() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(
        json!({"host": "localhost", "port": 12201, "transport": "tcp", "tags": ["path"]}),
        |context, peer| Ok(Box::new(Graylog::new(context, Some(peer))?)),
    )
}

/// The harness of `syslog`.
pub fn syslog() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(
        json!({"transport": "tcp", "network_addr": "localhost:5140", "log_level": 6}),
        |context, peer| Ok(Box::new(Syslog::new(context, Some(peer))?)),
    )
}

type Make = fn(&BuildContext, Connect) -> Result<Box<dyn Sink>, BuildError>;

fn start(options: Value, make: Make) -> BoxFuture<'static, Box<dyn BackEnd>> {
    async move {
        let receiver = Receiver::default();
        Box::new(Log {
            options,
            make,
            receiver,
        }) as Box<dyn BackEnd>
    }
    .boxed()
}

struct Log {
    options: Value,
    make: Make,
    receiver: Receiver,
}

/// Takes what is written to its connections; clones are the same receiver.
#[derive(Clone, Default)]
pub struct Receiver(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    content: Vec<u8>,
    /// Connections break after a thousand bytes, and new ones are refused.
    broken: bool,
    stalled: bool,
    waiting: Vec<Waker>,
}

impl Receiver {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has been written.
    pub fn content(&self) -> Vec<u8> {
        self.state().content.clone()
    }

    /// Breaks or mends it.
    pub fn set_broken(&self, broken: bool) {
        self.state().broken = broken;
    }

    /// A stalled receiver takes nothing and says nothing.
    pub fn set_stalled(&self, stalled: bool) {
        let mut state = self.state();
        state.stalled = stalled;
        state.waiting.drain(..).for_each(Waker::wake);
    }

    /// Opens connections to it.
    pub fn connect(&self) -> Connect {
        let receiver = self.clone();
        Arc::new(move || {
            let receiver = receiver.clone();
            async move {
                if receiver.state().broken {
                    return Err(WriteError::retry("the receiver in memory refuses connections"));
                }
                Ok(Box::new(Connection { receiver, taken: 0 }) as Box<dyn Stream>)
            }
            .boxed()
        })
    }
}

struct Connection {
    receiver: Receiver,
    /// Bytes since the receiver broke.
    taken: usize,
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let mut state = this.receiver.state();
        if state.stalled {
            state.waiting.push(context.waker().clone());
            return Poll::Pending;
        }
        let mut len = bytes.len().min(10_000);
        if state.broken {
            len = len.min(1_000_usize.saturating_sub(this.taken));
            this.taken += len;
            if len == 0 {
                return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
            }
        }
        state.content.extend_from_slice(bytes.get(..len).unwrap_or_default());
        Poll::Ready(Ok(len))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

#[async_trait]
impl BackEnd for Log {
    fn options(&self) -> Value {
        self.options.clone()
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (self.make)(&context, self.receiver.connect())
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        Ok(rows::serials(&self.receiver.content()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.receiver.set_broken(true);
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.receiver.set_stalled(true);
        Ok(())
    }

    async fn heal(&self) {
        self.receiver.set_broken(false);
        self.receiver.set_stalled(false);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Err("the receiver never answers")
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("the receiver never answers")
    }

    fn deaths(&self) -> Result<&'static [&'static str], Reason> {
        Err("it keeps no ledger: best effort")
    }

    async fn die_at(&self, _death: usize) {}
}
