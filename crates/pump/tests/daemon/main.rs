//! The binary as operators run it, with Redis or with the store of its own: commands, damaged input, outages, kills.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod acceptance;
mod cli;
mod crash;
mod embedded;
mod load;
mod quickstart;
#[path = "../support/mod.rs"]
mod support;
