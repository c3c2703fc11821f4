//! SQL pumps against a real Postgres.
#![allow(clippy::unwrap_used)]

mod aggregates;
mod delivery;
mod shapes;
mod support;
mod tls;
