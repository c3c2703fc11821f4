//! Messages, and the entries of batches that carry them.

use std::{borrow::Cow, sync::Arc};

use analytics::{RecordView, RowId, Selection, json};

use crate::{encode::row_uuid::row_ulid, transport::outbox::Parcels};

/// What no queue takes; queues that take less say so themselves.
const LARGEST: usize = 1 << 20;

/// Makes entries of records.
#[derive(Clone)]
pub(super) struct Encoder {
    pub(super) pump: Arc<str>,
    /// Empty: none.
    pub(super) group: Arc<str>,
    /// Whether a message says by which id the queue knows it again.
    pub(super) deduplicates: bool,
    /// Seconds before messages can be received; 0: those of the queue.
    pub(super) delay: i64,
}

impl Encoder {
    /// The id of a row's entry and message: the same whenever the row is sent.
    pub(super) fn id(&self, row: RowId) -> String {
        row_ulid(&self.pump, row, "message")
    }

    pub(super) fn pack(&self, group: &[Selection], parcels: &mut Parcels) {
        let mut plain = Vec::new();
        for (row, record) in group.iter().flat_map(Selection::records) {
            plain.clear();
            parcels.write(row, |entry| {
                self.write_entry(entry, &mut plain, row, &record).map(|()| true)
            });
        }
    }

    fn write_entry(
        &self,
        out: &mut Vec<u8>,
        plain: &mut Vec<u8>,
        row: RowId,
        record: &RecordView<'_>,
    ) -> Result<(), String> {
        json::write_record(plain, record).map_err(|error| error.to_string())?;
        let text = allowed(String::from_utf8_lossy(plain));
        if text.len() > LARGEST {
            let size = text.len();
            return Err(format!("the message has {size} bytes, SQS takes {LARGEST} at most"));
        }
        let id = self.id(row);
        out.extend_from_slice(format!("{{\"Id\":\"{id}\",\"MessageBody\":").as_bytes());
        serde_json::to_writer(&mut *out, &text).map_err(|error| error.to_string())?;
        if !self.group.is_empty() {
            out.extend_from_slice(b",\"MessageGroupId\":");
            serde_json::to_writer(&mut *out, &*self.group).map_err(|error| error.to_string())?;
        }
        if self.deduplicates {
            out.extend_from_slice(format!(",\"MessageDeduplicationId\":\"{id}\"").as_bytes());
        }
        if self.delay != 0 {
            out.extend_from_slice(format!(",\"DelaySeconds\":{}", self.delay).as_bytes());
        }
        out.push(b'}');
        Ok(())
    }
}

/// `json` without the two characters that XML, and therefore SQS, does not have; escaped they mean the same.
fn allowed(json: Cow<'_, str>) -> Cow<'_, str> {
    match json.contains(['\u{fffe}', '\u{ffff}']) {
        true => json
            .replace('\u{fffe}', "\\ufffe")
            .replace('\u{ffff}', "\\uffff")
            .into(),
        false => json,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_that_no_queue_takes_are_escaped() {
        assert_eq!(allowed("\"a\u{fffe}\u{ffff}é\"".into()), "\"a\\ufffe\\uffffé\"");
    }
}
