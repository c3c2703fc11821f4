//! MongoDB pumps as operators run them: killed, cut off, and with an hour in which every path is another one; numbered records
//! tell what arrived, and an independent count says what every aggregate must hold.
//!
//! `cargo test -p tyk-pump --test servers mongo:: -- --ignored --nocapture` runs the same at full size; with `PUMP_TEST_BIN` it runs
//! another build of the pump.

mod database;
mod indexes;
mod kills;
mod paths;
