//! The binary dies, pauses or stops at the worst moments; numbered records tell what that cost.

mod hybrid;
mod instances;
mod kills;
#[cfg(debug_assertions)]
mod points;

use crate::support::{Server, daemon::Site};
use serde_json::{Value, json};

/// A site with one CSV directory, `csv`.
fn csv_site(redis: &Server) -> Site {
    Site::new(redis, csv_pump())
}

fn csv_pump() -> Value {
    json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}})
}
