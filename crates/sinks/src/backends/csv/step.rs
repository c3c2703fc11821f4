//! Moments of a write at which something can go wrong: in tests, the process dies or the disk fails there.

use std::io;

/// What is about to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The intent is stored.
    Announce,
    /// A new file is moved to its place.
    Create,
    /// Rows are appended.
    Append,
    /// The rows are flushed to the disk.
    Sync,
    /// A failed append is taken back.
    Undo,
}

/// Decides how many of the bytes of a step pass; fewer than asked for means that the rest fails.
pub type Hook = std::sync::Arc<dyn Fn(Step, usize) -> usize + Send + Sync>;

/// The hook of a directory; does nothing outside tests.
#[derive(Clone, Default)]
pub(super) struct Steps {
    pub(super) hook: Option<Hook>,
}

impl Steps {
    /// Asks whether a step may be done.
    pub(super) fn pass(&self, step: Step) -> io::Result<()> {
        if self.allowed(step, 1) < 1 {
            return Err(io::Error::other(format!("{step:?} was made to fail")));
        }
        Ok(())
    }

    /// How many of `len` bytes may be written.
    pub(super) fn allowed(&self, step: Step, len: usize) -> usize {
        self.hook.as_ref().map_or(len, |hook| hook(step, len).min(len))
    }
}
