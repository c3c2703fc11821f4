//! What Resurface receives: a list of keys and values, made of a request, its response and the record around them.

use analytics::{Int, RecordView, Text, When, json};

use super::{
    http_text::{HttpText, target},
    rules::{Pair, Rules},
};
use crate::{
    encode::go_json::{lossy, lower},
    encode::http_body::http_body,
};

/// Fields of a record that the rules do not reach.
const CUSTOM: &[(&str, Text)] = &[
    ("custom_field:tyk-api-id", Text::ApiId),
    ("custom_field:tyk-api-key", Text::ApiKey),
    ("custom_field:tyk-api-name", Text::ApiName),
    ("custom_field:tyk-api-version", Text::ApiVersion),
    ("custom_field:tyk-oauth-id", Text::OauthId),
    ("custom_field:tyk-org-id", Text::OrgId),
];

/// What becomes of a record.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Made {
    /// A message was written.
    Message,
    /// It has neither request nor response.
    Empty,
    /// The rules do not want it.
    Stopped,
    /// No message can be made of it; why.
    Unusable(&'static str),
}

/// Makes messages of records.
pub(super) struct Encoder {
    /// What is kept.
    pub(super) rules: Rules,
    /// This machine.
    pub(super) host: String,
    /// Whether a header's value may hold a colon and a blank.
    pub(super) whole_values: bool,
}

impl Encoder {
    /// Appends the message of a record, without the line feed behind it. `draw` decides about samples.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &RecordView<'_>, draw: u64) -> Made {
        let (request, response) = match (
            http_body(record, Text::RawRequest),
            http_body(record, Text::RawResponse),
        ) {
            (Some(request), Some(response)) => (request, response),
            (None, _) => return Made::Unusable("its raw_request is neither base64 nor an HTTP message"),
            (_, None) => return Made::Unusable("its raw_response is neither base64 nor an HTTP message"),
        };
        if request.is_empty() && response.is_empty() {
            return Made::Empty;
        }
        let pairs = match self.pairs(record, &request, &response) {
            Ok(pairs) => pairs,
            Err(why) => return Made::Unusable(why),
        };
        let Some(mut pairs) = self.rules.apply(pairs, draw) else {
            return Made::Stopped;
        };
        for (key, text) in CUSTOM {
            let value = record.text(*text);
            if !value.is_empty() {
                pairs.push(((*key).to_owned(), lower(&lossy(&value))));
            }
        }
        pairs.push(("host".to_owned(), self.host.clone()));
        for (position, (key, value)) in pairs.iter().enumerate() {
            out.extend_from_slice(if position == 0 { b"[[" } else { b",[" });
            json::write_string(out, key.as_bytes());
            out.push(b',');
            json::write_string(out, value.as_bytes());
            out.push(b']');
        }
        out.push(b']');
        Made::Message
    }

    fn pairs(&self, record: &RecordView<'_>, request: &[u8], response: &[u8]) -> Result<Vec<Pair>, &'static str> {
        let mut request = HttpText::parse(request, self.whole_values);
        let mut response = HttpText::parse(response, self.whole_values);
        response.take_trailers(self.whole_values);
        let (Some(first), Some(second)) = (request.word(0), request.word(1)) else {
            return Err("its raw_request has no request line with a method and a path");
        };
        let text = |field| lossy(&record.text(field));
        let method = Some(text(Text::Method))
            .filter(|method| !method.is_empty())
            .unwrap_or(first);
        let url = url(&text(Text::RawPath), &second);
        let target = target(&url).ok_or("its path is no URL")?;
        let host = Some(text(Text::Host)).filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| request.header("host").unwrap_or_default().to_owned());
        let status = match record.int(Int::ResponseCode) {
            0 if !response.first.is_empty() => response.word(1).and_then(|word| word.parse().ok()),
            code => Some(code),
        };
        let status = status.ok_or("it has no status: neither response_code nor the raw_response says one")?;
        if request.header("x-forwarded-for").is_none() {
            let address = text(Text::IpAddress);
            request.headers.push(("x-forwarded-for".to_owned(), address));
        }
        let url = match target.is_absolute {
            true => url,
            false => format!("http://{host}{}", target.path),
        };
        let cookies: Vec<Pair> = self.cookies(&request);
        let mut pairs: Vec<Pair> = Vec::new();
        let mut add = |key: &str, value: String| pairs.push((key.to_owned(), value));
        if !method.is_empty() {
            add("request_method", method);
        }
        add("request_url", url);
        add("response_code", status.to_string());
        add("request_body", request.body_text());
        for (name, value) in &request.headers {
            add(&format!("request_header:{name}"), value.clone());
        }
        for (name, value) in target.parameters {
            add(&format!("request_param:{}", lower(&name)), value);
        }
        for (name, value) in &response.headers {
            add(&format!("response_header:{name}"), value.clone());
        }
        add("response_body", response.body_text());
        for (name, value) in cookies {
            add(&format!("session_field:{name}"), value);
        }
        let seconds = record.time(When::TimeStamp).seconds;
        add("now", (i128::from(seconds) * 1000).to_string());
        let interval = match record.int(Int::RequestTime) {
            0 => 1,
            millis => millis,
        };
        add("interval", interval.to_string());
        Ok(pairs)
    }

    /// The cookies that the rules want.
    pub(super) fn cookies(&self, request: &HttpText<'_>) -> Vec<Pair> {
        let lines = request.headers.iter().filter(|(name, _)| name == "cookie");
        let cookies: Vec<Pair> = lines
            .flat_map(|(_, line)| line.split(';'))
            .filter_map(|part| cookie(part.trim()))
            .collect();
        self.rules.copied(&cookies)
    }
}

/// Name, in lower case, and value; `None`: characters that no cookie has.
fn cookie(part: &str) -> Option<Pair> {
    let (name, value) = part.split_once('=').unwrap_or((part, ""));
    let name = name.trim();
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let quoted = value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
    let value = quoted.unwrap_or(value);
    let is_value = |byte: u8| matches!(byte, b' '..=b'~') && !b"\"\\".contains(&byte);
    let is_cookie = !name.is_empty() && name.bytes().all(is_token) && value.bytes().all(is_value);
    is_cookie.then(|| (name.to_ascii_lowercase(), value.to_owned()))
}

/// The path of the record with the query of the request line, or the request line's own path.
fn url(raw_path: &str, requested: &str) -> String {
    let mut url = match raw_path {
        "" => requested.to_owned(),
        path => match requested.find('?').and_then(|at| requested.get(at..)) {
            Some(query) => format!("{path}{query}"),
            None => path.to_owned(),
        },
    };
    if !url.contains("://") && !url.starts_with('/') {
        url.insert(0, '/');
    }
    url
}
