//! Crash points: places where the crash tests end this process as a power cut would, with SIGKILL. Builds without debug
//! assertions, so every release, do not contain them.
//!
//! `TYK_PMP_FAILPOINT=<name>` kills at the first passage of that point, `<name>:<n>` at the n-th.

use std::sync::{
    OnceLock,
    atomic::{AtomicU64, Ordering},
};

use rustix::process::{Signal, getpid, kill_process};

/// A sink stored what it is about to append, and has not appended it.
pub const AFTER_INTENT: &str = "after_intent";
/// A sink appended and has not recorded that it did.
pub const AFTER_APPEND: &str = "after_append";

/// Whether this build contains them.
pub const ARMED: bool = cfg!(debug_assertions);

/// Passes the point `name`; the process ends here if the environment says so.
///
/// # Panics
/// `TYK_PMP_FAILPOINT` is not `<name>` or `<name>:<n>`.
#[inline(always)]
pub fn hit(name: &'static str) {
    if ARMED {
        pass(name);
    }
}

/// A crash test with a misspelled name must not pass.
///
/// # Panics
/// `TYK_PMP_FAILPOINT` names none of `points`.
pub fn expect_one_of(points: &[&str]) {
    if ARMED && let Some(fuse) = FUSE.get_or_init(read) {
        let name = fuse.name.as_str();
        assert!(points.contains(&name), "TYK_PMP_FAILPOINT={name}: names are {points:?}");
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
    let Some(passages) = passages else {
        panic!("TYK_PMP_FAILPOINT={text}: expected <name> or <name>:<n>");
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
        super::expect_one_of(&[super::AFTER_INTENT, super::AFTER_APPEND]);
        for _ in 0..3 {
            super::hit(super::AFTER_INTENT);
        }
    }

    #[test]
    fn a_named_point_kills_at_the_wanted_passage_and_others_do_nothing() {
        assert_eq!(run_child("after_intent").signal(), Some(9));
        assert_eq!(run_child("after_intent:3").signal(), Some(9));
        assert_eq!(run_child("after_intent:4").code(), Some(0));
        assert_eq!(run_child("after_append").code(), Some(0));
        assert_eq!(
            run_child("after_indent").code(),
            Some(101),
            "a misspelled name must not pass"
        );
    }
}
