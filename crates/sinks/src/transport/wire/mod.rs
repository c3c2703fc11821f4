//! Ways to receivers that never answer: datagrams over UDP and to Unix sockets, TCP and TLS connections.

mod datagrams;
mod dispatch;
mod local;
mod stream;

pub use datagrams::{Datagrams, MAX_DATAGRAM};
pub(crate) use dispatch::{Dispatch, Limits, Post};
pub(crate) use local::LocalDatagrams;
pub use stream::{Connect, Stream, StreamWire, connections};

use std::fmt;

use crate::{BuildError, Rejected, WriteError, Written, transport::tls};

/// A host and its port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// Name or IP address, without brackets.
    pub host: String,
    /// From 1 up.
    pub port: u16,
}

impl Address {
    /// Reads `host:port` or `[IPv6]:port`; an empty host is this machine. `None`: it is neither.
    pub fn parse(text: &str) -> Option<Address> {
        let (host, port) = text.trim().rsplit_once(':')?;
        let port = port.parse().ok().filter(|&port| port > 0)?;
        let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match bracketed {
            Some(host) => host,
            None if host.contains([':', '[', ']', '/', ' ']) => return None,
            None if host.is_empty() => "localhost",
            None => host,
        };
        Some(Address {
            host: host.to_owned(),
            port,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Messages of a group that are ready to be sent.
#[derive(Debug, Default)]
pub struct Outgoing {
    /// One message behind the other.
    pub bytes: Vec<u8>,
    /// Where each datagram ends in `bytes`. Connections have no use for it.
    pub ends: Vec<usize>,
    /// Rows that make no message.
    pub rejected: Vec<Rejected>,
}

/// A receiver, and how it is reached.
pub enum Wire {
    /// UDP.
    Datagrams(Datagrams),
    /// TCP or TLS.
    Stream(StreamWire),
}

impl Wire {
    /// `transport` is `udp`, `tcp` or `tls`, the value of the option `meta.transport`; `ssl` and the name that the certificate is made out to count for `tls` alone.
    /// `peer` replaces the connection of `tcp` and `tls`. Nothing is opened yet; `warn` gets what the user should know.
    pub fn new(
        transport: &str,
        address: Address,
        (ssl, server_name): (&tls::SslOptions, &str),
        peer: Option<Connect>,
        warn: impl FnMut(&str),
    ) -> Result<Wire, BuildError> {
        let name = address.to_string();
        let connect = match (transport, peer) {
            ("udp", _) => return Ok(Wire::Datagrams(Datagrams::new(address))),
            ("tcp" | "tls", Some(peer)) => peer,
            ("tcp", None) => stream::tcp(address),
            ("tls", None) => {
                let settings = ssl.settings(server_name, warn);
                let server = settings
                    .name_for(&address.host)
                    .map_err(|error| BuildError::Options(format!("{error} – set ssl_server_name")))?;
                let config = tls::client_config(&settings)
                    .map_err(|error| BuildError::Options(format!("meta.transport is \"tls\": {error}")))?;
                stream::tls(address, server, config)
            }
            _ => {
                return Err(BuildError::Options(format!(
                    "meta.transport is \"{transport}\", expected udp, tcp or tls – write one of them"
                )));
            }
        };
        Ok(Wire::Stream(StreamWire::new(name, connect)))
    }

    /// Whether each message has to be a datagram.
    pub fn is_datagrams(&self) -> bool {
        matches!(self, Wire::Datagrams(_))
    }

    /// Sends messages, if there are any, and ends the write of their group.
    ///
    /// # Errors
    /// The receiver cannot be reached, or takes nothing. All messages have to come again then.
    pub async fn deliver(&self, out: Outgoing) -> Result<Written, WriteError> {
        match self {
            _ if out.bytes.is_empty() => {}
            Wire::Datagrams(datagrams) => datagrams.send(&out.bytes, &out.ends).await?,
            Wire::Stream(stream) => stream.send(&out.bytes).await?,
        }
        Ok(Written {
            rejected: out.rejected,
            ..Written::default()
        })
    }

    /// Ends a connection.
    pub async fn close(&self) {
        if let Wire::Stream(stream) = self {
            stream.close().await;
        }
    }
}

#[cfg(test)]
mod tests;
