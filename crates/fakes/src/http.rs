//! A local HTTP server with faults, for sinks whose back-end cannot be installed and for what a real one does not do on
//! demand: [`HttpServer`].

use std::{
    io::Read,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::watch,
    task::JoinSet,
};
use tokio_rustls::TlsAcceptor;

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// Such as `POST`.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// Names in small letters.
    pub headers: Vec<(String, String)>,
    /// Decompressed.
    pub body: Vec<u8>,
}

impl Received {
    /// The first header of this name; empty if there is none.
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str()).unwrap_or_default()
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Status code.
    pub status: u16,
    /// Further headers.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer without further headers.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status,
            headers: Vec::new(),
            body: body.into(),
        }
    }
}

/// What is wrong with the server.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer to every request, whatever the handler would say.
    Answers(Reply),
    /// Requests are read and not answered before the fault is over; then they are handled.
    Stalls,
    /// Answers come after a while.
    Slow(Duration),
    /// The connection is closed without an answer.
    HangsUp,
    /// The connection is closed after half of the answer, although the request has been handled.
    BreaksOff,
    /// Bodies of more bytes get 413.
    TooLarge(usize),
}

/// Says what becomes of a request that no fault keeps from being handled.
pub type Handler = dyn Fn(&Received) -> Reply + Send + Sync;

struct Shared {
    handler: Box<Handler>,
    fault: watch::Sender<Option<Fault>>,
    /// Requests that arrived whole, whatever was answered.
    seen: Mutex<Vec<Received>>,
    connections: AtomicUsize,
}

/// A server on a port of this machine; stopped when dropped.
pub struct HttpServer {
    shared: Arc<Shared>,
    address: SocketAddr,
    scheme: &'static str,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl HttpServer {
    /// Speaks plain HTTP.
    pub async fn start(handler: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> std::io::Result<HttpServer> {
        Self::start_with(None, handler).await
    }

    /// Speaks HTTPS if there is an `acceptor` ([`super::certificates::Certificates::acceptor`]).
    pub async fn start_with(
        acceptor: Option<TlsAcceptor>,
        handler: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> std::io::Result<HttpServer> {
        Self::start_at(0, acceptor, handler).await
    }

    /// Listens on a certain port of this machine, as a server does that comes back.
    pub async fn start_at(
        port: u16,
        acceptor: Option<TlsAcceptor>,
        handler: impl Fn(&Received) -> Reply + Send + Sync + 'static,
    ) -> std::io::Result<HttpServer> {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            handler: Box::new(handler),
            fault: watch::Sender::new(None),
            seen: Mutex::default(),
            connections: AtomicUsize::new(0),
        });
        let scheme = if acceptor.is_some() { "https" } else { "http" };
        let task = tokio::spawn(listen(listener, acceptor, shared.clone()));
        Ok(HttpServer {
            shared,
            address,
            scheme,
            task,
        })
    }

    /// Ends it and its connections; its port is free then.
    pub async fn stop(mut self) {
        self.task.abort();
        // It was cancelled, and says so.
        let _ = (&mut self.task).await;
    }

    /// `http://127.0.0.1:port` or `https://localhost:port`.
    pub fn url(&self) -> String {
        match self.scheme {
            "https" => format!("https://localhost:{}", self.address.port()),
            _ => format!("http://{}", self.address),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on; `None`: nothing is wrong any more.
    pub fn set_fault(&self, fault: Option<Fault>) {
        self.shared.fault.send_replace(fault);
    }

    /// Requests that have arrived whole, in order, whatever was answered.
    pub fn seen(&self) -> Vec<Received> {
        self.shared.seen().clone()
    }

    /// Connections that were accepted so far.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(Relaxed)
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Vec<Received>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Its connections end with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        shared.connections.fetch_add(1, Relaxed);
        let (shared, acceptor) = (shared.clone(), acceptor.clone());
        connections.spawn(async move {
            match acceptor {
                None => serve(stream, &shared).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => serve(stream, &shared).await,
                    Err(_) => None,
                },
            }
        });
    }
}

/// Answers the requests of one connection; `None`: it is over.
async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) -> Option<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let request = read_request(&mut stream).await?;
        shared.seen().push(request.clone());
        let mut fault = shared.fault.subscribe();
        let now = fault.borrow_and_update().clone();
        let reply = match &now {
            Some(Fault::HangsUp) => return stream.shutdown().await.ok(),
            Some(Fault::Answers(reply)) => reply.clone(),
            Some(Fault::TooLarge(limit)) if request.body.len() > *limit => Reply::new(413, "too large"),
            Some(Fault::Stalls) => {
                fault
                    .wait_for(|fault| !matches!(fault, Some(Fault::Stalls)))
                    .await
                    .ok()?;
                (shared.handler)(&request)
            }
            Some(Fault::Slow(pause)) => {
                tokio::time::sleep(*pause).await;
                (shared.handler)(&request)
            }
            _ => (shared.handler)(&request),
        };
        let mut answer = format!(
            "HTTP/1.1 {} X\r\ncontent-length: {}\r\n",
            reply.status,
            reply.body.len()
        );
        for (name, value) in &reply.headers {
            answer.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut answer = format!("{answer}\r\n").into_bytes();
        if request.method != "HEAD" {
            answer.extend_from_slice(&reply.body);
        }
        if matches!(now, Some(Fault::BreaksOff)) {
            stream.write_all(answer.get(..answer.len() / 2)?).await.ok()?;
            return stream.shutdown().await.ok();
        }
        stream.write_all(&answer).await.ok()?;
        stream.flush().await.ok()?;
    }
}

async fn read_request(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Received> {
    let first = read_line(stream).await?;
    let mut words = first.split(' ');
    let mut request = Received {
        method: words.next()?.to_owned(),
        path: words.next()?.to_owned(),
        ..Received::default()
    };
    loop {
        let line = read_line(stream).await?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        request.headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    if request.header("transfer-encoding") == "chunked" {
        loop {
            let size = usize::from_str_radix(&read_line(stream).await?, 16).ok()?;
            read_exactly(stream, size, &mut request.body).await?;
            read_line(stream).await?;
            if size == 0 {
                break;
            }
        }
    } else {
        let size = request.header("content-length").parse().unwrap_or(0);
        read_exactly(stream, size, &mut request.body).await?;
    }
    if request.header("content-encoding") == "gzip" {
        let mut plain = Vec::new();
        flate2::read::GzDecoder::new(request.body.as_slice())
            .read_to_end(&mut plain)
            .ok()?;
        request.body = plain;
    }
    Some(request)
}

async fn read_line(stream: &mut (impl AsyncBufReadExt + Unpin)) -> Option<String> {
    let mut line = String::new();
    let read = stream.read_line(&mut line).await.ok()?;
    (read > 0).then(|| line.trim_end().to_owned())
}

async fn read_exactly(stream: &mut (impl AsyncReadExt + Unpin), size: usize, into: &mut Vec<u8>) -> Option<()> {
    let start = into.len();
    into.resize(start + size, 0);
    stream.read_exact(into.get_mut(start..)?).await.ok()?;
    Some(())
}
