//! A receiver of datagrams on a Unix socket.

use std::{
    io,
    os::unix::net::UnixDatagram as StdSocket,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tempfile::TempDir;
use tokio::{net::UnixDatagram, task::JoinHandle};

/// Keeps the datagrams that it is sent.
pub struct Mailbox {
    folder: TempDir,
    content: Arc<Mutex<Vec<u8>>>,
    open: Mutex<Option<Open>>,
}

struct Open {
    /// Reads at once, whatever the runtime knows of the socket.
    socket: StdSocket,
    reading: Option<JoinHandle<()>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Mailbox {
    /// Opens one in a folder of its own. Must be called within a runtime.
    ///
    /// # Errors
    /// There is no place for a folder or a socket.
    pub fn open() -> io::Result<Mailbox> {
        let mailbox = Mailbox {
            folder: tempfile::tempdir()?,
            content: Arc::default(),
            open: Mutex::new(None),
        };
        mailbox.resume()?;
        Ok(mailbox)
    }

    /// Where it is.
    pub fn path(&self) -> PathBuf {
        self.folder.path().join("s")
    }

    /// Everything that has been sent to it so far, a line end behind each datagram.
    pub fn content(&self) -> Vec<u8> {
        let mut content = lock(&self.content);
        if let Some(open) = &*lock(&self.open) {
            take(&mut content, |buffer| open.socket.recv(buffer));
        }
        content.clone()
    }

    /// From now on nobody reads, so that its queue fills.
    pub fn stall(&self) {
        if let Some(open) = &mut *lock(&self.open)
            && let Some(reading) = open.reading.take()
        {
            reading.abort();
        }
    }

    /// From now on there is no socket. What has been sent to it is kept.
    pub fn close(&self) {
        self.content();
        if let Some(open) = lock(&self.open).take() {
            open.reading.inspect(JoinHandle::abort);
        }
        // Without a file there is nothing to remove.
        let _ = std::fs::remove_file(self.path());
    }

    /// Opens it, and reads.
    ///
    /// # Errors
    /// There is no place for a socket.
    pub fn resume(&self) -> io::Result<()> {
        let mut slot = lock(&self.open);
        let socket = match slot.take() {
            Some(open) if open.reading.is_some() => {
                *slot = Some(open);
                return Ok(());
            }
            Some(open) => open.socket,
            None => StdSocket::bind(self.path())?,
        };
        socket.set_nonblocking(true)?;
        let (reader, content) = (UnixDatagram::from_std(socket.try_clone()?)?, self.content.clone());
        let reading = tokio::spawn(async move {
            while reader.readable().await.is_ok() {
                take(&mut lock(&content), |buffer| reader.try_recv(buffer));
            }
        });
        *slot = Some(Open {
            socket,
            reading: Some(reading),
        });
        Ok(())
    }
}

impl Drop for Mailbox {
    fn drop(&mut self) {
        self.close();
    }
}

/// Appends what is there.
fn take(content: &mut Vec<u8>, receive: impl Fn(&mut [u8]) -> io::Result<usize>) {
    let mut buffer = vec![0; 128 << 10];
    while let Ok(length) = receive(&mut buffer) {
        content.extend_from_slice(buffer.get(..length).unwrap_or_default());
        content.push(b'\n');
    }
}
