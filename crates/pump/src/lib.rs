//! The daemon: claims records from Redis, delivers them through one lane a pump, acknowledges, and tells the truth
//! about itself. Start with [`app`]; the delivery protocol is described in `docs/architecture.md`.

pub mod admin;
pub mod app;
pub mod cli;
pub mod clock;
pub mod config;
pub mod delivery;
pub mod demo;
mod error_text;
pub mod failpoints;
pub mod instrumentation;
pub mod load;
pub mod logging;
#[cfg(feature = "hybrid")]
pub mod mdcb_sink;
pub mod operations;
pub mod plan;
mod pump_name;
pub mod quickstart;
pub mod scrub;
pub mod signals;
pub mod source;
mod upkeep;

pub use error_text::error_text;

/// What `version-check-pump` says: the release of Tyk Pump that this one takes the place of. Whoever reads it (the
/// Dashboard, MDCB) compares it with releases of Tyk Pump.
pub const COMPATIBLE_VERSION: &str = "v1.17.0";

/// Version of this binary, as `--version` prints it.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
