//! Messages of a stream.

use bytes::{Buf, Bytes, BytesMut};

use super::{Fault, GobError, MAX_MESSAGE, cursor::read_unsigned};

/// Cuts a stream, which comes in pieces of any size, into messages.
#[derive(Debug, Default)]
pub struct Frames {
    buffer: BytesMut,
    /// Messages returned so far.
    seen: u64,
}

impl Frames {
    /// The next piece of the stream.
    pub fn feed(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// The next message without its length; `None`: it is not complete yet.
    pub fn next_message(&mut self) -> Result<Option<Bytes>, GobError> {
        let error = |fault| GobError {
            message: self.seen + 1,
            offset: 0,
            fault,
        };
        let (length, head) = match read_unsigned(&self.buffer) {
            Ok(read) => read,
            Err(Fault::Short { .. }) => return Ok(None),
            Err(fault) => return Err(error(fault)),
        };
        let whole = match usize::try_from(length) {
            Ok(length) if length <= MAX_MESSAGE => length,
            _ => return Err(error(Fault::LongMessage(length))),
        };
        if self.buffer.len() - head < whole {
            return Ok(None);
        }
        self.buffer.advance(head);
        self.seen += 1;
        Ok(Some(self.buffer.split_to(whole).freeze()))
    }

    /// Whether the stream may end here.
    pub fn is_at_boundary(&self) -> bool {
        self.buffer.is_empty()
    }
}
