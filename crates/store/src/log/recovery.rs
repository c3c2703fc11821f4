//! Opening a folder that another process has left in whatever way.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    path::Path,
    sync::Arc,
};

use super::{
    Inner,
    frame::{self, Found, HEADER, Mark, Payload, Secret},
    image,
    refusal::Refused,
    rows::Place,
    segment::{SIZE, Segment},
    state::{Change, State},
};
use crate::files::put_aside;

/// What recovery found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes of a torn tail that were cut off.
    pub torn_bytes: u64,
    /// Damaged stretches and segments that were put aside.
    pub damaged: u64,
}

/// What the folder holds.
pub(super) struct Opened {
    pub(super) inner: Inner,
    pub(super) recovered: Recovered,
}

struct Replay<'a> {
    folder: &'a Path,
    state: State,
    recovered: Recovered,
}

/// Replays the log from the newest image on.
pub(super) fn recover(folder: &Path) -> io::Result<Opened> {
    let mut segments = Segment::all(folder)?;
    drop_unwritten(&mut segments)?;
    let mut replay = Replay {
        folder,
        state: State::new(ulid::Ulid::new().to_string()),
        recovered: Recovered::default(),
    };
    let first = newest_image(&segments)?;
    let last = segments.keys().next_back().copied();
    let mut offset = 0;
    for (number, segment) in segments.range(first..) {
        let end = replay.segment(segment, Some(*number) == last)?;
        segment.fill(end);
        offset = end;
    }
    let secret = segments.values().find_map(|segment| segment.secret());
    let secret = secret.unwrap_or_else(Secret::random);
    let Some((_, current)) = segments.last_key_value() else {
        return begin(folder, replay, secret);
    };
    let current = current.clone();
    if first != current.number || current.secret().is_none() {
        // Its image was torn, or an earlier version wrote it. The next append begins a segment that has an image, and a
        // secret: older segments may go only behind it.
        offset = offset.max(SIZE);
        current.fill(offset);
    }
    replay.forget_missing(&segments);
    let used = segments.values().filter(|segment| segment.number != current.number);
    let used = used.map(|segment| segment.filled()).sum();
    Ok(opened(replay, segments, current, offset, used, secret))
}

fn opened(
    replay: Replay<'_>,
    segments: BTreeMap<u32, Arc<Segment>>,
    current: Arc<Segment>,
    offset: u32,
    used: u64,
    secret: Secret,
) -> Opened {
    Opened {
        inner: Inner {
            state: replay.state,
            segments,
            current,
            offset,
            spare: None,
            secret,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            number: 0,
            doomed: VecDeque::new(),
            used,
            no_spare: None,
            trouble: None,
            stopping: false,
            refused: Refused::default(),
        },
        recovered: replay.recovered,
    }
}

/// An empty folder: the first segment, with an image.
fn begin(folder: &Path, replay: Replay<'_>, secret: Secret) -> io::Result<Opened> {
    let created = Segment::create(folder, 1, secret).inspect_err(|_| Segment::discard(folder, 1));
    let current = Arc::new(created?);
    let mut first = frame::head(secret);
    frame::mark(&mut first, current.mark(0));
    let start = first.len() as u32;
    let mut image = image::frame(&replay.state)?;
    frame::mark(&mut image, current.mark(start));
    first.extend_from_slice(&image);
    current.write(&first, 0)?;
    current.sync()?;
    let segments = BTreeMap::from([(1, current.clone())]);
    Ok(opened(replay, segments, current, first.len() as u32, 0, secret))
}

/// A segment that was made and never written is no part of the log yet.
fn drop_unwritten(segments: &mut BTreeMap<u32, Arc<Segment>>) -> io::Result<()> {
    while segments.len() > 1
        && let Some(entry) = segments.last_entry()
    {
        let segment = entry.get();
        let beginning = segment.copy(0, (HEADER as u32).min(segment.filled() as u32))?;
        if frame::look(&beginning, Mark::Known) != Found::Nothing {
            break;
        }
        std::fs::remove_file(&entry.remove().path)?;
    }
    Ok(())
}

/// Number of the newest segment that begins with a whole image; of the oldest one, if none does.
fn newest_image(segments: &BTreeMap<u32, Arc<Segment>>) -> io::Result<u32> {
    for segment in segments.values().rev() {
        if image::begins(segment)? {
            return Ok(segment.number);
        }
    }
    Ok(segments.keys().next().copied().unwrap_or_default())
}

impl Replay<'_> {
    /// Applies the frames of a segment. Returns where the next one goes.
    fn segment(&mut self, segment: &Segment, last: bool) -> io::Result<u32> {
        let contents = segment.contents()?;
        // The last frame may end with zeros of its own.
        let written = written(&contents);
        let mut at = 0;
        while at < written {
            let rest = contents.get(at..).unwrap_or_default();
            match frame::look(rest, segment.mark(at as u32)) {
                Found::Frame(len) => {
                    let place = Place {
                        segment: segment.number,
                        start: at as u32,
                        end: (at + len) as u32,
                    };
                    self.frame(rest, segment.mark(at as u32), place);
                    at += len;
                }
                Found::Nothing | Found::Damage => match frame::next(&contents, at + 1, written, segment.beginning()) {
                    Some(next) => {
                        self.put_aside(segment, at as u32, next as u32);
                        at = next;
                    }
                    None => break,
                },
            }
        }
        let end = at as u32;
        let torn = written.saturating_sub(at);
        if torn > 0 && !last {
            self.put_aside(segment, end, (at + torn) as u32);
        } else if torn > 0 {
            self.recovered.torn_bytes += torn as u64;
            self.state.torn += 1;
            let aside = quarantine(self.folder, segment, end, (at + torn) as u32);
            tracing::warn!(
                prefix = "embedded",
                "{}: {torn} bytes at the end are no whole entry and are cut off: a write that the end of the process interrupted, or damage to the last one; put aside: {aside}",
                segment.path.display()
            );
        }
        if last {
            // What is left behind the end would be found by the next recovery.
            segment.cut(end)?;
        }
        Ok(end)
    }

    fn frame(&mut self, bytes: &[u8], mark: Mark, place: Place) {
        match frame::read(bytes, mark) {
            Some(Payload::Elements(elements)) => {
                self.state.append(elements.list, place, elements.count);
            }
            Some(Payload::Change(json)) => match serde_json::from_slice::<Change>(json) {
                Ok(change) => self.state.apply(change),
                Err(error) => {
                    tracing::error!(prefix = "embedded", "an entry of another version is left out: {error}");
                    self.recovered.damaged += 1;
                }
            },
            Some(Payload::Secret(_)) | None => {}
        }
    }

    fn put_aside(&mut self, segment: &Segment, start: u32, end: u32) {
        self.recovered.damaged += 1;
        self.state.damaged += 1;
        self.state.break_series();
        let aside = quarantine(self.folder, segment, start, end);
        tracing::error!(
            prefix = "embedded",
            "segment {} is damaged at {start}..{end}, the rest of it counts; put aside: {aside}",
            segment.number
        );
    }

    /// Rows of segments that are gone are lost; everything else counts.
    fn forget_missing(&mut self, segments: &BTreeMap<u32, Arc<Segment>>) {
        let live: Vec<u32> = self.state.live.keys().copied().collect();
        for segment in live.into_iter().filter(|number| !segments.contains_key(number)) {
            tracing::error!(
                prefix = "embedded",
                "segment {segment} is missing: its records are lost"
            );
            self.recovered.damaged += 1;
            self.state.apply(Change::Lost {
                list: None,
                segment,
                start: 0,
                end: u32::MAX,
            });
        }
    }
}

/// Bytes in front of the zeros at the end. Compared in blocks: most of a segment may be zeros, and this is in the way of a
/// start.
fn written(contents: &[u8]) -> usize {
    const ZEROS: [u8; 4096] = [0; 4096];
    let mut end = contents.len();
    for block in contents.rchunks(ZEROS.len()) {
        if ZEROS.get(..block.len()) != Some(block) {
            break;
        }
        end -= block.len();
    }
    let left = contents.get(..end).unwrap_or_default();
    left.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1)
}

/// Copies a damaged stretch to a file of its own, for whoever wants to look at it. Says where that is, or why there is
/// none.
pub(super) fn quarantine(folder: &Path, segment: &Segment, start: u32, end: u32) -> String {
    let copied = segment.size().and_then(|size| {
        let bytes = segment.copy(start, u64::from(end).min(size) as u32)?;
        put_aside(folder, &format!("{:010}-{start}.bytes", segment.number), &bytes)
    });
    match copied {
        Ok(path) => path.display().to_string(),
        Err(error) => format!("it could not be copied: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_of_an_earlier_version_that_names_no_list_is_about_all_of_them() {
        let mut state = State::new("id".to_owned());
        for list in ["one", "another"] {
            let place = Place {
                segment: 1,
                start: 100,
                end: 200,
            };
            state.append(list, place, 3);
        }
        let lost = serde_json::from_str(r#"{"lost":{"segment":1,"start":100,"end":200}}"#).unwrap();
        state.apply(lost);
        assert_eq!((state.len("one"), state.len("another"), state.damaged), (0, 0, 1));
        assert_eq!(state.stretches(), 0);
    }
}
