//! Asking a running daemon on this machine to do something: what `tyk-pump lane` and `tyk-pump dlq replay` use.

use std::{
    fmt::{Display, Write},
    net::Ipv4Addr,
};

use anyhow::{Context, bail};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::store::Wanted;

/// Longest answer that is read: dead letters hold whole records.
const ANSWER_LIMIT: u64 = 256 << 20;

/// Lets the records that the back-end of `pump` refuses become dead letters.
///
/// # Errors
/// No daemon answers on `port`, or it says why it does not do it.
pub async fn accept_refusals(port: u16, pump: &str) -> anyhow::Result<Value> {
    post(port, &format!("/lanes/{}/accept-refusals", encoded(pump))).await
}

/// Offers up to `limit` dead letters of `pump`, or of all pumps, to their back-ends once more.
///
/// # Errors
/// No daemon answers on `port`, or it says why it does not do it.
pub async fn replay(port: u16, pump: Option<&str>, limit: usize) -> anyhow::Result<Value> {
    let mut path = format!("/dead-letters/replay?limit={limit}");
    if let Some(pump) = pump {
        // Writing to a String cannot fail.
        let _ = write!(path, "&pump={}", encoded(pump));
    }
    post(port, &path).await
}

/// Does something to the store of the daemon's own.
///
/// # Errors
/// No daemon answers on `port`, or it says why it does not do it.
pub async fn store(port: u16, wanted: &Wanted) -> anyhow::Result<Value> {
    let mut path = "/store?".to_owned();
    if let Value::Object(fields) = serde_json::to_value(wanted)? {
        for (name, value) in fields.iter().filter(|(_, value)| !value.is_null()) {
            let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            // Writing to a String cannot fail.
            let _ = write!(path, "{name}={}&", encoded(&value));
        }
    }
    post(port, path.trim_end_matches('&')).await
}

/// The page `/status`.
///
/// # Errors
/// No daemon answers on `port`.
pub async fn status(port: u16) -> anyhow::Result<Value> {
    request(port, "GET", "/status").await
}

fn encoded(text: &str) -> impl Display + '_ {
    utf8_percent_encode(text, NON_ALPHANUMERIC)
}

async fn post(port: u16, path: &str) -> anyhow::Result<Value> {
    request(port, "POST", path).await
}

/// The server closes the connection after its answer, so that the body needs no framing: a whole HTTP client would be
/// a large dependency for a few requests to this machine.
async fn request(port: u16, method: &str, path: &str) -> anyhow::Result<Value> {
    let connected = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await;
    let mut connection = connected.with_context(|| {
        format!("no tyk-pump answers on port {port} of this machine; is it running, and is health_check_endpoint_port right?")
    })?;
    let request =
        format!("{method} {path} HTTP/1.0\r\nhost: localhost:{port}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    connection.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    connection.take(ANSWER_LIMIT).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).unwrap_or_default();
    let body: Value = serde_json::from_str(body)
        .with_context(|| format!("port {port} answers {status:?} and no JSON: it is not that of this tyk-pump"))?;
    match body.get("error").and_then(Value::as_str) {
        Some(error) => bail!("{error}"),
        None if status == "200" => Ok(body),
        None => bail!("tyk-pump answers {status}: {body}"),
    }
}
