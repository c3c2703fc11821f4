//! A place in the messages that a value consists of.

use bytes::Bytes;

use super::{Fault, GobError};

/// Why reading stops.
pub(super) enum Stop {
    /// The value goes on in a message that has not come yet.
    More,
    /// It cannot be decoded.
    Bad(GobError),
}

/// Reads plain values one after the other.
pub(super) struct Cursor<'a> {
    messages: &'a [Bytes],
    /// Messages of the stream before these.
    before: u64,
    message: usize,
    at: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(messages: &'a [Bytes], before: u64) -> Self {
        Cursor {
            messages,
            before,
            message: 0,
            at: 0,
        }
    }

    pub(super) fn bad(&self, fault: Fault) -> Stop {
        Stop::Bad(GobError {
            message: self.before + self.message as u64 + 1,
            offset: self.at,
            fault,
        })
    }

    fn rest(&self) -> &'a [u8] {
        let message = self.messages.get(self.message).map(|message| &message[..]);
        message.and_then(|message| message.get(self.at..)).unwrap_or_default()
    }

    /// Bytes left in this message.
    pub(super) fn left(&self) -> usize {
        self.rest().len()
    }

    /// Whether a further message has come.
    pub(super) fn has_next(&self) -> bool {
        self.message + 1 < self.messages.len()
    }

    /// Goes on with the next message.
    pub(super) fn next_message(&mut self) -> Result<(), Stop> {
        if !self.has_next() {
            return Err(Stop::More);
        }
        self.message += 1;
        self.at = 0;
        Ok(())
    }

    pub(super) fn unsigned(&mut self) -> Result<u64, Stop> {
        let short = |wanted, left| Fault::Short { wanted, left };
        let Some((&first, rest)) = self.rest().split_first() else {
            return Err(self.bad(short(1, 0)));
        };
        let width = match first {
            0..128 => {
                self.at += 1;
                return Ok(first.into());
            }
            128..248 => return Err(self.bad(Fault::LongNumber(first.wrapping_neg()))),
            _ => usize::from(first.wrapping_neg()),
        };
        let Some(bytes) = rest.get(..width) else {
            return Err(self.bad(short(width as u64, rest.len())));
        };
        self.at += 1 + width;
        Ok(bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte)))
    }

    pub(super) fn signed(&mut self) -> Result<i64, Stop> {
        let number = self.unsigned()?;
        Ok((number >> 1) as i64 ^ -((number & 1) as i64))
    }

    pub(super) fn bool(&mut self) -> Result<bool, Stop> {
        match self.unsigned()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(self.bad(Fault::NoBool(other))),
        }
    }

    pub(super) fn float(&mut self) -> Result<f64, Stop> {
        Ok(f64::from_bits(self.unsigned()?.swap_bytes()))
    }

    /// Length and bytes.
    pub(super) fn bytes(&mut self) -> Result<Bytes, Stop> {
        let wanted = self.unsigned()?;
        let left = self.left();
        let length = usize::try_from(wanted).ok().filter(|&length| length <= left);
        let (Some(length), Some(message)) = (length, self.messages.get(self.message)) else {
            return Err(self.bad(Fault::Short { wanted, left }));
        };
        let bytes = message.slice(self.at..self.at + length);
        self.at += length;
        Ok(bytes)
    }

    /// A name of a type or field.
    pub(super) fn name(&mut self) -> Result<Bytes, Stop> {
        let name = self.bytes()?;
        if name.len() > 1024 || str::from_utf8(&name).is_err() {
            return Err(self.bad(Fault::Name(name.len())));
        }
        Ok(name)
    }
}
