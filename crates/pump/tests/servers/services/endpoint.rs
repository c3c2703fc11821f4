//! What pumps write to: a server that keeps what it gets, and with which everything can be wrong.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use fakes::{
    certificates::Certificates,
    elasticsearch::Documents,
    http::{self, HttpServer, Received, Reply},
    rows,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpListener,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

use super::kinds::{Kind, Protocol};

/// What is wrong with a service.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fault {
    /// Nobody listens.
    Refused,
    /// It takes its time.
    Slow,
    /// It takes connections and requests, and says nothing.
    Silent,
    /// It hangs up after the request.
    HangsUp,
    /// It hangs up in the middle of the answer.
    BreaksOff,
    /// It ends its half of every connection at once, and reads on.
    HalfClosed,
    /// It shows a certificate that nobody trusts.
    Certificate,
    /// Requests of more than some records are too large.
    TooLarge,
    /// Every request is too large.
    AllTooLarge,
    /// It answers with this status.
    Status(u16),
}

/// Longest request that is not too large.
const LIMIT: usize = 8_000;

/// What a service has got.
#[derive(Clone, Default)]
pub(crate) struct Held {
    bytes: Arc<Mutex<Vec<u8>>>,
    documents: Documents,
    /// Whether it reads slowly from connections.
    is_slow: Arc<AtomicBool>,
}

impl Held {
    /// The numbers of the records, each as often as it has come.
    pub(crate) fn serials(&self) -> Vec<u64> {
        let mut bytes = self.bytes.lock().unwrap().clone();
        for (_, _, document) in &self.documents.lock().unwrap().documents {
            bytes.extend(document.to_string().into_bytes());
        }
        rows::serials(&bytes)
    }

    /// What `kind` answers to a request.
    fn take(&self, kind: &Kind, request: &Received) -> Reply {
        let mut reply = if kind.name == "elasticsearch" {
            fakes::elasticsearch::answer(request, &self.documents)
        } else if request.path.ends_with("/ack") {
            Reply::new(200, r#"{"acks":{"7":true}}"#)
        } else {
            self.bytes.lock().unwrap().extend_from_slice(&request.body);
            Reply::new(200, r#"{"text":"Success","code":0,"ackId":7}"#)
        };
        // Longer than its head, so that half of it ends in the body.
        reply.body.extend([b' '; 200]);
        reply
    }
}

enum Server {
    Http(HttpServer),
    Wire(JoinHandle<()>),
}

/// A service at a port.
pub(crate) struct Endpoint {
    pub(crate) kind: &'static Kind,
    pub(crate) fault: Fault,
    pub(crate) port: u16,
    pub(crate) held: Held,
    server: Option<Server>,
}

impl Endpoint {
    /// A service that works, and can have `fault`.
    pub(crate) async fn start(kind: &'static Kind, fault: Fault, port: u16, certificates: &Certificates) -> Endpoint {
        let mut endpoint = Endpoint {
            kind,
            fault,
            port,
            held: Held::default(),
            server: None,
        };
        endpoint.restart(Some("server"), None, certificates).await;
        endpoint
    }

    /// Whether it speaks TLS.
    pub(crate) fn is_tls(&self) -> bool {
        match self.kind.protocol {
            Protocol::Http => self.fault == Fault::Certificate,
            Protocol::Tcp => false,
            Protocol::Tls => true,
        }
    }

    /// Cuts all connections; without `certificate` nobody listens any more.
    async fn restart(&mut self, certificate: Option<&str>, fault: Option<Fault>, certificates: &Certificates) {
        match self.server.take() {
            Some(Server::Http(server)) => server.stop().await,
            Some(Server::Wire(task)) => {
                task.abort();
                let _ = task.await;
            }
            None => {}
        }
        let Some(certificate) = certificate else { return };
        let acceptor = self
            .is_tls()
            .then(|| certificates.acceptor(certificate, false).unwrap());
        let (kind, held) = (self.kind, self.held.clone());
        let server = match kind.protocol {
            Protocol::Http => {
                let answer = move |request: &Received| held.take(kind, request);
                Server::Http(HttpServer::start_at(self.port, acceptor, answer).await.unwrap())
            }
            Protocol::Tcp | Protocol::Tls => {
                let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
                Server::Wire(tokio::spawn(receive(listener, acceptor, fault, held)))
            }
        };
        self.server = Some(server);
    }

    /// From now on its fault shows.
    pub(crate) async fn break_down(&mut self, certificates: &Certificates) {
        match (self.fault, &self.server) {
            (Fault::Refused, _) => self.restart(None, None, certificates).await,
            (Fault::Certificate, _) => self.restart(Some("rogue"), None, certificates).await,
            (fault, Some(Server::Http(server))) => server.set_fault(Some(http_fault(fault))),
            (Fault::Slow, _) => self.held.is_slow.store(true, Relaxed),
            (fault, _) => self.restart(Some("server"), Some(fault), certificates).await,
        }
    }

    /// Nothing is wrong any more.
    pub(crate) async fn heal(&mut self, certificates: &Certificates) {
        match (self.fault, &self.server) {
            (Fault::Refused | Fault::Certificate, _) => self.restart(Some("server"), None, certificates).await,
            (_, Some(Server::Http(server))) => server.set_fault(None),
            // What was sent is on its way, and nobody would send it again.
            (Fault::Slow, _) => self.held.is_slow.store(false, Relaxed),
            _ => self.restart(Some("server"), None, certificates).await,
        }
    }
}

fn http_fault(fault: Fault) -> http::Fault {
    match fault {
        Fault::Slow => http::Fault::Slow(Duration::from_millis(500)),
        Fault::Silent => http::Fault::Stalls,
        Fault::HangsUp => http::Fault::HangsUp,
        Fault::BreaksOff => http::Fault::BreaksOff,
        Fault::TooLarge => http::Fault::TooLarge(LIMIT),
        Fault::AllTooLarge => http::Fault::TooLarge(0),
        Fault::Status(status) => {
            let mut reply = Reply::new(status, format!("said the server {status}"));
            reply.headers.push(("retry-after", "2".to_owned()));
            http::Fault::Answers(reply)
        }
        Fault::Refused | Fault::HalfClosed | Fault::Certificate => panic!("{fault:?} is no fault of an answer"),
    }
}

/// Keeps what comes over connections until they end.
async fn receive(listener: TcpListener, acceptor: Option<TlsAcceptor>, fault: Option<Fault>, held: Held) {
    // They end with it.
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, held) = (acceptor.clone(), held.clone());
        connections.spawn(async move {
            if fault == Some(Fault::Silent) {
                return std::future::pending().await;
            }
            let Some(acceptor) = acceptor else {
                return keep(stream, fault, &held).await;
            };
            if let Ok(stream) = acceptor.accept(stream).await {
                keep(stream, fault, &held).await;
            }
        });
    }
}

async fn keep(mut stream: impl AsyncRead + AsyncWrite + Unpin, fault: Option<Fault>, held: &Held) {
    let mut buffer = vec![0; 1_000];
    if fault == Some(Fault::HalfClosed) {
        let _ = stream.shutdown().await;
    }
    while let Ok(len @ 1..) = stream.read(&mut buffer).await {
        held.bytes.lock().unwrap().extend_from_slice(&buffer[..len]);
        if held.is_slow.load(Relaxed) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
