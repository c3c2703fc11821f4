//! Metrics as upstream names them.

use std::borrow::Cow;

use analytics::{Int, RecordView, Text, Time, When, Zone, gotime, json};

/// Fields that can be sent.
pub(super) const TIMINGS: &[(&str, Int)] = &[
    ("request_time", Int::RequestTime),
    ("latency_total", Int::LatencyTotal),
    ("latency_upstream", Int::LatencyUpstream),
    ("latency_gateway", Int::LatencyGateway),
];

/// The most bytes of a value with its sign, and of what stands around it.
const VALUE: usize = ".:-9223372036854775808|ms".len();

/// A part of the name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tag {
    /// The method and, right behind it, the path.
    MethodAndPath,
    /// The path alone.
    Path,
    /// A text.
    Text(Text),
    /// A number.
    Int(Int),
    /// The time, in whole seconds.
    TimeStamp,
    /// No value of a record.
    Unknown,
}

/// Everything that `tags` can name without `separated_method`.
#[rustfmt::skip]
pub(super) const TAGS: &[(&str, Tag)] = &[
    ("path", Tag::MethodAndPath),
    ("response_code", Tag::Int(Int::ResponseCode)),
    ("api_key", Tag::Text(Text::ApiKey)),
    ("api_version", Tag::Text(Text::ApiVersion)),
    ("api_name", Tag::Text(Text::ApiName)),
    ("api_id", Tag::Text(Text::ApiId)),
    ("org_id", Tag::Text(Text::OrgId)),
    ("oauth_id", Tag::Text(Text::OauthId)),
    ("raw_request", Tag::Text(Text::RawRequest)),
    ("raw_response", Tag::Text(Text::RawResponse)),
    ("ip_address", Tag::Text(Text::IpAddress)),
    ("time_stamp", Tag::TimeStamp),
    ("request_time", Tag::Int(Int::RequestTime)),
    ("latency_total", Tag::Int(Int::LatencyTotal)),
    ("latency_upstream", Tag::Int(Int::LatencyUpstream)),
    ("latency_gateway", Tag::Int(Int::LatencyGateway)),
];

impl Tag {
    /// The tag of this name.
    pub(super) fn of(name: &str, separated_method: bool) -> Tag {
        match name {
            "path" if separated_method => Tag::Path,
            "method" if separated_method => Tag::Text(Text::Method),
            _ => {
                let known = TAGS.iter().find(|(known, _)| *known == name);
                known.map_or(Tag::Unknown, |(_, tag)| *tag)
            }
        }
    }
}

/// Makes metrics of records.
pub(super) struct Encoder {
    /// What is sent of each record, in order.
    pub(super) timings: Vec<(&'static str, Int)>,
    /// Parts of the name.
    pub(super) tags: Vec<Tag>,
    /// Zone of `time_stamp`.
    pub(super) zone: Zone,
    /// Values are sent as upstream sends them, even where a daemon reads something else out of them.
    pub(super) as_it_is: bool,
}

impl Encoder {
    /// The most bytes that a metric has beside its tags.
    pub(super) fn longest(&self) -> usize {
        let names = self.timings.iter().map(|(name, _)| name.len());
        names.max().unwrap_or_default() + VALUE
    }

    /// Appends the end of a name: the tags, each as JSON in lower case, without quotes and blanks.
    pub(super) fn write_tags(&self, out: &mut Vec<u8>, record: &RecordView<'_>) {
        let mut form = Form {
            out,
            json: Vec::new(),
            as_it_is: self.as_it_is,
            in_tag: false,
        };
        for (position, tag) in self.tags.iter().enumerate() {
            if position > 0 {
                form.out.push(b'.');
            }
            match *tag {
                Tag::MethodAndPath => {
                    let mut both = record.text(Text::Method).into_owned();
                    both.extend_from_slice(path(record).as_ref());
                    form.write(&both);
                }
                Tag::Path => form.write(&path(record)),
                Tag::Text(text) => form.write(&record.text(text)),
                Tag::Int(int) => write_int(form.out, record.int(int)),
                Tag::TimeStamp => form.write(&time(record.time(When::TimeStamp), self.zone)),
                Tag::Unknown => form.out.extend_from_slice(b"null"),
            }
        }
    }

    /// Appends the metric of one timing whose name ends in `tags`.
    pub(super) fn write_metric(
        &self,
        out: &mut Vec<u8>,
        (name, value): (&str, Int),
        tags: &[u8],
        record: &RecordView<'_>,
    ) {
        out.extend_from_slice(name.as_bytes());
        out.push(b'.');
        out.extend_from_slice(tags);
        out.push(b':');
        write_int(out, record.int(value));
        out.extend_from_slice(b"|ms");
    }
}

/// Without slashes at its end.
fn path<'a>(record: &RecordView<'a>) -> Cow<'a, [u8]> {
    let path = record.text(Text::Path);
    let end = path.iter().rposition(|&byte| byte != b'/').map_or(0, |last| last + 1);
    match path {
        Cow::Borrowed(path) => Cow::Borrowed(path.get(..end).unwrap_or(path)),
        Cow::Owned(mut path) => {
            path.truncate(end);
            Cow::Owned(path)
        }
    }
}

fn time(time: Time, zone: Zone) -> Vec<u8> {
    let mut text = Vec::new();
    gotime::write_text(&mut text, Time { nanos: 0, zone, ..time });
    for byte in text.iter_mut().filter(|byte| **byte == b':') {
        *byte = b'-';
    }
    text
}

fn write_int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// Writes texts as parts of a name.
struct Form<'a> {
    out: &'a mut Vec<u8>,
    json: Vec<u8>,
    as_it_is: bool,
    /// Whether there has been anything that begins a tag in the name for some daemon.
    in_tag: bool,
}

impl Form<'_> {
    fn write(&mut self, text: &[u8]) {
        self.json.clear();
        json::write_string(&mut self.json, text);
        let from = self.out.len();
        match str::from_utf8(&self.json) {
            Ok(json) if !json.is_ascii() => {
                let mut utf8 = [0; 4];
                for character in json.chars() {
                    // The only letter with more than one in lower case has a dot above that Go leaves out.
                    let lower = character.to_lowercase().next().unwrap_or(character);
                    if !is_left_out(&character) {
                        self.out.extend_from_slice(lower.encode_utf8(&mut utf8).as_bytes());
                    }
                }
            }
            _ => {
                let kept = self.json.iter().filter(|&&byte| !is_left_out(&char::from(byte)));
                self.out.extend(kept.map(u8::to_ascii_lowercase));
            }
        }
        if self.as_it_is {
            return;
        }
        for byte in self.out.iter_mut().skip(from) {
            match byte {
                b':' | b'|' => *byte = b'_',
                b'=' if self.in_tag => *byte = b'_',
                b'#' | b',' | b';' | b'[' => self.in_tag = true,
                _ => {}
            }
        }
    }
}

fn is_left_out(character: &char) -> bool {
    matches!(character, '"' | ' ')
}
