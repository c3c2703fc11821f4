//! Errors that repeat what records hold.

use std::{borrow::Cow, collections::HashSet};

use analytics::{RecordKind, RecordView, Selection, Text};
use memchr::memmem;

use super::secrets;

/// Longest text that is kept of an error.
const LONGEST: usize = 800;
/// How much of it is looked at.
const LOOKED_AT: usize = 16 << 10;
/// Shorter values are found everywhere.
const SHORTEST: usize = 6;
/// That much of a value is enough to know it by: servers cut what they repeat.
const KNOWN_BY: usize = 24;
/// Longer runs of letters and digits are no words: keys, encoded bodies.
const LONGEST_WORD: usize = 80;

/// What people did, and who they are. Names of APIs and organisations are missing here: tables and indexes have them.
const PRIVATE: [Text; 13] = [
    Text::RawRequest,
    Text::RawResponse,
    Text::ApiKey,
    Text::OauthId,
    Text::Alias,
    Text::IpAddress,
    Text::UserAgent,
    Text::RawPath,
    Text::Path,
    Text::OriginalPath,
    Text::Host,
    Text::GraphVariables,
    Text::McpPrimitiveName,
];

/// Where servers begin to quote rows.
const QUOTES: [&str; 3] = ["DETAIL:", "Failing row contains", "Failed row:"];

/// The records that an error is about.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// Empty: nothing was written.
    pub records: &'a [Selection],
    /// Texts of the pump's own configuration: what they hold is no news.
    pub own: &'a str,
}

/// What a back-end says about a group, without secrets, without what repeats records, and not too long.
pub fn words<'a>(text: &'a str, group: Group<'_>) -> Cow<'a, str> {
    cut(text, |text| quoted_record(text, group))
}

/// What texts may repeat of a group, for many texts about it: its records are looked through once, and each text is as
/// cheap as it is short.
pub struct Contents {
    /// What values are known by, in order; none of them begins with another.
    known: Vec<Vec<u8>>,
    /// How they begin.
    heads: HashSet<[u8; SHORTEST]>,
}

impl Contents {
    /// What is in the records of this group.
    pub fn of(group: Group<'_>) -> Self {
        let mut seen: HashSet<Vec<u8>> = HashSet::new();
        for record in records(group) {
            for value in values(&record) {
                let begin = beginning(&value);
                // Most values come again and again.
                if seen.contains(begin) || !tells(begin, group.own) {
                    continue;
                }
                seen.extend(in_json(begin));
                seen.insert(begin.to_vec());
            }
        }
        let heads = seen.iter().filter_map(|begin| begin.first_chunk().copied()).collect();
        let mut known: Vec<Vec<u8>> = seen.into_iter().collect();
        known.sort_unstable();
        known.dedup_by(|longer, shorter| longer.starts_with(shorter));
        Self { known, heads }
    }

    /// Like [`words`], about the group that this was made of.
    pub fn words<'a>(&self, text: &'a str) -> Cow<'a, str> {
        cut(text, |text| {
            let text = text.as_bytes();
            (0..text.len()).find(|&at| text.get(at..).is_some_and(|rest| self.begins(rest)))
        })
    }

    /// Whether `text` begins with what a value is known by.
    fn begins(&self, text: &[u8]) -> bool {
        if !text.first_chunk().is_some_and(|head| self.heads.contains(head)) {
            return false;
        }
        // Whatever stands between a beginning of the text and the text itself has that beginning, too.
        let behind = self.known.partition_point(|known| known.as_slice() <= text);
        let last = behind.checked_sub(1).and_then(|at| self.known.get(at));
        last.is_some_and(|known| text.starts_with(known))
    }
}

/// The text up to where it repeats records, as `quoted` says or its own words; without secrets, and not too long.
fn cut<'a>(text: &'a str, quoted: impl FnOnce(&str) -> Option<usize>) -> Cow<'a, str> {
    let masked = secrets(text);
    let looked_at = head(&masked, LOOKED_AT);
    let quote = QUOTES.iter().filter_map(|begin| looked_at.find(begin)).min();
    let record = quoted(looked_at);
    let word = long_word(looked_at);
    let cut = [quote, record, word].into_iter().flatten().min();
    match cut {
        Some(at) => {
            let kept = head(looked_at.get(..at).unwrap_or_default(), LONGEST).trim_end();
            Cow::Owned(
                format!("{kept} … (what repeats records is left out)")
                    .trim_start()
                    .to_owned(),
            )
        }
        None if masked.len() > LONGEST => Cow::Owned(format!("{} … (cut off)", head(&masked, LONGEST))),
        None => masked,
    }
}

fn head(text: &str, most: usize) -> &str {
    text.get(..text.floor_char_boundary(most)).unwrap_or(text)
}

/// Where the text begins to repeat one of the records.
fn quoted_record(text: &str, group: Group<'_>) -> Option<usize> {
    let found = records(group).filter_map(|record| {
        let places = values(&record).filter_map(|value| find_value(text, &value, group.own));
        places.min()
    });
    found.min()
}

/// The records of traffic in a group.
fn records(group: Group<'_>) -> impl Iterator<Item = RecordView<'_>> {
    let traffic = |selection: &&Selection| selection.batch().key.records != RecordKind::Uptime;
    let selections = group.records.iter().filter(traffic);
    selections.flat_map(|selection| selection.records().map(|(_, record)| record))
}

/// What must not be repeated of a record.
fn values<'a>(record: &RecordView<'a>) -> impl Iterator<Item = Cow<'a, [u8]>> {
    PRIVATE.iter().flat_map(|field| {
        let stored = Cow::Borrowed(record.stored_text(*field));
        // Some sinks send them decoded.
        let decoded = match field {
            Text::RawRequest | Text::RawResponse => record.plain_body(*field).ok(),
            _ => None,
        };
        std::iter::once(stored).chain(decoded)
    })
}

/// What a value is known by.
fn beginning(value: &[u8]) -> &[u8] {
    value.get(..KNOWN_BY).unwrap_or(value)
}

/// Whether that can be told from other words.
fn tells(beginning: &[u8], own: &str) -> bool {
    beginning.len() >= SHORTEST && memmem::find(own.as_bytes(), beginning).is_none()
}

/// The same as it stands in JSON, if that is something else.
fn in_json(beginning: &[u8]) -> Option<Vec<u8>> {
    let special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    let json = beginning
        .iter()
        .any(special)
        .then(|| serde_json::to_string(&String::from_utf8_lossy(beginning)).unwrap_or_default())?;
    let inner = json.strip_prefix('"')?.strip_suffix('"')?;
    Some(inner.as_bytes().to_vec())
}

fn find_value(text: &str, value: &[u8], own: &str) -> Option<usize> {
    let begin = beginning(value);
    if !tells(begin, own) {
        return None;
    }
    let plain = memmem::find(text.as_bytes(), begin);
    let json = in_json(begin).and_then(|json| memmem::find(text.as_bytes(), &json));
    [plain, json].into_iter().flatten().min()
}

/// Where a run of characters of base64 begins that is longer than a word, a path or an address is.
fn long_word(text: &str) -> Option<usize> {
    let of_base64 = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut start = 0;
    for (at, byte) in text.bytes().chain([b' ']).enumerate() {
        if of_base64(byte) {
            continue;
        }
        let run = text.as_bytes().get(start..at).unwrap_or_default();
        let has = |kind: fn(&u8) -> bool| run.iter().any(kind);
        if run.len() > LONGEST_WORD
            && has(u8::is_ascii_lowercase)
            && has(u8::is_ascii_digit)
            && has(u8::is_ascii_uppercase)
        {
            return Some(start);
        }
        start = at + 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use analytics::{Batch, ClaimId, Decoded, Key, Transform, Wire, record::Builder};
    use bytes::Bytes;

    use super::*;

    fn group() -> Selection {
        let mut record = Builder::new();
        record
            .text(Text::ApiKey, "eyJvcmciOiI1ZTlk")
            .text(Text::Alias, "jane \"j\" doe")
            .text(Text::IpAddress, "203.0.113.7")
            .text(Text::RawPath, "/accounts/4711")
            .text(Text::Path, "/a")
            .text(Text::RawRequest, "R0VUIC9hY2NvdW50cy80NzExIEhUVFAvMS4x")
            .text(Text::Host, "127.0.0.1:8080")
            .text(Text::ApiName, "the-orders-api");
        let (buffer, record) = record.build();
        let batch = Batch {
            claim: ClaimId(ulid::Ulid::nil()),
            key: Arc::new(Key {
                name: "analytics-tyk-system-analytics".into(),
                short: "tyk-system-analytics".into(),
                wire: Wire::Msgpack,
                records: RecordKind::Traffic,
            }),
            first_row: 0,
            buffer: Bytes::from(buffer),
            elements: vec![analytics::Span::default()],
            rows: vec![Decoded::Record(record)],
        };
        Selection::new(Arc::new(batch), 0..1, Arc::new(Transform::default()))
    }

    #[test]
    fn what_repeats_a_record_is_left_out_and_the_rest_of_the_error_stays() {
        let records = [group()];
        let group = Group {
            records: &records,
            own: "http://127.0.0.1:8080/collector",
        };
        let say = |text: &str| words(text, group).into_owned();
        for (said, kept) in [
            (
                "400: cannot parse {\"api_key\":\"eyJvcmciOiI1ZTlk\",\"x\":1}",
                "400: cannot parse {\"api_key\":\"",
            ),
            ("value {\"alias\":\"jane \\\"j\\\" doe\"} is bad", "value {\"alias\":\""),
            ("row of 203.0.113.7 is bad", "row of"),
            ("no field R0VUIC9hY2NvdW50cy80NzEx and no", "no field"),
            ("value too long\nDETAIL: Failing row contains (1, 2)", "value too long"),
            ("null value. Failing row contains (x).", "null value."),
        ] {
            assert_eq!(say(said), format!("{kept} … (what repeats records is left out)"));
        }
        let opaque = format!("could not read {}", "aB3".repeat(60));
        assert_eq!(say(&opaque), "could not read … (what repeats records is left out)");
        for harmless in [
            "cannot connect to http://127.0.0.1:8080/collector: Connection refused",
            "no such index [tyk-the-orders-api]",
            "/a/b is no directory",
            "/srv/data/tyk/pump/analytics/of/the/whole/company/and/its/daughters/since/the/year/2019/csv: Permission denied",
        ] {
            assert_eq!(say(harmless), harmless);
        }
        assert_eq!(say(&"long ".repeat(1_000)).len(), LONGEST + " … (cut off)".len());
    }
}
