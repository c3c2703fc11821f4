//! What is done under the lock: looking, and appending to the log.

use std::{
    io,
    sync::{Arc, MutexGuard},
};

use super::{
    Chunk, Inner, Log,
    frame::{self, HEADER, MAX_PAYLOAD, Sealed},
    image,
    refusal::{MOST_KEYS, MOST_STRINGS, Refusal},
    rows::{Place, Run},
    segment::{SIZE, Segment, Slice},
    state::{Change, ClaimState, State},
};
use crate::{Facts, Fsync};

/// The end of a segment that is left to claims and cursors while there is no next one: on a full disk, what is delivered
/// can still be taken off.
const KEPT_FREE: u32 = 4 << 20;
/// Chunks that are smaller are copied behind the one before.
const SMALL: usize = 8 << 10;
/// A store with so much room is not full, whatever the last client wanted.
const ROOM: u64 = 1 << 20;

/// The store, locked.
pub(crate) struct Locked<'a> {
    pub(super) inner: MutexGuard<'a, Inner>,
    pub(super) store: &'a Log,
}

impl Locked<'_> {
    /// What the store knows.
    pub(crate) fn state(&self) -> &State {
        &self.inner.state
    }

    /// Bytes on disk.
    pub(crate) fn used(&self) -> u64 {
        self.inner.used + u64::from(self.inner.offset)
    }

    /// How the store is.
    pub(crate) fn facts(&self) -> Facts {
        let state = self.state();
        Facts {
            used_bytes: self.used(),
            segments: self.segments(),
            damaged: state.damaged,
            torn: state.torn,
            trouble: self.trouble().map(str::to_owned),
            refused_full: self.inner.refused.full,
            refused_disk: self.inner.refused.disk,
            refusing: self.refusing(),
        }
    }

    /// Why clients are refused at the moment.
    fn refusing(&self) -> Option<String> {
        if let Some(trouble) = self.trouble() {
            return Some(Refusal::Disk(trouble.to_owned()).to_string());
        }
        let last = self.inner.refused.last.as_ref()?;
        // Nobody may have tried since there is room again.
        match last {
            Refusal::Full { .. } => self.has_room(ROOM).is_err().then(|| last.to_string()),
            Refusal::Disk(_) => None,
            Refusal::Keys | Refusal::Strings | Refusal::Large => Some(last.to_string()),
        }
    }

    /// Files of the log.
    pub(crate) fn segments(&self) -> usize {
        self.inner.segments.len()
    }

    /// Why nothing can be written at the moment.
    pub(crate) fn trouble(&self) -> Option<&str> {
        self.inner.trouble.as_deref().or(self.inner.no_spare.as_deref())
    }

    /// Appends elements to their list. Returns its new length.
    pub(crate) fn push(&mut self, elements: Sealed) -> Result<u64, Refusal> {
        let count = u64::from(elements.count);
        let pushed = self.try_push(elements);
        self.inner.refused.note(count, pushed.as_ref().err());
        pushed
    }

    fn try_push(&mut self, elements: Sealed) -> Result<u64, Refusal> {
        self.has_room(elements.bytes.len() as u64)?;
        let lists = &self.inner.state.lists;
        if lists.len() >= MOST_KEYS && !lists.contains_key(&*elements.list) {
            return Err(Refusal::Keys);
        }
        self.make_room(elements.bytes.len())?;
        let place = self.append(elements.bytes)?;
        Ok(self.inner.state.append(&elements.list, place, elements.count))
    }

    /// Whether clients may add so many bytes.
    fn has_room(&self, bytes: u64) -> Result<(), Refusal> {
        let (used, max) = (self.used(), self.store.max_bytes);
        match used + bytes > max {
            true => Err(Refusal::Full { used, max }),
            false => Ok(()),
        }
    }

    /// Makes sure that elements of so many bytes, and the changes behind them, have their place on the disk.
    fn make_room(&mut self, bytes: usize) -> Result<(), Refusal> {
        let inner = &mut *self.inner;
        let end = inner.offset.saturating_add(bytes as u32);
        if end <= SIZE - KEPT_FREE {
            return Ok(());
        }
        if let Some(trouble) = &inner.no_spare {
            // The writer keeps trying.
            return Err(Refusal::Disk(trouble.clone()));
        }
        let reserved = match end > SIZE && inner.offset < SIZE {
            true => inner.current.reserve(end),
            false => Ok(()),
        };
        let made = reserved.and_then(|()| match &inner.spare {
            Some(_) => Ok(()),
            None => {
                let made = Segment::create(&self.store.folder, inner.current.number + 1, inner.secret);
                made.map(|spare| inner.spare = Some(spare))
            }
        });
        made.map_err(|error| {
            inner.no_spare = Some(error.to_string());
            self.store.work.notify_one();
            Refusal::Disk(error.to_string())
        })
    }

    /// Makes a change.
    pub(crate) fn change(&mut self, change: Change) -> Result<(), Refusal> {
        if let Change::Set { key, .. } = &change {
            let strings = &self.inner.state.strings;
            if strings.len() >= MOST_KEYS && !strings.contains_key(key) {
                return Err(Refusal::Keys);
            }
        }
        let json = serde_json::to_vec(&change).map_err(|error| Refusal::Disk(error.to_string()))?;
        if let Change::Set { key, value, .. } = &change {
            self.has_room(json.len() as u64)?;
            let strings = &self.inner.state.strings;
            let known = strings.get(key).map_or(0, |text| text.value.len());
            let all: usize = strings.values().map(|text| text.value.len()).sum();
            if all - known + value.len() > MOST_STRINGS {
                return Err(Refusal::Strings);
            }
        }
        self.append(frame::change(&json))?;
        self.inner.state.apply(change);
        Ok(())
    }

    /// Rows of an unclaimed list, counted from its head.
    pub(crate) fn rows(&self, list: &str, from: u64, to: u64) -> Slice {
        let runs = self.inner.state.lists.get(list).map(|list| {
            let base = list.rows.base();
            list.rows.slice(base.saturating_add(from), base.saturating_add(to))
        });
        self.slice(list, runs.unwrap_or_default())
    }

    /// Rows of a claim.
    pub(crate) fn claim_rows(&self, claim: &ClaimState, from: u64, to: u64) -> Slice {
        self.slice(&claim.list, claim.rows.slice(from, to))
    }

    fn slice(&self, list: &str, runs: Vec<Run>) -> Slice {
        let with_file = |run: Run| (run, self.inner.segments.get(&run.segment).cloned());
        Slice {
            list: list.into(),
            runs: runs.into_iter().map(with_file).collect(),
        }
    }

    fn append(&mut self, bytes: Vec<u8>) -> Result<Place, Refusal> {
        if let Some(trouble) = &self.inner.trouble {
            return Err(Refusal::Disk(trouble.clone()));
        }
        if self.inner.stopping {
            return Err(Refusal::Disk("the pump is stopping".to_owned()));
        }
        if bytes.len() > HEADER + MAX_PAYLOAD {
            return Err(Refusal::Large);
        }
        if self.inner.offset >= SIZE {
            self.roll().map_err(|error| Refusal::Disk(error.to_string()))?;
        }
        Ok(self.put(bytes))
    }

    /// Puts bytes at the end of the current segment.
    fn put(&mut self, mut bytes: Vec<u8>) -> Place {
        let fsync = self.store.fsync;
        let inner = &mut *self.inner;
        frame::mark(&mut bytes, inner.current.mark(inner.offset));
        inner.number += 1;
        let place = Place {
            segment: inner.current.number,
            start: inner.offset,
            end: inner.offset + bytes.len() as u32,
        };
        inner.offset = place.end;
        inner.waiting_bytes += bytes.len();
        if let Some(last) = inner.waiting.back_mut()
            && fsync != Fsync::Always
            && last.segment.number == place.segment
            && (bytes.len() <= SMALL && last.bytes.len() + bytes.len() <= 16 * SMALL)
        {
            last.bytes.extend_from_slice(&bytes);
            last.number = inner.number;
            return place;
        }
        inner.waiting.push_back(Chunk {
            segment: inner.current.clone(),
            at: place.start,
            bytes,
            number: inner.number,
        });
        place
    }

    /// Begins a new segment with an image of the state.
    fn roll(&mut self) -> io::Result<()> {
        let next = self.inner.current.number + 1;
        let segment = match self.inner.spare.take() {
            Some(spare) => spare,
            None => Segment::create(&self.store.folder, next, self.inner.secret)?,
        };
        let image = image::frame(&self.inner.state)?;
        if image.len() > HEADER + MAX_PAYLOAD {
            // Recovery would refuse it, and everything that it alone says would be lost.
            self.inner.spare = Some(segment);
            let text = format!("what is known of lists and claims takes {} bytes", image.len());
            return Err(io::Error::other(text));
        }
        let segment = Arc::new(segment);
        self.inner.current.fill(self.inner.offset);
        self.inner.used += u64::from(self.inner.offset);
        self.inner.segments.insert(next, segment.clone());
        self.inner.current = segment;
        self.inner.offset = 0;
        self.inner.no_spare = None;
        self.put(frame::head(self.inner.secret));
        self.put(image);
        Ok(())
    }
}
