//! Delivery: claims come in, every lane writes them to its back-end, acknowledgements go out.
//!
//! [`engine`] takes claims and keeps them; `lane` is one pump's way through them; [`status`] is what the daemon
//! knows about itself.

pub mod cause;
mod custody;
pub mod dead_letter;
mod deliver;
mod discreet;
pub mod durable;
pub mod engine;
mod gather;
pub mod held;
mod lane;
pub mod latency;
mod maintenance;
pub mod progress;
pub mod reader;
pub mod refusals;
mod relief;
pub mod replay;
pub mod report;
pub mod retry;
mod shared;
pub mod spool;
pub mod status;
pub mod undecodable;

pub use engine::Engine;
