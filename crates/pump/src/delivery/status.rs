//! What the daemon knows about itself: one board that delivery writes and the admin server reads.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::SystemTime,
};

use serde::Serialize;
use sinks::Guarantee;

use crate::source::Mode;

/// State of a pump.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LaneState {
    /// Not made yet: its back-end is not there, or its constructor runs.
    #[default]
    Starting,
    /// Waiting for records, or writing them.
    Running,
    /// The last write failed; it is tried again.
    Retrying,
    /// Writing is held back until somebody changes something (credentials, table, directory); probed every 30 s.
    Paused,
    /// Its options are wrong, or its type is unknown or not built yet: it does not run.
    Disabled,
    /// Flushed and closed.
    Stopped,
}

/// Counters and state of one pump. Counters only grow while the process lives.
#[derive(Debug, Default)]
pub struct LaneBoard {
    /// Rows that the back-end accepted.
    pub delivered: AtomicU64,
    /// Rows that a filter kept out.
    pub filtered: AtomicU64,
    /// Write attempts that failed and were repeated.
    pub retries: AtomicU64,
    /// Rows that became dead letters.
    pub dead: AtomicU64,
    /// Rows that may stand in the back-end twice.
    pub possibly_doubled: AtomicU64,
    /// Rows in the group that is being written.
    pub in_flight: AtomicU64,
    /// Rows claimed and not yet acknowledged by this pump.
    pub backlog_rows: AtomicU64,
    /// Their bytes, estimated.
    pub backlog_bytes: AtomicU64,
    /// Files in the spool.
    pub spooled_files: AtomicU64,
    /// Rows in the spool.
    pub spooled_rows: AtomicU64,
    /// When the oldest unacknowledged claim was made, milliseconds since 1970; 0 = none.
    pub oldest_claim_ms: AtomicU64,
    text: Mutex<LaneText>,
}

#[derive(Debug, Default)]
struct LaneText {
    state: LaneState,
    since: Option<SystemTime>,
    /// What the sink that was made promises, if that is less than its type's best.
    guarantee: Option<Guarantee>,
    cause: Option<String>,
    remedy: Option<String>,
    last_error: Option<(SystemTime, String)>,
    dropped: BTreeMap<&'static str, u64>,
}

impl LaneBoard {
    fn text(&self) -> MutexGuard<'_, LaneText> {
        self.text.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Enters `state`; `cause` and `remedy` say why and what to do.
    pub fn enter(&self, state: LaneState, cause: Option<String>, remedy: Option<String>) {
        let mut text = self.text();
        if text.state != state || text.since.is_none() {
            text.state = state;
            text.since = Some(SystemTime::now());
        }
        text.cause = cause;
        text.remedy = remedy;
    }

    /// What the sink promises now, if that is less than its type's best.
    pub fn promise(&self, guarantee: Option<Guarantee>) {
        self.text().guarantee = guarantee;
    }

    /// Remembers an error.
    pub fn failed(&self, error: &str) {
        self.text().last_error = Some((SystemTime::now(), error.to_owned()));
    }

    /// Counts rows that are gone for good.
    pub fn dropped(&self, reason: &'static str, rows: u64) {
        *self.text().dropped.entry(reason).or_default() += rows;
    }

    /// Why it is in its state.
    pub fn cause(&self) -> Option<String> {
        self.text().cause.clone()
    }

    /// Current state.
    pub fn state(&self) -> LaneState {
        self.text().state
    }
}

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
    /// State.
    pub state: LaneState,
    /// Since when, seconds since 1970.
    pub since: u64,
    /// Why it is in that state.
    pub cause: Option<String>,
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
    /// `used_memory` of Redis.
    pub used_memory: Option<u64>,
    /// `maxmemory` of Redis.
    pub max_memory: Option<u64>,
    /// Commands sent to Redis since the start.
    pub commands: Option<u64>,
    /// Whether claiming is held back, and why.
    pub claiming_held: Option<String>,
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
    /// The source.
    pub source: SourceStatus,
    /// Every pump, in the order of the configuration.
    pub pumps: Vec<LaneStatus>,
}

struct LaneEntry {
    pump: Arc<str>,
    kind: String,
    guarantee: Option<Guarantee>,
    board: Arc<LaneBoard>,
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
    pub fn add_lane(&self, pump: Arc<str>, kind: &str, guarantee: Option<Guarantee>) -> Arc<LaneBoard> {
        let board = Arc::new(LaneBoard::default());
        let entry = LaneEntry {
            pump,
            kind: kind.to_owned(),
            guarantee,
            board: board.clone(),
        };
        self.lanes
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .push(entry);
        board
    }

    /// Changes what is known about the source.
    pub fn source(&self, change: impl FnOnce(&mut SourceStatus)) {
        change(&mut self.source.lock().unwrap_or_else(std::sync::PoisonError::into_inner));
    }

    /// Everything, now.
    pub fn snapshot(&self) -> Status {
        let mut source = self
            .source
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .clone();
        source.decoded = self.decoded.load(Ordering::Relaxed);
        source.undecodable = self.undecodable.load(Ordering::Relaxed);
        let lanes = self.lanes.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let pumps: Vec<LaneStatus> = lanes
            .iter()
            .map(|entry| lane_status(entry, source.mode.as_ref()))
            .collect();
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
        for pump in &pumps {
            if !matches!(pump.state, LaneState::Running) {
                let why = pump
                    .cause
                    .as_deref()
                    .or(pump.last_error.as_deref())
                    .unwrap_or("no cause known");
                not_ready.push(format!("pump {} is {:?}: {why}", pump.pump, pump.state).to_lowercase());
            }
        }
        Status {
            version: crate::VERSION,
            instance: self.instance.clone(),
            uptime_seconds: self.started.elapsed().unwrap_or_default().as_secs(),
            ready: not_ready.is_empty(),
            not_ready,
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
    let board = &entry.board;
    let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let text = board.text();
    let lag_seconds = match read(&board.oldest_claim_ms) {
        0 => 0,
        oldest => epoch_seconds(SystemTime::now()).saturating_sub(oldest / 1000),
    };
    LaneStatus {
        pump: entry.pump.clone(),
        kind: entry.kind.clone(),
        guarantee: promise(text.guarantee.or(entry.guarantee), mode),
        state: text.state,
        since: text.since.map(epoch_seconds).unwrap_or_default(),
        cause: text.cause.clone(),
        remedy: text.remedy.clone(),
        lag_seconds,
        in_flight: read(&board.in_flight),
        backlog_rows: read(&board.backlog_rows),
        backlog_bytes: read(&board.backlog_bytes),
        delivered: read(&board.delivered),
        filtered: read(&board.filtered),
        retried: read(&board.retries),
        dead: read(&board.dead),
        possibly_doubled: read(&board.possibly_doubled),
        dropped: text.dropped.clone(),
        spooled_files: read(&board.spooled_files),
        spooled_rows: read(&board.spooled_rows),
        last_error: text.last_error.as_ref().map(|(_, error)| error.clone()),
        last_error_at: text.last_error.as_ref().map(|(at, _)| epoch_seconds(*at)),
    }
}
