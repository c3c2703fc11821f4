//! Bulk requests, and what their answers say about every document.

use std::sync::Arc;

use analytics::{Flag, RecordView, RowId, Selection, Time, When, gotime::Civil, json};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Dialect, Naming,
    document::Template,
    id::{self, RowIds},
};
use crate::{
    encode::clock,
    transport::{
        outbox::{Fate, Parcels},
        words::{self, plain},
    },
};

/// Causes behind an error that are shown.
const DEEPEST: usize = 4;

/// How documents get their ids.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Ids {
    /// From the row: a document that is written again is the same one.
    Row,
    /// From the record's contents (`generate_id`): 16 hexadecimal digits.
    Content,
    /// The same as upstream writes them: bytes, of which those that are not UTF-8 are lost.
    ContentBytes,
    /// The server's.
    Server,
}

/// Everything that decides on the bytes of a request.
pub(super) struct Encoder {
    pub(super) pump: Arc<str>,
    pub(super) template: Template,
    pub(super) naming: Naming,
    pub(super) ids: Ids,
    /// Whether a document that is there already is left alone (`create`) or replaced (`index`).
    pub(super) creates: bool,
}

impl Encoder {
    /// Packs the rows of a group. A request is full with the document that reaches `counted_bytes`: requests are split
    /// where upstream splits them, which sends neither ids of rows nor `create`.
    pub(super) fn bulks(&self, dialect: Dialect, group: &[Selection], counted_bytes: usize, parcels: &mut Parcels) {
        let (mut id, mut ids) = (Vec::new(), RowIds::new(&self.pump));
        let mut names = IndexNames::new(&self.naming);
        let mut own_bytes = 0;
        for (row, record) in group.iter().flat_map(Selection::records) {
            let is_taken = parcels.write(row, |body| {
                let operation = if self.creates { "{\"create\":{" } else { "{\"index\":{" };
                body.extend_from_slice(operation.as_bytes());
                id.clear();
                self.write_id(&mut id, row, &record, &mut ids);
                self.write_target(body, dialect, names.of(&record), &id);
                body.extend_from_slice(b"}}\n");
                self.template.write(body, &record)?;
                body.push(b'\n');
                Ok::<_, json::JsonError>(true)
            });
            if !is_taken {
                continue;
            }
            let (bytes, rows) = parcels.filled();
            match rows {
                1 => own_bytes = self.own_bytes(&id),
                _ => own_bytes += self.own_bytes(&id),
            }
            if bytes - own_bytes >= counted_bytes {
                parcels.seal();
            }
        }
    }

    /// Bytes of an action line that upstream does not send.
    fn own_bytes(&self, id: &[u8]) -> usize {
        let operation = if self.creates {
            "create".len() - "index".len()
        } else {
            0
        };
        match self.ids {
            Ids::Row => operation + "\"_id\":\"\",".len() + id.len(),
            _ => operation,
        }
    }

    /// Appends the id's bytes; none: the server chooses.
    pub(super) fn write_id(&self, out: &mut Vec<u8>, row: RowId, record: &RecordView<'_>, ids: &mut RowIds) {
        match self.ids {
            Ids::Row => ids.write(out, row, record),
            Ids::Content => id::write_hex(out, &id::of_content(record)),
            Ids::ContentBytes => out.extend_from_slice(&id::of_content(record)),
            Ids::Server => {}
        }
    }
}

impl Encoder {
    /// The members of an action line.
    fn write_target(&self, out: &mut Vec<u8>, dialect: Dialect, index: &str, id: &[u8]) {
        // Where upstream's client puts an id; those of rows have one place for all dialects.
        let id_at = match (self.ids, dialect) {
            (Ids::ContentBytes, Dialect::Three | Dialect::Five) => 0,
            (Ids::ContentBytes, Dialect::Six) => 1,
            _ => 2,
        };
        let document_type = match dialect {
            Dialect::Seven => "",
            _ => self.naming.document_type.as_str(),
        };
        let mut members: [(&str, &[u8]); 3] = [
            ("\"_index\":", index.as_bytes()),
            ("\"_type\":", document_type.as_bytes()),
            ("\"_id\":", id),
        ];
        if let Some(tail) = members.get_mut(id_at..) {
            tail.rotate_right(1);
        }
        let mut is_first = true;
        for (key, value) in members.into_iter().filter(|(_, value)| !value.is_empty()) {
            if !is_first {
                out.push(b',');
            }
            is_first = false;
            out.extend_from_slice(key.as_bytes());
            json::write_string(out, value);
        }
    }
}

/// Names of the indices of records; the last ones are kept, because neighbours mostly share them.
pub(super) struct IndexNames<'a> {
    naming: &'a Naming,
    now: Time,
    day: Option<(i64, u8, u8)>,
    traffic: String,
    mcp: String,
}

impl<'a> IndexNames<'a> {
    pub(super) fn new(naming: &'a Naming) -> Self {
        IndexNames {
            naming,
            now: clock::local_time(),
            day: None,
            traffic: naming.index.clone(),
            mcp: naming.mcp_index.clone(),
        }
    }

    pub(super) fn of(&mut self, record: &RecordView<'_>) -> &str {
        if self.naming.rolling {
            let mut time = self.now;
            if !self.naming.by_clock {
                time = record.time(When::TimeStamp);
                time.zone = self.naming.zone;
            }
            self.roll_to(time);
        }
        match !self.mcp.is_empty() && record.flag(Flag::IsMcp) {
            true => &self.mcp,
            false => &self.traffic,
        }
    }

    fn roll_to(&mut self, time: Time) {
        let Civil { year, month, day, .. } = Civil::of(time);
        if self.day.replace((year, month, day)) == Some((year, month, day)) {
            return;
        }
        let suffix = format!("-{year:04}.{month:02}.{day:02}");
        self.traffic = format!("{}{suffix}", self.naming.index);
        if !self.naming.mcp_index.is_empty() {
            self.mcp = format!("{}{suffix}", self.naming.mcp_index);
        }
    }
}

#[derive(Deserialize)]
struct Reply {
    items: Vec<Item>,
}

#[derive(Deserialize)]
struct Item {
    #[serde(alias = "index")]
    create: Status,
}

#[derive(Deserialize)]
struct Status {
    status: u16,
    error: Option<Value>,
}

/// Reads the answer to a bulk request of so many documents; `None`: it is none.
pub(super) fn read_answer(body: &[u8], documents: usize, creates: bool) -> Option<Vec<Fate>> {
    let reply: Reply = serde_json::from_slice(body).ok()?;
    if reply.items.len() != documents {
        return None;
    }
    let fate = |Item { create: item }| fate(item.status, item.error.as_ref(), creates);
    Some(reply.items.into_iter().map(fate).collect())
}

/// What one document's status means.
pub(super) fn fate(status: u16, error: Option<&Value>, creates: bool) -> Fate {
    let kind = error
        .and_then(|error| error.get("type"))
        .and_then(Value::as_str)
        .unwrap_or_default();
    let reason = || format!("{status}{}", reason(error));
    match status {
        200..=299 => Fate::Accepted,
        // Written before, by this process or another.
        409 if creates => Fate::Accepted,
        408 | 409 | 425 | 429 | 500.. => Fate::Later(reason()),
        401 | 403 | 404 => Fate::Blocked(reason()),
        _ if is_about_the_index(kind) || is_about_a_limit(error) => Fate::Blocked(reason()),
        _ => Fate::Rejected(reason()),
    }
}

/// Limits of the cluster, which no document is to blame for: too many shards, a shard that is full.
fn is_about_a_limit(error: Option<&Value>) -> bool {
    const WORDS: [&str; 3] = [
        "maximum normal shards open",
        "maximum shards open",
        "documents in the index cannot exceed",
    ];
    let reasons = std::iter::successors(error, |error| error.get("caused_by"));
    let mut reasons = reasons
        .filter_map(|error| error.get("reason").and_then(Value::as_str))
        .take(DEEPEST);
    reasons.any(|reason| WORDS.iter().any(|words| reason.contains(words)))
}

/// Errors with status 400 that every document would meet.
fn is_about_the_index(kind: &str) -> bool {
    matches!(
        kind,
        "invalid_index_name_exception" | "index_closed_exception" | "invalid_alias_name_exception"
    )
}

/// What the server says, without what it quotes of the document: types, fields, and the words of its reasons.
pub(super) fn reason(error: Option<&Value>) -> String {
    let mut text = String::new();
    let mut next = error;
    for _ in 0..DEEPEST {
        let Some(error) = next else { break };
        let mut add = |part: &str| {
            if !part.is_empty() {
                text.push_str(": ");
                text.push_str(part);
            }
        };
        match error {
            Value::String(error) => add(&plain(error)),
            error => {
                let kind = error.get("type").and_then(Value::as_str).unwrap_or_default();
                add(&words::shown(kind));
                let reason = error.get("reason").and_then(Value::as_str).unwrap_or_default();
                add(&plain(reason));
                if let Some(field) = field(reason) {
                    add(&format!("field {field}"));
                }
            }
        }
        next = error.get("caused_by");
    }
    text
}

/// The field that a reason is about: `failed to parse field [geo.city] of type [long]`.
fn field(reason: &str) -> Option<&str> {
    let (_, rest) = reason.split_once("field [")?;
    let (name, _) = rest.split_once(']')?;
    words::name(name, "_.@-", 80)
}
