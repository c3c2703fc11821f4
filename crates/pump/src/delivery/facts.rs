//! What a lane says of itself. The engine decides by it, and `/status` shows it.

use std::{collections::BTreeMap, fmt, time::Duration, time::SystemTime};

use serde::Serialize;
use sinks::Guarantee;
use tokio::{sync::watch, time::Instant};

use super::{cause::Cause, latency::Latency};

/// Why rows are gone for good. Every reason has a counter from the start, so that its first row shows as an increase.
pub const DROP_REASONS: [&str; 7] = [
    "budget",
    "dead_letter_too_large",
    "dead_letters_damaged",
    "dead_letters_full",
    "evicted",
    "spool_damaged",
    "vanished",
];

/// A lane that has had no row accepted for so long fails. Before, it only stumbles: one lost connection, or a back-end that
/// is connected to at the start, must not cost rows of a large backlog.
const FAILS_AFTER: Duration = Duration::from_secs(10);
/// And that many writes in a row must have failed: what follows a lost connection may only be slow.
const FAILS_WITH: u32 = 2;

/// State of a pump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// Not made yet: its back-end is not there, or its constructor runs.
    #[default]
    Starting,
    /// Waiting for records, or writing them.
    Running,
    /// The last write failed without a row being accepted; it is tried again.
    Retrying,
    /// A write is running that has moved nothing for `delivery.write_stall`.
    Stalled,
    /// Writing is held back until somebody changes something (credentials, table, directory); probed every 30 s.
    Paused,
    /// Its options are wrong, or its type is unknown or not in this binary: it does not run.
    Disabled,
    /// Flushed and closed.
    Stopped,
}

impl LaneState {
    /// Every state.
    pub const ALL: [LaneState; 7] = [
        LaneState::Starting,
        LaneState::Running,
        LaneState::Retrying,
        LaneState::Stalled,
        LaneState::Paused,
        LaneState::Disabled,
        LaneState::Stopped,
    ];

    /// As labels and JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            LaneState::Starting => "starting",
            LaneState::Running => "running",
            LaneState::Retrying => "retrying",
            LaneState::Stalled => "stalled",
            LaneState::Paused => "paused",
            LaneState::Disabled => "disabled",
            LaneState::Stopped => "stopped",
        }
    }
}

impl fmt::Display for LaneState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a lane says of itself. Its counters only grow while the process lives, whoever follows whom under the pump's key.
#[derive(Clone, Debug, Default)]
pub struct LaneFacts {
    /// State.
    pub state: LaneState,
    /// When it entered that state.
    pub since: Option<SystemTime>,
    /// Why it is in its state, and what to do about it.
    pub cause: Option<Cause>,
    /// When the next attempt begins, while it waits for one.
    pub next_attempt: Option<SystemTime>,
    /// Last error.
    pub last_error: Option<(SystemTime, String)>,
    /// What the sink promises now, if that is less than its type's best.
    pub guarantee: Option<Guarantee>,
    /// What its operator should know although it works.
    pub notice: Option<String>,
    /// Rows that the back-end accepted.
    pub delivered: u64,
    /// Rows that a filter kept out.
    pub filtered: u64,
    /// Write attempts that failed and were repeated.
    pub retries: u64,
    /// Rows that became dead letters.
    pub dead: u64,
    /// Rows that may stand in the back-end twice.
    pub possibly_doubled: u64,
    /// How long writes took.
    pub latency: Latency,
    /// Rows that are gone for good, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Rows in the group that is being written.
    pub in_flight: u64,
    /// Rows claimed and not yet acknowledged by this pump.
    pub backlog_rows: u64,
    /// Their bytes, estimated.
    pub backlog_bytes: u64,
    /// Files in the spool.
    pub spooled_files: u64,
    /// Rows in the spool.
    pub spooled_rows: u64,
    /// When the oldest unacknowledged claim was made, milliseconds since 1970; 0 = none.
    pub oldest_claim_ms: u64,
    /// Since when it does not run and has had no row accepted.
    idle_since: Option<Instant>,
    /// Writes since then that failed.
    failures: u32,
}

impl LaneFacts {
    /// Whether it fails: what it holds then counts against the budgets. A lane that has rows accepted never does.
    pub fn fails(&self) -> bool {
        match self.state {
            LaneState::Running => false,
            LaneState::Stalled => true,
            LaneState::Retrying if self.failures < FAILS_WITH => false,
            _ => self.idle_since.is_some_and(|since| since.elapsed() >= FAILS_AFTER),
        }
    }
}

/// Where a lane publishes its facts.
#[derive(Debug)]
pub struct Facts(watch::Sender<LaneFacts>);

impl Default for Facts {
    fn default() -> Self {
        let facts = LaneFacts {
            idle_since: Some(Instant::now()),
            ..LaneFacts::default()
        };
        Self(watch::Sender::new(facts))
    }
}

impl Facts {
    /// For whoever wants to follow.
    pub fn follow(&self) -> watch::Receiver<LaneFacts> {
        self.0.subscribe()
    }

    /// Current state.
    pub fn state(&self) -> LaneState {
        self.0.borrow().state
    }

    /// Changes figures.
    pub fn change(&self, change: impl FnOnce(&mut LaneFacts)) {
        self.0.send_modify(change);
    }

    /// Enters `state`.
    pub fn enter(&self, state: LaneState, cause: Option<Cause>) {
        self.change(|facts| {
            if facts.state != state || facts.since.is_none() {
                facts.state = state;
                facts.since = Some(SystemTime::now());
            }
            facts.idle_since = match state {
                LaneState::Running => None,
                _ => facts.idle_since.or_else(|| Some(Instant::now())),
            };
            facts.failures = match state {
                LaneState::Running => 0,
                LaneState::Retrying => facts.failures + 1,
                _ => facts.failures,
            };
            facts.cause = cause;
        });
    }

    /// Remembers an error.
    pub fn failed(&self, error: &str) {
        self.change(|facts| facts.last_error = Some((SystemTime::now(), error.to_owned())));
    }

    /// Rows were accepted.
    pub fn accepted(&self, rows: u64) {
        self.change(|facts| {
            facts.delivered += rows;
            if rows > 0 && facts.idle_since.is_some() {
                facts.idle_since = Some(Instant::now());
                facts.failures = 0;
            }
        });
    }

    /// Rows are being accepted: the lane does not fail, whatever becomes of the write in the end.
    pub fn moved(&self) {
        self.change(|facts| {
            facts.idle_since = facts.idle_since.map(|_| Instant::now());
            facts.failures = 0;
        });
    }

    /// Counts rows that are gone for good.
    pub fn dropped(&self, reason: &'static str, rows: u64) {
        debug_assert!(DROP_REASONS.contains(&reason), "{reason} has no counter from the start");
        if rows > 0 {
            self.change(|facts| *facts.dropped.entry(reason).or_default() += rows);
        }
    }
}
