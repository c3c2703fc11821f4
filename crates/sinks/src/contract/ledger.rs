//! Which rows a back-end has, kept by the sink.

use std::{collections::BTreeMap, ops::Range};

use analytics::{ClaimId, RowId, RowRanges, Selection};

/// More claims than any lane has under way. Beyond it the oldest go, so that a caller that never forgets (a source
/// without claims) cannot make a ledger grow for ever.
const MAX_CLAIMS: usize = 4096;

/// Rows by claim.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ledger(BTreeMap<ClaimId, RowRanges>);

impl Ledger {
    pub(crate) fn insert(&mut self, claim: ClaimId, rows: Range<u64>) {
        if !rows.is_empty() {
            self.0.entry(claim).or_default().insert(rows);
        }
        if self.0.len() > MAX_CLAIMS {
            self.0.pop_first();
        }
    }

    /// Adds what `selection` settles when it is written.
    pub(crate) fn insert_selection(&mut self, selection: &Selection) {
        for rows in selection.covered().iter() {
            self.insert(selection.batch().claim, rows.clone());
        }
    }

    pub(crate) fn merge(&mut self, other: &Ledger) {
        for (&claim, ranges) in &other.0 {
            for rows in ranges.iter() {
                self.insert(claim, rows.clone());
            }
        }
    }

    pub(crate) fn contains(&self, row: RowId) -> bool {
        self.0.get(&row.claim).is_some_and(|ranges| ranges.contains(row.row))
    }

    pub(crate) fn ranges(&self, claim: ClaimId) -> RowRanges {
        self.0.get(&claim).cloned().unwrap_or_default()
    }

    pub(crate) fn forget(&mut self, claims: &[ClaimId]) {
        self.0.retain(|claim, _| !claims.contains(claim));
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ClaimId, &RowRanges)> {
        self.0.iter()
    }

    pub(crate) fn replace(&mut self, claim: ClaimId, ranges: RowRanges) {
        self.0.insert(claim, ranges);
    }
}
