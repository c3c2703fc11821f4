//! SQL pumps as operators run them: killed, cut off, several at once, in other time zones; numbered records tell what arrived,
//! and an independent count says what every aggregate must hold.
//!
//! `cargo test -p tyk-pump --test servers sql:: -- --ignored --nocapture` runs the same at full size; with `PUMP_TEST_BIN` it runs
//! another build of the pump.

mod database;
mod engines;
mod instances;
mod kills;
mod stored;
mod zones;
