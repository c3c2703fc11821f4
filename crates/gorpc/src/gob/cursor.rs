//! A place in the messages that a value consists of.

use std::sync::Arc;

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
        let (number, len) = read_unsigned(self.rest()).map_err(|fault| self.bad(fault))?;
        self.at += len;
        Ok(number)
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
    pub(super) fn name(&mut self) -> Result<Arc<str>, Stop> {
        let name = self.bytes()?;
        match str::from_utf8(&name) {
            Ok(text) if text.len() <= 1024 => Ok(Arc::from(text)),
            _ => Err(self.bad(Fault::Name(name.len()))),
        }
    }
}

/// The unsigned number at the beginning of `bytes`, and how many of them it takes. [`Fault::Short`]: it goes on behind them.
pub(super) fn read_unsigned(bytes: &[u8]) -> Result<(u64, usize), Fault> {
    let Some((&first, rest)) = bytes.split_first() else {
        return Err(Fault::Short { wanted: 1, left: 0 });
    };
    let width = match first {
        0..128 => return Ok((first.into(), 1)),
        128..248 => return Err(Fault::LongNumber(first.wrapping_neg())),
        _ => usize::from(first.wrapping_neg()),
    };
    let Some(bytes) = rest.get(..width) else {
        return Err(Fault::Short {
            wanted: width as u64,
            left: rest.len(),
        });
    };
    let number = bytes.iter().fold(0, |sum, &byte| sum << 8 | u64::from(byte));
    Ok((number, 1 + width))
}
