//! The thread that makes appends durable: everything that came while it was busy goes with one flush.

use std::{io, sync::PoisonError, time::Duration};

use super::{
    Chunk, Inner, Log,
    segment::{SIZE, Segment},
};
use crate::Fsync;

/// Between two attempts when the disk refuses.
const PAUSE: Duration = Duration::from_millis(500);

impl Log {
    /// Writes until the store is closed.
    pub(super) fn write_until_stopped(&self) {
        while let Some(chunks) = self.next_chunks() {
            let mut said = false;
            while let Err(error) = self.write(&chunks) {
                let mut inner = self.inner();
                if !said {
                    tracing::error!(
                        prefix = "embedded",
                        "cannot write to {}: {error}; trying again",
                        self.folder.display()
                    );
                    said = true;
                }
                inner.trouble = Some(error.to_string());
                if inner.stopping {
                    drop(inner);
                    self.durable.send_replace(u64::MAX);
                    return;
                }
                drop(inner);
                std::thread::sleep(PAUSE);
            }
            if said {
                tracing::info!(prefix = "embedded", "the log can be written again");
            }
            self.done(&chunks);
        }
        self.durable.send_modify(|_| {});
    }

    /// Waits for work; `None`: closed, and nothing is left.
    fn next_chunks(&self) -> Option<Vec<Chunk>> {
        let mut inner = self.inner();
        while inner.waiting.is_empty() {
            if inner.stopping {
                return None;
            }
            if inner.no_spare.is_none() {
                inner = self.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            // Nobody says when there is space again.
            let waited = self.work.wait_timeout(inner, PAUSE);
            let (guard, time) = waited.unwrap_or_else(PoisonError::into_inner);
            inner = guard;
            if time.timed_out() {
                drop(inner);
                self.make_spare();
                inner = self.inner();
            }
        }
        if self.fsync == Fsync::Always {
            return inner.waiting.pop_front().map(|chunk| vec![chunk]);
        }
        Some(std::mem::take(&mut inner.waiting).into())
    }

    fn write(&self, chunks: &[Chunk]) -> io::Result<()> {
        let mut written: Vec<&Segment> = Vec::new();
        for chunk in chunks {
            chunk.segment.write(&chunk.bytes, chunk.at)?;
            if written.last().is_none_or(|last| last.number != chunk.segment.number) {
                written.push(&chunk.segment);
            }
        }
        if self.fsync != Fsync::Never {
            for segment in written {
                segment.sync()?;
            }
        }
        Ok(())
    }

    fn done(&self, chunks: &[Chunk]) {
        let bytes: usize = chunks.iter().map(|chunk| chunk.bytes.len()).sum();
        let number = chunks.last().map_or(0, |chunk| chunk.number);
        let mut inner = self.inner();
        inner.waiting_bytes -= bytes;
        inner.trouble = None;
        doom(&mut inner);
        let mut gone = Vec::new();
        while inner.doomed.front().is_some_and(|(needs, _)| *needs <= number) {
            gone.extend(inner.doomed.pop_front());
        }
        drop(inner);
        self.durable.send_replace(number);
        for (_, segment) in gone {
            if let Err(error) = std::fs::remove_file(&segment.path) {
                tracing::warn!(
                    prefix = "embedded",
                    "{} is not needed any more, but stays: {error}",
                    segment.path.display()
                );
            }
        }
        self.make_spare();
    }

    /// Makes the next segment when this one is half full, so that nobody waits for it.
    fn make_spare(&self) {
        let mut inner = self.inner();
        let wanted = inner.offset > SIZE / 2 || inner.no_spare.is_some();
        if !wanted || inner.spare.is_some() {
            inner.no_spare = None;
            return;
        }
        let (next, secret) = (inner.current.number + 1, inner.secret);
        drop(inner);
        let spare = Segment::create(&self.folder, next, secret);
        let mut inner = self.inner();
        match spare {
            Ok(spare) => {
                if inner.no_spare.take().is_some() {
                    tracing::info!(prefix = "embedded", "there is space on the disk again");
                }
                if inner.current.number + 1 == spare.number && inner.spare.is_none() {
                    inner.spare = Some(spare);
                }
            }
            Err(error) => {
                // Somebody else may have been luckier under the same name.
                if inner.current.number < next && inner.spare.is_none() {
                    Segment::discard(&self.folder, next);
                }
                let text = error.to_string();
                if inner.no_spare.as_ref() != Some(&text) {
                    tracing::error!(
                        prefix = "embedded",
                        "{} has no space for another segment: {text}; soon gateways are refused until there is",
                        self.folder.display()
                    );
                }
                inner.no_spare = Some(text);
            }
        }
    }
}

/// Takes segments out in which nothing is left. They are deleted once what emptied them is durable.
fn doom(inner: &mut Inner) {
    let current = inner.current.number;
    let live = &inner.state.live;
    let empty: Vec<u32> = inner
        .segments
        .keys()
        .copied()
        .filter(|number| *number < current && !live.contains_key(number))
        .collect();
    let needs = inner.number;
    for number in empty {
        if let Some(segment) = inner.segments.remove(&number) {
            inner.used = inner.used.saturating_sub(segment.filled());
            inner.doomed.push_back((needs, segment));
        }
    }
}
