//! What the daemon shows of itself: facts of lanes and of the source, as the admin server reads them. Nothing is decided
//! by it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use parking_lot::Mutex;
use serde::Serialize;
use sinks::Guarantee;
use tokio::sync::watch;

pub use super::facts::{DROP_REASONS, Facts, LaneFacts, LaneState};
use super::{cause::CauseClass, latency::Latency};
use crate::{logging, scrub, source::Mode};

/// One pump as `/status` shows it.
#[derive(Clone, Debug, Serialize)]
pub struct LaneStatus {
    /// Its key in `pumps`.
    pub pump: Arc<str>,
    /// Type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it promises, in the words of `docs/guarantees.md`.
    pub guarantee: String,
    /// What its operator should know although it works, and what to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<String>,
    /// State.
    pub state: LaneState,
    /// Since when, seconds since 1970.
    pub since: u64,
    /// Why it is in that state.
    pub cause: Option<String>,
    /// What kind of cause that is.
    pub cause_class: Option<CauseClass>,
    /// What to do about it.
    pub remedy: Option<String>,
    /// Age in seconds of the oldest record that it has not delivered; 0 = up to date.
    pub lag_seconds: u64,
    /// Rows being written.
    pub in_flight: u64,
    /// Rows claimed, not delivered.
    pub backlog_rows: u64,
    /// Their bytes, estimated.
    pub backlog_bytes: u64,
    /// Rows accepted.
    pub delivered: u64,
    /// Rows kept out by filters.
    pub filtered: u64,
    /// Repeated writes.
    pub retried: u64,
    /// Rows in dead letters.
    pub dead: u64,
    /// Rows that may stand twice.
    pub possibly_doubled: u64,
    /// Rows gone for good, by reason.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Files and rows in the spool.
    pub spooled_files: u64,
    /// Rows in the spool.
    pub spooled_rows: u64,
    /// Last error.
    pub last_error: Option<String>,
    /// When, seconds since 1970.
    pub last_error_at: Option<u64>,
    /// When it tries again, seconds since 1970, while it waits for that.
    pub next_attempt_at: Option<u64>,
    /// How long writes took; a histogram of the metrics.
    #[serde(skip)]
    pub latency: Latency,
}

/// The source as `/status` shows it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct SourceStatus {
    /// "connecting", "up" or "down".
    pub state: String,
    /// How records are taken.
    pub mode: Option<Mode>,
    /// Why so.
    pub mode_reason: String,
    /// Last error.
    pub last_error: Option<String>,
    /// When, seconds since 1970.
    pub last_error_at: Option<u64>,
    /// Rows per list that nobody has claimed.
    pub unclaimed: BTreeMap<String, u64>,
    /// Lists whose name is taken by another type.
    pub not_lists: Vec<String>,
    /// Claims of all instances.
    pub claims: u64,
    /// Rows in them.
    pub claimed_rows: u64,
    /// Records decoded since the start.
    pub decoded: u64,
    /// Elements that could not be decoded since the start.
    pub undecodable: u64,
    /// Undecodable elements that are gone for good, by reason.
    pub undecodable_dropped: BTreeMap<&'static str, u64>,
    /// Why undecodable elements cannot be stored as dead letters now.
    pub undecodable_waits: Option<String>,
    /// `used_memory` of Redis.
    pub used_memory: Option<u64>,
    /// `maxmemory` of Redis.
    pub max_memory: Option<u64>,
    /// Commands sent to Redis since the start.
    pub commands: Option<u64>,
    /// Whether claiming is held back, and why.
    pub claiming_held: Option<String>,
    /// Why gateways are refused at the moment; of a store of the pump's own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusing: Option<String>,
    /// Elements that gateways were refused since the start; of a store of the pump's own.
    pub refused: u64,
    /// Rows that have vanished from their lists while claiming was held back: an estimate.
    pub expired_rows: u64,
    /// Pumps that claims wait for although nobody has them configured, with their rows.
    pub orphans: BTreeMap<String, u64>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// Version of this binary.
    pub version: &'static str,
    /// This instance.
    pub instance: String,
    /// Seconds since the start.
    pub uptime_seconds: u64,
    /// Whether every pump delivers and the source is up.
    pub ready: bool,
    /// Why not, one line each.
    pub not_ready: Vec<String>,
    /// Lines that are missing in the log because nobody read it fast enough.
    pub log_lines_left_out: u64,
    /// The source.
    pub source: SourceStatus,
    /// Every pump, in the order of the configuration.
    pub pumps: Vec<LaneStatus>,
}

struct LaneEntry {
    pump: Arc<str>,
    kind: String,
    guarantee: Option<Guarantee>,
    facts: watch::Receiver<LaneFacts>,
}

/// The board.
pub struct StatusBoard {
    instance: String,
    started: SystemTime,
    lanes: Mutex<Vec<LaneEntry>>,
    source: Mutex<SourceStatus>,
    /// Records decoded since the start.
    pub decoded: AtomicU64,
    /// Elements that could not be decoded since the start.
    pub undecodable: AtomicU64,
}

impl StatusBoard {
    /// An empty board.
    pub fn new(instance: String) -> Self {
        let source = SourceStatus {
            state: "connecting".to_owned(),
            ..SourceStatus::default()
        };
        Self {
            instance,
            started: SystemTime::now(),
            lanes: Mutex::default(),
            source: Mutex::new(source),
            decoded: AtomicU64::new(0),
            undecodable: AtomicU64::new(0),
        }
    }

    /// Adds a pump.
    pub fn add_lane(&self, pump: Arc<str>, kind: &str, guarantee: Option<Guarantee>) -> Facts {
        let facts = Facts::default();
        self.show_lane(pump, kind, guarantee, &facts);
        facts
    }

    /// Shows `facts` from now on, in the place of what was shown of this pump before.
    pub fn show_lane(&self, pump: Arc<str>, kind: &str, guarantee: Option<Guarantee>, facts: &Facts) {
        let shown = LaneEntry {
            pump,
            kind: kind.to_owned(),
            guarantee,
            facts: facts.follow(),
        };
        let mut lanes = self.lanes.lock();
        match lanes.iter_mut().find(|entry| entry.pump == shown.pump) {
            Some(entry) => *entry = shown,
            None => lanes.push(shown),
        }
    }

    /// Shows a pump no longer.
    pub fn remove_lane(&self, pump: &str) {
        self.lanes.lock().retain(|entry| *entry.pump != *pump);
    }

    /// Counts undecodable elements that are gone for good.
    pub fn undecodable_dropped(&self, reason: &'static str, rows: u64) {
        self.source(|source| *source.undecodable_dropped.entry(reason).or_default() += rows);
    }

    /// Changes what is known about the source.
    pub fn source(&self, change: impl FnOnce(&mut SourceStatus)) {
        change(&mut self.source.lock());
    }

    /// Everything, now.
    pub fn snapshot(&self) -> Status {
        let mut source = self.source.lock().clone();
        let texts = [
            &mut source.last_error,
            &mut source.claiming_held,
            &mut source.undecodable_waits,
        ];
        for text in texts.into_iter().flatten() {
            *text = scrub::secrets(text).into_owned();
        }
        source.decoded = self.decoded.load(Ordering::Relaxed);
        source.undecodable = self.undecodable.load(Ordering::Relaxed);
        let lanes = self.lanes.lock();
        let mode = source.mode.as_ref();
        let pumps: Vec<LaneStatus> = lanes.iter().map(|entry| lane_status(entry, mode)).collect();
        let mut not_ready = Vec::new();
        if source.state != "up" {
            let why = source.last_error.as_deref().unwrap_or("not connected yet");
            not_ready.push(format!("source is {}: {why}", source.state));
        }
        not_ready.extend(source.claiming_held.iter().cloned());
        not_ready.extend(
            source.not_lists.iter().map(|list| {
                format!("the key {list} is no list, so that gateways cannot push to it: rename or delete it")
            }),
        );
        not_ready.extend(source.refusing.iter().map(|why| format!("gateways are refused: {why}")));
        not_ready.extend(source.undecodable_waits.iter().cloned());
        for pump in &pumps {
            if !matches!(pump.state, LaneState::Running) {
                let why = pump
                    .cause
                    .as_deref()
                    .or(pump.last_error.as_deref())
                    .unwrap_or("no cause known");
                let remedy = pump
                    .remedy
                    .as_deref()
                    .map(|remedy| format!(" – {remedy}"))
                    .unwrap_or_default();
                not_ready.push(format!("pump {} is {}: {why}{remedy}", pump.pump, pump.state));
            }
        }
        Status {
            version: crate::VERSION,
            instance: self.instance.clone(),
            uptime_seconds: self.started.elapsed().unwrap_or_default().as_secs(),
            ready: not_ready.is_empty(),
            not_ready,
            log_lines_left_out: logging::left_out(),
            source,
            pumps,
        }
    }
}

fn epoch_seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// What a pump promises, as far as the way in which records are taken allows.
fn promise(guarantee: Option<Guarantee>, mode: Option<&Mode>) -> String {
    let most = mode.map_or(Guarantee::ExactlyOnce, |mode| mode.promise);
    guarantee.map_or_else(|| "none".to_owned(), |guarantee| guarantee.min(most).to_string())
}

fn lane_status(entry: &LaneEntry, mode: Option<&Mode>) -> LaneStatus {
    let mut facts = entry.facts.borrow().clone();
    if entry.facts.has_changed().is_err() && facts.state != LaneState::Disabled {
        // Nobody is there to say so any more.
        facts.state = LaneState::Stopped;
    }
    let lag_seconds = match facts.oldest_claim_ms {
        0 => 0,
        oldest => epoch_seconds(SystemTime::now()).saturating_sub(oldest / 1000),
    };
    let (last_error_at, last_error) = facts.last_error.unzip();
    let shown = |text: &str| scrub::secrets(text).into_owned();
    let cause = facts.cause.as_ref();
    LaneStatus {
        pump: entry.pump.clone(),
        kind: entry.kind.clone(),
        guarantee: promise(facts.guarantee.or(entry.guarantee), mode),
        notice: facts.notice.as_deref().map(shown),
        state: facts.state,
        since: facts.since.map(epoch_seconds).unwrap_or_default(),
        cause: cause.map(|cause| shown(&cause.text)),
        cause_class: cause.map(|cause| cause.class),
        remedy: cause.map(|cause| shown(&cause.remedy)),
        lag_seconds,
        in_flight: facts.in_flight,
        backlog_rows: facts.backlog_rows,
        backlog_bytes: facts.backlog_bytes,
        delivered: facts.delivered,
        filtered: facts.filtered,
        retried: facts.retries,
        dead: facts.dead,
        possibly_doubled: facts.possibly_doubled,
        dropped: facts.dropped,
        spooled_files: facts.spooled_files,
        spooled_rows: facts.spooled_rows,
        last_error: last_error.as_deref().map(shown),
        last_error_at: last_error_at.map(epoch_seconds),
        next_attempt_at: facts.next_attempt.map(epoch_seconds),
        latency: facts.latency,
    }
}
