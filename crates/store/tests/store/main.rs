//! What the store promises, with nothing around it.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod damage;
mod full_disk;
mod hostile;
mod limits;
mod server;
mod support;
