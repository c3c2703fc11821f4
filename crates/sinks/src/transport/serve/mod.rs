//! The server side of HTTP: accepting connections, with limits. Whoever opens many of them, or never ends a request, takes
//! nothing away from back-ends, gateways and probes.

mod basic;
mod listen;
mod seats;

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use hyper::{
    Request, Response,
    body::{Body, Incoming},
    header,
    http::request::Parts,
    rt::{Read, Write},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use basic::BasicAuth;
pub use listen::{listen, listen_on};

use self::seats::{Seat, Seats};
use crate::BoxError;

/// How long a request's head may take, and a connection may wait for the next request. The same for a TLS handshake.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// Longest head of a request.
const HEAD_BYTES: usize = 64 << 10;
/// Connections at a time, and the share of the process's descriptors that they may take.
const MOST_CONNECTIONS: u64 = 128;
const SHARE_OF_DESCRIPTORS: u64 = 8;
const LEAST_CONNECTIONS: u64 = 4;
/// Pause after a connection could not be accepted, because descriptors have run out for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long running requests may go on after the stop signal.
const STOP_GRACE: Duration = Duration::from_secs(1);

/// What a listener asks of those who connect.
#[derive(Clone)]
pub struct Terms {
    /// `prefix` of its log lines.
    pub log_prefix: &'static str,
    /// Speak TLS.
    pub tls: Option<Arc<ServerConfig>>,
    /// Most connections at a time; the process's descriptors may make it fewer.
    pub most: u64,
}

impl Terms {
    /// Plain HTTP, and as many connections as are good for anybody.
    pub fn plain(log_prefix: &'static str) -> Terms {
        Terms {
            log_prefix,
            tls: None,
            most: MOST_CONNECTIONS,
        }
    }

    fn seats(&self) -> usize {
        let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        let most = (descriptors / SHARE_OF_DESCRIPTORS).clamp(LEAST_CONNECTIONS, self.most.max(LEAST_CONNECTIONS));
        most as usize
    }
}

/// Answers every request with `answer`, until `stop` is cancelled; requests that run then have a second to finish.
pub async fn serve<F, A, B>(listener: TcpListener, terms: Terms, answer: F, stop: CancellationToken)
where
    F: Fn(SocketAddr, Parts) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let seats = Seats::new(terms.seats());
    let acceptor = terms.tls.clone().map(TlsAcceptor::from);
    let tracker = TaskTracker::new();
    loop {
        // Whoever comes meanwhile waits in the kernel, where it costs no descriptor.
        let accepted = async {
            let seat = seats.take().await;
            listener.accept().await.map(|(stream, peer)| (stream, peer, seat))
        };
        let accepted = tokio::select! {
            accepted = accepted => accepted,
            () = stop.cancelled() => break,
        };
        match accepted {
            Ok((stream, peer, seat)) => {
                let (acceptor, answer, stop) = (acceptor.clone(), answer.clone(), stop.clone());
                tracker.spawn(receive(stream, acceptor, peer, seat, answer, stop));
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(
                    prefix = terms.log_prefix,
                    "cannot accept connections at the moment: {error}"
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    tracker.close();
    // Whoever is not done by then is cut off.
    let _ = tokio::time::timeout(STOP_GRACE, tracker.wait()).await;
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

async fn receive<F, A, B>(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    peer: SocketAddr,
    seat: Seat,
    answer: F,
    stop: CancellationToken,
) where
    F: Fn(SocketAddr, Parts) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let Some(acceptor) = acceptor else {
        return converse(TokioIo::new(stream), peer, seat, answer, stop).await;
    };
    let shaken = tokio::select! {
        shaken = tokio::time::timeout(HEAD_PATIENCE, acceptor.accept(stream)) => shaken,
        () = seat.place.leave.cancelled() => return,
        () = stop.cancelled() => return,
    };
    // What goes wrong here is the client's matter.
    if let Ok(Ok(stream)) = shaken {
        converse(TokioIo::new(stream), peer, seat, answer, stop).await;
    }
}

/// One connection, request after request. Its seat is the last thing that it gives up.
async fn converse<S, F, A, B>(stream: S, peer: SocketAddr, seat: Seat, answer: F, stop: CancellationToken)
where
    S: Read + Write + Unpin,
    F: Fn(SocketAddr, Parts) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<BoxError>,
{
    let place = seat.place.clone();
    let service = service_fn(|request: Request<Incoming>| {
        let (answer, place) = (answer.clone(), place.clone());
        async move {
            // No request has a body that matters.
            let (parts, _) = request.into_parts();
            place.answers.store(true, Relaxed);
            let response = answer(peer, parts).await;
            place.answers.store(false, Relaxed);
            Ok::<_, Infallible>(with_length(response))
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(stream, service);
    tokio::pin!(connection);
    let mut stopping = false;
    loop {
        tokio::select! {
            // An error is the client's matter: it went away, or sent what is no request.
            _ = &mut connection => return,
            () = place.leave.cancelled() => return,
            () = stop.cancelled(), if !stopping => {
                stopping = true;
                connection.as_mut().graceful_shutdown();
            }
        }
    }
}

/// A length stands before `connection`, where upstream's server has it.
fn with_length<B: Body>(mut response: Response<B>) -> Response<B> {
    if let Some(length @ 1..) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

#[cfg(test)]
mod tests;
