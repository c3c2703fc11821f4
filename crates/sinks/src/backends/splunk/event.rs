//! The event of a record.

use analytics::{
    Field, RecordView, Text, When,
    json::{self, JsonError},
};

use super::Options;

/// Fields that an event can have, by their names there, in the order of an event.
const FIELDS: &[(&str, Field)] = &[
    ("alias", Field::Alias),
    ("api_id", Field::ApiId),
    ("api_key", Field::ApiKey),
    ("api_name", Field::ApiName),
    ("api_version", Field::ApiVersion),
    ("content_length", Field::ContentLength),
    ("geo", Field::Geo),
    ("host", Field::Host),
    ("ip_address", Field::IpAddress),
    ("latency", Field::Latency),
    ("method", Field::Method),
    ("network", Field::Network),
    ("oauth_id", Field::OauthId),
    ("org_id", Field::OrgId),
    ("path", Field::Path),
    ("raw_path", Field::RawPath),
    ("raw_request", Field::RawRequest),
    ("raw_response", Field::RawResponse),
    ("request_time", Field::RequestTime),
    ("response_code", Field::ResponseCode),
    ("tags", Field::Tags),
    ("time_stamp", Field::TimeStamp),
    ("track_path", Field::TrackPath),
    ("user_agent", Field::UserAgent),
];

/// The fields of an event when none are chosen.
const DEFAULT: &[&str] = &[
    "method",
    "path",
    "response_code",
    "api_key",
    "time_stamp",
    "api_version",
    "api_name",
    "api_id",
    "org_id",
    "oauth_id",
    "raw_request",
    "request_time",
    "raw_response",
    "ip_address",
];

/// How records become events.
pub(super) struct Template {
    /// What precedes the value of each field, and the field.
    fields: Vec<(Vec<u8>, Field)>,
    /// Between the time and the event's fields.
    middle: Vec<u8>,
    /// How much of an API key is shown; `None`: all of it.
    shown: Option<usize>,
    ignored_tags: Vec<String>,
}

impl Template {
    pub(super) fn new(options: &Options, warn: impl Fn(&str)) -> Template {
        for name in &options.fields {
            if !FIELDS.iter().any(|(known, _)| known == name) {
                let names = FIELDS.iter().map(|(known, _)| *known);
                let hint = match crate::table::closest(name, names) {
                    Some(near) => format!("; did you mean \"{near}\"?"),
                    None => String::new(),
                };
                warn(&format!("meta.fields: an event has no field \"{name}\"{hint}"));
            }
        }
        let is_chosen = |name: &str| match options.fields.is_empty() {
            true => DEFAULT.contains(&name),
            false => options.fields.iter().any(|field| field == name),
        };
        let mut fields = Vec::new();
        for &(name, field) in FIELDS.iter().filter(|(name, _)| is_chosen(name)) {
            let comma = if fields.is_empty() { "" } else { "," };
            fields.push((format!("{comma}\"{name}\":").into_bytes(), field));
        }
        let mut middle = Vec::new();
        for (key, value) in [
            ("host", &options.host),
            ("source", &options.source),
            ("sourcetype", &options.sourcetype),
            ("index", &options.index),
        ] {
            if !value.is_empty() {
                middle.extend_from_slice(format!(",\"{key}\":").as_bytes());
                json::write_string(&mut middle, value.as_bytes());
            }
        }
        middle.extend_from_slice(b",\"event\":{");
        Template {
            fields,
            middle,
            shown: options
                .obfuscate_api_keys
                .then(|| usize::try_from(options.obfuscate_api_keys_length).unwrap_or(0)),
            ignored_tags: options
                .ignore_tag_prefix_list
                .iter()
                .filter(|prefix| !prefix.is_empty())
                .cloned()
                .collect(),
        }
    }

    /// Appends the event; on failure a part of it may be there.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &RecordView<'_>) -> Result<(), JsonError> {
        out.extend_from_slice(b"{\"time\":");
        json::write_int(out, record.time(When::TimeStamp).seconds);
        out.extend_from_slice(&self.middle);
        for (before, field) in &self.fields {
            out.extend_from_slice(before);
            match (field, self.shown) {
                (Field::ApiKey, Some(shown)) => write_hidden(out, &record.text(Text::ApiKey), shown),
                (Field::Tags, _) if !self.ignored_tags.is_empty() => {
                    let tags = record.tags();
                    json::write_strings(out, tags.map(|tags| tags.filter(|tag| !self.is_ignored(tag))));
                }
                (field, _) => json::write_field(out, record, *field)?,
            }
        }
        out.extend_from_slice(b"}}");
        Ok(())
    }

    fn is_ignored(&self, tag: &[u8]) -> bool {
        self.ignored_tags
            .iter()
            .any(|prefix| tag.starts_with(prefix.as_bytes()))
    }
}

fn write_hidden(out: &mut Vec<u8>, key: &[u8], shown: usize) {
    if key.is_empty() {
        return json::write_string(out, key);
    }
    let mut hidden = b"****".to_vec();
    if key.len() > shown {
        hidden.extend_from_slice(key.get(key.len() - shown..).unwrap_or_default());
    }
    json::write_string(out, &hidden);
}
