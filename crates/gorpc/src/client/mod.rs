//! A pool of connections to one server.
//!
//! Calls wait in one queue; whichever connection is free takes the next. Each of the pool's places dials for itself, at
//! once after a connection was lost, later after failures. [`Client::stop`], and dropping the client, end everything:
//! nothing is dialled or sent afterwards.

mod connection;
mod queue;

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use rustls_pki_types::ServerName;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::queue::{Queue, Ticket};
use crate::gob::Basic;

/// What a client needs to know.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Where the server is.
    pub address: Address,
    /// How many connections are kept open; at least 1.
    pub connections: usize,
    /// Names the pool to the server: up to 255 bytes.
    pub pool: Bytes,
    /// Whether both directions are compressed.
    pub compressed: bool,
    /// Patience while connecting, TLS included.
    pub dial_timeout: Duration,
    /// TLS from the first byte.
    pub tls: Option<Tls>,
}

/// `host:port`; IPv6 addresses stand in brackets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Without brackets.
    pub host: String,
    /// 1 to 65535
    pub port: u16,
}

/// TLS of a client.
#[derive(Clone)]
pub struct Tls {
    /// Whom to trust, whom to be.
    pub config: Arc<rustls::ClientConfig>,
    /// Whose certificate is expected.
    pub server_name: ServerName<'static>,
}

/// Why a call has no result.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// No connection within the time. Not sent.
    #[error("{name} was not sent to {address} within {waited:?}: {reason}")]
    NotSent {
        /// The function.
        name: String,
        /// The server.
        address: Address,
        /// How long it waited.
        waited: Duration,
        /// What the last attempt to connect said.
        reason: String,
    },
    /// The connection was lost before the answer. The server may have run the function, if it was sent.
    #[error("{name}: the connection to {address} was lost {}: {reason}", if *sent { "before the answer" } else { "before the call was sent" })]
    Lost {
        /// The function.
        name: String,
        /// The server.
        address: Address,
        /// Whether a part of the call was sent.
        sent: bool,
        /// Why the connection ended.
        reason: String,
    },
    /// Sent, but not answered within the time. The server may run the function later.
    #[error("{name}: no answer from {address} within {waited:?}")]
    TimedOut {
        /// The function.
        name: String,
        /// The server.
        address: Address,
        /// How long it waited.
        waited: Duration,
    },
    /// The function returned an error.
    #[error("{name} on {address} answered: {text}")]
    Failed {
        /// The function.
        name: String,
        /// The server.
        address: Address,
        /// In the function's words.
        text: String,
    },
    /// The server failed to run the function.
    #[error("{name} on {address} could not be run: {text}")]
    Broken {
        /// The function.
        name: String,
        /// The server.
        address: Address,
        /// In the server's words.
        text: String,
    },
    /// Too many calls wait for a connection. Not sent.
    #[error("{name} was not sent to {address}: {waiting} calls wait already")]
    QueueFull {
        /// The function.
        name: String,
        /// The server.
        address: Address,
        /// Length of the queue.
        waiting: usize,
    },
    /// The client was stopped before the call was sent.
    #[error("{name} was not sent to {address}: the client has stopped")]
    Stopped {
        /// The function.
        name: String,
        /// The server.
        address: Address,
    },
}

impl CallError {
    /// Whether the server may have received the call.
    pub fn was_sent(&self) -> bool {
        match self {
            CallError::TimedOut { .. } | CallError::Failed { .. } | CallError::Broken { .. } => true,
            CallError::Lost { sent, .. } => *sent,
            CallError::NotSent { .. } | CallError::QueueFull { .. } | CallError::Stopped { .. } => false,
        }
    }

    /// Whether the server has answered.
    pub fn was_answered(&self) -> bool {
        matches!(self, CallError::Failed { .. } | CallError::Broken { .. })
    }
}

/// A pool of connections. Made by [`Client::start`] inside a Tokio runtime.
pub struct Client {
    shared: Arc<Shared>,
    tasks: TaskTracker,
}

/// What connections and callers share.
struct Shared {
    options: ClientOptions,
    queue: Queue,
    stop: CancellationToken,
    /// Connections that are open now.
    open: AtomicUsize,
    /// Why the last connection, or attempt at one, failed.
    trouble: Mutex<Option<String>>,
}

impl Client {
    /// Begins to connect. Never fails: a server that is away is dialled again, and calls wait for it.
    pub fn start(options: ClientOptions) -> Client {
        let shared = Arc::new(Shared {
            options,
            queue: Queue::default(),
            stop: CancellationToken::new(),
            open: AtomicUsize::new(0),
            trouble: Mutex::new(None),
        });
        let tasks = TaskTracker::new();
        for place in 0..shared.options.connections.max(1) {
            tasks.spawn(connection::keep(shared.clone(), place));
        }
        tasks.close();
        Client { shared, tasks }
    }

    /// Calls a function: `name` with its dot in front. `timeout` counts from now, waiting for a connection included. When the
    /// future is dropped, a call that was not sent never will be.
    pub async fn call(
        &self,
        name: &str,
        argument: Option<Basic>,
        timeout: Duration,
    ) -> Result<Option<Basic>, CallError> {
        let (ticket, answer) = Ticket::new(name, argument);
        let shared = &self.shared;
        let withdrawal = ticket.withdrawal(&shared.queue);
        if shared.stop.is_cancelled() {
            return Err(shared.stopped(name));
        }
        if let Err(waiting) = shared.queue.push(ticket) {
            return Err(CallError::QueueFull {
                name: name.to_owned(),
                address: shared.options.address.clone(),
                waiting,
            });
        }
        let answered = tokio::time::timeout(timeout, answer).await;
        if answered.is_ok() {
            withdrawal.is_done();
        }
        match answered {
            Ok(Ok(answer)) => answer,
            // The queue was emptied.
            Ok(Err(_)) => Err(shared.stopped(name)),
            Err(_) => Err(self.timed_out(name, timeout, withdrawal.withdraw())),
        }
    }

    fn timed_out(&self, name: &str, waited: Duration, withdrawn: bool) -> CallError {
        let (name, address) = (name.to_owned(), self.shared.options.address.clone());
        if !withdrawn {
            return CallError::TimedOut { name, address, waited };
        }
        let reason = match self.connections() {
            0 => self.trouble().unwrap_or_else(|| "no connection yet".to_owned()),
            _ => "its connections were busy".to_owned(),
        };
        CallError::NotSent {
            name,
            address,
            waited,
            reason,
        }
    }

    /// Connections that are open now.
    pub fn connections(&self) -> usize {
        self.shared.open.load(Ordering::Acquire)
    }

    /// Why the last connection was lost, or could not be made.
    fn trouble(&self) -> Option<String> {
        self.shared
            .trouble
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Closes every connection. Calls that wait fail; afterwards nothing is sent or dialled.
    pub async fn stop(&self) {
        self.shared.stop.cancel();
        self.shared.queue.clear();
        self.tasks.wait().await;
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.shared.stop.cancel();
        self.shared.queue.clear();
    }
}

impl Shared {
    fn stopped(&self, name: &str) -> CallError {
        CallError::Stopped {
            name: name.to_owned(),
            address: self.options.address.clone(),
        }
    }

    fn note_trouble(&self, text: String) {
        tracing::debug!(address = %self.options.address, "gorpc: {text}");
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }
}

impl std::str::FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let Some((host, port)) = text.rsplit_once(':') else {
            return Err(format!("\"{text}\" has no port: host:port is expected"));
        };
        let host = match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
            Some(Some(inner)) => inner,
            Some(None) => return Err(format!("\"{text}\": the bracket is not closed")),
            None if host.contains(':') => {
                return Err(format!(
                    "\"{text}\": an IPv6 address stands in brackets, as in [::1]:9091"
                ));
            }
            None => host,
        };
        match port.parse() {
            Ok(port) if port != 0 => Ok(Address {
                // As Go dials it.
                host: if host.is_empty() { "localhost" } else { host }.to_owned(),
                port,
            }),
            _ => Err(format!("\"{text}\": \"{port}\" is no port (1 to 65535)")),
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tls({:?})", self.server_name)
    }
}

/// An error with what caused it.
fn chain(error: &io::Error) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let cause = error.to_string();
        if !text.contains(&cause) {
            text = format!("{text}: {cause}");
        }
        source = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        let parse = |text: &str| text.parse::<Address>().map(|address| address.to_string());
        assert_eq!(parse("mdcb.example.com:9091").unwrap(), "mdcb.example.com:9091");
        assert_eq!(parse("[::1]:9091").unwrap(), "[::1]:9091");
        assert_eq!(parse(":9091").unwrap(), "localhost:9091");
        for (text, part) in [
            ("mdcb", "has no port"),
            ("mdcb:", "\"\" is no port"),
            ("mdcb:0", "\"0\" is no port"),
            ("mdcb:70000", "\"70000\" is no port"),
            ("::1:9091", "brackets"),
            ("[::1:9091", "not closed"),
        ] {
            assert!(parse(text).unwrap_err().contains(part), "{text}: {:?}", parse(text));
        }
    }
}
