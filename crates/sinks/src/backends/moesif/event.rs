//! An event of Moesif, made of a record.

use std::{borrow::Cow, collections::BTreeMap};

use analytics::{Int, RecordView, RowId, Text, Time, When, Zone, gotime, json};
use base64::{Engine, engine::general_purpose::STANDARD};

use super::{
    identity::{Headers, Identity},
    masks::{BodyMasks, HIDDEN},
    sampling::Sampling,
};
use crate::{
    encode::body::{decoded, joined},
    encode::go_json::{lossy, lower},
    encode::http_body::http_body,
    encode::row_uuid::{row_draw, row_uuid},
};

/// A line that is as long ends the headers.
const LONGEST_LINE: usize = 64 << 10;
/// What is decoded of a body to look for what is to be hidden; a longer one is not sent.
const LONGEST_BODY: u64 = 4 << 20;
/// How a body begins that is compressed with gzip.
const GZIP: &[u8] = &[0x1f, 0x8b];
/// By this header Moesif knows an event that comes again.
const TRANSACTION: &str = "x-moesif-transaction-id";

/// What of a request or response is sent.
#[derive(Debug, Default)]
pub(super) struct Capture {
    /// Names of headers whose values are hidden, in lower case.
    pub(super) hidden_headers: Vec<String>,
    /// Members of bodies that are hidden.
    pub(super) masks: BodyMasks,
    /// No body is sent.
    pub(super) without_body: bool,
}

/// Makes events of records.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    /// Requests.
    pub(super) request: Capture,
    /// Responses.
    pub(super) response: Capture,
    /// Users and companies.
    pub(super) identity: Identity,
    /// Name of the pump.
    pub(super) pump: String,
    /// Whether events carry an id by which Moesif knows them again.
    pub(super) transaction_ids: bool,
}

/// A request or response, taken apart.
struct Side {
    headers: Headers,
    /// Base64, or nothing.
    body: Option<String>,
}

impl Encoder {
    /// Appends the event of a record; `false`: it is not in the sample. On failure a part of it may be there.
    pub(super) fn write(
        &self,
        out: &mut Vec<u8>,
        row: RowId,
        record: &RecordView<'_>,
        sampling: &Sampling,
    ) -> Result<bool, json::JsonError> {
        let raw_request = http_body(record, Text::RawRequest).unwrap_or_default();
        let mut request = self.request.take_apart(&raw_request);
        let mut response = self
            .response
            .take_apart(&http_body(record, Text::RawResponse).unwrap_or_default());
        let user = self.identity.user(record, &request.headers, &response.headers);
        let company = self.identity.company(&request.headers, &response.headers);
        let rate = sampling.rate(&lossy(&user), &lossy(&company));
        if !sampling.keeps(rate, row_draw(&self.pump, row)) {
            return Ok(false);
        }
        if self.transaction_ids {
            let known = [&request, &response]
                .into_iter()
                .find_map(|side| side.headers.get(TRANSACTION));
            let id = known
                .cloned()
                .unwrap_or_else(|| row_uuid(&self.pump, row, "event").into_bytes());
            request.headers.insert(TRANSACTION.to_owned(), id.clone());
            response.headers.insert(TRANSACTION.to_owned(), id);
        }
        self.write_parts(out, record, (&request, &response), (&user, &company), &raw_request)?;
        out.extend_from_slice(b",\"direction\":\"Incoming\",\"weight\":");
        json::write_int(out, sampling.weight(rate));
        out.push(b'}');
        Ok(true)
    }

    fn write_parts(
        &self,
        out: &mut Vec<u8>,
        record: &RecordView<'_>,
        (request, response): (&Side, &Side),
        (user, company): (&[u8], &[u8]),
        raw_request: &[u8],
    ) -> Result<(), json::JsonError> {
        let text = |out: &mut Vec<u8>, key: &str, value: &[u8]| {
            out.extend_from_slice(key.as_bytes());
            json::write_string(out, value);
        };
        let began = Time {
            zone: Zone::UTC,
            ..record.time(When::TimeStamp)
        };
        // Upstream counts nanoseconds in 64 bits, which wrap: no call takes 292 years.
        let took = record.int(Int::RequestTime).wrapping_mul(1_000_000);
        let ended = Time::normalised(
            began.seconds.wrapping_add(took.div_euclid(1_000_000_000)),
            i64::from(began.nanos) + took.rem_euclid(1_000_000_000),
            Zone::UTC,
        );
        out.extend_from_slice(b"{\"request\":{\"time\":\"");
        gotime::write_rfc3339_nano(out, began)?;
        text(out, "\",\"uri\":", &uri(record, raw_request));
        text(out, ",\"verb\":", &record.text(Text::Method));
        request.write_headers(out);
        text(out, ",\"api_version\":", &record.text(Text::ApiVersion));
        text(out, ",\"ip_address\":", &record.text(Text::IpAddress));
        request.write_body(out);
        out.extend_from_slice(b"},\"response\":{\"time\":\"");
        gotime::write_rfc3339_nano(out, ended)?;
        out.extend_from_slice(b"\",\"status\":");
        json::write_int(out, record.int(Int::ResponseCode));
        response.write_headers(out);
        response.write_body(out);
        text(out, "},\"session_token\":", &record.text(Text::ApiKey));
        text(out, ",\"user_id\":", user);
        text(out, ",\"company_id\":", company);
        text(
            out,
            ",\"metadata\":{\"tyk\":{\"api_name\":",
            &record.text(Text::ApiName),
        );
        out.extend_from_slice(b",\"tags\":");
        match record.tags() {
            None => out.extend_from_slice(b"null"),
            Some(tags) => {
                out.push(b'[');
                for (position, tag) in tags.enumerate() {
                    text(out, if position > 0 { "," } else { "" }, tag);
                }
                out.push(b']');
            }
        }
        out.extend_from_slice(b"}}");
        Ok(())
    }
}

impl Capture {
    fn take_apart(&self, raw: &[u8]) -> Side {
        let (head, body) = split_head(raw);
        let mut headers = self.headers(head);
        let body = body.filter(|_| !self.without_body);
        let body = match self.masks.names.is_empty() {
            true => body.and_then(|body| self.masks.apply(body, true)),
            false => body.and_then(|body| self.masked(head, body, &mut headers)),
        };
        Side {
            headers,
            body: body.map(|body| STANDARD.encode(body)),
        }
    }

    /// The body with what is to be hidden, also below its encodings; `None`: it is not sent, because it cannot be searched.
    /// `headers` lose the encodings that the body has lost.
    fn masked(&self, head: &[u8], body: &[u8], headers: &mut Headers) -> Option<Vec<u8>> {
        let header = |wanted: &str| {
            let lines = head.split(|&byte| byte == b'\n').skip(1);
            let values = lines.filter_map(|line| {
                let at = line.iter().position(|&byte| byte == b':')?;
                let (name, value) = line.split_at(at);
                let value = lossy(value.get(1..)?.trim_ascii());
                name.trim_ascii()
                    .eq_ignore_ascii_case(wanted.as_bytes())
                    .then_some(value)
            });
            values.collect::<Vec<String>>().join(",")
        };
        let is_json = |body: &[u8]| matches!(body.trim_ascii_start().first(), Some(b'{' | b'['));
        let is_chunked = lower(&header("transfer-encoding")).contains("chunked");
        // Gateways record bodies with or without their chunks.
        let whole = match joined(body) {
            Some(whole) => Cow::Owned(whole),
            None if is_chunked && starts_with_chunk(body) => return None,
            None => Cow::Borrowed(body),
        };
        let mut encodings = header("content-encoding");
        if is_json(&whole) {
            encodings.clear();
        } else if encodings.is_empty() && whole.starts_with(GZIP) {
            encodings.push_str("gzip");
        }
        let plain = decoded(&whole, &encodings, LONGEST_BODY + 1)?;
        if plain.len() as u64 > LONGEST_BODY && plain.as_ref() != whole.as_ref() {
            return None;
        }
        let masked = self.masks.apply(&plain, plain.as_ref() == body)?;
        if masked == plain.as_ref() {
            return Some(body.to_vec());
        }
        if plain.as_ref() != body {
            headers.remove("content-encoding");
            headers.remove("transfer-encoding");
        }
        Some(masked)
    }

    fn headers(&self, head: &[u8]) -> Headers {
        let mut headers = BTreeMap::new();
        for line in head.split(|&byte| byte == b'\n').skip(1) {
            if line.len() >= LONGEST_LINE {
                break;
            }
            let Some(colon) = line.iter().position(|&byte| byte == b':') else {
                continue;
            };
            let (name, value) = line.split_at(colon);
            let name = lower(&lossy(name));
            let value = match self.hidden_headers.contains(&name) {
                true => HIDDEN.as_bytes(),
                false => value.get(1..).unwrap_or_default().trim_ascii(),
            };
            headers.insert(name, value.to_vec());
        }
        headers
    }
}

impl Side {
    fn write_headers(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"headers\":{");
        for (position, (name, value)) in self.headers.iter().enumerate() {
            if position > 0 {
                out.push(b',');
            }
            json::write_string(out, name.as_bytes());
            out.push(b':');
            json::write_string(out, value);
        }
        out.push(b'}');
    }

    fn write_body(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b",\"body\":");
        match &self.body {
            Some(body) => json::write_string(out, body.as_bytes()),
            None => out.extend_from_slice(b"null"),
        }
        out.extend_from_slice(b",\"transfer_encoding\":\"base64\"");
    }
}

/// Whether a body begins with the size of a chunk.
fn starts_with_chunk(body: &[u8]) -> bool {
    let line_end = body.windows(2).position(|window| window == b"\r\n");
    let line = line_end.and_then(|at| body.get(..at)).unwrap_or_default();
    let size = line.split(|&byte| byte == b';').next().unwrap_or_default().trim_ascii();
    !size.is_empty() && size.iter().all(u8::is_ascii_hexdigit)
}

/// Up to the first empty line, and behind it; `None`: there is none.
fn split_head(raw: &[u8]) -> (&[u8], Option<&[u8]>) {
    const EMPTY_LINE: &[u8] = b"\r\n\r\n";
    match raw.windows(EMPTY_LINE.len()).position(|window| window == EMPTY_LINE) {
        Some(at) => {
            let (head, rest) = raw.split_at(at);
            (head, rest.get(EMPTY_LINE.len()..))
        }
        None => (raw, None),
    }
}

/// The target of the request line, or the path of the record.
fn uri<'a>(record: &RecordView<'a>, raw_request: &[u8]) -> Cow<'a, [u8]> {
    let line_end = raw_request.windows(2).position(|window| window == b"\r\n");
    let line = line_end.and_then(|at| raw_request.get(..at)).unwrap_or_default();
    let mut words = line.split(|&byte| byte == b' ');
    match (words.next(), words.next(), words.next()) {
        (Some(_), Some(target), Some(_)) => Cow::Owned(target.to_vec()),
        _ => record.text(Text::Path),
    }
}
