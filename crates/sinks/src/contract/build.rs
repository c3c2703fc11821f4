//! What a sink is made from.

use std::sync::{Arc, OnceLock};

use analytics::logrus::{LogForm, LogFormat, LogLevel};
use futures::future::BoxFuture;
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{BoxError, Sink};

/// Constructor of a sink. An error keeps this pump from starting, never the others; it is tried again in the background.
pub type Build = fn(BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>>;

/// Reads a sink's options as its [`Build`] does, and neither connects nor listens nor writes.
pub type Check = fn(&BuildContext) -> Result<(), BuildError>;

/// Why a sink cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The options are wrong: no retry will help. The text names key (`meta.…`), value and remedy.
    #[error("{0}")]
    Options(String),
    /// The back-end is not there yet.
    #[error("{0}")]
    Unavailable(BoxError),
    /// Another process uses what only one may use (a directory, for instance). It delivers, so this instance must not
    /// claim records until it takes its place.
    #[error("{0}")]
    Occupied(BoxError),
}

/// Random id that is kept in the source. It is known before the first write, but not yet when sinks are made: a Redis
/// that is away keeps no pump from starting.
pub type Fleet = Arc<OnceLock<Arc<str>>>;

/// What a sink is made from.
#[derive(Clone)]
pub struct BuildContext {
    /// The pump's key in `pumps`, upper-cased as upstream shows it.
    pub pump: Arc<str>,
    /// `meta`, with environment and secrets applied and key names spelled as in the schema.
    pub meta: Value,
    /// `compat` of the pump or of the whole configuration: upstream's values where ours are corrected.
    pub compat: bool,
    /// Form and level of the process log, for sinks that write log lines of their own.
    pub log: LogForm,
    /// Tells ledgers of different Redis servers apart.
    pub fleet: Fleet,
}

impl BuildContext {
    /// A pump of a daemon with default settings, whose ledgers belong to `fleet`.
    pub fn new(pump: &str, fleet: &str, meta: Value) -> BuildContext {
        BuildContext {
            pump: pump.into(),
            meta,
            compat: false,
            log: LogForm {
                format: LogFormat::Text,
                level: LogLevel::Info,
            },
            fleet: Arc::new(OnceLock::from(Arc::from(fleet))),
        }
    }

    /// The pump's options.
    ///
    /// # Errors
    /// [`BuildError::Options`] with every key whose value does not fit.
    pub fn options<T: DeserializeOwned + JsonSchema>(&self) -> Result<T, BuildError> {
        crate::options::decode(&self.meta).map_err(|error| BuildError::Options(error.to_string()))
    }
}
