//! Reading tags and values.

use crate::{DecodeError, Span};

/// What the reference says of everything that is no protobuf.
const MALFORMED: DecodeError = DecodeError::Protobuf("cannot parse invalid wire-format data");

/// Highest field number that the format allows.
const MAX_NUMBER: u64 = (1 << 29) - 1;

/// One value as it stands on the wire.
#[derive(Clone, Copy)]
pub(super) enum Value {
    Varint(u64),
    Fixed64(u64),
    Bytes(Span),
    /// Fixed32 or a group, which no known field is.
    Other,
}

/// A position in the bytes of one message.
pub(super) struct Reader<'a> {
    /// The buffer up to the message's end.
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Stands at the first byte of `message`. A message that does not lie in `buffer` is empty.
    pub(super) fn new(buffer: &'a [u8], message: Span) -> Self {
        let start = message.start as usize;
        let end = start.saturating_add(message.len as usize);
        Reader {
            bytes: buffer.get(..end).unwrap_or_default(),
            at: start,
        }
    }

    /// The next field's number and value; `None` at the end of the message.
    #[inline(always)]
    pub(super) fn field(&mut self) -> Result<Option<(u32, Value)>, DecodeError> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.bytes()?),
            _ => {
                self.skip(number, wire_type)?;
                Value::Other
            }
        };
        Ok(Some((number, value)))
    }

    #[inline]
    fn tag(&mut self) -> Result<(u32, u8), DecodeError> {
        let tag = self.varint()?;
        let number = tag >> 3;
        if number == 0 || number > MAX_NUMBER {
            return Err(MALFORMED);
        }
        Ok((number as u32, (tag & 7) as u8))
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, DecodeError> {
        match self.bytes.get(self.at..) {
            Some(&[first, ..]) if first < 0x80 => {
                self.at += 1;
                Ok(first.into())
            }
            Some(&[first, second, ..]) if second < 0x80 => {
                self.at += 2;
                Ok(u64::from(first & 0x7f) | u64::from(second) << 7)
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let mut value = 0u64;
        for (at, &byte) in rest.iter().take(10).enumerate() {
            // The tenth byte holds the last of 64 bits.
            if at == 9 && byte > 1 {
                return Err(MALFORMED);
            }
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.at += at + 1;
                return Ok(value);
            }
        }
        Err(cut_or_malformed(rest.len() < 10))
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let bytes = rest.first_chunk().ok_or(DecodeError::UnexpectedEof)?;
        self.at += N;
        Ok(*bytes)
    }

    #[inline]
    fn bytes(&mut self) -> Result<Span, DecodeError> {
        let len = self.varint()?;
        if len > (self.bytes.len() - self.at) as u64 {
            return Err(DecodeError::UnexpectedEof);
        }
        let span = Span {
            start: self.at as u32,
            len: len as u32,
        };
        self.at += len as usize;
        Ok(span)
    }

    /// Steps over a fixed32 or, however deeply it nests, a group.
    fn skip(&mut self, number: u32, wire_type: u8) -> Result<(), DecodeError> {
        let mut open = Vec::new();
        let (mut number, mut wire_type) = (number, wire_type);
        loop {
            match wire_type {
                0 => drop(self.varint()?),
                1 => drop(self.array::<8>()?),
                2 => drop(self.bytes()?),
                3 => open.push(number),
                4 if open.pop() == Some(number) => {}
                5 => drop(self.array::<4>()?),
                _ => return Err(MALFORMED),
            }
            if open.is_empty() {
                return Ok(());
            }
            (number, wire_type) = self.tag()?;
        }
    }
}

fn cut_or_malformed(cut: bool) -> DecodeError {
    if cut { DecodeError::UnexpectedEof } else { MALFORMED }
}
