//! The library without sockets to servers and without the binary: configuration, the admin server, demo records, and delivery
//! with a source in memory.
#![allow(clippy::unwrap_used, clippy::expect_used, unreachable_pub)]

mod admin;
mod check;
mod config;
mod config_json;
mod config_names;
mod config_reference;
mod config_rows;
mod delivery;
mod demo;
mod mistakes;
