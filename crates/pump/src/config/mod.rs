//! Reading the configuration: file, environment, secrets.
//!
//! [`fn@load`] does everything: [`json`] reads the file, [`mod@file`] checks it against the table in [`schema`], [`mod@env`] and
//! [`pumps`] apply variables, [`kv`] replaces references to secrets, [`effective`] makes [`Settings`] of it. Whatever
//! is noticed on the way is a [`Finding`]; nothing is logged here.

mod admin;
pub mod check;
pub mod effective;
pub mod embedded;
pub mod env;
pub mod file;
pub mod finding;
pub mod json;
pub mod kv;
pub mod load;
mod options;
pub mod places;
pub mod pumps;
pub mod reference;
mod relatives;
pub mod schema;
pub mod settings;
pub mod storage;
mod uptime;
pub mod values;

pub use check::check;
pub use finding::{Finding, Place, Severity};
pub use load::{Loaded, Request, first_level, load};
pub use pumps::PumpEntry;
pub use settings::*;

use values::Values;

/// A configuration on its way: values with their places, not yet interpreted.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Global keys.
    pub top: Values,
    /// `analytics_storage_config`
    pub storage: Values,
    /// `uptime_pump_config`
    pub uptime: Values,
    /// `delivery`
    pub delivery: Values,
    /// `embedded_storage`
    pub embedded: Values,
    /// `kv.stores`
    pub stores: serde_json::Map<String, serde_json::Value>,
    /// `pumps`, in the order of the file, then those of the environment.
    pub pumps: Vec<PumpEntry>,
}

impl Config {
    /// The values of the section with this key.
    pub fn section_mut(&mut self, key: &str) -> &mut Values {
        match key {
            "analytics_storage_config" => &mut self.storage,
            "uptime_pump_config" => &mut self.uptime,
            "delivery" => &mut self.delivery,
            "embedded_storage" => &mut self.embedded,
            _ => &mut self.top,
        }
    }
}
