//! Raw requests and responses for sinks that take them apart.

use std::borrow::Cow;

use analytics::{RecordView, Text};

/// The raw request or response (`field`) as it went over the wire, empty if none was recorded. `None`: it is neither base64
/// nor, decoded before, an HTTP message.
pub(crate) fn http_body<'a>(record: &RecordView<'a>, field: Text) -> Option<Cow<'a, [u8]>> {
    match record.plain_body(field) {
        Ok(body) => Some(body),
        Err(text) => {
            let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
            line.windows(5).any(|window| window == b"HTTP/").then_some(text)
        }
    }
}
