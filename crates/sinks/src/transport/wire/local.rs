//! Datagrams to a Unix socket.

use std::{
    io,
    os::unix::net::{SocketAddr, UnixDatagram as StdSocket},
    time::Duration,
};

use tokio::{net::UnixDatagram, sync::Mutex};

use super::dispatch::{Fate, Told, is_too_large};
use crate::WriteError;

/// A receiver of datagrams on this machine. Unlike over UDP, what it has no room for is not lost: it is waited for.
pub(crate) struct LocalDatagrams {
    /// As the user knows it.
    path: String,
    address: SocketAddr,
    patience: Duration,
    socket: Mutex<Option<UnixDatagram>>,
}

impl LocalDatagrams {
    /// A receiver may let a datagram wait for `patience`. A path that begins with `@` is a name without a file. Nothing
    /// is opened yet.
    ///
    /// # Errors
    /// The path cannot be one of a socket.
    pub(crate) fn new(path: &str, patience: Duration) -> io::Result<LocalDatagrams> {
        Ok(LocalDatagrams {
            path: path.to_owned(),
            address: address(path)?,
            patience,
            socket: Mutex::new(None),
        })
    }

    /// Sends the parts of `buffer` that end at `ends`, each as one datagram; `told` hears what became of each, also when
    /// the sending of the others fails, or is given up. What has left is in the receiver's queue.
    pub(crate) async fn send_each(&self, buffer: &[u8], ends: &[usize], told: &mut Told<'_>) -> Result<(), WriteError> {
        let mut slot = self.socket.lock().await;
        let mut open = slot.take();
        let mut start = 0;
        for (index, &end) in ends.iter().enumerate() {
            let datagram = buffer.get(start..end).unwrap_or_default();
            start = end;
            let was_open = open.is_some();
            let mut socket = self.opened(open.take())?;
            let mut sent = self.pass(&socket, datagram).await;
            // A receiver that was started again has a socket of its own at the same path.
            if was_open && sent.as_ref().is_err_and(is_gone) {
                socket = self.opened(None)?;
                sent = self.pass(&socket, datagram).await;
            }
            match sent {
                Ok(()) => told(index, Fate::Left),
                Err(error) if is_too_large(&error) => told(index, Fate::TooLarge),
                Err(error) => return Err(self.failed(&error)),
            }
            open = Some(socket);
        }
        *slot = open;
        Ok(())
    }

    fn opened(&self, open: Option<UnixDatagram>) -> Result<UnixDatagram, WriteError> {
        if let Some(socket) = open {
            return Ok(socket);
        }
        let connect = || {
            let socket = StdSocket::unbound()?;
            socket.set_nonblocking(true)?;
            socket.connect_addr(&self.address)?;
            UnixDatagram::from_std(socket)
        };
        connect().map_err(|error| self.failed(&error))
    }

    async fn pass(&self, socket: &UnixDatagram, datagram: &[u8]) -> io::Result<()> {
        match socket.try_send(datagram) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent.map(drop),
        }
        match tokio::time::timeout(self.patience, socket.send(datagram)).await {
            Ok(sent) => sent.map(drop),
            Err(_) => {
                let text = format!("it has taken nothing for {} ms", self.patience.as_millis());
                Err(io::Error::new(io::ErrorKind::TimedOut, text))
            }
        }
    }

    fn failed(&self, error: &io::Error) -> WriteError {
        let text = |why: &str| format!("cannot send datagrams to unix://{}: {why}", self.path);
        match error.kind() {
            io::ErrorKind::NotFound => WriteError::retry(text("there is no such socket")),
            io::ErrorKind::ConnectionRefused => WriteError::retry(text("nobody listens there")),
            io::ErrorKind::PermissionDenied => WriteError::Config(
                text("this process may not write to it – give its user or group the right to").into(),
            ),
            _ if error.raw_os_error() == Some(rustix::io::Errno::PROTOTYPE.raw_os_error()) => {
                WriteError::Config(text("it takes connections, not datagrams – name the datagram socket").into())
            }
            _ => WriteError::retry(text(&error.to_string())),
        }
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

#[cfg(target_os = "linux")]
fn address(path: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

#[cfg(not(target_os = "linux"))]
fn address(path: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(path)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    struct Place {
        folder: TempDir,
    }

    impl Place {
        fn new() -> Place {
            Place {
                folder: tempfile::tempdir().unwrap(),
            }
        }

        fn path(&self) -> String {
            self.folder.path().join("s").to_string_lossy().into_owned()
        }

        fn bind(&self) -> UnixDatagram {
            let _ = std::fs::remove_file(self.path());
            UnixDatagram::bind(self.path()).unwrap()
        }
    }

    async fn got(receiver: &UnixDatagram) -> String {
        let mut buffer = [0; 64];
        let length = tokio::time::timeout(Duration::from_secs(10), receiver.recv(&mut buffer));
        let length = length.await.unwrap().unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    }

    /// Sends, and says which datagrams have left.
    async fn send(peer: &LocalDatagrams, buffer: &[u8], ends: &[usize]) -> (Vec<usize>, Result<(), WriteError>) {
        let mut left = Vec::new();
        let sent = peer
            .send_each(buffer, ends, &mut |index, fate| {
                if fate == Fate::Left {
                    left.push(index);
                }
            })
            .await;
        (left, sent)
    }

    #[tokio::test]
    async fn datagrams_arrive_one_by_one() {
        let place = Place::new();
        let receiver = place.bind();
        let peer = LocalDatagrams::new(&place.path(), Duration::from_secs(10)).unwrap();
        let (left, sent) = send(&peer, b"onetwo", &[3, 6]).await;
        sent.unwrap();
        assert_eq!(left, [0, 1]);
        assert_eq!(
            (got(&receiver).await, got(&receiver).await),
            ("one".into(), "two".into())
        );
    }

    #[tokio::test]
    async fn a_receiver_that_was_started_again_gets_what_it_has_not_taken() {
        let place = Place::new();
        let receiver = place.bind();
        let peer = LocalDatagrams::new(&place.path(), Duration::from_secs(10)).unwrap();
        send(&peer, b"one", &[3]).await.1.unwrap();
        assert_eq!(got(&receiver).await, "one");
        drop(receiver);
        let (left, sent) = send(&peer, b"two", &[3]).await;
        assert!(left.is_empty());
        let error = sent.unwrap_err().to_string();
        assert!(error.ends_with("/s: nobody listens there"), "{error}");
        let receiver = place.bind();
        send(&peer, b"two", &[3]).await.1.unwrap();
        drop(receiver);
        // While the old socket is open.
        let receiver = place.bind();
        send(&peer, b"three", &[5]).await.1.unwrap();
        assert_eq!(got(&receiver).await, "three");
    }

    #[tokio::test]
    async fn a_receiver_that_takes_nothing_is_waited_for_and_then_tried_again_later() {
        let place = Place::new();
        let receiver = place.bind();
        let peer = LocalDatagrams::new(&place.path(), Duration::from_millis(20)).unwrap();
        // More than any queue of a socket holds.
        let buffer = vec![b'x'; 20_000];
        let ends: Vec<usize> = (1..=20_000).collect();
        let (left, sent) = send(&peer, &buffer, &ends).await;
        let error = sent.unwrap_err().to_string();
        assert!(error.ends_with("it has taken nothing for 20 ms"), "{error}");
        assert!(!left.is_empty() && left.len() < 20_000, "{}", left.len());
        let mut there = 0;
        while receiver.try_recv(&mut [0; 8]).is_ok() {
            there += 1;
        }
        assert_eq!(
            there,
            left.len(),
            "what was told to have left is there, and nothing else"
        );
    }

    #[tokio::test]
    async fn a_datagram_that_is_too_large_does_not_hold_up_the_others() {
        let place = Place::new();
        let receiver = place.bind();
        let peer = LocalDatagrams::new(&place.path(), Duration::from_secs(10)).unwrap();
        let mut buffer = b"one".to_vec();
        buffer.resize(16 << 20, b'x');
        buffer.extend_from_slice(b"two");
        let mut told = Vec::new();
        let ends = [3, 16 << 20, buffer.len()];
        peer.send_each(&buffer, &ends, &mut |index, fate| told.push((index, fate)))
            .await
            .unwrap();
        assert_eq!(told, [(0, Fate::Left), (1, Fate::TooLarge), (2, Fate::Left)]);
        assert_eq!(
            (got(&receiver).await, got(&receiver).await),
            ("one".into(), "two".into())
        );
    }

    #[tokio::test]
    async fn what_a_socket_is_not_is_said() {
        let place = Place::new();
        let peer = LocalDatagrams::new(&place.path(), Duration::from_secs(10)).unwrap();
        let missing = send(&peer, b"one", &[3]).await.1;
        assert!(matches!(missing, Err(WriteError::Retry { .. })), "{missing:?}");
        let _stream = std::os::unix::net::UnixListener::bind(place.path()).unwrap();
        let stream = send(&peer, b"one", &[3]).await.1;
        assert!(matches!(stream, Err(WriteError::Config(_))), "{stream:?}");
        assert!(LocalDatagrams::new(&"x".repeat(200), Duration::ZERO).is_err());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_name_without_a_file_is_reached() {
        use std::os::linux::net::SocketAddrExt;
        let name = format!("tyk-pump-test-{}", std::process::id());
        let receiver = StdSocket::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        receiver.set_nonblocking(true).unwrap();
        let receiver = UnixDatagram::from_std(receiver).unwrap();
        let peer = LocalDatagrams::new(&format!("@{name}"), Duration::from_secs(10)).unwrap();
        send(&peer, b"one", &[3]).await.1.unwrap();
        assert_eq!(got(&receiver).await, "one");
    }
}
