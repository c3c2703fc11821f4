//! Crash points of the daemon; [`sinks::failpoints`] says how they work.

pub use sinks::failpoints::{AFTER_APPEND, AFTER_INTENT, expect_one_of, hit};

/// A claim was made.
pub const AFTER_CLAIM: &str = "after_claim";
/// A window is about to be read.
pub const BEFORE_READ: &str = "before_read";
/// A window was read, nothing was decoded.
pub const AFTER_READ: &str = "after_read";
/// A group is about to be handed to its sink.
pub const BEFORE_WRITE: &str = "before_write";
/// A sink accepted a group.
pub const AFTER_WRITE: &str = "after_write";
/// A cursor is about to move.
pub const BEFORE_ACK: &str = "before_ack";
/// A cursor has moved.
pub const AFTER_ACK: &str = "after_ack";
/// A spool file is complete under its temporary name.
pub const SPOOL_BEFORE_RENAME: &str = "spool_before_rename";
/// A spool file has its name, the cursor has not moved.
pub const SPOOL_AFTER_RENAME: &str = "spool_after_rename";
/// Dead letters are about to be stored.
pub const BEFORE_DEAD_LETTER: &str = "before_dead_letter";
/// Dead letters are stored, the cursor has not moved.
pub const AFTER_DEAD_LETTER: &str = "after_dead_letter";
/// Claims are about to be given back at the stop.
pub const BEFORE_RELEASE: &str = "before_release";
/// A claim of another process was taken over.
pub const AFTER_TAKE_OVER: &str = "after_take_over";

/// Every point, those of the sinks among them, for tests that go through all of them.
pub const ALL: [&str; 15] = [
    AFTER_CLAIM,
    BEFORE_READ,
    AFTER_READ,
    BEFORE_WRITE,
    AFTER_WRITE,
    BEFORE_ACK,
    AFTER_ACK,
    AFTER_INTENT,
    AFTER_APPEND,
    SPOOL_BEFORE_RENAME,
    SPOOL_AFTER_RENAME,
    BEFORE_DEAD_LETTER,
    AFTER_DEAD_LETTER,
    BEFORE_RELEASE,
    AFTER_TAKE_OVER,
];
