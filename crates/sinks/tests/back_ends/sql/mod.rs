//! SQL pumps against a real Postgres.

mod aggregates;
mod delivery;
mod shapes;
mod support;
mod tls;
