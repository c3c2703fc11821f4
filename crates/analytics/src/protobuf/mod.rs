//! Protobuf message `AnalyticsRecord`.

use crate::{DecodeError, Record, Span};

/// Decodes one traffic record.
pub fn decode(_buffer: &[u8], _element: Span) -> Result<Record, DecodeError> {
    Err(DecodeError::Eof)
}
