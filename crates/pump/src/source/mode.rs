//! How records are taken, and what follows from it.

use std::sync::Arc;

use serde::{Serialize, Serializer};
use sinks::Guarantee;

/// How records are taken, chosen at start-up by probing; see `docs/guarantees.md`. Serialized as its label.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// Its name in `/status`, the log and the documentation.
    pub label: &'static str,
    /// What it does, for the log.
    pub action: &'static str,
    /// The most that any pump can promise with it.
    pub promise: Guarantee,
    /// Whether rows that are taken exist in this process alone, so that more of them must not be taken before these
    /// are delivered.
    pub one_round_at_a_time: bool,
    /// Why it was chosen.
    pub reason: Arc<str>,
}

impl Mode {
    /// Claims by script: nothing is lost, whatever dies.
    pub fn claims_script(reason: impl Into<Arc<str>>) -> Mode {
        Mode::exact("claims-script", "records are claimed", reason.into())
    }

    /// Claims by WATCH and MULTI, for users without EVAL.
    pub fn claims_watch(reason: impl Into<Arc<str>>) -> Mode {
        Mode::exact("claims-watch", "records are claimed without scripts", reason.into())
    }

    /// Read, deliver, then remove: at least once for every sink.
    pub fn peek(reason: impl Into<Arc<str>>) -> Mode {
        Mode {
            promise: Guarantee::AtLeastOnce,
            ..Mode::exact(
                "peek",
                "records are read before they are removed: at least once",
                reason.into(),
            )
        }
    }

    /// Upstream's pop: what dies after the pop is lost.
    pub fn legacy(reason: impl Into<Arc<str>>) -> Mode {
        Mode {
            promise: Guarantee::BestEffort,
            one_round_at_a_time: true,
            ..Mode::exact(
                "legacy",
                "records are popped as upstream does: a crash loses them",
                reason.into(),
            )
        }
    }

    /// Records made in this process.
    pub fn memory() -> Mode {
        Mode::exact("memory", "records are made in this process", "demo".into())
    }

    /// Gateways push to the pump itself; claims in its own log.
    pub fn embedded(reason: impl Into<Arc<str>>) -> Mode {
        Mode::exact("embedded", "records are claimed in the pump's own store", reason.into())
    }

    fn exact(label: &'static str, action: &'static str, reason: Arc<str>) -> Mode {
        Mode {
            label,
            action,
            promise: Guarantee::ExactlyOnce,
            one_round_at_a_time: false,
            reason,
        }
    }
}

impl Serialize for Mode {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.label)
    }
}
