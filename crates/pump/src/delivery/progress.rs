//! How far one lane has got with one claim.

use std::ops::Range;

use analytics::RowRanges;

/// Finished rows of a claim. Only the end of the unbroken run from the start may be acknowledged; what finishes early
/// waits here.
#[derive(Clone, Debug)]
pub struct Progress {
    acknowledged: u64,
    len: u64,
    finished: RowRanges,
}

impl Progress {
    /// A lane that has `cursor` as its next row in a claim of `len` rows.
    pub fn new(cursor: u64, len: u64) -> Self {
        let mut finished = RowRanges::new();
        finished.insert(0..cursor.min(len));
        Self {
            acknowledged: cursor.min(len),
            len,
            finished,
        }
    }

    /// The rows need no further work.
    pub fn finish(&mut self, rows: Range<u64>) {
        self.finished.insert(rows.start.min(self.len)..rows.end.min(self.len));
    }

    /// Whether `row` needs no further work.
    pub fn is_finished(&self, row: u64) -> bool {
        self.finished.contains(row)
    }

    /// First unfinished row at or after `row`; `None` when there is none.
    pub fn next_unfinished(&self, row: u64) -> Option<u64> {
        Some(self.finished.run_end(row)).filter(|&next| next < self.len)
    }

    /// End of the unbroken run of finished rows: the cursor that may be acknowledged.
    pub fn run_end(&self) -> u64 {
        self.finished.run_end(0)
    }

    /// The cursor to acknowledge, if it has moved.
    pub fn unacknowledged(&self) -> Option<u64> {
        Some(self.run_end()).filter(|&end| end > self.acknowledged)
    }

    /// The source has stored `cursor`.
    pub fn acknowledge(&mut self, cursor: u64) {
        self.acknowledged = self.acknowledged.max(cursor);
    }

    /// Rows of the claim.
    pub fn end(&self) -> u64 {
        self.len
    }

    /// Rows that still need work.
    pub fn left(&self) -> u64 {
        self.len - self.finished.len().min(self.len)
    }

    /// Whether every row is finished and acknowledged.
    pub fn is_done(&self) -> bool {
        self.acknowledged >= self.len
    }
}

#[cfg(test)]
mod tests {
    use super::Progress;

    #[test]
    fn rows_that_finish_early_are_not_acknowledged_before_those_in_front_of_them() {
        let mut progress = Progress::new(10, 100);
        progress.finish(20..30);
        assert_eq!(
            (progress.unacknowledged(), progress.next_unfinished(0), progress.left()),
            (None, Some(10), 80)
        );
        progress.finish(10..20);
        assert_eq!(progress.unacknowledged(), Some(30));
        progress.acknowledge(30);
        assert_eq!((progress.unacknowledged(), progress.is_done()), (None, false));
        progress.finish(30..1000);
        progress.acknowledge(progress.run_end());
        assert!(progress.is_done() && progress.next_unfinished(0).is_none() && progress.left() == 0);
    }
}
