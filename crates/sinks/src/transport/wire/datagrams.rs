//! Datagrams over UDP.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};

use tokio::{net::UdpSocket, sync::Mutex};

use super::{
    Address,
    dispatch::{Fate, Told, is_too_large},
};
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
        let mut too_large = false;
        let told = &mut |_, fate| too_large |= fate == Fate::TooLarge;
        self.send_each(buffer, ends, told).await?;
        if too_large {
            return Err(self.failed(&io::Error::from(rustix::io::Errno::MSGSIZE)));
        }
        Ok(())
    }

    /// The same, and `told` hears what became of each datagram, as soon as that is known: also when the sending of the
    /// others fails, or is given up.
    pub(crate) async fn send_each(&self, buffer: &[u8], ends: &[usize], told: &mut Told<'_>) -> Result<(), WriteError> {
        let mut slot = self.socket.lock().await;
        let fresh = slot.take().filter(|(_, since)| since.elapsed() < LOOKUP);
        let (socket, since) = match fresh {
            Some(open) => open,
            None => (self.open().await.map_err(|error| self.failed(&error))?, Instant::now()),
        };
        send_all(&socket, buffer, ends, told)
            .await
            .map_err(|error| self.failed(&error))?;
        *slot = Some((socket, since));
        Ok(())
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

async fn send_all(socket: &UdpSocket, buffer: &[u8], ends: &[usize], told: &mut Told<'_>) -> io::Result<()> {
    let (mut start, mut count, mut bytes) = (0, 0, 0);
    // That nobody takes a datagram is the answer to the call after it, so that it has left only when that succeeds.
    let mut unanswered = None;
    for (index, &end) in ends.iter().enumerate() {
        let datagram = buffer.get(start..end).unwrap_or_default();
        start = end;
        match socket.send(datagram).await {
            Ok(_) => {
                if let Some(before) = unanswered.replace(index) {
                    told(before, Fate::Left);
                }
            }
            Err(error) if is_too_large(&error) => told(index, Fate::TooLarge),
            Err(error) => return Err(error),
        }
        count += 1;
        bytes += datagram.len();
        if count >= BURST.0 || bytes >= BURST.1 {
            (count, bytes) = (0, 0);
            answered(socket, unanswered.take(), told)?;
            tokio::time::sleep(PAUSE).await;
        }
    }
    answered(socket, unanswered, told)
}

/// The answer to the last datagram.
fn answered(socket: &UdpSocket, last: Option<usize>, told: &mut Told<'_>) -> io::Result<()> {
    socket.take_error()?.map_or(Ok(()), Err)?;
    if let Some(last) = last {
        told(last, Fate::Left);
    }
    Ok(())
}
