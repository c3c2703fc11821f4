//! Accepting connections of the admin server, with limits: whoever opens many of them, or never ends a request, takes
//! nothing away from gateways, back-ends and probes.

use std::{
    convert::Infallible,
    future::Future,
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use axum::{
    http::{Request, header, request::Parts},
    response::Response,
};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Notify,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// How long a request's head may take, and a connection may wait for the next request.
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

/// Answers every request with `answer`, until `stop` is cancelled; requests that run then have a second to finish.
pub(super) async fn serve<F, A>(listener: TcpListener, answer: F, stop: CancellationToken)
where
    F: Fn(SocketAddr, Parts) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
{
    let seats = Seats::new(most_connections());
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
                tracker.spawn(converse(stream, peer, seat, answer.clone(), stop.clone()));
            }
            Err(error) if is_the_clients(&error) => {}
            Err(error) => {
                tracing::warn!(prefix = "server", "cannot accept connections at the moment: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    tracker.close();
    // Whoever is not done by then is cut off.
    let _ = tokio::time::timeout(STOP_GRACE, tracker.wait()).await;
}

fn is_the_clients(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

fn most_connections() -> usize {
    let descriptors = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
    let most = (descriptors / SHARE_OF_DESCRIPTORS).clamp(LEAST_CONNECTIONS, MOST_CONNECTIONS);
    most as usize
}

/// One connection, request after request. Its seat is the last thing that it gives up.
async fn converse<F, A>(stream: TcpStream, peer: SocketAddr, seat: Seat, answer: F, stop: CancellationToken)
where
    F: Fn(SocketAddr, Parts) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Response> + Send + 'static,
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
        .serve_connection(TokioIo::new(stream), service);
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
fn with_length(mut response: Response) -> Response {
    if let Some(length @ 1..) = response.body().size_hint().exact() {
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
    response
}

/// A connection, as the others see it.
#[derive(Default)]
struct Place {
    /// A request is being answered.
    answers: AtomicBool,
    leave: CancellationToken,
}

/// The connections there are, oldest first.
#[derive(Clone)]
struct Seats {
    most: usize,
    taken: Arc<Mutex<Vec<Arc<Place>>>>,
    /// Somebody has left.
    left: Arc<Notify>,
}

/// Held by a connection as long as it lasts.
struct Seat {
    place: Arc<Place>,
    seats: Seats,
}

impl Seats {
    fn new(most: usize) -> Self {
        Self {
            most,
            taken: Arc::default(),
            left: Arc::default(),
        }
    }

    fn taken(&self) -> MutexGuard<'_, Vec<Arc<Place>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat; if there is none left, that of whoever has idled longest, once it is gone.
    async fn take(&self) -> Seat {
        loop {
            if let Some(seat) = self.free_seat() {
                return seat;
            }
            self.left.notified().await;
        }
    }

    /// `None`: somebody is on the way out, or everybody is being answered.
    fn free_seat(&self) -> Option<Seat> {
        let mut taken = self.taken();
        if taken.len() >= self.most {
            if !taken.iter().any(|place| place.leave.is_cancelled())
                && let Some(idle) = taken.iter().find(|place| !place.answers.load(Relaxed))
            {
                idle.leave.cancel();
            }
            return None;
        }
        let place = Arc::new(Place::default());
        taken.push(place.clone());
        Some(Seat {
            place,
            seats: self.clone(),
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.taken().retain(|place| !Arc::ptr_eq(place, &self.place));
        self.seats.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newcomer_gets_the_seat_of_whoever_idles_longest() {
        let seats = Seats::new(3);
        let [busy, old, young] = [(); 3].map(|()| seats.free_seat().unwrap());
        busy.place.answers.store(true, Relaxed);
        assert!(
            seats.free_seat().is_none() && old.place.leave.is_cancelled(),
            "the oldest idler is asked to leave"
        );
        assert!(
            seats.free_seat().is_none() && !young.place.leave.is_cancelled(),
            "one is enough"
        );
        assert!(!busy.place.leave.is_cancelled());
        drop(old);
        let new = seats.take().await;
        for seat in [&young, &new] {
            seat.place.answers.store(true, Relaxed);
        }
        let waiting = tokio::spawn({
            let seats = seats.clone();
            async move { seats.take().await }
        });
        tokio::task::yield_now().await;
        assert!(
            !waiting.is_finished() && !young.place.leave.is_cancelled(),
            "all of them are answered first"
        );
        drop(young);
        waiting.await.unwrap();
    }
}
