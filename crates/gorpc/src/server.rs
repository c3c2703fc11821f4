//! A server: for tests, and for rehearsals without the real one.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures::future::BoxFuture;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Outcome, Preamble, Request, Response, ResponseWriter, Style,
    deflate::Deflater,
    gob::{Basic, ids},
    incoming::Incoming,
};

/// Patience for the preamble.
const PREAMBLE: Duration = Duration::from_secs(10);
/// Answers of a connection that wait to be written.
const ANSWERS: usize = 64;

/// How a server behaves.
#[derive(Clone)]
pub struct ServerOptions {
    /// How it defines its types; real servers do it as Go does.
    pub style: Style,
    /// Number of its first type.
    pub first_id: i64,
    /// TLS from the first byte.
    pub tls: Option<tokio_rustls::TlsAcceptor>,
    /// Write so many bytes at a time.
    pub fragment: Option<usize>,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            style: Style::InPlace,
            first_id: ids::FIRST_USER,
            tls: None,
            fragment: None,
        }
    }
}

/// A call that came.
#[derive(Clone, Debug)]
pub struct IncomingCall {
    /// Pool that the connection belongs to.
    pub pool: Bytes,
    /// Number of the connection, from 1.
    pub connection: u64,
    /// Number of the call on its connection, from 1, in the order they came.
    pub number: u64,
    /// Name of the function with the dot in front.
    pub name: String,
    /// Its argument.
    pub argument: Option<Basic>,
}

/// What becomes of a call.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// An answer.
    Outcome(Outcome),
    /// None, ever.
    Silence,
    /// The connection is closed instead.
    Close,
    /// These bytes are written to the connection as they are, then it is closed.
    Raw(Bytes),
}

/// Answers calls. Called for many at once.
pub type Handler = Arc<dyn Fn(IncomingCall) -> BoxFuture<'static, Answer> + Send + Sync>;

/// Listens and answers until it is stopped or dropped.
pub struct Server {
    address: SocketAddr,
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

struct Shared {
    options: ServerOptions,
    handler: Handler,
    stop: CancellationToken,
    connections: AtomicU64,
    open: AtomicU64,
    most: AtomicU64,
}

impl Server {
    /// Begins to listen.
    pub async fn start(address: SocketAddr, options: ServerOptions, handler: Handler) -> io::Result<Server> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            options,
            handler,
            stop: CancellationToken::new(),
            connections: AtomicU64::new(0),
            open: AtomicU64::new(0),
            most: AtomicU64::new(0),
        });
        let tasks = TaskTracker::new();
        tasks.spawn(accept(listener, shared.clone(), tasks.clone()));
        tasks.close();
        Ok(Server { address, shared, tasks })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that came.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Acquire)
    }

    /// Connections that are open now.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Most connections that were open at the same time.
    pub fn most_open(&self) -> u64 {
        self.shared.most.load(Ordering::Acquire)
    }

    /// Cuts every connection and listens no more.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.tasks.wait().await;
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.cancel();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            biased;
            () = shared.stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let shared = shared.clone();
                tasks.spawn(async move {
                    let open = shared.open.fetch_add(1, Ordering::AcqRel) + 1;
                    shared.most.fetch_max(open, Ordering::AcqRel);
                    let stop = shared.stop.clone();
                    tokio::select! {
                        biased;
                        () = stop.cancelled() => {}
                        ended = greet(&shared, stream) => {
                            if let Err(error) = ended {
                                tracing::debug!(%peer, "gorpc: a connection ended: {error}");
                            }
                        }
                    }
                    shared.open.fetch_sub(1, Ordering::AcqRel);
                });
            }
            Err(error) => {
                tracing::warn!("gorpc: cannot accept a connection: {error}");
                // Out of file descriptors, as a rule: it passes when connections end.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn greet(shared: &Arc<Shared>, stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match shared.options.tls.clone() {
        None => serve(shared, stream).await,
        Some(tls) => {
            let accepted = timeout(PREAMBLE, tls.accept(stream)).await?;
            serve(shared, accepted?).await
        }
    }
}

async fn serve(shared: &Arc<Shared>, mut stream: impl AsyncRead + AsyncWrite + Unpin) -> io::Result<()> {
    let preamble = timeout(PREAMBLE, Preamble::read(&mut stream)).await??;
    let connection = shared.connections.fetch_add(1, Ordering::AcqRel) + 1;
    let (reader, writer) = tokio::io::split(stream);
    let (answers, waiting) = mpsc::channel(ANSWERS);
    tokio::select! {
        ended = receive(shared, reader, &preamble, connection, answers) => ended,
        ended = respond(shared, writer, preamble.compressed, waiting) => ended,
    }
}

async fn receive(
    shared: &Arc<Shared>,
    mut reader: impl AsyncRead + Unpin,
    preamble: &Preamble,
    connection: u64,
    answers: mpsc::Sender<(u64, Answer)>,
) -> io::Result<()> {
    let mut incoming = Incoming::new(preamble.compressed);
    let mut buffer = vec![0; 64 << 10];
    let mut number = 0;
    // Dropped with the connection, and the handlers with it.
    let mut handlers = tokio::task::JoinSet::new();
    loop {
        let count = reader.read(&mut buffer).await?;
        if count == 0 {
            return Ok(());
        }
        let taken = incoming.feed(buffer.get(..count).unwrap_or_default(), |value| {
            let Request { id, name, argument } = Request::of(&value)?;
            number += 1;
            let call = IncomingCall {
                pool: preamble.pool.clone(),
                connection,
                number,
                name,
                argument,
            };
            let (answer, answers) = ((shared.handler)(call), answers.clone());
            handlers.spawn(async move {
                // A connection that has ended needs no answer.
                let _ = answers.send((id, answer.await)).await;
            });
            Ok(())
        });
        taken.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        while handlers.try_join_next().is_some() {}
    }
}

async fn respond(
    shared: &Shared,
    mut writer: impl AsyncWrite + Unpin,
    compressed: bool,
    mut answers: mpsc::Receiver<(u64, Answer)>,
) -> io::Result<()> {
    let mut deflater = compressed.then(Deflater::default);
    let mut responses = ResponseWriter::new(shared.options.style, shared.options.first_id);
    while let Some((id, answer)) = answers.recv().await {
        let outcome = match answer {
            Answer::Silence => continue,
            Answer::Close => return Ok(()),
            Answer::Raw(bytes) => {
                writer.write_all(&bytes).await?;
                return writer.flush().await;
            }
            Answer::Outcome(outcome) => outcome,
        };
        if id == 0 {
            continue;
        }
        let mut bytes = Vec::new();
        responses.write(&mut bytes, &Response { id, outcome });
        if let Some(deflater) = &mut deflater {
            let mut packed = Vec::new();
            deflater.compress(&bytes, &mut packed).map_err(io::Error::other)?;
            bytes = packed;
        }
        let fragment = shared.options.fragment.unwrap_or(bytes.len()).max(1);
        for piece in bytes.chunks(fragment) {
            writer.write_all(piece).await?;
            writer.flush().await?;
        }
    }
    Ok(())
}
