//! Why the store does not take something, and what has been refused so far.

use super::frame::MAX_PAYLOAD;

/// Lists, and strings, that the store keeps.
pub(super) const MOST_KEYS: usize = 10_000;
/// Bytes of all strings together: they are kept in memory, and in every image.
pub(super) const MOST_STRINGS: usize = 16 << 20;

/// Why the store does not take something.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// `max_bytes` is reached.
    #[error("the store is full: {used} of {max} bytes (embedded_storage.max_bytes) wait to be delivered")]
    Full {
        /// Bytes on disk.
        used: u64,
        /// `max_bytes`.
        max: u64,
    },
    /// Too many keys.
    #[error("the store keeps at most {MOST_KEYS} keys of a kind")]
    Keys,
    /// The strings are too large together.
    #[error("the store keeps at most {MOST_STRINGS} bytes of strings")]
    Strings,
    /// More than recovery would read.
    #[error("the store takes at most {MAX_PAYLOAD} bytes at once")]
    Large,
    /// The disk does not take it.
    #[error("the store cannot write: {0}")]
    Disk(String),
}

/// What clients were refused since the store was opened.
#[derive(Clone, Debug, Default)]
pub(super) struct Refused {
    /// Elements, because the store was full or a limit was reached.
    pub(super) full: u64,
    /// Elements, because the disk did not take them.
    pub(super) disk: u64,
    /// Why the last push was; `None`: it was taken.
    pub(super) last: Option<Refusal>,
}

impl Refused {
    /// Notes what became of a push of `count` elements: why it was refused; `None`: it was taken.
    pub(super) fn note(&mut self, count: u64, why: Option<&Refusal>) {
        match why {
            None => {}
            Some(Refusal::Disk(_)) => self.disk += count,
            Some(_) => self.full += count,
        }
        self.last = why.cloned();
    }
}
