//! Datagrams over UDP.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{net::UdpSocket, sync::Mutex};

use super::Address;
use crate::WriteError;

/// A host name is looked up again after this time, so that a receiver may move.
const LOOKUP: Duration = Duration::from_secs(60);
/// Datagrams and bytes that are sent without a pause. What the queue of a receiver with ordinary settings cannot hold is
/// lost without a trace: Linux gives a socket 208 KiB, and counts each datagram as a kilobyte at least.
const BURST: (usize, usize) = (64, 32 << 10);
/// Pause between bursts.
const PAUSE: Duration = Duration::from_millis(1);

/// The most bytes that one datagram can carry over IPv4.
pub const MAX_DATAGRAM: usize = 65_507;

/// A receiver of datagrams.
pub struct Datagrams {
    address: Address,
    socket: Mutex<Option<(UdpSocket, Instant)>>,
}

impl Datagrams {
    /// Nothing is looked up or opened yet.
    pub fn new(address: Address) -> Datagrams {
        Datagrams {
            address,
            socket: Mutex::new(None),
        }
    }

    /// Sends the parts of `buffer` that end at `ends`, each as one datagram. A machine that says that nobody listens is
    /// an error; whether a datagram arrives is known to nobody.
    pub async fn send(&self, buffer: &[u8], ends: &[usize]) -> Result<(), WriteError> {
        let mut slot = self.socket.lock().await;
        let fresh = slot.take().filter(|(_, since)| since.elapsed() < LOOKUP);
        let (socket, since) = match fresh {
            Some(open) => open,
            None => (self.open().await.map_err(|error| self.failed(&error))?, Instant::now()),
        };
        self.send_all(&socket, buffer, ends)
            .await
            .map_err(|error| self.failed(&error))?;
        *slot = Some((socket, since));
        Ok(())
    }

    async fn send_all(&self, socket: &UdpSocket, buffer: &[u8], ends: &[usize]) -> io::Result<()> {
        let (mut start, mut count, mut bytes) = (0, 0, 0);
        for &end in ends {
            let datagram = buffer.get(start..end).unwrap_or_default();
            start = end;
            socket.send(datagram).await?;
            count += 1;
            bytes += datagram.len();
            if count >= BURST.0 || bytes >= BURST.1 {
                (count, bytes) = (0, 0);
                tokio::time::sleep(PAUSE).await;
            }
        }
        // The answer "nobody listens" to the last datagram.
        socket.take_error()?.map_or(Ok(()), Err)
    }

    async fn open(&self) -> io::Result<UdpSocket> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        let found = tokio::net::lookup_host((self.address.host.as_str(), self.address.port)).await?;
        // A name such as localhost has both kinds of address, and receivers usually listen on the older one.
        let mut addresses: Vec<SocketAddr> = found.collect();
        addresses.sort_by_key(SocketAddr::is_ipv6);
        for address in addresses {
            let local: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let opened = async {
                let socket = UdpSocket::bind(local).await?;
                socket.connect(address).await?;
                Ok(socket)
            };
            match opened.await {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn failed(&self, error: &io::Error) -> WriteError {
        let why = match error.kind() {
            io::ErrorKind::ConnectionRefused => "nobody listens there".to_owned(),
            _ => error.to_string(),
        };
        WriteError::retry(format!("cannot send datagrams to {}: {why}", self.address))
    }
}
