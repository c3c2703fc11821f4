//! Names of pumps on the command line: in any case, as the configuration has them, or as claims and dead letters do.

use std::sync::Arc;

use anyhow::bail;

use crate::{config::finding::did_you_mean, delivery::undecodable};

/// The pumps that an operator can mean.
#[derive(Clone, Debug, Default)]
pub(crate) struct PumpNames(Vec<Arc<str>>);

impl PumpNames {
    /// Those of the configuration, and of the daemon's own lane.
    pub(crate) fn new(configured: impl IntoIterator<Item = Arc<str>>) -> Self {
        let mut names = Self::default();
        names.add(configured);
        names.add([undecodable::LANE.into()]);
        names
    }

    /// Adds pumps that are not configured (any more), but of which something is kept.
    pub(crate) fn add(&mut self, names: impl IntoIterator<Item = Arc<str>>) {
        for name in names {
            if !self.0.contains(&name) {
                self.0.push(name);
            }
        }
    }

    /// The pump that is called exactly so.
    pub(crate) fn exact(&self, name: &str) -> Option<Arc<str>> {
        self.0.iter().find(|known| ***known == *name).cloned()
    }

    /// The pump that is called so, in any case; who is called exactly so goes first.
    ///
    /// # Errors
    /// No pump is; the text says which one is nearly.
    pub(crate) fn resolve(&self, name: &str) -> anyhow::Result<Arc<str>> {
        let similar = || self.0.iter().find(|known| same(known, name)).cloned();
        if let Some(known) = self.exact(name).or_else(similar) {
            return Ok(known);
        }
        let names = self.0.iter().map(|known| &**known);
        bail!(
            "there is no pump {name}{}; known are {}",
            did_you_mean(name, names.clone()),
            names.collect::<Vec<_>>().join(", ")
        )
    }
}

/// Whether two names differ in case alone, whatever the alphabet.
fn same(one: &str, other: &str) -> bool {
    one.to_lowercase() == other.to_lowercase() || one.to_uppercase() == other.to_uppercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> PumpNames {
        let mut names = PumpNames::new(["ES".into(), "SQL_AGGREGATE".into(), "STRASSE".into()]);
        names.add(["Old".into(), "OLD".into(), "ES".into()]);
        names
    }

    #[test]
    fn any_case_finds_its_pump_and_the_exact_one_goes_first() {
        for (given, found) in [
            ("es", "ES"),
            ("Es", "ES"),
            ("sql_aggregate", "SQL_AGGREGATE"),
            ("straße", "STRASSE"),
            ("Old", "Old"),
            ("OLD", "OLD"),
            ("old", "Old"),
            ("!undecodable", "!undecodable"),
        ] {
            assert_eq!(&*names().resolve(given).unwrap(), found, "{given}");
        }
    }

    #[test]
    fn an_unknown_name_is_an_error_that_says_what_was_meant() {
        let error = names().resolve("sql-agregate").unwrap_err().to_string();
        assert!(error.contains("did you mean \"SQL_AGGREGATE\""), "{error}");
        let error = names().resolve("x").unwrap_err().to_string();
        assert!(
            !error.contains("did you mean") && error.contains("known are ES,"),
            "{error}"
        );
    }
}
