//! Reading the configuration: file, environment, secrets.

pub mod settings;

pub use settings::*;
