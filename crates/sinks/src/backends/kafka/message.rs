//! What becomes of a record: topic, key, headers and value of its message.

use std::borrow::Cow;

use analytics::{Field, RecordView, RowId, Text, field::Store, json::JsonError};
use rdkafka::message::{Header, OwnedHeaders};

use super::options::{Options, wrong};
use crate::{BuildError, encode::flat::FlatDocument};

/// What a message takes beside key, value and headers, as upstream counts it.
pub(super) const OVERHEAD: usize = 22;
/// The longest name that a topic may have.
const LONGEST_TOPIC: usize = 249;

/// How values are written.
enum Format {
    /// A flat JSON object.
    Json(FlatDocument),
}

impl Format {
    /// What the header `tyk-encoding` says.
    fn name(&self) -> &'static str {
        match self {
            Format::Json(_) => "json",
        }
    }
}

/// Makes messages of records.
pub(super) struct Encoder {
    format: Format,
    topic: TopicName,
    key: Option<Text>,
    headers: bool,
}

impl Encoder {
    pub(super) fn new(options: &Options) -> Result<Encoder, BuildError> {
        Ok(Encoder {
            format: Format::Json(FlatDocument::new(&options.meta_data)),
            topic: TopicName::parse(&options.topic)?,
            key: key(&options.key)?,
            headers: options.headers,
        })
    }

    /// Appends the value of a record; on failure a part of it may be there.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &RecordView<'_>) -> Result<(), JsonError> {
        match &self.format {
            Format::Json(document) => document.write(out, record),
        }
    }

    /// The topic of a record.
    pub(super) fn topic(&self, record: &RecordView<'_>) -> Cow<'_, str> {
        self.topic.of(record)
    }

    /// The key of a record; one without the field has none.
    pub(super) fn key<'a>(&self, record: &RecordView<'a>) -> Option<Cow<'a, [u8]>> {
        self.key.map(|field| record.text(field)).filter(|key| !key.is_empty())
    }

    /// The headers of a row, and how many bytes they have.
    pub(super) fn headers(&self, row: RowId) -> Option<(OwnedHeaders, usize)> {
        if !self.headers {
            return None;
        }
        let (claim, number) = (row.claim.to_string(), row.row.to_string());
        let mut headers = OwnedHeaders::new_with_capacity(3);
        let mut bytes = 0;
        for (key, value) in [
            ("tyk-claim", claim.as_str()),
            ("tyk-row", number.as_str()),
            ("tyk-encoding", self.format.name()),
        ] {
            headers = headers.insert(Header {
                key,
                value: Some(value),
            });
            bytes += key.len() + value.len();
        }
        Some((headers, bytes))
    }

    /// Whether messages have keys.
    pub(super) fn has_key(&self) -> bool {
        self.key.is_some()
    }
}

/// The field that `key` names.
fn key(name: &str) -> Result<Option<Text>, BuildError> {
    if name.is_empty() {
        return Ok(None);
    }
    match Field::by_json(name).map(|field| field.info().store) {
        Some(Store::Text(field)) => Ok(Some(field)),
        _ => wrong(format!(
            "meta.key is \"{name}\", expected a text of the record by its JSON name – write for instance \"api_id\""
        )),
    }
}

/// A topic, or how to name it after a record.
#[derive(Debug, PartialEq, Eq)]
enum TopicName {
    Fixed(String),
    Pattern(Vec<Part>),
}

#[derive(Debug, PartialEq, Eq)]
enum Part {
    Fixed(String),
    Id(Text),
}

impl TopicName {
    fn parse(text: &str) -> Result<TopicName, BuildError> {
        let bad = |what: String| wrong(format!("meta.topic {what} – write for instance \"tyk-analytics\""));
        if text.is_empty() {
            return bad("is missing".to_owned());
        }
        let mut parts = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let (fixed, more) = rest.split_at(rest.find('{').unwrap_or(rest.len()));
            if let Some(character) = fixed.chars().find(|&c| !is_legal(c)) {
                return bad(format!("is \"{text}\", where {character:?} may not be"));
            }
            if !fixed.is_empty() {
                parts.push(Part::Fixed(fixed.to_owned()));
            }
            rest = more;
            for (name, field) in [("{org_id}", Text::OrgId), ("{api_id}", Text::ApiId)] {
                if let Some(more) = rest.strip_prefix(name) {
                    parts.push(Part::Id(field));
                    rest = more;
                }
            }
            if rest.len() == more.len() && !rest.is_empty() {
                return bad(format!("is \"{text}\", where braces may hold org_id and api_id alone"));
            }
        }
        match parts.as_slice() {
            [Part::Fixed(name)] if name.len() > LONGEST_TOPIC => {
                bad(format!("has {} characters, more than {LONGEST_TOPIC}", name.len()))
            }
            [Part::Fixed(name)] if name == "." || name == ".." => bad(format!("is \"{name}\"")),
            [Part::Fixed(name)] => Ok(TopicName::Fixed(name.clone())),
            _ => Ok(TopicName::Pattern(parts)),
        }
    }

    fn of(&self, record: &RecordView<'_>) -> Cow<'_, str> {
        let parts = match self {
            TopicName::Fixed(name) => return Cow::Borrowed(name),
            TopicName::Pattern(parts) => parts,
        };
        let mut name = String::new();
        for part in parts {
            match part {
                Part::Fixed(text) => name.push_str(text),
                Part::Id(field) => {
                    let id = record.stored_text(*field);
                    if id.is_empty() {
                        name.push('_');
                    }
                    name.extend(id.iter().map(|&byte| match char::from(byte) {
                        c if is_legal(c) => c,
                        _ => '_',
                    }));
                }
            }
        }
        // Only legal characters are in it, of one byte each.
        name.truncate(LONGEST_TOPIC);
        Cow::Owned(name)
    }
}

/// Whether a topic may have this character.
fn is_legal(character: char) -> bool {
    character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-')
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use analytics::{Record, Span, Transform};

    use super::*;

    fn named(pattern: &str, org: &str, api: &str) -> String {
        let buffer = format!("{org}{api}");
        let mut record = Record::default();
        let (org, api) = (org.len() as u32, api.len() as u32);
        record.text[Text::OrgId as usize] = Span { start: 0, len: org };
        record.text[Text::ApiId as usize] = Span { start: org, len: api };
        let transform = Arc::new(Transform::default());
        let record = RecordView::new(buffer.as_bytes(), &record, &transform);
        TopicName::parse(pattern).unwrap().of(&record).into_owned()
    }

    #[test]
    fn a_topic_may_be_named_after_the_record() {
        assert_eq!(named("tyk", "o", "a"), "tyk");
        assert_eq!(named("tyk.{org_id}-{api_id}", "o1", "a/ü"), "tyk.o1-a___");
        assert_eq!(named("{org_id}{api_id}", "", "a"), "_a");
        assert_eq!(named("{org_id}", &"x".repeat(300), "").len(), LONGEST_TOPIC);
    }

    #[test]
    fn a_topic_that_cannot_be_is_named() {
        for (topic, what) in [
            ("", "is missing"),
            ("a b", "where ' ' may not be"),
            ("t-{user}", "braces may hold org_id and api_id alone"),
            ("t-{org_id", "braces may hold org_id and api_id alone"),
            ("..", "is \"..\""),
        ] {
            let error = TopicName::parse(topic).unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("meta.topic"), "{error}");
        }
    }

    #[test]
    fn a_key_is_a_text_of_the_record() {
        assert_eq!(key("").unwrap(), None);
        assert_eq!(key("api_id").unwrap(), Some(Text::ApiId));
        for name in ["response_code", "APIID", "geo"] {
            assert!(key(name).unwrap_err().to_string().contains("meta.key"), "{name}");
        }
    }
}
