//! What a syslog daemon receives: a header, and the record in one of four forms.

use std::borrow::Cow;

use analytics::{Int, RecordView, Text, Time, When, gotime, json};

use crate::encode::clock;

/// How a message is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// Upstream's: `map[key:value …]` behind the older header.
    Map,
    /// A JSON object behind the older header.
    Json,
    /// A JSON object behind the header of RFC 5424, which has the time of the record.
    Rfc5424,
    /// Common Event Format behind the older header.
    Cef,
}

/// Where a message has a field of a record from.
#[derive(Clone, Copy)]
enum Value {
    Text(Text),
    /// A raw request or response.
    Body(Text),
    /// `int64` of upstream.
    Long(Int),
    /// `int` of upstream.
    Int(Int),
    Time(When),
    Tags,
}

/// The document of `map` and `json`, in the order of its keys. The map has no `tags`.
#[rustfmt::skip]
const FIELDS: &[(&str, Value)] = &[
    ("alias", Value::Text(Text::Alias)),
    ("api_id", Value::Text(Text::ApiId)),
    ("api_key", Value::Text(Text::ApiKey)),
    ("api_name", Value::Text(Text::ApiName)),
    ("api_version", Value::Text(Text::ApiVersion)),
    ("content_length", Value::Long(Int::ContentLength)),
    ("host", Value::Text(Text::Host)),
    ("ip_address", Value::Text(Text::IpAddress)),
    ("method", Value::Text(Text::Method)),
    ("oauth_id", Value::Text(Text::OauthId)),
    ("org_id", Value::Text(Text::OrgId)),
    ("path", Value::Text(Text::Path)),
    ("raw_path", Value::Text(Text::RawPath)),
    ("raw_request", Value::Body(Text::RawRequest)),
    ("raw_response", Value::Body(Text::RawResponse)),
    ("request_time_ms", Value::Long(Int::RequestTime)),
    ("response_code", Value::Int(Int::ResponseCode)),
    ("tags", Value::Tags),
    ("timestamp", Value::Time(When::TimeStamp)),
    ("user_agent", Value::Text(Text::UserAgent)),
];

/// Texts of a CEF extension, by key; some keys need another one that names them.
#[rustfmt::skip]
const CEF_TEXTS: &[(&str, Text)] = &[
    ("requestMethod", Text::Method),
    ("request", Text::RawPath),
    ("dhost", Text::Host),
    ("requestClientApplication", Text::UserAgent),
    ("suser", Text::Alias),
    ("cs1Label=api_id cs1", Text::ApiId),
    ("cs2Label=api_name cs2", Text::ApiName),
    ("cs3Label=api_version cs3", Text::ApiVersion),
    ("cs4Label=org_id cs4", Text::OrgId),
    ("cs5Label=api_key cs5", Text::ApiKey),
    ("cs6Label=oauth_id cs6", Text::OauthId),
    ("tykPath", Text::Path),
    ("tykRawRequest", Text::RawRequest),
    ("tykRawResponse", Text::RawResponse),
];

/// What stands where a text was cut.
const MARKER: &str = "...[truncated]";
/// Texts are cut to no less.
const SHORTEST: usize = 16;
/// How far below the longest possible a cut may be.
const NEAR: usize = 64;

/// Makes messages of records.
pub(super) struct Encoder {
    /// How a message is written.
    pub(super) format: Format,
    /// Facility × 8 + severity.
    pub(super) priority: i64,
    /// Who writes.
    pub(super) tag: String,
    /// This machine.
    pub(super) host: String,
    /// This process.
    pub(super) process: u32,
    /// The most bytes that a message may have, without its framing; 0: any number.
    pub(super) limit: usize,
    /// Whether line ends in texts other than the raw request and response stay as they are.
    pub(super) raw_line_ends: bool,
}

/// Why a record has no message.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NoMessage {
    /// It has no JSON form.
    #[error(transparent)]
    Json(#[from] json::JsonError),
    /// It does not fit, however much its texts are cut.
    #[error("the message is longer than {0} bytes even when every text of it is cut – raise max_message_size")]
    TooLong(usize),
}

impl Encoder {
    /// Appends the message of a record, without framing. A message beyond the limit is written again with its texts cut,
    /// as little as it takes. On failure `out` is as it was.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &RecordView<'_>) -> Result<(), NoMessage> {
        if self.fits(out, record, usize::MAX)? {
            return Ok(());
        }
        // The longest texts that fit lie between these two.
        let (mut fits, mut too_long) = (SHORTEST, self.limit);
        while too_long.saturating_sub(fits) > NEAR {
            let longest = fits.midpoint(too_long);
            let start = out.len();
            match self.fits(out, record, longest)? {
                true => fits = longest,
                false => too_long = longest,
            }
            out.truncate(start);
        }
        match self.fits(out, record, fits)? {
            true => Ok(()),
            false => Err(NoMessage::TooLong(self.limit)),
        }
    }

    /// Appends the message with no text longer than `longest`; `false`: it is too long, and `out` is as it was.
    fn fits(&self, out: &mut Vec<u8>, record: &RecordView<'_>, longest: usize) -> Result<bool, json::JsonError> {
        let start = out.len();
        let written = self.write_message(out, record, longest);
        let fits = self.limit == 0 || out.len() - start <= self.limit;
        if written.is_err() || !fits {
            out.truncate(start);
        }
        written.map(|()| fits)
    }

    fn write_message(&self, out: &mut Vec<u8>, record: &RecordView<'_>, longest: usize) -> Result<(), json::JsonError> {
        self.write_header(out, record.time(When::TimeStamp));
        let texts = Texts {
            record: *record,
            longest,
        };
        match self.format {
            Format::Map => self.write_map(out, texts),
            Format::Json | Format::Rfc5424 => write_json(out, texts)?,
            Format::Cef => write_cef(out, texts),
        }
        Ok(())
    }

    fn write_header(&self, out: &mut Vec<u8>, recorded: Time) {
        out.push(b'<');
        json::write_int(out, self.priority);
        out.push(b'>');
        if self.format != Format::Rfc5424 {
            gotime::write_rfc3339(out, clock::local_time());
            out.push(b' ');
            out.extend_from_slice(self.host.as_bytes());
            out.push(b' ');
            out.extend_from_slice(self.tag.as_bytes());
            out.push(b'[');
            json::write_int(out, self.process.into());
            out.extend_from_slice(b"]: ");
            return;
        }
        out.extend_from_slice(b"1 ");
        // The standard allows microseconds at most.
        let recorded = Time {
            nanos: recorded.nanos / 1000 * 1000,
            ..recorded
        };
        if gotime::write_rfc3339_nano(out, recorded).is_err() {
            out.push(b'-');
        }
        out.push(b' ');
        write_name(out, &self.host, 255);
        out.push(b' ');
        write_name(out, &self.tag, 48);
        out.push(b' ');
        json::write_int(out, self.process.into());
        // The message id, and no structured data.
        out.extend_from_slice(b" analytics - ");
    }

    fn write_map(&self, out: &mut Vec<u8>, texts: Texts<'_>) {
        out.extend_from_slice(b"map[");
        let mut separator: &[u8] = b"";
        for (key, value) in FIELDS {
            if matches!(value, Value::Tags) {
                continue;
            }
            out.extend_from_slice(separator);
            separator = b" ";
            out.extend_from_slice(key.as_bytes());
            out.push(b':');
            match *value {
                Value::Text(text) if self.raw_line_ends => out.extend_from_slice(&texts.get(text)),
                Value::Text(text) => write_escaped(out, &texts.get(text), &[(b'\n', b"\\n"), (b'\r', b"\\r")]),
                Value::Body(text) => write_escaped(out, &texts.get(text), &[(b'\n', b"\\n")]),
                Value::Long(int) => write_wrapped(out, "%!s(int64=", texts.record.int(int)),
                Value::Int(int) => write_wrapped(out, "%!s(int=", texts.record.int(int)),
                Value::Time(when) => gotime::write_text(out, texts.record.time(when)),
                Value::Tags => {}
            }
        }
        out.push(b']');
    }
}

/// A record whose texts are cut.
#[derive(Clone, Copy)]
struct Texts<'a> {
    record: RecordView<'a>,
    longest: usize,
}

impl<'a> Texts<'a> {
    fn get(self, text: Text) -> Cow<'a, [u8]> {
        let whole = self.record.text(text);
        match cut(&whole, self.longest) {
            Some(cut) => Cow::Owned(cut),
            None => whole,
        }
    }
}

/// `None`: it is short enough. Characters stay whole.
fn cut(text: &[u8], longest: usize) -> Option<Vec<u8>> {
    if text.len() <= longest {
        return None;
    }
    let is_inside = |byte: &u8| byte & 0xc0 == 0x80;
    let mut end = longest;
    // No character has more than four bytes; what is no text is cut where it is.
    while end > 0 && end + 3 > longest && text.get(end).is_some_and(is_inside) {
        end -= 1;
    }
    let mut cut = text.get(..end).unwrap_or_default().to_vec();
    cut.extend_from_slice(MARKER.as_bytes());
    Some(cut)
}

fn write_json(out: &mut Vec<u8>, texts: Texts<'_>) -> Result<(), json::JsonError> {
    out.push(b'{');
    let mut separator: &[u8] = b"";
    for (key, value) in FIELDS {
        out.extend_from_slice(separator);
        separator = b",";
        json::write_string(out, key.as_bytes());
        out.push(b':');
        match *value {
            Value::Text(text) | Value::Body(text) => json::write_string(out, &texts.get(text)),
            Value::Long(int) | Value::Int(int) => json::write_int(out, texts.record.int(int)),
            Value::Time(when) => {
                out.push(b'"');
                gotime::write_rfc3339_nano(out, texts.record.time(when))?;
                out.push(b'"');
            }
            Value::Tags => write_tags(out, texts),
        }
    }
    out.push(b'}');
    Ok(())
}

/// As many tags as there is room for when texts are cut.
fn write_tags(out: &mut Vec<u8>, texts: Texts<'_>) {
    let Some(tags) = texts.record.tags() else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'[');
    let mut room = texts.longest;
    for (position, tag) in tags.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        if tag.len() + 3 > room {
            json::write_string(out, MARKER.as_bytes());
            break;
        }
        room -= tag.len() + 3;
        json::write_string(out, tag);
    }
    out.push(b']');
}

fn write_cef(out: &mut Vec<u8>, texts: Texts<'_>) {
    let record = texts.record;
    let status = record.int(Int::ResponseCode);
    let (severity, outcome) = match status {
        500.. => (8, "failure"),
        400.. => (5, "failure"),
        _ => (3, "success"),
    };
    out.extend_from_slice(concat!("CEF:0|Tyk|Tyk Pump|", env!("CARGO_PKG_VERSION"), "|").as_bytes());
    json::write_int(out, status);
    out.extend_from_slice(b"|API request|");
    json::write_int(out, severity);
    let time = record.time(When::TimeStamp);
    let millis = time
        .seconds
        .saturating_mul(1000)
        .saturating_add(i64::from(time.nanos / 1_000_000));
    out.extend_from_slice(b"|rt=");
    json::write_int(out, millis);
    write_extension(out, "outcome", outcome.as_bytes());
    let source = texts.get(Text::IpAddress);
    let key = match source.contains(&b':') {
        true => "c6a2Label=Source IPv6 Address c6a2",
        false => "src",
    };
    write_extension(out, key, &source);
    for (key, int) in [
        ("in", Int::ContentLength),
        ("cn1Label=response_code cn1", Int::ResponseCode),
        ("cn2Label=request_time_ms cn2", Int::RequestTime),
    ] {
        write_extension(out, key, itoa::Buffer::new().format(record.int(int)).as_bytes());
    }
    for (key, text) in CEF_TEXTS {
        write_extension(out, key, &texts.get(*text));
    }
}

/// An empty value is left out.
fn write_extension(out: &mut Vec<u8>, key: &str, value: &[u8]) {
    if value.is_empty() {
        return;
    }
    out.push(b' ');
    out.extend_from_slice(key.as_bytes());
    out.push(b'=');
    let escapes: &[(u8, &[u8])] = &[(b'\\', b"\\\\"), (b'=', b"\\="), (b'\n', b"\\n"), (b'\r', b"\\r")];
    write_escaped(out, value, escapes);
}

fn write_escaped(out: &mut Vec<u8>, text: &[u8], escapes: &[(u8, &[u8])]) {
    for &byte in text {
        match escapes.iter().find(|(special, _)| *special == byte) {
            Some((_, escaped)) => out.extend_from_slice(escaped),
            None => out.push(byte),
        }
    }
}

fn write_wrapped(out: &mut Vec<u8>, before: &str, value: i64) {
    out.extend_from_slice(before.as_bytes());
    json::write_int(out, value);
    out.push(b')');
}

/// A name of an RFC 5424 header: printable ASCII without blanks.
fn write_name(out: &mut Vec<u8>, name: &str, longest: usize) {
    let printable = name
        .bytes()
        .map(|byte| if byte.is_ascii_graphic() { byte } else { b'_' });
    let before = out.len();
    out.extend(printable.take(longest));
    if out.len() == before {
        out.push(b'-');
    }
}
