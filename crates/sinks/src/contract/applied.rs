//! Which rows of a write a back-end has taken.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use analytics::{ClaimId, RowId, RowRanges, Selection};

/// Rows that a back-end has accepted although the write that offered them has not ended, or failed in the end.
///
/// It belongs to the lane, which hands the same one to every write of a sink, finishes the rows in it whatever became of the
/// write (success, failure, time-out, a dropped future), and forgets claims that are done. A sink marks a row as soon as the
/// back-end has said that it has it, from any thread, and does not send rows that are marked: so nothing is sent twice
/// because something else in its group failed. A sink whose groups are accepted as a whole, or not at all, has no use for it.
#[derive(Debug, Default)]
pub struct Applied(Mutex<BTreeMap<ClaimId, RowRanges>>);

impl Applied {
    fn rows(&self) -> MutexGuard<'_, BTreeMap<ClaimId, RowRanges>> {
        // Ranges are whole between two calls, whatever panicked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The back-end has these rows.
    pub fn mark(&self, rows: impl IntoIterator<Item = RowId>) {
        let mut marked = self.rows();
        for RowId { claim, row } in rows {
            marked.entry(claim).or_default().insert(row..row + 1);
        }
    }

    /// The marked rows of a claim.
    pub fn ranges(&self, claim: ClaimId) -> RowRanges {
        self.rows().get(&claim).cloned().unwrap_or_default()
    }

    /// `group` without the rows that are marked.
    pub fn rest_of(&self, group: &[Selection]) -> Vec<Selection> {
        let marked = self.rows();
        group
            .iter()
            .map(|selection| match marked.get(&selection.batch().claim) {
                Some(rows) => selection.exclude(rows),
                None => selection.clone(),
            })
            .collect()
    }

    /// Rows of these claims will not come again.
    pub fn forget(&self, claims: &[ClaimId]) {
        self.rows().retain(|claim, _| !claims.contains(claim));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_kept_until_their_claim_is_done() {
        let (one, other) = (ClaimId(ulid::Ulid(1)), ClaimId(ulid::Ulid(2)));
        let applied = Applied::default();
        applied.mark([3, 4, 9].map(|row| RowId { claim: one, row }));
        applied.mark([5, 6].map(|row| RowId { claim: other, row }));
        assert_eq!(applied.ranges(one).to_string(), "3-4,9-9");
        assert_eq!(applied.ranges(other).to_string(), "5-6");
        assert!(applied.ranges(one).contains(4));
        assert!(!applied.ranges(other).contains(4));
        applied.forget(&[one]);
        assert!(applied.ranges(one).is_empty());
        assert_eq!(applied.ranges(other).to_string(), "5-6");
    }
}
