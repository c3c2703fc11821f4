//! One place of the pool: dials, sends, receives, and begins anew.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError, atomic::Ordering},
    time::{Duration, Instant},
};

use rustix::net::sockopt;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::{
    CallError, Shared, chain,
    queue::{Reply, Ticket},
};
use crate::{
    Outcome, Preamble, RequestWriter, Response, Style,
    deflate::Deflater,
    incoming::{Garbled, Incoming},
};

/// Wait after an attempt that failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// First and longest wait after connections that ended at once.
const AFTER_SHORT_LIFE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(10));
/// A connection that ends sooner, and has answered nothing, was not a good one.
const SHORT_LIFE: Duration = Duration::from_secs(1);
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Calls without answers that a connection may have.
const MAX_OUTSTANDING: usize = 327_680;
/// Larger messages are compressed away from the threads that serve connections.
const LARGE: usize = 64 << 10;
const READ_BUFFER: usize = 64 << 10;

/// Keeps one connection until the client stops.
pub(super) async fn keep(shared: Arc<Shared>, place: usize) {
    let mut pause = AFTER_SHORT_LIFE.0;
    loop {
        let stop = shared.stop.clone();
        let dialled = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            dialled = timeout(shared.options.dial_timeout, dial(&shared)) => dialled,
        };
        let dialled = dialled.unwrap_or_else(|_| {
            let text = format!("not connected within {:?}", shared.options.dial_timeout);
            Err(io::Error::new(io::ErrorKind::TimedOut, text))
        });
        let wait = match dialled {
            Err(error) => {
                shared.note_trouble(format!("cannot connect: {}", chain(&error)));
                // Places that failed together need not try again together.
                AFTER_FAILURE + Duration::from_millis(7 * (place as u64 % 16))
            }
            Ok(stream) => {
                let since = Instant::now();
                let open = Open::new(&shared);
                let outstanding = Outstanding::default();
                let ended = tokio::select! {
                    biased;
                    () = stop.cancelled() => "the client has stopped".to_owned(),
                    ended = serve(&shared, stream, &outstanding) => ended,
                };
                drop(open);
                let answered = outstanding.close(&shared, &ended);
                if !stop.is_cancelled() {
                    shared.note_trouble(ended);
                }
                if answered > 0 || since.elapsed() >= SHORT_LIFE {
                    pause = AFTER_SHORT_LIFE.0;
                    Duration::ZERO
                } else {
                    let wait = pause;
                    pause = (pause * 2).min(AFTER_SHORT_LIFE.1);
                    wait
                }
            }
        };
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Counts an open connection.
struct Open<'a>(&'a Shared);

impl<'a> Open<'a> {
    fn new(shared: &'a Shared) -> Open<'a> {
        shared.open.fetch_add(1, Ordering::AcqRel);
        Open(shared)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::AcqRel);
    }
}

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects and says who is there.
async fn dial(shared: &Shared) -> io::Result<Box<dyn Stream>> {
    let options = &shared.options;
    let tcp = TcpStream::connect((options.address.host.as_str(), options.address.port)).await?;
    tcp.set_nodelay(true)?;
    sockopt::set_socket_keepalive(&tcp, true)?;
    sockopt::set_tcp_keepidle(&tcp, KEEP_ALIVE)?;
    sockopt::set_tcp_keepintvl(&tcp, KEEP_ALIVE)?;
    let mut stream: Box<dyn Stream> = match &options.tls {
        None => Box::new(tcp),
        Some(tls) => {
            let connector = tokio_rustls::TlsConnector::from(tls.config.clone());
            Box::new(connector.connect(tls.server_name.clone(), tcp).await?)
        }
    };
    let preamble = Preamble {
        pool: options.pool.clone(),
        compressed: options.compressed,
    };
    stream.write_all(&preamble.to_bytes()).await?;
    stream.flush().await?;
    Ok(stream)
}

/// Calls that a connection has taken and that are not answered.
#[derive(Default)]
struct Outstanding(Mutex<Calls>);

#[derive(Default)]
struct Calls {
    by_id: HashMap<u64, Sent>,
    last_id: u64,
    answered: u64,
    /// When something came from the server last.
    heard: Option<Instant>,
}

struct Sent {
    name: String,
    reply: Reply,
    /// When its first byte left.
    sent: Option<Instant>,
}

impl Outstanding {
    fn calls(&self) -> std::sync::MutexGuard<'_, Calls> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives a call its number.
    fn add(&self, name: String, reply: Reply) -> Result<u64, String> {
        let mut calls = self.calls();
        if calls.by_id.len() >= MAX_OUTSTANDING {
            return Err(format!("more than {MAX_OUTSTANDING} calls without an answer"));
        }
        calls.last_id += 1;
        let id = calls.last_id;
        let sent = None;
        calls.by_id.insert(id, Sent { name, reply, sent });
        Ok(id)
    }

    fn note_sent(&self, ids: &[u64]) {
        let mut calls = self.calls();
        for id in ids {
            if let Some(call) = calls.by_id.get_mut(id) {
                call.sent = Some(Instant::now());
            }
        }
    }

    /// Whether nothing was heard since a call that was given up.
    fn is_silent(&self) -> bool {
        let calls = self.calls();
        let mut given_up = calls.by_id.values().filter(|call| call.reply.is_closed());
        given_up.any(|call| {
            call.sent
                .is_none_or(|sent| calls.heard.is_none_or(|heard| heard < sent))
        })
    }

    /// Hands an answer to its caller.
    fn answer(&self, shared: &Shared, response: Response) -> Result<(), String> {
        let address = shared.options.address.clone();
        let mut calls = self.calls();
        let Some(Sent { name, reply, .. }) = calls.by_id.remove(&response.id) else {
            return Err(format!("an answer to call {}, which was not made", response.id));
        };
        calls.answered += 1;
        drop(calls);
        // A caller that waits no more is not told.
        let _ = reply.send(match response.outcome {
            Outcome::Returned(value) => Ok(value),
            Outcome::Failed(text) => Err(CallError::Failed { name, address, text }),
            Outcome::Broken(text) => Err(CallError::Broken { name, address, text }),
        });
        Ok(())
    }

    /// Fails what is left; returns how many were answered.
    fn close(&self, shared: &Shared, reason: &str) -> u64 {
        let mut calls = self.calls();
        for (_, Sent { name, reply, sent }) in calls.by_id.drain() {
            let sent = sent.is_some();
            let error = match shared.stop.is_cancelled() && !sent {
                true => shared.stopped(&name),
                false => CallError::Lost {
                    name,
                    address: shared.options.address.clone(),
                    sent,
                    reason: reason.to_owned(),
                },
            };
            let _ = reply.send(Err(error));
        }
        calls.answered
    }
}

/// Serves a connection until it ends; returns why.
async fn serve(shared: &Shared, stream: Box<dyn Stream>, outstanding: &Outstanding) -> String {
    let (reader, writer) = tokio::io::split(stream);
    let Err(ended) = tokio::select! {
        ended = receive(shared, reader, outstanding) => ended,
        ended = send(shared, writer, outstanding) => ended,
        ended = look_for_silence(shared, outstanding) => ended,
    };
    ended
}

/// Ends a connection that has said nothing since a call was sent whose caller has stopped waiting: its other end may be
/// gone, and would swallow the next call too.
async fn look_for_silence(shared: &Shared, outstanding: &Outstanding) -> Result<Infallible, String> {
    loop {
        let given_up = shared.queue.given_up.notified();
        if outstanding.is_silent() {
            return Err("the server has said nothing since a call that was given up".to_owned());
        }
        given_up.await;
    }
}

async fn receive(
    shared: &Shared,
    mut reader: impl AsyncRead + Unpin,
    outstanding: &Outstanding,
) -> Result<Infallible, String> {
    let mut incoming = Incoming::new(shared.options.compressed);
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let count = reader.read(&mut buffer).await.map_err(|error| chain(&error))?;
        if count == 0 {
            return Err("the server has closed it".to_owned());
        }
        outstanding.calls().heard = Some(Instant::now());
        let taken = incoming.feed(buffer.get(..count).unwrap_or_default(), |value| {
            let response = Response::of(&value)?;
            outstanding.answer(shared, response).map_err(Garbled::Answer)
        });
        taken.map_err(|error| format!("the server's stream cannot be read: {error}"))?;
    }
}

async fn send(
    shared: &Shared,
    mut writer: impl AsyncWrite + Unpin,
    outstanding: &Outstanding,
) -> Result<Infallible, String> {
    let mut deflater = shared.options.compressed.then(Deflater::default);
    let mut requests = RequestWriter::new(Style::UpFront, crate::gob::ids::FIRST_USER);
    let (mut plain, mut packed) = (Vec::new(), Vec::new());
    loop {
        plain.clear();
        packed.clear();
        let mut ids = Vec::new();
        let mut next = Some(shared.queue.take().await);
        while let Some(ticket) = next {
            let Ticket {
                name, argument, reply, ..
            } = ticket;
            let id = outstanding.add(name.clone(), reply)?;
            requests.write(&mut plain, id, &name, argument.as_ref());
            ids.push(id);
            // Small calls that wait share a flush; others are left to other connections.
            next = (plain.len() < LARGE).then(|| shared.queue.try_take()).flatten();
        }
        let bytes = match deflater.take() {
            None => &plain,
            Some(mut compressor) => {
                let input = std::mem::take(&mut plain);
                let is_large = input.len() >= LARGE;
                let output = std::mem::take(&mut packed);
                let work = move || {
                    let mut output = output;
                    let done = compressor.compress(&input, &mut output);
                    (compressor, input, output, done)
                };
                let (compressor, input, output, done) = match is_large {
                    true => tokio::task::spawn_blocking(work)
                        .await
                        .map_err(|error| error.to_string())?,
                    false => work(),
                };
                done.map_err(|error| error.to_string())?;
                (deflater, plain, packed) = (Some(compressor), input, output);
                &packed
            }
        };
        write(&mut writer, bytes, || outstanding.note_sent(&ids))
            .await
            .map_err(|error| chain(&error))?;
        for buffer in [&mut plain, &mut packed] {
            if buffer.capacity() > 16 * LARGE {
                *buffer = Vec::new();
            }
        }
    }
}

/// Writes everything; `begun` is called once the first byte has been taken.
async fn write(writer: &mut (impl AsyncWrite + Unpin), bytes: &[u8], begun: impl FnOnce()) -> io::Result<()> {
    let count = writer.write(bytes).await?;
    if count == 0 && !bytes.is_empty() {
        return Err(io::ErrorKind::WriteZero.into());
    }
    begun();
    writer.write_all(bytes.get(count..).unwrap_or_default()).await?;
    writer.flush().await
}
