//! SQL pumps against a real Postgres.

mod delivery;
mod shapes;
mod support;
mod tls;
