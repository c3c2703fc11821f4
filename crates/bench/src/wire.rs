//! A client of Redis that does no more than it must: what it costs must not hide what is measured.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
};

use anyhow::{Context, bail};

/// Bytes read from the socket at once.
const READ_BUFFER: usize = 1 << 20;

/// An answer of Redis.
#[derive(Debug, PartialEq)]
pub(crate) enum Reply {
    Nothing,
    Int(i64),
    Text(Vec<u8>),
    List(Vec<Reply>),
}

/// How much a list answer held.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Scanned {
    pub(crate) elements: u64,
    pub(crate) bytes: u64,
}

enum Head {
    Simple(Vec<u8>),
    Int(i64),
    Bulk(i64),
    List(i64),
}

/// One blocking connection. Commands may be sent ahead; answers are read in their order.
pub(crate) struct Client {
    stream: TcpStream,
    buffer: Vec<u8>,
    start: usize,
    end: usize,
    line: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(port: u16) -> anyhow::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port)).with_context(|| format!("Redis on port {port}"))?;
        stream.set_nodelay(true)?;
        Ok(Client {
            stream,
            buffer: vec![0; READ_BUFFER],
            start: 0,
            end: 0,
            line: Vec::new(),
        })
    }

    /// Sends encoded commands.
    pub(crate) fn send(&mut self, commands: &[u8]) -> anyhow::Result<()> {
        Ok(self.stream.write_all(commands)?)
    }

    /// One command and its answer.
    pub(crate) fn call(&mut self, parts: &[&[u8]]) -> anyhow::Result<Reply> {
        let mut command = Vec::new();
        encode(&mut command, parts);
        self.send(&command)?;
        self.read()
    }

    /// The next answer. An error answer is an error.
    pub(crate) fn read(&mut self) -> anyhow::Result<Reply> {
        Ok(match self.head()? {
            Head::Simple(text) => Reply::Text(text),
            Head::Int(value) => Reply::Int(value),
            Head::Bulk(length) if length < 0 => Reply::Nothing,
            Head::Bulk(length) => Reply::Text(self.bulk(length as usize)?),
            Head::List(count) if count < 0 => Reply::Nothing,
            Head::List(count) => Reply::List((0..count).map(|_| self.read()).collect::<anyhow::Result<_>>()?),
        })
    }

    /// Reads an answer that is a list of texts, counts it, and keeps nothing of it.
    pub(crate) fn scan(&mut self) -> anyhow::Result<Scanned> {
        let Head::List(count) = self.head()? else {
            bail!("the answer is no list");
        };
        let mut scanned = Scanned::default();
        for _ in 0..count {
            let Head::Bulk(length) = self.head()? else {
                bail!("an element is no text");
            };
            self.skip(length as usize + 2)?;
            scanned.elements += 1;
            scanned.bytes += length as u64;
        }
        Ok(scanned)
    }

    fn head(&mut self) -> anyhow::Result<Head> {
        let kind = self.byte()?;
        self.line.clear();
        loop {
            match self.byte()? {
                b'\r' => break,
                byte => self.line.push(byte),
            }
        }
        self.byte()?;
        let number = || -> anyhow::Result<i64> { Ok(std::str::from_utf8(&self.line)?.parse()?) };
        Ok(match kind {
            b'+' => Head::Simple(self.line.clone()),
            b':' => Head::Int(number()?),
            b'$' => Head::Bulk(number()?),
            b'*' => Head::List(number()?),
            b'-' => bail!("Redis answered: {}", String::from_utf8_lossy(&self.line)),
            other => bail!("Redis answered with the unknown type {other:#x}"),
        })
    }

    fn bulk(&mut self, length: usize) -> anyhow::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(length);
        while text.len() < length {
            let ready = self.ready()?;
            let part = &ready[..ready.len().min(length - text.len())];
            text.extend_from_slice(part);
            self.start += part.len();
        }
        self.skip(2)?;
        Ok(text)
    }

    fn skip(&mut self, mut length: usize) -> io::Result<()> {
        while length > 0 {
            let step = self.ready()?.len().min(length);
            self.start += step;
            length -= step;
        }
        Ok(())
    }

    fn byte(&mut self) -> io::Result<u8> {
        let byte = self.ready()?[0];
        self.start += 1;
        Ok(byte)
    }

    /// What is read and not yet used: at least one byte.
    fn ready(&mut self) -> io::Result<&[u8]> {
        if self.start == self.end {
            self.start = 0;
            self.end = self.stream.read(&mut self.buffer)?;
            if self.end == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(&self.buffer[self.start..self.end])
    }
}

/// Appends a command.
pub(crate) fn encode(out: &mut Vec<u8>, parts: &[&[u8]]) {
    begin(out, parts.len());
    for part in parts {
        argument(out, part);
    }
}

/// Appends the head of a command of so many arguments, its name included.
pub(crate) fn begin(out: &mut Vec<u8>, arguments: usize) {
    out.extend_from_slice(format!("*{arguments}\r\n").as_bytes());
}

/// Appends one argument.
pub(crate) fn argument(out: &mut Vec<u8>, argument: &[u8]) {
    out.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
    out.extend_from_slice(argument);
    out.extend_from_slice(b"\r\n");
}
