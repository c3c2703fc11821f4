//! Delivery: claims come in, every lane writes them to its back-end, acknowledgements go out.
//!
//! [`engine`] keeps the lanes; `claiming` takes lists, `maintenance` keeps what was taken, `budget` decides what may be
//! held; `lane` is one pump's way through the claims; [`status`] is what the daemon shows of itself.

pub mod budget;
pub mod cause;
mod claiming;
pub mod dead_files;
pub mod dead_letter;
mod discreet;
pub mod disk;
pub mod durable;
pub mod engine;
pub mod facts;
pub mod held;
mod lane;
mod lanes;
pub mod latency;
mod letters;
mod maintenance;
pub mod progress;
pub mod reader;
pub mod refusals;
pub mod replay;
pub mod report;
pub mod retry;
mod services;
pub mod spool;
pub mod status;
pub mod undecodable;
pub mod window;

pub use engine::Engine;
