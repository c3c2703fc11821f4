//! Why a pump is in its state, and what to do about it.

use serde::Serialize;

/// Kinds of causes: a label of the metrics, so that an alarm can tell a back-end that is down from a wrong table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CauseClass {
    /// The back-end does not answer, or asks for patience.
    Unavailable,
    /// A write takes longer than the pump's `timeout`.
    Timeout,
    /// A write moves nothing.
    Stalled,
    /// Another process uses what only one may use.
    Occupied,
    /// Credentials, a table, a directory: something that somebody has to change.
    Configuration,
    /// The back-end refuses so many rows that they are kept.
    Refused,
    /// So many elements cannot be decoded that they are kept.
    Undecodable,
    /// Records cannot be read from the source.
    Source,
}

impl CauseClass {
    /// As labels and JSON have it.
    pub fn name(self) -> &'static str {
        match self {
            CauseClass::Unavailable => "unavailable",
            CauseClass::Timeout => "timeout",
            CauseClass::Stalled => "stalled",
            CauseClass::Occupied => "occupied",
            CauseClass::Configuration => "configuration",
            CauseClass::Refused => "refused",
            CauseClass::Undecodable => "undecodable",
            CauseClass::Source => "source",
        }
    }

    fn remedy(self) -> &'static str {
        match self {
            CauseClass::Unavailable => {
                "make the back-end reachable and able to answer; the pump tries again by itself, no restart is needed"
            }
            CauseClass::Timeout => {
                "find out why the back-end is slow, or raise the pump's timeout; the pump tries again by itself"
            }
            CauseClass::Stalled => {
                "look at the back-end; with a timeout of the pump its writes end and are tried again"
            }
            CauseClass::Occupied => "nothing, if another instance is meant to deliver; else stop it",
            CauseClass::Configuration => "correct the cause; the pump tries again every 30 s",
            CauseClass::Refused => "correct the configuration, or accept the refusals",
            CauseClass::Undecodable => "look at the elements, and update the pump if they have a new encoding",
            CauseClass::Source => "make the store of the records reachable; the pump tries again by itself",
        }
    }
}

/// A cause with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    /// Kind.
    pub class: CauseClass,
    /// What happened.
    pub text: String,
    /// What to do about it.
    pub remedy: String,
}

impl Cause {
    /// With the remedy that fits most causes of its kind.
    pub fn new(class: CauseClass, text: impl Into<String>) -> Self {
        Self {
            class,
            text: text.into(),
            remedy: class.remedy().to_owned(),
        }
    }

    /// With a remedy of its own.
    pub fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self {
            remedy: remedy.into(),
            ..self
        }
    }
}
