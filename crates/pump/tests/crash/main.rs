//! The binary dies, pauses or stops at the worst moments; numbered records tell what that cost.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod instances;
mod kills;
#[cfg(feature = "failpoints")]
mod points;
#[path = "../support/mod.rs"]
mod support;

use serde_json::{Value, json};
use support::{Server, daemon::Site};

/// A site with one CSV directory, `csv`.
fn csv_site(redis: &Server) -> Site {
    Site::new(redis, csv_pump())
}

fn csv_pump() -> Value {
    json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}})
}
