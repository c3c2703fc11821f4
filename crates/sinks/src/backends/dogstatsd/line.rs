//! Metrics as the agent reads them, and how they are put into datagrams.

use std::io::Write;

use analytics::{Flag, Int, RecordView, RowId, Selection, Text};

use crate::transport::wire::{Dispatch, Limits};

/// A tag of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// The path without slashes at its end.
    Path,
    /// The path as it is.
    WholePath,
    /// A text.
    Text(&'static str, Text),
    /// A text that is left out where a record has none.
    Optional(&'static str, Text),
    /// The status.
    ResponseCode,
    /// Whether the path is tracked.
    Tracked,
}

/// Everything that `tags` can name.
#[rustfmt::skip]
pub(super) const TAGS: &[(&str, Tag)] = &[
    ("method", Tag::Text("method", Text::Method)),
    ("response_code", Tag::ResponseCode),
    ("api_version", Tag::Text("api_version", Text::ApiVersion)),
    ("api_name", Tag::Text("api_name", Text::ApiName)),
    ("api_id", Tag::Text("api_id", Text::ApiId)),
    ("org_id", Tag::Text("org_id", Text::OrgId)),
    ("tracked", Tag::Tracked),
    ("path", Tag::Path),
    ("oauth_id", Tag::Optional("oauth_id", Text::OauthId)),
];

/// The tags without `tags`.
#[rustfmt::skip]
pub(super) const DEFAULT_TAGS: &[Tag] = &[
    Tag::WholePath,
    Tag::Text("method", Text::Method),
    Tag::ResponseCode,
    Tag::Text("api_version", Text::ApiVersion),
    Tag::Text("api_name", Text::ApiName),
    Tag::Text("api_id", Text::ApiId),
    Tag::Text("org_id", Text::OrgId),
    Tag::Tracked,
    Tag::Optional("oauth_id", Text::OauthId),
];

/// What all metrics have in common.
pub(super) struct Head {
    /// Up to the value.
    name: Vec<u8>,
    /// Between the value and the tags of the record.
    kind: Vec<u8>,
}

impl Head {
    /// `tags` are those that everything of this process has.
    pub(super) fn new(namespace: &str, rate: f64, tags: &[String]) -> Head {
        let rate = match rate < 1.0 {
            true => format!("|@{rate}"),
            false => String::new(),
        };
        let tags: String = tags.iter().map(|tag| format!("{tag},")).collect();
        Head {
            name: format!("{namespace}.request_time:").into_bytes(),
            kind: format!("|h{rate}|#{tags}tyk-pump").into_bytes(),
        }
    }
}

/// Makes datagrams of records.
pub(super) struct Encoder {
    /// What all metrics have in common.
    pub(super) head: Head,
    /// Tags of the record.
    pub(super) tags: Vec<Tag>,
    /// Part of the records that is sent.
    pub(super) rate: f64,
    /// How much a datagram takes.
    pub(super) limits: Limits,
    /// Values are sent as upstream sends them, even where the agent reads something else out of them.
    pub(super) as_it_is: bool,
}

impl Encoder {
    /// The datagrams of a group.
    pub(super) fn encode(&self, group: &[Selection]) -> Dispatch {
        let mut out = Dispatch::default();
        let mut line = Vec::new();
        for (row, record) in group.iter().flat_map(Selection::records) {
            if !self.keeps(row) {
                continue;
            }
            line.clear();
            self.write(&mut line, &record);
            let (bytes, limit) = (line.len(), self.limits.bytes);
            if bytes > limit {
                // As upstream does.
                out.close();
                out.reject(
                    row,
                    format!(
                        "its metric has {bytes} bytes, and a datagram takes {limit} – choose fewer tags, or raise \
                         max_datagram_size as far as the agent takes it"
                    ),
                );
                continue;
            }
            let datagram = out.write(&line, self.limits);
            out.carry(row, datagram..datagram + 1);
        }
        out
    }

    /// Whether a record is in the sample: always the same answer, so that a row that comes again does not get another
    /// chance.
    fn keeps(&self, row: RowId) -> bool {
        self.rate >= 1.0 || draw(row) <= self.rate
    }

    /// Appends the metric of a record.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &RecordView<'_>) {
        out.extend_from_slice(&self.head.name);
        write_float(out, record.int(Int::RequestTime));
        out.extend_from_slice(&self.head.kind);
        for tag in &self.tags {
            match *tag {
                Tag::Path => self.write_tag(out, "path", without_slashes(&record.text(Text::Path))),
                Tag::WholePath => self.write_tag(out, "path", &record.text(Text::Path)),
                Tag::Text(name, text) => self.write_tag(out, name, &record.text(text)),
                Tag::Optional(name, text) => {
                    let value = record.text(text);
                    if !value.is_empty() {
                        self.write_tag(out, name, &value);
                    }
                }
                Tag::ResponseCode => {
                    let code = record.int(Int::ResponseCode);
                    self.write_tag(out, "response_code", itoa::Buffer::new().format(code).as_bytes());
                }
                Tag::Tracked => {
                    let tracked: &[u8] = if record.flag(Flag::TrackPath) {
                        b"true"
                    } else {
                        b"false"
                    };
                    self.write_tag(out, "tracked", tracked);
                }
            }
        }
    }

    fn write_tag(&self, out: &mut Vec<u8>, name: &str, value: &[u8]) {
        out.push(b',');
        out.extend_from_slice(name.as_bytes());
        out.push(b':');
        if self.as_it_is {
            out.extend(value.iter().filter(|&&byte| byte != b'\n'));
            return;
        }
        for chunk in value.utf8_chunks() {
            let kept = chunk.valid().bytes().filter(|&byte| byte != b'\n');
            out.extend(kept.map(|byte| if matches!(byte, b',' | b'|') { b'_' } else { byte }));
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
            }
        }
    }
}

fn without_slashes(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    path.get(..end).unwrap_or(path)
}

/// As a float of 64 bits, with as many digits as tell it from its neighbours, and never an exponent.
fn write_float(out: &mut Vec<u8>, value: i64) {
    const EXACT: i64 = 1 << f64::MANTISSA_DIGITS;
    if (-EXACT..=EXACT).contains(&value) {
        out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    } else {
        // Writing to a vector cannot fail.
        let _ = write!(out, "{}", value as f64);
    }
}

/// A number from 0 up and below 1 that is a row's for ever.
pub(super) fn draw(row: RowId) -> f64 {
    let claim = row.claim.0.0;
    let mut bits =
        (claim as u64) ^ ((claim >> 64) as u64).rotate_left(32) ^ row.row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // The finaliser of splitmix64: every bit of the input counts in every bit.
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    (bits >> 11) as f64 / (1_u64 << 53) as f64
}
