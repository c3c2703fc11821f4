//! What failing lanes may hold, and when claiming is held back.
//!
//! A claim is a rename: it costs the source some hundred bytes, whatever the list holds, but it takes the list's time to
//! live away. So not claiming is no way to save memory that others use; it only makes lists expire unread. What is shed is
//! what lanes hold that do not get rid of it.

use std::sync::Arc;

use crate::{config::OnFull, source::Usage};

/// `max_unacked` when nothing is configured and Redis has no `maxmemory`, or a large one.
const MAX_UNACKED: u64 = 256 << 20;
/// `max_backlog` is this many times `max_unacked`.
const BACKLOG_FACTOR: u64 = 8;
/// Bytes of a row before any was seen.
const ROW_BYTES: u64 = 1_000;

/// What the budgets know of a lane.
#[derive(Clone, Debug)]
pub struct LaneLoad {
    /// The pump's key.
    pub pump: Arc<str>,
    /// Whether it has had no row accepted for a while.
    pub fails: bool,
    /// What its configuration says about rows that it may not hold.
    pub on_full: OnFull,
    /// Claimed rows that it has not delivered.
    pub rows: u64,
    /// Their bytes, estimated.
    pub bytes: u64,
}

/// Bounds, in bytes.
#[derive(Clone, Copy, Debug)]
pub struct Budgets {
    /// What one failing lane may hold.
    pub max_unacked: u64,
    /// What all claims may hold before failing lanes give up everything.
    pub max_backlog: u64,
}

impl Budgets {
    /// Configured bounds, or those that follow from the source.
    pub fn of(max_unacked: Option<u64>, max_backlog: Option<u64>, usage: &Usage) -> Self {
        let by_source = usage.max_memory.map_or(MAX_UNACKED, |max| (max / 10).min(MAX_UNACKED));
        let max_unacked = max_unacked.unwrap_or(by_source);
        Self {
            max_unacked,
            max_backlog: max_backlog.unwrap_or(max_unacked.saturating_mul(BACKLOG_FACTOR)),
        }
    }
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// Bytes that each lane may hold, in the order of the lanes.
    pub allowances: Vec<u64>,
    /// Why claiming is held back.
    pub held: Option<String>,
}

/// Decides what lanes may hold and whether claiming goes on.
pub fn decide(usage: &Usage, lanes: &[LaneLoad], budgets: Budgets) -> Decision {
    let Budgets {
        max_unacked,
        max_backlog,
    } = budgets;
    let claimed = claimed_bytes(usage, lanes);
    let used_above = |hundredths: u64| match (usage.used_memory, usage.max_memory) {
        (Some(used), Some(max)) => max > 0 && used > max / 100 * hundredths,
        _ => false,
    };
    let in_danger = claimed > max_backlog || used_above(80);
    let allowance = |lane: &LaneLoad| match (lane.fails, lane.on_full) {
        (false, _) | (true, OnFull::Block) => u64::MAX,
        (true, OnFull::Spool | OnFull::DropOldest) if in_danger => 0,
        (true, OnFull::Spool | OnFull::DropOldest) => max_unacked,
    };
    let mut blocking = lanes.iter().filter(|lane| lane.fails && lane.on_full == OnFull::Block);
    let blocked = blocking.find(|lane| lane.bytes > max_unacked).map(|lane| {
        format!(
            "claiming is held back: pump {} fails and holds {} bytes (on_full = block)",
            lane.pump, lane.bytes
        )
    });
    // One claim alone may be larger than any bound.
    let behind = || {
        let lagging = lanes.iter().find(|lane| !lane.fails && lane.bytes > max_backlog)?;
        (usage.claims > 1).then(|| {
            format!(
                "claiming is held back: pump {} is behind by about {} bytes, more than max_backlog ({max_backlog})",
                lagging.pump, lagging.bytes
            )
        })
    };
    // It would not help where the memory is others'.
    let full = || {
        let (used, max) = (usage.used_memory?, usage.max_memory?);
        (used_above(95) && claimed >= max / 20)
            .then(|| format!("claiming is held back: Redis uses {used} of {max} bytes, claims about {claimed} of them"))
    };
    Decision {
        allowances: lanes.iter().map(allowance).collect(),
        held: blocked.or_else(behind).or_else(full),
    }
}

/// Bytes in all claims of all instances, by the largest rows that a lane of ours has seen.
fn claimed_bytes(usage: &Usage, lanes: &[LaneLoad]) -> u64 {
    let sizes = lanes.iter().filter_map(|lane| lane.bytes.checked_div(lane.rows));
    let row = sizes.max().filter(|&bytes| bytes > 0).unwrap_or(ROW_BYTES);
    usage.claimed_rows.saturating_mul(row)
}
