//! Labels: which there are, and their values for a record.

use std::borrow::Cow;

use analytics::{Int, RecordView, Text, When, gotime};

use crate::table::closest;

/// Stands between the values of a series' key: no UTF-8 text has this byte.
pub(super) const SEPARATOR: u8 = 0xff;
/// Longest value, in bytes. Longer ones are cut, so that a series budget is a memory budget.
const MAX_VALUE: usize = 4096;
/// What stands at the end of a value that was cut.
const CUT: &str = "…";
/// The path of a request whose path is not tracked.
const UNTRACKED: &[u8] = b"unknown";
/// Stands for the digits of an obfuscated key.
const HIDDEN: &[u8] = b"****";
/// Stands for a key that is too short to be obfuscated.
const TOO_SHORT: &[u8] = b"--";

/// Where a value comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    Text(Text),
    Int(Int),
    Path,
    Key,
    Time,
    /// Which latency a histogram measures.
    Type,
}

/// The label of histograms whose values are `total`, `upstream` and `gateway`.
pub(super) const TYPE: &str = "type";

/// Every label that metrics can have, apart from [`TYPE`].
const LABELS: &[(&str, Source)] = &[
    ("host", Source::Text(Text::Host)),
    ("method", Source::Text(Text::Method)),
    ("path", Source::Path),
    ("code", Source::Int(Int::ResponseCode)),
    ("response_code", Source::Int(Int::ResponseCode)),
    ("api_key", Source::Key),
    ("key", Source::Key),
    ("time_stamp", Source::Time),
    ("api_version", Source::Text(Text::ApiVersion)),
    ("api_name", Source::Text(Text::ApiName)),
    ("api", Source::Text(Text::ApiId)),
    ("api_id", Source::Text(Text::ApiId)),
    ("org_id", Source::Text(Text::OrgId)),
    ("client_id", Source::Text(Text::OauthId)),
    ("oauth_id", Source::Text(Text::OauthId)),
    ("request_time", Source::Int(Int::RequestTime)),
    ("latency_total", Source::Int(Int::LatencyTotal)),
    ("latency_upstream", Source::Int(Int::LatencyUpstream)),
    ("latency_gateway", Source::Int(Int::LatencyGateway)),
    ("ip_address", Source::Text(Text::IpAddress)),
    ("alias", Source::Text(Text::Alias)),
    ("mcp_method", Source::Text(Text::McpJsonRpcMethod)),
    ("mcp_primitive_type", Source::Text(Text::McpPrimitiveType)),
    ("mcp_primitive_name", Source::Text(Text::McpPrimitiveName)),
];

/// A label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Label {
    pub(super) name: &'static str,
    pub(super) source: Source,
}

impl Label {
    /// That of histograms.
    pub(super) const TYPE: Label = Label {
        name: TYPE,
        source: Source::Type,
    };

    /// The label of this name.
    pub(super) fn named(name: &str) -> Option<Label> {
        let found = LABELS.iter().find(|(known, _)| *known == name);
        found.map(|&(name, source)| Label { name, source })
    }

    /// The label that somebody who wrote `name` probably meant.
    pub(super) fn near(name: &str) -> Option<&'static str> {
        closest(name, LABELS.iter().map(|(known, _)| *known))
    }
}

/// A record as a metric's labels see it.
pub(super) struct Seen<'a> {
    pub(super) record: RecordView<'a>,
    path: Cow<'a, [u8]>,
}

impl<'a> Seen<'a> {
    /// `all_paths`: its path is used although the gateway does not track it.
    pub(super) fn new(record: RecordView<'a>, all_paths: bool) -> Seen<'a> {
        let path = match all_paths || record.flag(analytics::Flag::TrackPath) {
            true => record.text(Text::Path),
            false => Cow::Borrowed(UNTRACKED),
        };
        Seen { record, path }
    }

    /// The key of the series that `labels` make of it: their values, separated. `shown`: how much of an API key is, if not
    /// all of it; `latency`: value of [`TYPE`].
    pub(super) fn write_key(&self, key: &mut Vec<u8>, labels: &[Label], shown: Option<usize>, latency: &str) {
        key.clear();
        for (at, label) in labels.iter().enumerate() {
            if at > 0 {
                key.push(SEPARATOR);
            }
            match label.source {
                Source::Text(field) => write_value(key, &self.record.text(field)),
                Source::Int(field) => {
                    key.extend_from_slice(itoa::Buffer::new().format(self.record.int(field)).as_bytes());
                }
                Source::Path => write_value(key, &self.path),
                Source::Time => gotime::write_text(key, self.record.time(When::TimeStamp)),
                Source::Type => key.extend_from_slice(latency.as_bytes()),
                Source::Key => {
                    let whole = self.record.text(Text::ApiKey);
                    match shown.map(|shown| whole.len().checked_sub(shown)) {
                        None => write_value(key, &whole),
                        Some(None | Some(0)) => key.extend_from_slice(TOO_SHORT),
                        Some(Some(from)) => {
                            key.extend_from_slice(HIDDEN);
                            write_value(key, whole.get(from..).unwrap_or_default());
                        }
                    }
                }
            }
        }
    }
}

/// Any bytes as a value: what is no UTF-8 becomes U+FFFD.
fn write_value(key: &mut Vec<u8>, value: &[u8]) {
    let start = key.len();
    // What is behind the limit need not even be looked at.
    let near = value.get(..MAX_VALUE + 4).unwrap_or(value);
    match std::str::from_utf8(near) {
        Ok(text) => key.extend_from_slice(text.as_bytes()),
        Err(_) => key.extend_from_slice(String::from_utf8_lossy(near).as_bytes()),
    }
    if key.len() - start > MAX_VALUE {
        let is_begin = |byte: u8| byte & 0xc0 != 0x80;
        let mut end = start + MAX_VALUE - CUT.len();
        while end > start && !key.get(end).copied().is_some_and(is_begin) {
            end -= 1;
        }
        key.truncate(end);
        key.extend_from_slice(CUT.as_bytes());
    }
}

/// The values in the key of a series.
pub(super) fn values(key: &[u8]) -> impl Iterator<Item = &str> {
    // Keys are made of UTF-8 alone.
    key.split(|&byte| byte == SEPARATOR)
        .map(|value| std::str::from_utf8(value).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(bytes: &[u8]) -> String {
        let mut key = Vec::new();
        write_value(&mut key, bytes);
        String::from_utf8(key).unwrap()
    }

    #[test]
    fn values_are_utf8_of_a_limited_length() {
        assert_eq!(value(b""), "");
        assert_eq!(value("päth/🚀".as_bytes()), "päth/🚀");
        assert_eq!(value(b"a\xff/\xc3(\xe2\x82"), "a\u{fffd}/\u{fffd}(\u{fffd}");
        assert_eq!(value(&[b'x'; MAX_VALUE]), "x".repeat(MAX_VALUE));
        let cut = value(&[b'x'; 100_000]);
        assert_eq!(cut.len(), MAX_VALUE);
        assert!(cut.ends_with("x…"));
        for padding in 0..4 {
            let cut = value(format!("{}{}", "y".repeat(padding), "🚀".repeat(2_000)).as_bytes());
            assert!(cut.len() <= MAX_VALUE && cut.len() > MAX_VALUE - 8 && cut.ends_with("🚀…"));
        }
        let broken = value(&[0xff; 10_000]);
        assert!(broken.len() <= MAX_VALUE && broken.ends_with("\u{fffd}…"));
    }

    #[test]
    fn keys_come_apart_again() {
        let key = ["", "a", "", "b--c"].join("\u{0}").replace('\0', "|");
        let key: Vec<u8> = key
            .bytes()
            .map(|byte| if byte == b'|' { SEPARATOR } else { byte })
            .collect();
        assert_eq!(values(&key).collect::<Vec<_>>(), ["", "a", "", "b--c"]);
    }
}
