//! One connection to Redis at the level of bytes: the handshake, and replies that are kept as they came.
//!
//! A generic client allocates every element of a list on its own; here a window of a million rows costs a few large
//! reads and one position a row.

use std::{io, time::Duration};

use analytics::Span;
use bytes::{Buf, Bytes, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::timeout,
};

/// What a connection runs over: TCP or TLS.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Bytes that are asked for at once while a large reply comes in.
const CHUNK: usize = 256 * 1024;
/// Redis' own bound of a bulk string (`proto-max-bulk-len`).
const MAX_BULK: i64 = 512 * 1024 * 1024;

/// Why a connection is of no use any more. After any of these it must be dropped.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Server(String),
    #[error("unexpected reply: {0}")]
    Protocol(&'static str),
}

/// A small reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Nil,
    Status(Bytes),
    Error(String),
    Int(i64),
    Bulk(Bytes),
    Array(Vec<Reply>),
}

impl Reply {
    /// The text of a status or bulk string.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Reply::Status(bytes) | Reply::Bulk(bytes) => std::str::from_utf8(bytes).ok(),
            _ => None,
        }
    }
}

/// Elements of a list, in the buffer that they came in.
#[derive(Clone, Debug, Default)]
pub(super) struct Elements {
    pub(super) buffer: Bytes,
    pub(super) spans: Vec<Span>,
}

/// First byte and number of a reply's first line, and where the rest begins.
struct Head {
    kind: u8,
    line: std::ops::Range<usize>,
    end: usize,
}

/// A connection that speaks RESP2.
pub(super) struct Connection {
    stream: Box<dyn Stream>,
    buffer: BytesMut,
    timeout: Duration,
}

impl Connection {
    pub(super) fn new(stream: Box<dyn Stream>, timeout: Duration) -> Connection {
        Connection {
            stream,
            buffer: BytesMut::new(),
            timeout,
        }
    }

    /// The stream, for a client of its own; nothing that was sent may be waiting for its reply.
    pub(super) fn into_stream(self) -> Box<dyn Stream> {
        self.stream
    }

    /// Lets go of the memory of the last reply, which its window may still use.
    pub(super) fn shed(&mut self) {
        if self.buffer.is_empty() {
            self.buffer = BytesMut::new();
        }
    }

    /// Sends commands without waiting for their replies.
    pub(super) async fn send(&mut self, commands: &[&[&[u8]]]) -> Result<(), WireError> {
        let mut request = Vec::with_capacity(512);
        for command in commands {
            request.extend_from_slice(format!("*{}\r\n", command.len()).as_bytes());
            for part in *command {
                request.extend_from_slice(format!("${}\r\n", part.len()).as_bytes());
                request.extend_from_slice(part);
                request.extend_from_slice(b"\r\n");
            }
        }
        timeout(self.timeout, self.stream.write_all(&request))
            .await
            .map_err(|_| timed_out("sending"))??;
        Ok(())
    }

    /// Sends one command and returns its reply; an error reply is an error.
    pub(super) async fn call(&mut self, command: &[&[u8]]) -> Result<Reply, WireError> {
        self.send(&[command]).await?;
        match self.reply().await? {
            Reply::Error(text) => Err(WireError::Server(text)),
            reply => Ok(reply),
        }
    }

    /// Announces who we are. A password that the server does not want is harmless.
    pub(super) async fn greet(&mut self, username: &str, password: &str, database: i64) -> Result<(), WireError> {
        if !password.is_empty() {
            let sent = if username.is_empty() {
                self.call(&[b"AUTH", password.as_bytes()]).await
            } else {
                self.call(&[b"AUTH", username.as_bytes(), password.as_bytes()]).await
            };
            match sent {
                Err(WireError::Server(text))
                    if !text.contains("without any password") && !text.contains("no password is set") =>
                {
                    return Err(WireError::Server(text));
                }
                Err(WireError::Server(_)) | Ok(_) => {}
                Err(error) => return Err(error),
            }
        }
        if database > 0 {
            self.call(&[b"SELECT", database.to_string().as_bytes()]).await?;
        }
        self.send(&[&[b"CLIENT", b"SETNAME", b"tyk-pump"]]).await?;
        self.reply().await?; // may be refused by an ACL, which does not matter
        Ok(())
    }

    /// Reads one small reply.
    pub(super) async fn reply(&mut self) -> Result<Reply, WireError> {
        let head = self.head(0).await?;
        let text = self.buffer.split_to(head.end).freeze().slice(head.line);
        Ok(match head.kind {
            b'+' => Reply::Status(text),
            b'-' => Reply::Error(String::from_utf8_lossy(&text).into_owned()),
            b':' => Reply::Int(number(&text)?),
            b'$' => match number(&text)? {
                len if len < 0 => Reply::Nil,
                len if len > MAX_BULK => return Err(WireError::Protocol("a string of impossible length")),
                len => {
                    let len = len as usize;
                    self.fill(len + 2).await?;
                    let bytes = self.buffer.split_to(len).freeze();
                    self.buffer.advance(2);
                    Reply::Bulk(bytes)
                }
            },
            b'*' => match number(&text)? {
                len if len < 0 => Reply::Nil,
                len => {
                    let mut replies = Vec::new();
                    for _ in 0..len {
                        replies.push(Box::pin(self.reply()).await?);
                    }
                    Reply::Array(replies)
                }
            },
            _ => return Err(WireError::Protocol("neither status, error, number, string nor array")),
        })
    }

    /// Reads the head of an array and returns how many replies follow.
    pub(super) async fn array(&mut self) -> Result<usize, WireError> {
        let head = self.head(0).await?;
        let text = self.buffer.split_to(head.end).freeze().slice(head.line);
        match head.kind {
            b'*' => Ok(usize::try_from(number(&text)?).unwrap_or(0)),
            b'-' => Err(WireError::Server(String::from_utf8_lossy(&text).into_owned())),
            _ => Err(WireError::Protocol("not an array")),
        }
    }

    /// Reads strings of an array, at most `count`: until they exceed `max_bytes`, but at least one. `expected` bytes
    /// are reserved beforehand.
    pub(super) async fn elements(
        &mut self,
        count: usize,
        max_bytes: usize,
        expected: usize,
    ) -> Result<Elements, WireError> {
        self.buffer.reserve(expected.min(max_bytes + CHUNK));
        let mut spans = Vec::with_capacity(count.min(1 << 16));
        let (mut end, mut bytes) = (0, 0usize);
        while spans.len() < count {
            // Mostly the element is there already; awaiting for each of them would cost more than reading it.
            let head = match self.head_at_hand(end, end) {
                Some(head) => head,
                None => self.head(end).await?,
            };
            let len = bulk_length(&self.buffer, &head)?;
            if !spans.is_empty() && (bytes + len > max_bytes || head.end + len > u32::MAX as usize) {
                break;
            }
            if self.buffer.len() < head.end + len + 2 {
                self.fill(head.end + len + 2).await?;
            }
            bytes += len;
            spans.push(Span {
                start: head.end as u32,
                len: len as u32,
            });
            end = head.end + len + 2;
        }
        let buffer = self.buffer.split_to(end).freeze();
        Ok(Elements { buffer, spans })
    }

    /// Reads strings of an array and throws them away.
    pub(super) async fn skip_elements(&mut self, count: usize) -> Result<(), WireError> {
        for _ in 0..count {
            let head = self.head(0).await?;
            let len = bulk_length(&self.buffer, &head)?;
            self.skip(head.end + len + 2).await?;
        }
        Ok(())
    }

    /// Finds the line that begins at `from`.
    async fn head(&mut self, from: usize) -> Result<Head, WireError> {
        let mut searched = from;
        loop {
            if let Some(head) = self.head_at_hand(from, searched) {
                return Ok(head);
            }
            searched = self.buffer.len().max(from);
            self.more().await?;
        }
    }

    /// The line that begins at `from`, if its end, which is not before `searched`, has been read.
    fn head_at_hand(&self, from: usize, searched: usize) -> Option<Head> {
        let rest = self.buffer.get(searched..)?;
        let end = searched + rest.iter().position(|&byte| byte == b'\n')? + 1;
        let kind = self.buffer.get(from).copied().unwrap_or_default();
        let line = from + 1..end.saturating_sub(2).max(from + 1);
        Some(Head { kind, line, end })
    }

    /// Reads until `len` bytes are there.
    async fn fill(&mut self, len: usize) -> Result<(), WireError> {
        if len > self.buffer.len() + CHUNK {
            self.buffer.reserve(len - self.buffer.len());
        }
        while self.buffer.len() < len {
            self.more().await?;
        }
        Ok(())
    }

    /// Reads and forgets `len` bytes.
    async fn skip(&mut self, mut len: usize) -> Result<(), WireError> {
        loop {
            let now = len.min(self.buffer.len());
            self.buffer.advance(now);
            len -= now;
            if len == 0 {
                return Ok(());
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Result<(), WireError> {
        if self.buffer.capacity() - self.buffer.len() < CHUNK / 4 {
            self.buffer.reserve(CHUNK);
        }
        let read = timeout(self.timeout, self.stream.read_buf(&mut self.buffer)).await;
        match read.map_err(|_| timed_out("waiting for a reply"))?? {
            0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "Redis closed the connection").into()),
            _ => Ok(()),
        }
    }
}

fn bulk_length(buffer: &[u8], head: &Head) -> Result<usize, WireError> {
    let len = number(buffer.get(head.line.clone()).unwrap_or_default())?;
    if head.kind != b'$' || !(0..=MAX_BULK).contains(&len) {
        return Err(WireError::Protocol("an element that is no string"));
    }
    Ok(len as usize)
}

fn number(digits: &[u8]) -> Result<i64, WireError> {
    let number = std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok());
    number.ok_or(WireError::Protocol("not a number"))
}

fn timed_out(doing: &str) -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, format!("timed out {doing}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn connection(script: Vec<u8>, step: usize) -> Connection {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        tokio::spawn(async move {
            for part in script.chunks(step) {
                theirs.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        Connection::new(Box::new(ours), Duration::from_secs(5))
    }

    #[tokio::test]
    async fn elements_survive_any_cut_of_the_stream() {
        let script = b"*3\r\n$3\r\na\r\n\r\n$0\r\n\r\n$2\r\nxy\r\n:7\r\n".to_vec();
        for step in 1..script.len() {
            let mut connection = connection(script.clone(), step).await;
            let count = connection.array().await.unwrap();
            let elements = connection.elements(count, 1 << 20, 0).await.unwrap();
            let rows: Vec<&[u8]> = elements.spans.iter().map(|span| span.of(&elements.buffer)).collect();
            assert_eq!(rows, [&b"a\r\n"[..], b"", b"xy"]);
            assert_eq!(connection.reply().await.unwrap(), Reply::Int(7));
        }
    }

    #[tokio::test]
    async fn what_exceeds_the_size_is_thrown_away_and_the_connection_goes_on() {
        let script = b"*3\r\n$4\r\naaaa\r\n$4\r\nbbbb\r\n$4\r\ncccc\r\n+OK\r\n".to_vec();
        for (max, kept) in [(0, 1), (4, 1), (8, 2), (11, 2), (12, 3)] {
            let mut connection = connection(script.clone(), 5).await;
            let count = connection.array().await.unwrap();
            let elements = connection.elements(count, max, 0).await.unwrap();
            assert_eq!((count, elements.spans.len()), (3, kept), "{max}");
            connection.skip_elements(count - kept).await.unwrap();
            assert_eq!(
                connection.reply().await.unwrap(),
                Reply::Status(Bytes::from_static(b"OK"))
            );
        }
    }

    #[tokio::test]
    async fn nonsense_is_an_error_and_no_panic() {
        for script in [
            "*2\r\n:1\r\n",
            "$-5\r\n",
            "*1\r\n$99999999999\r\n",
            "\r\n",
            "*x\r\n",
            "*1\r\n$3\r\nab",
        ] {
            let mut connection = connection(script.as_bytes().to_vec(), 64).await;
            let read = async {
                let count = connection.array().await?;
                connection.elements(count, 1 << 20, 0).await
            };
            assert!(read.await.is_err(), "{script:?}");
        }
    }
}
