//! Dead letters, and the one form in which all stores, files and answers keep them.

use std::{collections::BTreeMap, sync::Arc};

use analytics::{ClaimId, Key, RecordKind, RowId, Wire};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

/// What the bytes of a dead letter are. Kept with it: the list that it came from may be configured otherwise, or not at
/// all, when it is replayed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ElementForm {
    /// A traffic record in MessagePack.
    Msgpack,
    /// A traffic record in Protobuf.
    Protobuf,
    /// An uptime record.
    Uptime,
}

impl ElementForm {
    /// The form of the elements of a list.
    pub fn of(key: &Key) -> Self {
        match (key.records, key.wire) {
            (RecordKind::Uptime, _) => Self::Uptime,
            (RecordKind::Traffic, Wire::Msgpack) => Self::Msgpack,
            (RecordKind::Traffic, Wire::Protobuf) => Self::Protobuf,
        }
    }

    /// What a record of this form is.
    pub fn records(self) -> RecordKind {
        match self {
            Self::Uptime => RecordKind::Uptime,
            Self::Msgpack | Self::Protobuf => RecordKind::Traffic,
        }
    }

    /// How it is encoded.
    pub fn wire(self) -> Wire {
        match self {
            Self::Protobuf => Wire::Protobuf,
            Self::Msgpack | Self::Uptime => Wire::Msgpack,
        }
    }
}

/// A row that was not delivered for good: kept with its cause until somebody replays or drops it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Lane that it belongs to (`!undecodable`, or a pump's key).
    pub lane: Arc<str>,
    /// The list that it came from.
    pub key: Arc<str>,
    /// What `raw` is; `None`: stored by a version that did not say.
    pub form: Option<ElementForm>,
    /// Which row.
    pub row: RowId,
    /// Why.
    pub cause: String,
    /// When, milliseconds since 1970.
    pub at_ms: u64,
    /// The element as it came.
    pub raw: Bytes,
}

/// Name of a dead letter: pump, claim and row. Text form `<pump>/<ulid>/<row>`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct DeadLetterId {
    /// Lane.
    pub lane: Arc<str>,
    /// Row.
    pub row: RowId,
}

/// What storing dead letters did, by lane.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadStored {
    /// Entries that had to go because the lane's share is full, oldest first.
    pub evicted: BTreeMap<Arc<str>, u64>,
    /// Entries that were not stored because one alone exceeds the lane's share: the others stay in their place.
    pub too_large: BTreeMap<Arc<str>, u64>,
}

impl DeadStored {
    /// Counts entries of a lane that had to go.
    pub fn evict(&mut self, lane: &Arc<str>, entries: u64) {
        count(&mut self.evicted, lane, entries);
    }

    /// Counts entries of a lane that are too large.
    pub fn refuse(&mut self, lane: &Arc<str>, entries: u64) {
        count(&mut self.too_large, lane, entries);
    }

    /// Entries of every lane that were too large.
    pub fn all_too_large(&self) -> u64 {
        self.too_large.values().sum()
    }

    /// Entries of every lane that had to go.
    pub fn all_evicted(&self) -> u64 {
        self.evicted.values().sum()
    }
}

fn count(counts: &mut BTreeMap<Arc<str>, u64>, lane: &Arc<str>, entries: u64) {
    if entries > 0 {
        *counts.entry(lane.clone()).or_default() += entries;
    }
}

/// Bounds of the dead letters of one lane.
#[derive(Clone, Copy, Debug)]
pub struct DeadLimits {
    /// Entries.
    pub count: u64,
    /// Bytes that they take in the store.
    pub bytes: u64,
}

/// A dead letter as it is written down, in JSON.
///
/// ```json
/// {"pump":"CSV","claim":"01J…","row":7,"key":"analytics-tyk-system-analytics","cause":"…","at":1700000000000,
///  "raw":"<Base64>","form":"msgpack"}
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Written {
    /// Lane.
    pub pump: Arc<str>,
    /// Claim of the row, as text.
    pub claim: String,
    /// Row of the claim.
    pub row: u64,
    /// List that it came from.
    pub key: Arc<str>,
    /// Why it was not delivered.
    pub cause: String,
    /// When, milliseconds since 1970.
    pub at: u64,
    /// The element, in Base64.
    pub raw: String,
    /// What the element is; missing in letters of versions that did not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub form: Option<ElementForm>,
}

impl From<&DeadLetter> for Written {
    fn from(letter: &DeadLetter) -> Self {
        Written {
            pump: letter.lane.clone(),
            claim: letter.row.claim.to_string(),
            row: letter.row.row,
            key: letter.key.clone(),
            cause: letter.cause.clone(),
            at: letter.at_ms,
            raw: STANDARD.encode(&letter.raw),
            form: letter.form,
        }
    }
}

impl Written {
    /// The letter; `None`: it is none that this version can read.
    pub fn read(self) -> Option<DeadLetter> {
        Some(DeadLetter {
            lane: self.pump,
            row: RowId {
                claim: ClaimId(ulid::Ulid::from_string(&self.claim).ok()?),
                row: self.row,
            },
            cause: self.cause,
            at_ms: self.at,
            raw: Bytes::from(STANDARD.decode(&self.raw).ok()?),
            form: self.form,
            key: self.key,
        })
    }
}

/// The letter in JSON, on one line.
pub fn encode(letter: &DeadLetter) -> String {
    // Text and numbers alone: there is nothing that JSON could not hold.
    serde_json::to_string(&Written::from(letter)).unwrap_or_default()
}

/// The letter out of its JSON; `None`: it is none that this version can read.
pub fn decode(json: &[u8]) -> Option<DeadLetter> {
    serde_json::from_slice::<Written>(json).ok()?.read()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(form: Option<ElementForm>) -> DeadLetter {
        DeadLetter {
            lane: "A/\"B\"".into(),
            key: "orders_protobuf".into(),
            form,
            row: RowId {
                claim: ClaimId(ulid::Ulid::from_parts(1, 2)),
                row: 3,
            },
            cause: "line\nline".to_owned(),
            at_ms: 1_700_000_000_000,
            raw: Bytes::from_static(b"\x00\xff\r\n"),
        }
    }

    #[test]
    fn a_letter_comes_back_as_it_was_and_an_old_one_without_a_form() {
        for form in [
            None,
            Some(ElementForm::Msgpack),
            Some(ElementForm::Protobuf),
            Some(ElementForm::Uptime),
        ] {
            let letter = letter(form);
            let json = encode(&letter);
            assert_eq!(json.contains("form"), form.is_some(), "{json}");
            assert_eq!(decode(json.as_bytes()), Some(letter));
        }
    }

    #[test]
    fn what_is_no_letter_of_this_version_is_none() {
        let mut json: serde_json::Value = serde_json::from_str(&encode(&letter(Some(ElementForm::Uptime)))).unwrap();
        for (field, value) in [("form", "avro"), ("raw", "not Base64!"), ("claim", "x")] {
            let before = json[field].clone();
            json[field] = value.into();
            assert_eq!(decode(json.to_string().as_bytes()), None, "{field}");
            json[field] = before;
        }
        assert!(decode(json.to_string().as_bytes()).is_some());
    }
}
