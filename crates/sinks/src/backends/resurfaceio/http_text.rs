//! HTTP messages and URLs in the texts that gateways record.

use percent_encoding::percent_decode;

use crate::encode::{
    body::decoded,
    go_json::{lossy, lower},
};

/// What is kept of a body.
const BODY_LIMIT: u64 = 1 << 20;

/// A request or response as it went over the wire.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct HttpText<'a> {
    /// The first line.
    pub(super) first: &'a [u8],
    /// Names in lower case, in order.
    pub(super) headers: Vec<(String, String)>,
    /// Everything behind the first empty line.
    pub(super) body: &'a [u8],
}

impl<'a> HttpText<'a> {
    /// `whole_values`: a value may hold a colon and a blank; upstream ends it there.
    pub(super) fn parse(text: &'a [u8], whole_values: bool) -> HttpText<'a> {
        let (first, rest) = split_at(text, b"\r\n");
        let (block, body) = match rest.strip_prefix(b"\r\n") {
            Some(body) => (&[][..], body),
            None => split_at(rest, b"\r\n\r\n"),
        };
        HttpText {
            first,
            headers: headers(block, whole_values),
            body,
        }
    }

    /// The word at `position` in the first line.
    pub(super) fn word(&self, position: usize) -> Option<String> {
        let mut words = self.first.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        words.nth(position).map(lossy)
    }

    /// The first value of a header.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.headers.iter();
        headers.find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Moves the headers behind the last chunk of a chunked body to the others.
    pub(super) fn take_trailers(&mut self, whole_values: bool) {
        let is_chunked = self
            .header("transfer-encoding")
            .is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        if !is_chunked || self.header("trailer").is_none() {
            return;
        }
        const LAST: &[u8] = b"0\r\n";
        let Some(at) = self.body.windows(LAST.len()).rposition(|window| window == LAST) else {
            return;
        };
        if let Some((body, trailers)) = self.body.split_at_checked(at + LAST.len()) {
            self.body = body;
            self.headers.extend(headers(trailers, whole_values));
        }
    }

    /// The body as text, without its content encoding; empty if that is unknown or does not fit the body.
    pub(super) fn body_text(&self) -> String {
        let encoding = self.header("content-encoding").unwrap_or_default();
        match decoded(self.body, encoding, BODY_LIMIT) {
            Some(text) => lossy(&text),
            None => String::new(),
        }
    }
}

fn headers(block: &[u8], whole_values: bool) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    let mut rest = block;
    while !rest.is_empty() {
        let (line, after) = split_at(rest, b"\r\n");
        rest = after;
        let separator: &[u8] = if whole_values { b":" } else { b": " };
        let Some(at) = line.windows(separator.len()).position(|window| window == separator) else {
            continue;
        };
        let (name, value) = line.split_at(at);
        let mut value = value.get(separator.len()..).unwrap_or_default();
        if !whole_values {
            value = split_at(value, separator).0;
        }
        headers.push((lower(&lossy(name.trim_ascii())), lossy(value.trim_ascii())));
    }
    headers
}

/// Before and after the first `separator`; all of it and nothing without one.
fn split_at<'a>(text: &'a [u8], separator: &[u8]) -> (&'a [u8], &'a [u8]) {
    match text.windows(separator.len()).position(|window| window == separator) {
        Some(at) => {
            let (before, after) = text.split_at(at);
            (before, after.get(separator.len()..).unwrap_or_default())
        }
        None => (text, &[]),
    }
}

/// The parts of a URL, or of a path with a query.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// It names its server itself.
    pub(super) is_absolute: bool,
    /// Decoded, of paths alone.
    pub(super) path: String,
    /// Names and values of the query, decoded; broken ones are left out.
    pub(super) parameters: Vec<(String, String)>,
}

/// `None`: it is no URL.
pub(super) fn target(text: &str) -> Option<Target> {
    if text.bytes().any(|byte| byte < 0x20 || byte == 0x7f) {
        return None;
    }
    let text = text.split('#').next().unwrap_or_default();
    let (path, query) = text.split_once('?').unwrap_or((text, ""));
    let scheme = path.split_once("://").filter(|_| !path.starts_with('/'));
    if let Some((scheme, server)) = scheme {
        let is_scheme = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
            && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
        if !is_scheme || server.split('/').next().unwrap_or_default().contains(' ') {
            return None;
        }
    }
    let parameters = query.split('&').filter(|part| !part.is_empty());
    let parameters = parameters.filter_map(|part| {
        let (name, value) = part.split_once('=').unwrap_or((part, ""));
        Some((unescape(&name.replace('+', " "))?, unescape(&value.replace('+', " "))?))
    });
    Some(Target {
        is_absolute: scheme.is_some(),
        path: unescape(path)?,
        parameters: parameters.collect(),
    })
}

/// `None`: a percent sign is not followed by two digits.
fn unescape(text: &str) -> Option<String> {
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        let digits = after.as_bytes().get(..2)?;
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        rest = after.get(2..)?;
    }
    Some(lossy(&percent_decode(text.as_bytes()).collect::<Vec<u8>>()))
}
