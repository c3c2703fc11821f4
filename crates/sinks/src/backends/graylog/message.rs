//! What Graylog receives: GELF, upstream's kind or version 1.1.

use std::borrow::Cow;

use analytics::{Int, RecordView, Text, When, json};
use flate2::{Compress, Compression, FlushCompress, Status};

/// Bytes of a compressed message that travel in one datagram.
const CHUNK: usize = 1420;
/// Graylog drops messages in more chunks.
const MAX_CHUNKS: usize = 128;

/// A value of a record that can be selected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// A text.
    Text(Text),
    /// A raw request or response, without its base64.
    Body(Text),
    /// A number.
    Int(Int),
}

/// Everything that `tags` can name, in the order in which it is written.
#[rustfmt::skip]
pub(super) const VALUES: &[(&str, Value)] = &[
    ("api_id", Value::Text(Text::ApiId)),
    ("api_key", Value::Text(Text::ApiKey)),
    ("api_name", Value::Text(Text::ApiName)),
    ("api_version", Value::Text(Text::ApiVersion)),
    ("ip_address", Value::Text(Text::IpAddress)),
    ("method", Value::Text(Text::Method)),
    ("oauth_id", Value::Text(Text::OauthId)),
    ("org_id", Value::Text(Text::OrgId)),
    ("path", Value::Text(Text::Path)),
    ("raw_request", Value::Body(Text::RawRequest)),
    ("raw_response", Value::Body(Text::RawResponse)),
    ("request_time", Value::Int(Int::RequestTime)),
    ("response_code", Value::Int(Int::ResponseCode)),
];

/// Makes messages of records.
pub(super) struct Encoder {
    /// Selected values, in the order of [`VALUES`].
    pub(super) values: Vec<(&'static str, Value)>,
    /// Whether messages have `version`, `short_message` and a field of its own for each value.
    pub(super) additional_fields: bool,
    inner: Vec<u8>,
}

impl Encoder {
    /// Without any value the message of each record is an empty object.
    pub(super) fn new(values: Vec<(&'static str, Value)>, additional_fields: bool) -> Encoder {
        Encoder {
            values,
            additional_fields,
            inner: Vec::new(),
        }
    }

    /// Appends the message of a record, keys sorted.
    pub(super) fn write(&mut self, out: &mut Vec<u8>, record: &RecordView<'_>) {
        let mut inner = std::mem::take(&mut self.inner);
        inner.clear();
        inner.push(b'{');
        for (position, (name, value)) in self.values.iter().enumerate() {
            if position > 0 {
                inner.push(b',');
            }
            write_value(&mut inner, name.as_bytes(), *value, record);
        }
        inner.push(b'}');
        out.push(b'{');
        if self.additional_fields {
            for (name, value) in &self.values {
                write_value(out, format!("_{name}").as_bytes(), *value, record);
                out.push(b',');
            }
        }
        out.extend_from_slice(b"\"host\":\"tyk-pumps\",\"message\":");
        json::write_string(out, &inner);
        if self.additional_fields {
            let mut short = record.text(Text::Method).into_owned();
            short.push(b' ');
            short.extend_from_slice(&record.text(Text::Path));
            short.push(b' ');
            json::write_int(&mut short, record.int(Int::ResponseCode));
            out.extend_from_slice(b",\"short_message\":");
            json::write_string(out, &short);
        }
        out.extend_from_slice(b",\"timestamp\":");
        json::write_int(out, record.time(When::TimeStamp).seconds);
        if self.additional_fields {
            out.extend_from_slice(b",\"version\":\"1.1\"");
        }
        out.push(b'}');
        self.inner = inner;
    }
}

fn write_value(out: &mut Vec<u8>, name: &[u8], value: Value, record: &RecordView<'_>) {
    json::write_string(out, name);
    out.push(b':');
    match value {
        Value::Text(text) => json::write_string(out, &record.text(text)),
        Value::Body(text) => {
            let body: Cow<'_, [u8]> = record.plain_body(text).unwrap_or_else(|as_it_is| as_it_is);
            json::write_string(out, &body);
        }
        Value::Int(int) => json::write_int(out, record.int(int)),
    }
}

/// Makes datagrams of messages.
pub(super) struct Packer {
    deflate: Compress,
    packed: Vec<u8>,
    next_id: u64,
}

impl Packer {
    /// `seed` should differ between processes: it keeps their chunks apart.
    pub(super) fn new(seed: u64) -> Packer {
        Packer {
            deflate: Compress::new(Compression::new(6), true),
            packed: Vec::new(),
            next_id: seed,
        }
    }

    /// Appends the datagrams of a message to `out` and their ends to `ends`, or says why Graylog could not take it.
    pub(super) fn pack(&mut self, message: &[u8], out: &mut Vec<u8>, ends: &mut Vec<usize>) -> Result<(), String> {
        self.packed.clear();
        self.deflate.reset();
        let mut done = 0;
        loop {
            self.packed.reserve((message.len() - done) / 2 + 64);
            let rest = message.get(done..).unwrap_or_default();
            let before = self.deflate.total_in();
            let status = self.deflate.compress_vec(rest, &mut self.packed, FlushCompress::Finish);
            done += (self.deflate.total_in() - before) as usize;
            match status {
                Ok(Status::StreamEnd) => break,
                Ok(_) => {}
                Err(error) => return Err(format!("the message cannot be compressed: {error}")),
            }
        }
        if self.packed.len() <= CHUNK {
            out.extend_from_slice(&self.packed);
            ends.push(out.len());
            return Ok(());
        }
        let chunks = self.packed.len().div_ceil(CHUNK);
        if chunks > MAX_CHUNKS {
            return Err(format!(
                "the message has {} bytes compressed; over UDP Graylog takes {} – use transport \"tcp\", or set \
                 max_record_size",
                self.packed.len(),
                CHUNK * MAX_CHUNKS
            ));
        }
        self.next_id = self.next_id.wrapping_add(1);
        for (number, chunk) in self.packed.chunks(CHUNK).enumerate() {
            out.extend_from_slice(&[0x1e, 0x0f]);
            out.extend_from_slice(&self.next_id.to_be_bytes());
            out.extend_from_slice(&[number as u8, chunks as u8]);
            out.extend_from_slice(chunk);
            ends.push(out.len());
        }
        Ok(())
    }
}
