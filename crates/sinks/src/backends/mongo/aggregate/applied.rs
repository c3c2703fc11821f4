//! Which rows a document has counted: `_applied` of the document.

use std::collections::BTreeMap;

use analytics::{ClaimId, RowRanges, aggregate::escape_component};
use mongodb::bson::RawDocument;

/// Field of documents that count rows exactly once.
pub(super) const APPLIED: &str = "_applied";

/// Entries of one document: name of the entry to its value.
pub(super) type Entries = BTreeMap<String, String>;

/// Names entries of one pump and one source.
#[derive(Clone, Debug)]
pub(super) struct Ledger {
    pump: String,
    fleet: String,
}

impl Ledger {
    pub(super) fn new(pump: &str, fleet: &str) -> Ledger {
        Ledger {
            pump: String::from_utf8_lossy(&escape_component(pump.as_bytes())).into_owned(),
            fleet: fleet.to_owned(),
        }
    }

    pub(super) fn fleet(&self) -> &str {
        &self.fleet
    }

    /// Name of a claim's entry.
    pub(super) fn name(&self, claim: ClaimId) -> String {
        format!("{claim}-{}", self.pump)
    }

    /// The claim whose entry has this name, if it is one of this pump.
    pub(super) fn claim_of(&self, name: &str) -> Option<ClaimId> {
        let claim = name.strip_suffix(&self.pump)?.strip_suffix('-')?;
        claim.parse().ok().map(ClaimId)
    }

    /// Value of an entry.
    pub(super) fn value(&self, rows: &RowRanges) -> String {
        format!("{} {rows}", self.fleet)
    }

    /// The rows of an entry; those of another source are none.
    pub(super) fn rows(&self, value: &str) -> RowRanges {
        let rows = value.strip_prefix(&self.fleet).and_then(|rest| rest.strip_prefix(' '));
        rows.and_then(|rows| rows.parse().ok()).unwrap_or_default()
    }
}

/// The entries of a document.
pub(super) fn entries(document: &RawDocument) -> Entries {
    let Ok(applied) = document.get_document(APPLIED) else {
        return Entries::new();
    };
    let texts = applied.iter().filter_map(|element| {
        let (name, value) = element.ok()?;
        Some((name.as_str().to_owned(), value.as_str()?.to_owned()))
    });
    texts.collect()
}
