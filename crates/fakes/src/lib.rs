//! What tests of any crate need: fake back-ends, the way to real ones, numbered records, certificates. Knows no sink, so that
//! the tests inside the sinks can use it too.

pub mod aws;
pub mod certificates;
pub mod elasticsearch;
mod gate;
pub mod http;
pub mod kafka;
mod log;
mod mailbox;
pub mod mongo;
mod pipe;
pub mod ports;
pub mod postgres;
pub mod proxy;
mod receiver;
pub mod rows;
pub mod server;

pub use gate::Gate;
pub use log::Log;
pub use mailbox::Mailbox;
pub use pipe::Pipe;
pub use receiver::{Connection, Receiver};
