//! Crash points: places where the crash tests end this process as a power cut would, with SIGKILL. Builds without debug
//! assertions, so every release, do not contain them.
//!
//! `TYK_PMP_FAILPOINT=<name>` kills at the first passage of that point, `<name>:<n>` at the n-th.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use rustix::process::{Signal, getpid, kill_process};

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
/// A sink stored what it is about to append, and has not appended it.
pub const AFTER_INTENT: &str = "after_intent";
/// A sink appended and has not recorded that it did.
pub const AFTER_APPEND: &str = "after_append";
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

/// Every point, for tests that go through all of them.
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

/// Whether this build contains them.
pub const ARMED: bool = cfg!(debug_assertions);

/// Passes the point `name`; the process ends here if the environment says so.
///
/// # Panics
/// `TYK_PMP_FAILPOINT` names no point: a crash test with a misspelled name must not pass.
#[inline(always)]
pub fn hit(name: &'static str) {
    if ARMED {
        pass(name);
    }
}

struct Fuse {
    name: String,
    passages_left: AtomicU64,
}

static FUSE: OnceLock<Option<Fuse>> = OnceLock::new();

fn pass(name: &'static str) {
    let Some(fuse) = FUSE.get_or_init(read) else { return };
    if fuse.name != name || fuse.passages_left.fetch_sub(1, Ordering::SeqCst) != 1 {
        return;
    }
    let _ = kill_process(getpid(), Signal::KILL);
    // The signal ends every thread; this one must not get any further meanwhile.
    loop {
        std::thread::park();
    }
}

fn read() -> Option<Fuse> {
    let text = std::env::var("TYK_PMP_FAILPOINT").ok()?;
    let (name, passages) = text.split_once(':').unwrap_or((&text, "1"));
    let passages: Option<u64> = passages.parse().ok().filter(|&n| n > 0);
    let (true, Some(passages)) = (ALL.contains(&name), passages) else {
        panic!("TYK_PMP_FAILPOINT={text}: expected <name> or <name>:<n>, names are {ALL:?}");
    };
    Some(Fuse {
        name: name.to_owned(),
        passages_left: AtomicU64::new(passages),
    })
}

#[cfg(test)]
#[cfg(debug_assertions)]
mod tests {
    use std::{
        os::unix::process::ExitStatusExt,
        process::{Command, ExitStatus},
    };

    /// Runs `child` of this module in a process of its own.
    fn run_child(failpoint: &str) -> ExitStatus {
        Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "failpoints::tests::child", "--ignored"])
            .env("TYK_PMP_FAILPOINT", failpoint)
            .output()
            .unwrap()
            .status
    }

    #[test]
    #[ignore = "runs in the processes that the other tests start"]
    fn child() {
        for _ in 0..3 {
            super::hit(super::AFTER_CLAIM);
        }
    }

    #[test]
    fn a_named_point_kills_at_the_wanted_passage_and_others_do_nothing() {
        assert_eq!(run_child("after_claim").signal(), Some(9));
        assert_eq!(run_child("after_claim:3").signal(), Some(9));
        assert_eq!(run_child("after_claim:4").code(), Some(0));
        assert_eq!(run_child("after_ack").code(), Some(0));
        assert_eq!(
            run_child("after_klaim").code(),
            Some(101),
            "a misspelled name must not pass"
        );
    }
}
