//! Bulk requests, and what their answers say about every document.

use std::sync::Arc;

use analytics::{Flag, RecordView, RowId, Selection, Time, When, Zone, gotime::Civil, json};
use serde::Deserialize;
use serde_json::Value;

use super::{
    Dialect, Naming,
    document::Template,
    id::{self, RowIds},
};
use crate::{Rejected, contract::ledger::Ledger, encode::clock};

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

/// One request.
pub(super) struct Bulk {
    pub(super) body: Vec<u8>,
    pub(super) rows: Vec<RowId>,
}

#[derive(Default)]
pub(super) struct Encoded {
    pub(super) bulks: Vec<Bulk>,
    pub(super) rejected: Vec<Rejected>,
}

/// When a request is full. The document that reaches a limit still belongs to it.
#[derive(Clone, Copy)]
pub(super) struct Limits {
    pub(super) documents: usize,
    /// As configured: requests are split where upstream splits them, which sends neither ids of rows nor `create`.
    pub(super) counted_bytes: usize,
    /// As a server takes them.
    pub(super) bytes: usize,
}

impl Encoder {
    /// Requests for the rows that are not in `done`.
    pub(super) fn bulks(&self, dialect: Dialect, done: &Ledger, group: &[Selection], limits: Limits) -> Encoded {
        let mut encoded = Encoded::default();
        let (mut body, mut rows, mut own_bytes) = (Vec::new(), Vec::new(), 0);
        let (mut id, mut ids) = (Vec::new(), RowIds::new(&self.pump));
        let mut names = IndexNames::new(&self.naming);
        for selection in group {
            for (row, record) in selection.records() {
                if done.contains(row) {
                    continue;
                }
                let start = body.len();
                let operation = if self.creates { "{\"create\":{" } else { "{\"index\":{" };
                body.extend_from_slice(operation.as_bytes());
                id.clear();
                self.write_id(&mut id, row, &record, &mut ids);
                self.write_target(&mut body, dialect, names.of(&record), &id);
                body.extend_from_slice(b"}}\n");
                if let Err(error) = self.template.write(&mut body, &record) {
                    body.truncate(start);
                    encoded.rejected.push(Rejected {
                        row,
                        reason: error.to_string(),
                    });
                    continue;
                }
                body.push(b'\n');
                rows.push(row);
                own_bytes += self.own_bytes(&id);
                let counted = body.len() - own_bytes;
                if rows.len() >= limits.documents || counted >= limits.counted_bytes || body.len() >= limits.bytes {
                    own_bytes = 0;
                    encoded.bulks.push(Bulk {
                        body: std::mem::take(&mut body),
                        rows: std::mem::take(&mut rows),
                    });
                }
            }
        }
        if !rows.is_empty() {
            encoded.bulks.push(Bulk { body, rows });
        }
        encoded
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
    day: Option<i64>,
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
                time.zone = Zone::UTC;
            }
            self.roll_to(time);
        }
        match !self.mcp.is_empty() && record.flag(Flag::IsMcp) {
            true => &self.mcp,
            false => &self.traffic,
        }
    }

    fn roll_to(&mut self, time: Time) {
        let day = time.seconds.div_euclid(86_400);
        if self.day == Some(day) {
            return;
        }
        self.day = Some(day);
        let Civil { year, month, day, .. } = Civil::of(time);
        let suffix = format!("-{year:04}.{month:02}.{day:02}");
        self.traffic = format!("{}{suffix}", self.naming.index);
        if !self.naming.mcp_index.is_empty() {
            self.mcp = format!("{}{suffix}", self.naming.mcp_index);
        }
    }
}

/// What became of the documents of one request.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    /// They are in the index.
    pub(super) done: Vec<RowId>,
    /// Never accepted.
    pub(super) rejected: Vec<Rejected>,
    /// How many may be accepted later, and why not now.
    pub(super) later: Option<(usize, String)>,
    /// Why no document can be accepted before somebody changes something.
    pub(super) config: Option<String>,
    /// The request was too large; nothing is known about its documents.
    pub(super) too_large: bool,
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

/// Reads the answer to a bulk request of `rows`; `None`: it is none.
pub(super) fn read_answer(body: &[u8], rows: &[RowId], creates: bool) -> Option<Outcome> {
    let reply: Reply = serde_json::from_slice(body).ok()?;
    if reply.items.len() != rows.len() {
        return None;
    }
    let mut outcome = Outcome::default();
    for (Item { create: item }, &row) in reply.items.into_iter().zip(rows) {
        outcome.add(row, item.status, item.error.as_ref(), creates);
    }
    Some(outcome)
}

impl Outcome {
    /// Adds what one document's status means.
    pub(super) fn add(&mut self, row: RowId, status: u16, error: Option<&Value>, creates: bool) {
        let kind = error
            .and_then(|error| error.get("type"))
            .and_then(Value::as_str)
            .unwrap_or_default();
        match status {
            200..=299 => self.done.push(row),
            // Written before, by this process or another.
            409 if creates => self.done.push(row),
            408 | 409 | 425 | 429 | 500.. => {
                let reason = || format!("{status}{}", reason(error));
                let later = self.later.get_or_insert_with(|| (0, reason()));
                later.0 += 1;
            }
            401 | 403 | 404 => self.config = Some(format!("{status}{}", reason(error))),
            _ if is_about_the_index(kind) => self.config = Some(format!("{status}{}", reason(error))),
            _ => self.rejected.push(Rejected {
                row,
                reason: format!("{status}{}", reason(error)),
            }),
        }
    }
}

/// Errors with status 400 that every document would meet.
fn is_about_the_index(kind: &str) -> bool {
    matches!(
        kind,
        "invalid_index_name_exception" | "index_closed_exception" | "invalid_alias_name_exception"
    )
}

/// The server's words: type and reason, and what is below them.
pub(super) fn reason(error: Option<&Value>) -> String {
    let mut text = String::new();
    let mut next = error;
    while let Some(error) = next {
        match error {
            Value::String(error) => text.push_str(&format!(": {error}")),
            error => {
                for key in ["type", "reason"] {
                    if let Some(part) = error.get(key).and_then(Value::as_str) {
                        text.push_str(&format!(": {part}"));
                    }
                }
            }
        }
        next = error.get("caused_by");
    }
    if let Some((end, _)) = text.char_indices().nth(500) {
        text.truncate(end);
        text.push('…');
    }
    text
}
