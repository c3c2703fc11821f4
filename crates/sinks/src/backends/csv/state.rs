//! What the folder `.tyk-pump` of a CSV directory remembers: the rows that the files hold, and the append that may be
//! half done.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Write},
    path::Path,
};

use analytics::ClaimId;
use serde_json::{Map, Value, json};

use super::directory::private;
use crate::{contract::ledger::Ledger, transport::durable::sync_folder};

const FILE: &str = "state";
const NEXT: &str = "state.next";
const MAGIC: &str = "tyk-pump csv 1 ";

/// An append that is announced before it is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Intent {
    /// Whose rows.
    pub pump: String,
    /// Name of the file.
    pub file: String,
    /// Inode of the file.
    pub inode: u64,
    /// The file is new: it is moved to its place after the intent is stored.
    pub created: bool,
    /// Length of the file before.
    pub offset: u64,
    /// Number of bytes that are appended.
    pub length: u64,
    /// CRC-32 of those bytes.
    pub crc: u32,
    /// Rows that are applied once the bytes are there.
    pub rows: Ledger,
}

/// Content of the state file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// The last append, until the next one has replaced it.
    pub intent: Option<Intent>,
    /// Rows that are applied, by pump.
    pub applied: BTreeMap<String, Ledger>,
}

impl State {
    /// Reads the state of `folder`; no file is an empty state. `InvalidData`: the file is damaged.
    pub(super) fn load(folder: &Path) -> io::Result<State> {
        let mut text = Vec::new();
        match private().read(true).open(folder.join(FILE)) {
            Ok(mut file) => file.read_to_end(&mut text)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(State::default()),
            Err(error) => return Err(error),
        };
        State::decode(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Replaces the state of `folder` so that after a crash either the old or the new one is there, whole.
    pub(super) fn store(&self, folder: &Path) -> io::Result<()> {
        let next = folder.join(NEXT);
        let mut file = private().write(true).create(true).truncate(true).open(&next)?;
        file.write_all(&self.encode())?;
        file.sync_data()?;
        fs::rename(&next, folder.join(FILE))?;
        sync_folder(folder)
    }

    /// Puts a damaged state aside, so that somebody can look at it.
    pub(super) fn set_aside(folder: &Path) -> io::Result<()> {
        fs::rename(folder.join(FILE), folder.join("state.damaged"))?;
        sync_folder(folder)
    }

    fn encode(&self) -> Vec<u8> {
        let applied: Map<String, Value> = self
            .applied
            .iter()
            .filter(|(_, ledger)| !ledger.is_empty())
            .map(|(pump, ledger)| (pump.clone(), ledger_json(ledger)))
            .collect();
        let intent = self.intent.as_ref().map(|intent| {
            json!({
                "pump": intent.pump, "file": intent.file, "inode": intent.inode, "created": intent.created, "offset": intent.offset,
                "length": intent.length, "crc": intent.crc, "rows": ledger_json(&intent.rows),
            })
        });
        let body = json!({"intent": intent, "applied": applied}).to_string();
        format!("{MAGIC}{:08x}\n{body}\n", crc32fast::hash(body.as_bytes())).into_bytes()
    }

    fn decode(text: &[u8]) -> Option<State> {
        let text = std::str::from_utf8(text).ok()?.strip_prefix(MAGIC)?;
        let (crc, body) = text.split_once('\n')?;
        let body = body.strip_suffix('\n')?;
        if u32::from_str_radix(crc, 16).ok()? != crc32fast::hash(body.as_bytes()) {
            return None;
        }
        let body: Value = serde_json::from_str(body).ok()?;
        let intent = match body.get("intent")? {
            Value::Null => None,
            intent => Some(Intent {
                pump: intent.get("pump")?.as_str()?.to_owned(),
                file: intent.get("file")?.as_str()?.to_owned(),
                inode: intent.get("inode")?.as_u64()?,
                created: intent.get("created")?.as_bool()?,
                offset: intent.get("offset")?.as_u64()?,
                length: intent.get("length")?.as_u64()?,
                crc: intent.get("crc")?.as_u64()?.try_into().ok()?,
                rows: ledger_of(intent.get("rows")?)?,
            }),
        };
        let mut applied = BTreeMap::new();
        for (pump, ledger) in body.get("applied")?.as_object()? {
            applied.insert(pump.clone(), ledger_of(ledger)?);
        }
        Some(State { intent, applied })
    }
}

fn ledger_json(ledger: &Ledger) -> Value {
    let claims = ledger.iter();
    let entries: Map<String, Value> = claims
        .map(|(claim, rows)| (claim.to_string(), rows.to_string().into()))
        .collect();
    entries.into()
}

fn ledger_of(entries: &Value) -> Option<Ledger> {
    let mut ledger = Ledger::default();
    for (claim, rows) in entries.as_object()? {
        let claim = ClaimId(claim.parse().ok()?);
        ledger.replace(claim, rows.as_str()?.parse().ok()?);
    }
    Some(ledger)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> State {
        let claim = ClaimId(ulid::Ulid(7));
        let mut rows = Ledger::default();
        rows.insert(claim, 5000..10000);
        let mut applied = Ledger::default();
        applied.insert(claim, 0..5000);
        applied.insert(ClaimId(ulid::Ulid(8)), 3..4);
        State {
            intent: Some(Intent {
                pump: "CSV".to_owned(),
                file: "2023-November-14-9.csv".to_owned(),
                inode: 12,
                created: true,
                offset: 1 << 40,
                length: 17,
                crc: u32::MAX,
                rows,
            }),
            applied: [("CSV".to_owned(), applied)].into(),
        }
    }

    #[test]
    fn a_stored_state_is_read_back() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(State::load(folder.path()).unwrap(), State::default());
        for state in [example(), State::default()] {
            state.store(folder.path()).unwrap();
            assert_eq!(State::load(folder.path()).unwrap(), state);
        }
    }

    #[test]
    fn a_damaged_state_is_noticed_at_any_byte() {
        let text = example().encode();
        assert_eq!(State::decode(&text), Some(example()));
        for at in 0..text.len() {
            let mut damaged = text.clone();
            damaged[at] ^= 1;
            assert_eq!(State::decode(&damaged), None, "byte {at}");
            assert_eq!(State::decode(&text[..at]), None, "length {at}");
        }
    }
}
