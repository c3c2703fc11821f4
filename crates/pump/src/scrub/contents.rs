//! Errors that repeat what records hold.

use std::borrow::Cow;

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
    let masked = secrets(text);
    let looked_at = head(&masked, LOOKED_AT);
    let quote = QUOTES.iter().filter_map(|begin| looked_at.find(begin)).min();
    let record = quoted_record(looked_at, group);
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
    let mut first = None;
    let traffic = |selection: &&Selection| selection.batch().key.records != RecordKind::Uptime;
    for selection in group.records.iter().filter(traffic) {
        for (_, record) in selection.records() {
            let found = quoted_value(text, &record, group.own);
            first = [first, found].into_iter().flatten().min();
        }
    }
    first
}

fn quoted_value(text: &str, record: &RecordView<'_>, own: &str) -> Option<usize> {
    let values = PRIVATE.iter().flat_map(|field| {
        let stored = Cow::Borrowed(record.stored_text(*field));
        // Some sinks send them decoded.
        let decoded = match field {
            Text::RawRequest | Text::RawResponse => record.plain_body(*field).ok(),
            _ => None,
        };
        std::iter::once(stored).chain(decoded)
    });
    values.filter_map(|value| find_value(text, &value, own)).min()
}

fn find_value(text: &str, value: &[u8], own: &str) -> Option<usize> {
    let known_by = value.get(..KNOWN_BY).unwrap_or(value);
    if known_by.len() < SHORTEST || memmem::find(own.as_bytes(), known_by).is_some() {
        return None;
    }
    memmem::find(text.as_bytes(), known_by).or_else(|| {
        // As it stands in JSON.
        let special = known_by.iter().any(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
        let json = special.then(|| serde_json::to_string(&String::from_utf8_lossy(known_by)).unwrap_or_default())?;
        memmem::find(text.as_bytes(), json.get(1..json.len() - 1)?.as_bytes())
    })
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
