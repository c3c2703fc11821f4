//! The files of the log.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use analytics::Span;
use bytes::BytesMut;

use super::{
    frame::{self, Gathered, HEAD, HEADER, Mark, Payload, Secret},
    rows::Run,
};
use crate::files::{close_to_others, ours, sync_folder};

/// Size at which a new segment begins.
pub(super) const SIZE: u32 = 64 << 20;
/// The last change of a segment may begin right before its end.
const RESERVED: u32 = SIZE + (64 << 10);

/// One file of the log.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) number: u32,
    pub(super) path: PathBuf,
    file: File,
    /// What its frames are marked with; `None`: with what everybody knows, as earlier versions did.
    secret: Option<Secret>,
    /// Bytes in it, once a later one has begun.
    filled: AtomicU32,
}

/// Rows that cannot be read, although the log says that they are there.
#[derive(Debug, thiserror::Error)]
#[error("segment {segment} is damaged at {at}..{end}")]
pub(crate) struct Damaged {
    pub(super) segment: u32,
    at: u32,
    end: u32,
}

/// Why rows could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The file cannot be read just now.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What was read is wrong.
    #[error("{0}")]
    Damaged(#[from] Damaged),
}

impl Segment {
    fn path(folder: &Path, number: u32) -> PathBuf {
        folder.join(format!("{number:010}.log"))
    }

    /// Makes the file, with its space reserved, for frames that are marked with this. After an error the file may be there: see [`Segment::discard`].
    pub(super) fn create(folder: &Path, number: u32, secret: Secret) -> io::Result<Self> {
        let path = Self::path(folder, number);
        let file = ours().create(true).truncate(true).open(&path)?;
        let segment = Self {
            number,
            path,
            file,
            secret: Some(secret),
            filled: AtomicU32::new(0),
        };
        segment.reserve(RESERVED)?;
        sync_folder(folder)?;
        Ok(segment)
    }

    /// Removes the file of a segment that could not be made, or was never written.
    pub(super) fn discard(folder: &Path, number: u32) {
        // The next attempt, or the next start, finds it empty.
        drop(std::fs::remove_file(Self::path(folder, number)));
    }

    /// Reserves space up to `end`, so that a full disk is noticed before anything is promised. A file system may not be
    /// able to; then writes find out.
    pub(super) fn reserve(&self, end: u32) -> io::Result<()> {
        let reserved = rustix::fs::fallocate(&self.file, rustix::fs::FallocateFlags::empty(), 0, u64::from(end));
        match reserved {
            Err(full @ (rustix::io::Errno::NOSPC | rustix::io::Errno::DQUOT)) => Err(full.into()),
            _ => Ok(()),
        }
    }

    /// The segments of a folder, in order.
    pub(super) fn all(folder: &Path) -> io::Result<BTreeMap<u32, Arc<Segment>>> {
        let mut segments: BTreeMap<u32, Segment> = BTreeMap::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            let number = path
                .file_name()
                .and_then(|name| name.to_str()?.strip_suffix(".log")?.parse().ok());
            let Some(number) = number.filter(|number| Self::path(folder, *number) == path) else {
                continue;
            };
            let file = ours().open(&path)?;
            close_to_others(&file)?;
            let filled = AtomicU32::new(file.metadata()?.len() as u32);
            let mut segment = Segment {
                number,
                path,
                file,
                secret: None,
                filled,
            };
            segment.secret = segment.stored_secret()?;
            segments.insert(number, segment);
        }
        // Every segment has it, so that one damaged beginning hides nothing.
        let known = segments.values().find_map(|segment| segment.secret);
        for segment in segments.values_mut() {
            if segment.secret.is_none() && !segment.is_plain()? {
                segment.secret = known;
            }
        }
        Ok(segments
            .into_iter()
            .map(|(number, segment)| (number, Arc::new(segment)))
            .collect())
    }

    /// The secret in its first frame.
    fn stored_secret(&self) -> io::Result<Option<Secret>> {
        let head = self.copy(0, (HEAD as u32).min(self.filled() as u32))?;
        Ok(match frame::read(&head, Mark::Known) {
            Some(Payload::Secret(secret)) => Some(secret),
            _ => None,
        })
    }

    /// Whether it begins as segments of earlier versions do.
    fn is_plain(&self) -> io::Result<bool> {
        let header = self.copy(0, (HEADER as u32).min(self.filled() as u32))?;
        Ok(frame::length(&header, Mark::Known).is_some_and(|len| HEADER + len != HEAD))
    }

    /// What its frames are marked with.
    pub(super) fn secret(&self) -> Option<Secret> {
        self.secret
    }

    /// What a frame at this offset is marked with.
    pub(super) fn mark(&self, at: u32) -> Mark {
        match self.secret {
            Some(secret) if at > 0 => Mark::At(secret, self.number, at),
            _ => Mark::Known,
        }
    }

    /// What the places of its frames are counted from.
    pub(super) fn beginning(&self) -> Mark {
        match self.secret {
            Some(secret) => Mark::At(secret, self.number, 0),
            None => Mark::Known,
        }
    }

    /// Where the first frame stands that is not its head.
    pub(super) fn first(&self) -> u32 {
        self.secret.map_or(0, |_| HEAD as u32)
    }

    pub(super) fn write(&self, bytes: &[u8], at: u32) -> io::Result<()> {
        self.file.write_all_at(bytes, u64::from(at))
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Length of its file, with the space that is only reserved.
    pub(super) fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    /// Everything; the space behind the last frame is zeros.
    pub(super) fn contents(&self) -> io::Result<Vec<u8>> {
        let size = self.size()?;
        let mut contents = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut contents, 0)?;
        Ok(contents)
    }

    /// Makes zeros of everything behind `end`.
    pub(super) fn cut(&self, end: u32) -> io::Result<()> {
        self.file.set_len(u64::from(end))?;
        // What was delivered makes room, so a full disk must not keep the store from being opened.
        drop(self.reserve(RESERVED.max(end)));
        self.file.sync_all()
    }

    /// Notes how many bytes it has, when a later one begins.
    pub(super) fn fill(&self, bytes: u32) {
        self.filled.store(bytes, Ordering::Relaxed);
    }

    /// Bytes in it.
    pub(super) fn filled(&self) -> u64 {
        u64::from(self.filled.load(Ordering::Relaxed))
    }

    /// Copies a part of it.
    pub(super) fn copy(&self, start: u32, end: u32) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; end.saturating_sub(start) as usize];
        self.file.read_exact_at(&mut bytes, u64::from(start))?;
        Ok(bytes)
    }

    /// Reads the rows of a stretch of `list` behind what `gathered` has.
    fn gather(&self, list: &str, run: &Run, buffer: &mut BytesMut, spans: &mut Vec<Span>) -> Result<(), ReadError> {
        let damaged = || Damaged {
            segment: run.segment,
            at: run.start,
            end: run.end,
        };
        let from = buffer.len();
        buffer.resize(from + (run.end - run.start) as usize, 0);
        let stretch = buffer.get_mut(from..).unwrap_or_default();
        match self.file.read_exact_at(stretch, u64::from(run.start)) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Err(damaged().into()),
            other => other?,
        }
        let (mut skip, mut left) = (run.skip, run.count);
        let mut at = from;
        while left > 0 {
            let rest = buffer.get(at..).unwrap_or_default();
            let mark = self.mark(run.start + (at - from) as u32);
            let len = frame::length(rest, mark).ok_or_else(damaged)?;
            if frame::is_of(rest, list) {
                let Some(Payload::Elements(elements)) = frame::read(rest, mark) else {
                    return Err(damaged().into());
                };
                if elements.count <= skip {
                    skip -= elements.count;
                } else {
                    let body = at + HEADER + len - elements.body.len();
                    let before = spans.len();
                    spans.extend(
                        elements
                            .spans()
                            .skip(skip as usize)
                            .take(left as usize)
                            .map(|(start, len)| Span {
                                start: (body + start) as u32,
                                len: len as u32,
                            }),
                    );
                    left -= (spans.len() - before) as u32;
                    skip = 0;
                }
            }
            at += HEADER + len;
        }
        Ok(())
    }
}

/// Rows of one list, with the files that they stand in: they stay readable when the store does not need them any more.
#[derive(Clone, Debug)]
pub(crate) struct Slice {
    pub(super) list: Arc<str>,
    pub(super) runs: Vec<(Run, Option<Arc<Segment>>)>,
}

impl Slice {
    /// Memory that it takes.
    pub(crate) fn size(&self) -> usize {
        self.runs.len() * size_of::<(Run, Option<Arc<Segment>>)>()
    }

    /// How many rows there are.
    pub(crate) fn len(&self) -> u64 {
        self.runs.iter().map(|(run, _)| u64::from(run.count)).sum()
    }

    /// Number of the first row.
    pub(crate) fn first(&self) -> Option<u64> {
        self.runs.first().map(|(run, _)| run.first)
    }

    /// Number behind the rows that follow each other without a gap.
    pub(crate) fn first_stretch_end(&self) -> u64 {
        self.runs.first().map_or(0, |(run, _)| run.end_row())
    }

    /// Reads rows from the front, at least one stretch, until `bytes` are there, and takes them out of the slice.
    /// Blocks.
    ///
    /// # Errors
    /// The first stretch cannot be read; nothing is taken out.
    pub(super) fn next(&mut self, bytes: usize) -> Result<Gathered, ReadError> {
        let mut buffer = BytesMut::new();
        let mut spans = Vec::new();
        let mut taken = 0;
        for (run, segment) in &self.runs {
            let next = (run.end - run.start) as usize;
            let follows = taken == 0
                || self
                    .runs
                    .get(taken - 1)
                    .is_some_and(|(last, _)| last.end_row() == run.first);
            if taken > 0 && (buffer.len() + next > bytes || !follows) {
                break;
            }
            let read = match segment {
                Some(segment) => segment.gather(&self.list, run, &mut buffer, &mut spans),
                None => Err(ReadError::Damaged(Damaged {
                    segment: run.segment,
                    at: run.start,
                    end: run.end,
                })),
            };
            match read {
                Ok(()) => taken += 1,
                // What is there is worth having; the next call says what is wrong.
                Err(_) if taken > 0 => {
                    spans.truncate(self.runs.iter().take(taken).map(|(run, _)| run.count as usize).sum());
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        self.runs.drain(..taken);
        Ok(Gathered {
            buffer: buffer.freeze(),
            spans,
        })
    }

    /// The same rows, behind file handles that must not read: every attempt is an I/O error, and no damage.
    #[cfg(test)]
    pub(crate) fn unreadable(mut self) -> io::Result<Self> {
        for segment in self.runs.iter_mut().filter_map(|(_, segment)| segment.as_mut()) {
            *segment = Arc::new(Segment {
                number: segment.number,
                path: segment.path.clone(),
                secret: segment.secret,
                file: File::options().write(true).open(&segment.path)?,
                filled: AtomicU32::new(segment.filled() as u32),
            });
        }
        Ok(self)
    }
}
