//! Dead letters: a file of its own, because they stay long after the segments that they came in are gone.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use analytics::{ClaimId, RowId};
use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::{
    Letter, LetterId, LetterLimits, LettersStored,
    files::{close_to_others, ours, put_aside, sync_folder},
    log::frame::{self, Found, Mark, Payload},
    now_ms,
};

/// Bytes of entries that do not count any more before the file is written anew.
const GARBAGE: u64 = 8 << 20;

/// An entry of the file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Entry {
    Letter(Stored),
    Gone { pump: Arc<str>, claim: String, row: u64 },
}

#[derive(Serialize, Deserialize)]
struct Stored {
    pump: Arc<str>,
    claim: String,
    row: u64,
    key: Arc<str>,
    cause: String,
    at: u64,
    /// Base64.
    raw: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    form: Option<Arc<str>>,
}

#[derive(Clone, Copy)]
struct Spot {
    at_ms: u64,
    start: u64,
    len: u32,
}

/// The letters of one lane.
#[derive(Default)]
struct Lane {
    letters: BTreeMap<RowId, Spot>,
    by_time: BTreeSet<(u64, RowId)>,
    bytes: u64,
}

/// The file, and where each letter stands in it.
pub(crate) struct Letters {
    folder: PathBuf,
    path: PathBuf,
    file: File,
    end: u64,
    garbage: u64,
    damaged: Arc<AtomicU64>,
    lanes: BTreeMap<Arc<str>, Lane>,
}

impl Letters {
    /// Opens the file, which is made when it is not there. What is damaged is put aside.
    pub(crate) fn open(folder: &Path) -> io::Result<Self> {
        let path = folder.join("dead-letters");
        let file = ours().create(true).truncate(false).open(&path)?;
        close_to_others(&file)?;
        let mut letters = Self {
            folder: folder.to_owned(),
            path,
            file,
            end: 0,
            garbage: 0,
            damaged: Arc::default(),
            lanes: BTreeMap::new(),
        };
        let contents = std::fs::read(&letters.path)?;
        let mut at = 0;
        while at < contents.len() {
            let bytes = contents.get(at..).unwrap_or_default();
            let Found::Frame(len) = frame::look(bytes, Mark::Known) else {
                let next = frame::next(&contents, at + 1, contents.len(), Mark::Known);
                let end = next.unwrap_or(contents.len());
                letters.put_aside(contents.get(at..end).unwrap_or_default(), at as u64)?;
                at = end;
                continue;
            };
            if let Some(Payload::Change(json)) = frame::read(bytes, Mark::Known) {
                letters.replay(json, at as u64, len as u32);
            }
            at += len;
        }
        letters.end = at as u64;
        if letters.damaged.load(Ordering::Relaxed) > 0 {
            // Without it, so that the next start does not find it again.
            letters.rewrite()?;
        }
        sync_folder(folder)?;
        Ok(letters)
    }

    /// Copies what is no entry to a file of its own, for whoever wants to look at it.
    fn put_aside(&self, bytes: &[u8], at: u64) -> io::Result<()> {
        self.damaged.fetch_add(1, Ordering::Relaxed);
        let name = format!("dead-letters-{}-{at}.bytes", now_ms());
        let path = put_aside(&self.folder, &name, bytes)?;
        tracing::error!(
            prefix = "embedded",
            "{}: {} bytes at {at} are damaged, or were not written completely; the letters before and behind them count; put aside: {}",
            self.path.display(),
            bytes.len(),
            path.display()
        );
        Ok(())
    }

    /// Parts that were damaged when the file was opened, or were found to be since then.
    pub(crate) fn damaged(&self) -> Arc<AtomicU64> {
        self.damaged.clone()
    }

    fn replay(&mut self, json: &[u8], start: u64, len: u32) {
        match serde_json::from_slice(json) {
            Ok(Entry::Letter(letter)) => {
                let Ok(claim) = letter.claim.parse() else { return };
                let row = RowId {
                    claim: ClaimId(claim),
                    row: letter.row,
                };
                let at_ms = letter.at;
                self.note(letter.pump, row, Spot { at_ms, start, len });
            }
            Ok(Entry::Gone { pump, claim, row }) => {
                if let Ok(claim) = claim.parse() {
                    let claim = ClaimId(claim);
                    self.forget(&pump, RowId { claim, row });
                }
                self.garbage += u64::from(len);
            }
            Err(_) => self.garbage += u64::from(len),
        }
    }

    fn note(&mut self, lane: Arc<str>, row: RowId, spot: Spot) {
        let lane = self.lanes.entry(lane).or_default();
        if let Some(before) = lane.letters.insert(row, spot) {
            lane.by_time.remove(&(before.at_ms, row));
            lane.bytes -= u64::from(before.len);
            self.garbage += u64::from(before.len);
        }
        lane.by_time.insert((spot.at_ms, row));
        lane.bytes += u64::from(spot.len);
    }

    fn forget(&mut self, lane: &str, row: RowId) -> bool {
        let Some(known) = self.lanes.get_mut(lane) else {
            return false;
        };
        let Some(spot) = known.letters.remove(&row) else {
            return false;
        };
        known.by_time.remove(&(spot.at_ms, row));
        known.bytes -= u64::from(spot.len);
        self.garbage += u64::from(spot.len);
        if known.letters.is_empty() {
            self.lanes.remove(lane);
        }
        true
    }

    /// Stores letters that are not there yet, durably; the oldest of a lane go when it has too many.
    pub(crate) fn store(&mut self, letters: &[Letter], limits: LetterLimits) -> io::Result<LettersStored> {
        let mut batch = Batch::at(self.end);
        let mut stored = LettersStored::default();
        let mut fresh: BTreeMap<LetterId, Spot> = BTreeMap::new();
        for letter in letters {
            let known = self
                .lanes
                .get(&letter.reader)
                .is_some_and(|lane| lane.letters.contains_key(&letter.row));
            let id = LetterId {
                reader: letter.reader.clone(),
                row: letter.row,
            };
            if known || fresh.contains_key(&id) {
                continue;
            }
            if letter.raw.len() as u64 > limits.bytes {
                // It would only push all others out.
                *stored.too_large.entry(letter.reader.clone()).or_default() += 1;
                continue;
            }
            let (start, len) = batch.add(&Entry::Letter(Stored {
                pump: letter.reader.clone(),
                claim: letter.row.claim.to_string(),
                row: letter.row.row,
                key: letter.list.clone(),
                cause: letter.cause.clone(),
                at: letter.at_ms,
                raw: STANDARD.encode(&letter.raw),
                form: letter.form.clone(),
            }))?;
            let at_ms = letter.at_ms;
            fresh.insert(id, Spot { at_ms, start, len });
        }
        self.write(batch)?;
        let lanes: BTreeSet<Arc<str>> = fresh.keys().map(|id| id.reader.clone()).collect();
        for (id, spot) in fresh {
            self.note(id.reader, id.row, spot);
        }
        let mut oldest = Vec::new();
        for lane in lanes {
            let Some(known) = self.lanes.get(&lane) else { continue };
            let (mut count, mut bytes) = (known.letters.len() as u64, known.bytes);
            for (_, row) in &known.by_time {
                if count <= limits.count && bytes <= limits.bytes {
                    break;
                }
                count -= 1;
                *stored.evicted.entry(lane.clone()).or_default() += 1;
                bytes -= known.letters.get(row).map_or(0, |spot| u64::from(spot.len));
                oldest.push(LetterId {
                    reader: lane.clone(),
                    row: *row,
                });
            }
        }
        self.remove(&oldest)?;
        Ok(stored)
    }

    /// Removes letters. Returns how many were there.
    pub(crate) fn remove(&mut self, ids: &[LetterId]) -> io::Result<u64> {
        let mut batch = Batch::at(self.end);
        let mut entries = 0;
        for id in ids {
            let (_, len) = batch.add(&Entry::Gone {
                pump: id.reader.clone(),
                claim: id.row.claim.to_string(),
                row: id.row.row,
            })?;
            entries += u64::from(len);
        }
        self.write(batch)?;
        self.garbage += entries;
        let removed = ids.iter().filter(|id| self.forget(&id.reader, id.row)).count();
        if self.garbage > GARBAGE && self.garbage > self.end / 2 {
            self.rewrite()?;
        }
        Ok(removed as u64)
    }

    /// Letters of a lane, or of all, oldest first.
    pub(crate) fn list(&mut self, lane: Option<&str>, limit: usize) -> io::Result<Vec<Letter>> {
        let lanes = self
            .lanes
            .iter()
            .filter(|(name, _)| lane.is_none_or(|lane| lane == &***name));
        let mut spots: Vec<(u64, LetterId, Spot)> = Vec::new();
        for (name, known) in lanes {
            for (at, row) in known.by_time.iter().take(limit) {
                let reader = name.clone();
                let id = LetterId { reader, row: *row };
                spots.extend(known.letters.get(row).map(|spot| (*at, id, *spot)));
            }
        }
        spots.sort_by_key(|one| (one.0, one.1.row));
        spots.truncate(limit);
        let mut letters = Vec::with_capacity(spots.len());
        let mut wrong = Vec::new();
        for (_, id, spot) in spots {
            let bytes = self.bytes(spot)?;
            match read(&bytes) {
                Some(letter) => letters.push(letter),
                None => {
                    self.put_aside(&bytes, spot.start)?;
                    wrong.push(id);
                }
            }
        }
        if !wrong.is_empty() {
            self.remove(&wrong)?;
        }
        Ok(letters)
    }

    fn bytes(&self, spot: Spot) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; spot.len as usize];
        self.file.read_exact_at(&mut bytes, spot.start)?;
        Ok(bytes)
    }

    fn write(&mut self, batch: Batch) -> io::Result<()> {
        if batch.bytes.is_empty() {
            return Ok(());
        }
        self.file.write_all_at(&batch.bytes, self.end)?;
        self.file.sync_data()?;
        self.end += batch.bytes.len() as u64;
        Ok(())
    }

    /// Writes what counts into a new file.
    fn rewrite(&mut self) -> io::Result<()> {
        let fresh = self.path.with_extension("tmp");
        let file = ours().create(true).truncate(true).open(&fresh)?;
        let mut end = 0;
        let mut moved = Vec::new();
        for (lane, known) in &self.lanes {
            for (row, spot) in &known.letters {
                file.write_all_at(&self.bytes(*spot)?, end)?;
                moved.push((lane.clone(), *row, end));
                end += u64::from(spot.len);
            }
        }
        file.sync_data()?;
        std::fs::rename(&fresh, &self.path)?;
        sync_folder(&self.folder)?;
        for (lane, row, start) in moved {
            if let Some(spot) = self.lanes.get_mut(&lane).and_then(|lane| lane.letters.get_mut(&row)) {
                spot.start = start;
            }
        }
        (self.file, self.end, self.garbage) = (file, end, 0);
        Ok(())
    }
}

/// The letter in a frame; `None`: it is damaged.
fn read(bytes: &[u8]) -> Option<Letter> {
    let Some(Payload::Change(json)) = frame::read(bytes, Mark::Known) else {
        return None;
    };
    let Ok(Entry::Letter(letter)) = serde_json::from_slice(json) else {
        return None;
    };
    let claim = ClaimId(letter.claim.parse().ok()?);
    Some(Letter {
        reader: letter.pump,
        list: letter.key,
        row: RowId { claim, row: letter.row },
        cause: letter.cause,
        at_ms: letter.at,
        raw: Bytes::from(STANDARD.decode(&letter.raw).ok()?),
        form: letter.form,
    })
}

/// Entries that are written together.
struct Batch {
    start: u64,
    bytes: Vec<u8>,
}

impl Batch {
    fn at(start: u64) -> Self {
        let bytes = Vec::new();
        Self { start, bytes }
    }

    /// Where the entry will stand.
    fn add(&mut self, entry: &Entry) -> io::Result<(u64, u32)> {
        let mut frame = frame::change(&serde_json::to_vec(entry).map_err(io::Error::other)?);
        // What clients sent stands in base64 here, which is never a header.
        frame::mark(&mut frame, Mark::Known);
        let start = self.start + self.bytes.len() as u64;
        self.bytes.extend_from_slice(&frame);
        Ok((start, frame.len() as u32))
    }
}
