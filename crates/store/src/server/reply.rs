//! Replies on their way to a client.

use bytes::{BufMut, Bytes};

use super::glob;
use crate::log::Slice;

/// A part of what a client gets.
pub(super) enum Part {
    /// As it goes over the wire.
    Bytes(Vec<u8>),
    /// Elements that are read from disk when it is their turn.
    Rows(Slice),
    /// Names of keys; which of them match is looked at when it is their turn.
    Names(Names),
}

/// The keys that KEYS or SCAN chooses from.
pub(super) struct Names {
    pub(super) names: Vec<String>,
    pub(super) pattern: Bytes,
}

impl Names {
    /// The array of those that match. Takes its time.
    pub(super) fn render(&self) -> Vec<u8> {
        let matching = |name: &&String| glob::matches(&self.pattern, name.as_bytes());
        let found: Vec<&String> = self.names.iter().filter(matching).collect();
        let mut bytes = Vec::new();
        bytes.put_slice(format!("*{}\r\n", found.len()).as_bytes());
        found.iter().for_each(|name| put_bulk(&mut bytes, name.as_bytes()));
        bytes
    }
}

/// Replies in the order of the commands.
pub(super) struct Replies {
    parts: Vec<Part>,
    buffer: Vec<u8>,
    /// Bytes of the parts that are finished.
    finished: usize,
    resp3: bool,
}

impl Replies {
    pub(super) fn new(resp3: bool) -> Self {
        Self {
            parts: Vec::new(),
            buffer: Vec::new(),
            finished: 0,
            resp3,
        }
    }

    pub(super) fn finish(mut self) -> Vec<Part> {
        if !self.buffer.is_empty() {
            self.parts.push(Part::Bytes(self.buffer));
        }
        self.parts
    }

    /// Memory that they take until they are sent.
    pub(super) fn size(&self) -> usize {
        self.finished + self.buffer.len()
    }

    fn part(&mut self, part: Part, size: usize) {
        self.finished += self.buffer.len() + size + 2 * size_of::<Part>();
        self.parts.push(Part::Bytes(std::mem::take(&mut self.buffer)));
        self.parts.push(part);
    }

    /// Names of keys that match a pattern.
    pub(super) fn names(&mut self, names: Names) {
        let size = names.names.iter().map(|name| name.len() + size_of::<String>()).sum();
        self.part(Part::Names(names), size);
    }

    /// Changes the version of the protocol for what comes.
    pub(super) fn speak(&mut self, resp3: bool) {
        self.resp3 = resp3;
    }

    fn line(&mut self, sign: u8, text: &str) {
        self.buffer.put_u8(sign);
        self.buffer.put_slice(text.as_bytes());
        self.buffer.put_slice(b"\r\n");
    }

    pub(super) fn ok(&mut self) {
        self.simple("OK");
    }

    pub(super) fn simple(&mut self, text: &str) {
        self.line(b'+', text);
    }

    /// An error; line breaks in what it quotes become blanks, as in Redis.
    pub(super) fn error(&mut self, text: &str) {
        self.line(b'-', &text.replace(['\r', '\n'], " "));
    }

    pub(super) fn integer(&mut self, number: i64) {
        let mut digits = [0; 24];
        let mut place = &mut digits[..];
        // 24 bytes are enough for any 64-bit number and its signs.
        let _ = std::io::Write::write_fmt(&mut place, format_args!(":{number}\r\n"));
        let left = place.len();
        self.buffer.put_slice(digits.get(..24 - left).unwrap_or_default());
    }

    pub(super) fn bulk(&mut self, bytes: &[u8]) {
        put_bulk(&mut self.buffer, bytes);
    }

    pub(super) fn null(&mut self) {
        self.buffer.put_slice(if self.resp3 { b"_\r\n" } else { b"$-1\r\n" });
    }

    /// The reply of EXEC, or of a pop, that has nothing to give.
    pub(super) fn null_array(&mut self) {
        self.buffer.put_slice(if self.resp3 { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// So many replies follow as one.
    pub(super) fn array(&mut self, len: usize) {
        self.line(b'*', &len.to_string());
    }

    /// So many pairs follow: a map in RESP3, a flat array in RESP2.
    pub(super) fn map(&mut self, pairs: usize) {
        match self.resp3 {
            true => self.line(b'%', &pairs.to_string()),
            false => self.array(2 * pairs),
        }
    }

    /// A set in RESP3, an array in RESP2.
    pub(super) fn set(&mut self, len: usize) {
        match self.resp3 {
            true => self.line(b'~', &len.to_string()),
            false => self.array(len),
        }
    }

    /// Text that people read: verbatim in RESP3.
    pub(super) fn verbatim(&mut self, text: &str) {
        match self.resp3 {
            true => {
                self.line(b'=', &(text.len() + 4).to_string());
                self.buffer.put_slice(b"txt:");
                self.buffer.put_slice(text.as_bytes());
                self.buffer.put_slice(b"\r\n");
            }
            false => self.bulk(text.as_bytes()),
        }
    }

    /// An array of elements.
    pub(super) fn rows(&mut self, rows: Slice) {
        self.array(rows.len() as usize);
        self.bare_rows(rows);
    }

    /// Elements whose array has been opened already.
    pub(super) fn bare_rows(&mut self, rows: Slice) {
        if rows.len() > 0 {
            let size = rows.size();
            self.part(Part::Rows(rows), size);
        }
    }
}

pub(super) fn put_bulk(buffer: &mut Vec<u8>, bytes: &[u8]) {
    buffer.put_u8(b'$');
    buffer.put_slice(bytes.len().to_string().as_bytes());
    buffer.put_slice(b"\r\n");
    buffer.put_slice(bytes);
    buffer.put_slice(b"\r\n");
}
