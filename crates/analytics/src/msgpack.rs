//! MessagePack as `msgpack.v2` of Go writes it.

use crate::{DecodeError, Record, Span, UptimeRecord};

/// Decodes one traffic record.
pub fn decode(_buffer: &[u8], _element: Span) -> Result<Record, DecodeError> {
    Err(DecodeError::Eof)
}

/// Decodes one uptime record.
pub fn decode_uptime(_buffer: &[u8], _element: Span) -> Result<UptimeRecord, DecodeError> {
    Err(DecodeError::Eof)
}
