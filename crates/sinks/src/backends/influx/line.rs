//! Line protocol: a record as a point.

use analytics::{Int, RecordView, RowId, Text, When, gotime, json};

use super::moment::Clock;

/// Which of the two client libraries of upstream is followed: they write the same values differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// InfluxDB 1.
    One,
    /// InfluxDB 2, and 3.
    Two,
}

/// A value of a record.
#[derive(Clone, Copy, Debug)]
enum Value {
    Text(Text),
    Int(Int),
    TimeStamp,
}

/// Everything that can be a tag or a field; the first [`COMMON`] are those of both dialects.
#[rustfmt::skip]
const ATTRIBUTES: &[(&str, Value)] = &[
    ("method", Value::Text(Text::Method)),
    ("path", Value::Text(Text::Path)),
    ("response_code", Value::Int(Int::ResponseCode)),
    ("api_key", Value::Text(Text::ApiKey)),
    ("time_stamp", Value::TimeStamp),
    ("api_version", Value::Text(Text::ApiVersion)),
    ("api_name", Value::Text(Text::ApiName)),
    ("api_id", Value::Text(Text::ApiId)),
    ("org_id", Value::Text(Text::OrgId)),
    ("oauth_id", Value::Text(Text::OauthId)),
    ("raw_request", Value::Text(Text::RawRequest)),
    ("request_time", Value::Int(Int::RequestTime)),
    ("raw_response", Value::Text(Text::RawResponse)),
    ("ip_address", Value::Text(Text::IpAddress)),
    ("total_latency", Value::Int(Int::LatencyTotal)),
    ("upstream_latency", Value::Int(Int::LatencyUpstream)),
];
const COMMON: usize = 14;

impl Dialect {
    fn attributes(self) -> &'static [(&'static str, Value)] {
        match self {
            Dialect::One => ATTRIBUTES.get(..COMMON).unwrap_or(ATTRIBUTES),
            Dialect::Two => ATTRIBUTES,
        }
    }

    fn find(self, name: &str) -> Option<&'static (&'static str, Value)> {
        self.attributes().iter().find(|(known, _)| *known == name)
    }
}

/// Makes lines of records.
#[derive(Debug)]
pub(super) struct Lines {
    dialect: Dialect,
    /// Escaped key and value; without a value it is `null`, as upstream has it.
    tags: Vec<(Vec<u8>, Option<Value>)>,
    fields: Vec<(&'static str, Value)>,
    clock: Clock,
}

impl Lines {
    /// `warn` gets what the user should know about the names in `tags` and `fields`.
    pub(super) fn new(
        dialect: Dialect,
        tags: &[String],
        fields: &[String],
        clock: Clock,
        warn: impl Fn(&str),
    ) -> Lines {
        let names = || {
            let names: Vec<_> = dialect.attributes().iter().map(|(name, _)| *name).collect();
            names.join(", ")
        };
        let mut tags: Vec<&str> = tags.iter().map(String::as_str).filter(|tag| !tag.is_empty()).collect();
        tags.sort_unstable();
        tags.dedup();
        let tags = tags.into_iter().map(|tag| {
            let known = dialect.find(tag);
            if known.is_none() {
                warn(&format!(
                    "meta.tags: \"{tag}\" is no value of a record, so that every point has the tag {tag}=null – remove it, or \
                     write one of {}",
                    names()
                ));
            }
            (escaped_key(tag), known.map(|(_, value)| *value))
        });
        let tags = tags.collect();
        let mut known: Vec<_> = fields.iter().filter_map(|field| dialect.find(field)).copied().collect();
        for field in fields.iter().filter(|field| dialect.find(field).is_none()) {
            warn(&format!(
                "meta.fields: \"{field}\" is no value of a record and is left out – remove it, or write one of {}",
                names()
            ));
        }
        if known.is_empty() {
            if !fields.is_empty() {
                warn("meta.fields has no value of a record, and a point needs one: the default fields are written");
            }
            known.extend(ATTRIBUTES.iter().take(COMMON));
        }
        known.sort_unstable_by_key(|(name, _)| *name);
        known.dedup_by_key(|(name, _)| *name);
        Lines {
            dialect,
            tags,
            fields: known,
            clock,
        }
    }

    /// Whether a row always becomes the same line.
    pub(super) fn are_steady(&self) -> bool {
        self.clock.is_steady()
    }

    /// Appends the line of a record.
    pub(super) fn write(&self, out: &mut Vec<u8>, row: RowId, record: &RecordView<'_>) {
        let start = out.len();
        out.extend_from_slice(b"analytics");
        let mut value = Vec::new();
        for (key, source) in &self.tags {
            value.clear();
            match source {
                Some(source) => write_tag(&mut value, *source, record),
                None => value.extend_from_slice(b"null"),
            }
            if !value.is_empty() {
                out.push(b',');
                out.extend_from_slice(key);
                out.push(b'=');
                write_escaped(out, &value);
            }
        }
        let series = out.len();
        let mut separator = b' ';
        for (name, source) in &self.fields {
            out.push(separator);
            separator = b',';
            out.extend_from_slice(name.as_bytes());
            out.push(b'=');
            self.write_field(out, *source, record);
        }
        let time = self.clock.time(row, record, out.get(start..series).unwrap_or_default());
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(time).as_bytes());
        out.push(b'\n');
    }

    fn write_field(&self, out: &mut Vec<u8>, source: Value, record: &RecordView<'_>) {
        match source {
            Value::Int(int) => {
                out.extend_from_slice(itoa::Buffer::new().format(record.int(int)).as_bytes());
                out.push(b'i');
            }
            Value::Text(text) => {
                out.push(b'"');
                write_quoted(out, &record.text(text), self.dialect);
                out.push(b'"');
            }
            Value::TimeStamp => {
                let time = record.time(When::TimeStamp);
                out.push(b'"');
                if self.dialect == Dialect::One || gotime::write_rfc3339_nano(out, time).is_err() {
                    gotime::write_text(out, time);
                }
                out.push(b'"');
            }
        }
    }
}

/// Appends a value as a tag has it: as JSON writes it, without the quotes around it.
fn write_tag(out: &mut Vec<u8>, source: Value, record: &RecordView<'_>) {
    match source {
        Value::Int(int) => out.extend_from_slice(itoa::Buffer::new().format(record.int(int)).as_bytes()),
        Value::TimeStamp => {
            // A year beyond JSON leaves nothing, and a tag without a value is left out.
            let _ = gotime::write_rfc3339_nano(out, record.time(When::TimeStamp));
        }
        Value::Text(text) => {
            json::write_string(out, &record.text(text));
            out.pop();
            if !out.is_empty() {
                out.remove(0);
            }
            // One that ends with a backslash hides the end of the tag, and the server refuses the line.
            while out.ends_with(b"\\") {
                out.pop();
            }
        }
    }
}

fn write_escaped(out: &mut Vec<u8>, value: &[u8]) {
    for &byte in value {
        if matches!(byte, b',' | b'=' | b' ') {
            out.push(b'\\');
        }
        out.push(byte);
    }
}

fn escaped_key(key: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(key.len());
    for byte in key.bytes() {
        match byte {
            b'\t' => out.extend_from_slice(b"\\t"),
            b'\n' => out.extend_from_slice(b"\\n"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\r' => out.extend_from_slice(b"\\r"),
            byte => write_escaped(&mut out, &[byte]),
        }
    }
    out
}

/// Appends what stands between the quotes of a field.
fn write_quoted(out: &mut Vec<u8>, text: &[u8], dialect: Dialect) {
    out.reserve(text.len());
    for &byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
            b'\t' if dialect == Dialect::Two => out.extend_from_slice(b"\\t"),
            b'\n' if dialect == Dialect::Two => out.extend_from_slice(b"\\n"),
            0x0c if dialect == Dialect::Two => out.extend_from_slice(b"\\f"),
            b'\r' if dialect == Dialect::Two => out.extend_from_slice(b"\\r"),
            byte => out.push(byte),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use analytics::{ClaimId, Time, Zone, record::Builder};

    use super::*;

    fn lines(dialect: Dialect, tags: &[&str], fields: &[&str]) -> (Lines, Vec<String>) {
        let owned = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let warned = RefCell::new(Vec::new());
        let warn = |text: &str| warned.borrow_mut().push(text.to_owned());
        let lines = Lines::new(dialect, &owned(tags), &owned(fields), Clock::of_records(), warn);
        (lines, warned.into_inner())
    }

    fn line(dialect: Dialect, tags: &[&str], fields: &[&str], record: &Builder) -> String {
        let mut out = Vec::new();
        let row = RowId {
            claim: ClaimId(ulid::Ulid(0)),
            row: 250,
        };
        lines(dialect, tags, fields).0.write(&mut out, row, &record.view());
        String::from_utf8(out).unwrap()
    }

    /// The record of the worked examples.
    fn orders() -> Builder {
        let mut record = Builder::new();
        record
            .text(Text::Method, "GET")
            .text(Text::Path, "/orders/42/")
            .text(Text::ApiName, "Orders & Co")
            .int(Int::ResponseCode, 200)
            .int(Int::RequestTime, 37)
            .recorded_at(Time {
                seconds: 1_709_634_030,
                nanos: 123_456_789,
                zone: Zone::UTC,
            });
        record
    }

    const TAGS: [&str; 5] = ["path", "response_code", "api_name", "oauth_id", "alias"];
    const FIELDS: [&str; 4] = ["request_time", "response_code", "method", "time_stamp"];

    #[test]
    fn a_point_is_upstreams_but_for_its_time() {
        assert_eq!(
            line(Dialect::One, &TAGS, &FIELDS, &orders()),
            "analytics,alias=null,api_name=Orders\\ \\u0026\\ Co,path=/orders/42/,response_code=200 method=\"GET\",\
             request_time=37i,response_code=200i,time_stamp=\"2024-03-05 10:20:30.123456789 +0000 UTC\" \
             1709634030123457039\n"
        );
        assert_eq!(
            line(Dialect::Two, &TAGS, &FIELDS, &orders()),
            "analytics,alias=null,api_name=Orders\\ \\u0026\\ Co,path=/orders/42/,response_code=200 method=\"GET\",\
             request_time=37i,response_code=200i,time_stamp=\"2024-03-05T10:20:30.123456789Z\" 1709634030123457039\n"
        );
    }

    #[test]
    fn no_value_ends_its_tag_or_its_field() {
        let mut record = orders();
        record
            .text(Text::Path, "a,b=c d\n\"q\"")
            .text(Text::ApiName, "\\\\")
            .text(Text::Method, "a\"\\\n\t");
        let tags = ["path", "api_name", "a b\n"];
        let cut = |line: String| line.rsplit_once(' ').unwrap().0.to_owned();
        assert_eq!(
            cut(line(Dialect::One, &tags, &["method"], &record)),
            "analytics,a\\ b\\n=null,path=a\\,b\\=c\\ d\\n\\\"q\\\" method=\"a\\\"\\\\\n\t\""
        );
        assert_eq!(
            cut(line(Dialect::Two, &tags, &["method"], &record)),
            "analytics,a\\ b\\n=null,path=a\\,b\\=c\\ d\\n\\\"q\\\" method=\"a\\\"\\\\\\n\\t\""
        );
    }

    #[test]
    fn names_that_no_record_has_are_said_and_left_out() {
        let (_, warned) = lines(Dialect::One, &["alias"], &["request_time", "total_latency"]);
        assert_eq!(warned.len(), 2, "{warned:?}");
        assert!(warned[0].starts_with("meta.tags: \"alias\" is no value of a record"));
        assert!(warned[1].starts_with("meta.fields: \"total_latency\" is no value of a record"));
        assert!(lines(Dialect::Two, &[], &["total_latency"]).1.is_empty());
        let text = line(
            Dialect::Two,
            &["", "path", "path"],
            &["total_latency", "alias", "total_latency"],
            &orders(),
        );
        assert!(
            text.starts_with("analytics,path=/orders/42/ total_latency=0i 17"),
            "{text}"
        );
    }

    #[test]
    fn a_point_without_fields_has_the_documented_ones() {
        for fields in [&[][..], &["alias"][..]] {
            let text = line(Dialect::Two, &[], fields, &orders());
            assert_eq!(text.matches('=').count(), 14, "{text}");
        }
        assert_eq!(lines(Dialect::One, &[], &[]).1, Vec::<String>::new());
    }
}
