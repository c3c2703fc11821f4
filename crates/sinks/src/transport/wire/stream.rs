//! Connections over TCP and TLS that are written to and never read from.

use std::{
    future::{poll_fn, ready},
    io,
    pin::Pin,
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    net::TcpStream,
    sync::Mutex,
    time::timeout,
};
use tokio_rustls::TlsConnector;

use super::Address;
use crate::WriteError;

/// How long connecting may take, TLS included.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the receiver may take nothing at all.
const STALLED: Duration = Duration::from_secs(60);
/// Bytes that are written between two looks at the clock.
const PIECE: usize = 64 << 10;
/// How long a new TLS connection is given to say that it does not like the certificate of this client. In TLS 1.3 that
/// comes after the handshake, and what was written before would be lost.
const SECOND_THOUGHTS: Duration = Duration::from_millis(300);

/// A connection.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Opens a connection.
pub type Connect = Arc<dyn Fn() -> BoxFuture<'static, Result<Box<dyn Stream>, WriteError>> + Send + Sync>;

/// A receiver at the end of one connection, which is opened again when it breaks.
pub struct StreamWire {
    peer: String,
    connect: Connect,
    open: Mutex<Option<Box<dyn Stream>>>,
}

impl StreamWire {
    /// `peer` names the receiver in errors. Nothing is opened yet.
    pub fn new(peer: impl Into<String>, connect: Connect) -> StreamWire {
        StreamWire {
            peer: peer.into(),
            connect,
            open: Mutex::new(None),
        }
    }

    /// Writes `bytes`, on a new connection if the old one is gone. After an error all of them have to come again.
    pub async fn send(&self, bytes: &[u8]) -> Result<(), WriteError> {
        // Whoever drops this future drops the connection too: half a message must not be followed by another one.
        let mut slot = self.open.lock().await;
        if let Some(mut stream) = slot.take()
            && is_open(&mut stream).await
        {
            match self.pass(&mut stream, bytes).await {
                Ok(()) => {
                    *slot = Some(stream);
                    return Ok(());
                }
                Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(self.failed(&error)),
                Err(_) => {}
            }
        }
        let mut stream = (self.connect)().await?;
        self.pass(&mut stream, bytes)
            .await
            .map_err(|error| self.failed(&error))?;
        *slot = Some(stream);
        Ok(())
    }

    /// Ends the connection as the receiver expects it.
    pub async fn close(&self) {
        if let Some(mut stream) = self.open.lock().await.take() {
            // What has been written is with the kernel; a receiver that has gone away needs no farewell.
            let _ = timeout(CONNECT, stream.shutdown()).await;
        }
    }

    #[cfg(test)]
    pub(super) async fn is_up(&self) -> bool {
        match self.open.lock().await.as_mut() {
            Some(stream) => is_open(stream).await,
            None => false,
        }
    }

    async fn pass(&self, stream: &mut Box<dyn Stream>, bytes: &[u8]) -> io::Result<()> {
        for piece in bytes.chunks(PIECE) {
            patiently(stream.write_all(piece)).await?;
        }
        patiently(stream.flush()).await
    }

    fn failed(&self, error: &io::Error) -> WriteError {
        WriteError::retry(format!("cannot write to {}: {error}", self.peer))
    }
}

async fn patiently(writing: impl Future<Output = io::Result<()>>) -> io::Result<()> {
    match timeout(STALLED, writing).await {
        Ok(result) => result,
        Err(_) => {
            let text = format!("it has taken nothing for {} s", STALLED.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        }
    }
}

/// Whether the receiver has not ended the connection. What it says is passed over.
async fn is_open(stream: &mut Box<dyn Stream>) -> bool {
    let mut said = [0; 512];
    loop {
        let mut buffer = ReadBuf::new(&mut said);
        let read = poll_fn(|context| Poll::Ready(Pin::new(&mut *stream).poll_read(context, &mut buffer))).await;
        match read {
            Poll::Pending => return true,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
            Poll::Ready(_) => return false,
        }
    }
}

/// Connections that are open at once.
pub fn connections<S: Stream + 'static>(open: impl Fn() -> io::Result<S> + Send + Sync + 'static) -> Connect {
    Arc::new(move || {
        let opened = open().map(|stream| Box::new(stream) as Box<dyn Stream>);
        ready(opened.map_err(WriteError::retry)).boxed()
    })
}

/// Connections over TCP.
pub(super) fn tcp(address: Address) -> Connect {
    Arc::new(move || {
        let address = address.clone();
        async move {
            let stream = timeout(CONNECT, dial(&address)).await;
            let stream = stream.unwrap_or_else(|_| Err(no_answer()));
            let stream = stream.map_err(|error| cannot_connect(&address, &error))?;
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    })
}

/// Connections over TLS. The certificate must be made out to `name`.
pub(super) fn tls(address: Address, name: ServerName<'static>, config: ClientConfig) -> Connect {
    let connector = TlsConnector::from(Arc::new(config));
    Arc::new(move || {
        let (address, name, connector) = (address.clone(), name.clone(), connector.clone());
        async move {
            let connected = timeout(CONNECT, async {
                let stream = dial(&address).await?;
                connector.connect(name, stream).await
            })
            .await;
            let connected = connected.unwrap_or_else(|_| Err(no_answer()));
            let mut stream = connected.map_err(|error| cannot_connect(&address, &error))?;
            let mut said = [0; 512];
            match timeout(SECOND_THOUGHTS, stream.read(&mut said)).await {
                Ok(Err(error)) => return Err(cannot_connect(&address, &error)),
                Ok(Ok(0)) => {
                    let error = io::Error::new(io::ErrorKind::UnexpectedEof, "it hung up after the handshake");
                    return Err(cannot_connect(&address, &error));
                }
                Ok(Ok(_)) | Err(_) => {}
            }
            Ok(Box::new(stream) as Box<dyn Stream>)
        }
        .boxed()
    })
}

fn no_answer() -> io::Error {
    let text = format!("no answer within {} s", CONNECT.as_secs());
    io::Error::new(io::ErrorKind::TimedOut, text)
}

async fn dial(address: &Address) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// A certificate that one side refuses stays wrong until somebody changes something; everything else may pass.
fn cannot_connect(address: &Address, error: &io::Error) -> WriteError {
    let cause = error
        .get_ref()
        .and_then(|source| source.downcast_ref::<rustls::Error>());
    let text = format!("cannot connect to {address}: {error}");
    match cause {
        Some(rustls::Error::InvalidCertificate(_)) => WriteError::Config(
            format!("{text} – the receiver's certificate is not trusted: set ssl_ca_file, or ssl_server_name").into(),
        ),
        Some(rustls::Error::AlertReceived(_)) => WriteError::Config(
            format!("{text} – the receiver refuses this client: check ssl_cert_file and ssl_key_file").into(),
        ),
        Some(_) => WriteError::Config(format!("{text} – the receiver does not speak TLS on this port").into()),
        None => WriteError::retry(text),
    }
}
