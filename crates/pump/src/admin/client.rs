//! Asking a running daemon on this machine to do something: what `tyk-pump lane` and `tyk-pump dlq replay` use.

use std::{
    fmt::{Display, Write},
    net::{Ipv4Addr, SocketAddr},
};

use anyhow::{Context, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::store::Wanted;
use crate::config::{Secret, Settings, values::from_here};

/// Longest answer that is read: dead letters hold whole records.
const ANSWER_LIMIT: u64 = 256 << 20;

/// The way to the admin pages of the daemon that has this configuration.
#[derive(Clone, Debug)]
pub struct Client {
    address: SocketAddr,
    token: Secret,
}

impl Client {
    /// Does not connect yet.
    pub fn new(settings: &Settings) -> Self {
        let here = SocketAddr::from((Ipv4Addr::LOCALHOST, settings.health_port));
        Self::at(settings.admin.listen.unwrap_or(here), settings.admin.token.clone())
    }

    /// The same for an address; that of all interfaces means this machine.
    pub fn at(address: SocketAddr, token: Secret) -> Self {
        Self {
            address: from_here(address),
            token,
        }
    }

    /// Where the daemon is asked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets the records that the back-end of `pump` refuses become dead letters.
    ///
    /// # Errors
    /// No daemon answers, or it says why it does not do it.
    pub async fn accept_refusals(&self, pump: &str) -> anyhow::Result<Value> {
        self.post(&format!("/lanes/{}/accept-refusals", encoded(pump))).await
    }

    /// Offers up to `limit` dead letters of `pump`, or of all pumps, to their back-ends once more.
    ///
    /// # Errors
    /// No daemon answers, or it says why it does not do it.
    pub async fn replay(&self, pump: Option<&str>, limit: usize) -> anyhow::Result<Value> {
        let mut path = format!("/dead-letters/replay?limit={limit}");
        if let Some(pump) = pump {
            // Writing to a String cannot fail.
            let _ = write!(path, "&pump={}", encoded(pump));
        }
        self.post(&path).await
    }

    /// Does something to the store of the daemon's own.
    ///
    /// # Errors
    /// No daemon answers, or it says why it does not do it.
    pub async fn store(&self, wanted: &Wanted) -> anyhow::Result<Value> {
        let mut path = "/store?".to_owned();
        if let Value::Object(fields) = serde_json::to_value(wanted)? {
            for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                // Writing to a String cannot fail.
                let _ = write!(path, "{name}={}&", encoded(&value));
            }
        }
        self.post(path.trim_end_matches('&')).await
    }

    /// The page `/status`.
    ///
    /// # Errors
    /// No daemon answers.
    pub async fn status(&self) -> anyhow::Result<Value> {
        self.request("GET", "/status").await
    }

    async fn post(&self, path: &str) -> anyhow::Result<Value> {
        self.request("POST", path).await
    }

    /// The server closes the connection after its answer, so that the body needs no framing: a whole HTTP client would
    /// be a large dependency for a few requests to this machine.
    async fn request(&self, method: &str, path: &str) -> anyhow::Result<Value> {
        let address = self.address;
        let connected = TcpStream::connect(address).await;
        let mut connection = connected.with_context(|| {
            format!(
                "no tyk-pump answers at {address}; is it running, and is health_check_endpoint_port (or admin_listen, \
                 if that is set) right?"
            )
        })?;
        let authorization = match self.token.reveal() {
            "" => String::new(),
            token => format!("authorization: Bearer {token}\r\n"),
        };
        let request = format!(
            "{method} {path} HTTP/1.0\r\nhost: localhost:{}\r\n{authorization}content-length: 0\r\nconnection: close\r\n\r\n",
            address.port()
        );
        connection.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        connection.take(ANSWER_LIMIT).read_to_end(&mut answer).await?;
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).unwrap_or_default();
        let body: Value = serde_json::from_str(body)
            .with_context(|| format!("{address} answers {status:?} and no JSON: it is not that of this tyk-pump"))?;
        match body.get("error").and_then(Value::as_str) {
            Some(error) => bail!("{error}"),
            None if status == "200" => Ok(body),
            None => bail!("tyk-pump answers {status}: {body}"),
        }
    }
}

fn encoded(text: &str) -> impl Display + '_ {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}
