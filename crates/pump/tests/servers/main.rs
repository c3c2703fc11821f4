//! The pump against real servers, and against fakes of services: Redis in every form, SQL, MongoDB, logs and search.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod aws;
mod hybrid;
mod kafka;
mod mongo;
mod redis;
mod services;
mod sql;
#[path = "../support/mod.rs"]
mod support;
