//! A receiver in memory, at the end of a connection.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

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

    /// Opens a connection to it.
    ///
    /// # Errors
    /// It is broken.
    pub fn connect(&self) -> io::Result<Connection> {
        if self.state().broken {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        Ok(Connection {
            receiver: self.clone(),
            taken: 0,
        })
    }
}

/// A connection to a [`Receiver`].
pub struct Connection {
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
