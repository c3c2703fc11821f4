//! Sets of row numbers, kept as ranges: what a ledger stores.

use std::{fmt, ops::Range, str::FromStr};

/// A set of rows of one claim. Text form: inclusive ranges in ascending order, such as `0-4999,10000-14999`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowRanges(Vec<Range<u64>>);

impl RowRanges {
    /// The empty set.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// Adds `rows`, merging what touches or overlaps.
    pub fn insert(&mut self, rows: Range<u64>) {
        if rows.is_empty() {
            return;
        }
        let from = self.0.partition_point(|r| r.end < rows.start);
        let to = self.0.partition_point(|r| r.start <= rows.end);
        let merged = self.0[from..to]
            .iter()
            .fold(rows, |all, r| all.start.min(r.start)..all.end.max(r.end));
        self.0.splice(from..to, [merged]);
    }

    /// Whether `row` is in the set.
    pub fn contains(&self, row: u64) -> bool {
        let at = self.0.partition_point(|r| r.end <= row);
        self.0.get(at).is_some_and(|r| r.contains(&row))
    }

    /// Whether every row of `rows` is in the set.
    pub fn covers(&self, rows: Range<u64>) -> bool {
        let at = self.0.partition_point(|r| r.end <= rows.start);
        rows.is_empty()
            || self
                .0
                .get(at)
                .is_some_and(|r| r.start <= rows.start && rows.end <= r.end)
    }

    /// End of the unbroken run that begins at `row`; `row` itself when it is not in the set.
    pub fn run_end(&self, row: u64) -> u64 {
        let at = self.0.partition_point(|r| r.end <= row);
        self.0.get(at).filter(|r| r.contains(&row)).map_or(row, |r| r.end)
    }

    /// Forgets every row below `row`.
    pub fn forget_below(&mut self, row: u64) {
        self.0.retain_mut(|r| {
            r.start = r.start.max(row);
            !r.is_empty()
        });
    }

    /// The ranges, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &Range<u64>> {
        self.0.iter()
    }

    /// Number of rows.
    pub fn len(&self) -> u64 {
        self.0.iter().map(|r| r.end - r.start).sum()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for RowRanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, range) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}-{}", range.start, range.end - 1)?;
        }
        Ok(())
    }
}

/// A text that is no set of rows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is no list of row ranges such as 0-4999,10000-14999")]
pub struct InvalidRanges(String);

impl FromStr for RowRanges {
    type Err = InvalidRanges;

    fn from_str(text: &str) -> Result<Self, InvalidRanges> {
        let bad = || InvalidRanges(text.to_owned());
        let mut ranges = RowRanges::new();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (first, last) = part.split_once('-').ok_or_else(bad)?;
            let first: u64 = first.parse().map_err(|_| bad())?;
            let last: u64 = last.parse().map_err(|_| bad())?;
            let end = last.checked_add(1).filter(|&end| end > first).ok_or_else(bad)?;
            ranges.insert(first..end);
        }
        Ok(ranges)
    }
}

#[cfg(test)]
mod tests {
    use super::RowRanges;

    #[test]
    fn ranges_that_touch_or_overlap_become_one() {
        let mut set = RowRanges::new();
        for rows in [10..20, 30..40, 20..25, 24..31, 0..1] {
            set.insert(rows);
        }
        assert_eq!(set.to_string(), "0-0,10-39");
        assert_eq!(set.to_string().parse(), Ok(set.clone()));
        assert_eq!(
            (set.run_end(0), set.run_end(1), set.run_end(12), set.len()),
            (1, 1, 40, 31)
        );
        assert!(set.contains(39) && !set.contains(40) && set.covers(10..40) && !set.covers(0..12));
        set.forget_below(15);
        assert_eq!(set.to_string(), "15-39");
    }

    #[test]
    fn a_text_that_is_no_list_of_ranges_is_refused() {
        for text in ["1", "5-3", "a-b", "0-18446744073709551615"] {
            assert!(text.parse::<RowRanges>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn a_set_holds_exactly_the_rows_that_were_inserted(parts in proptest::collection::vec((0u64..200, 0u64..30), 0..20)) {
            let mut set = RowRanges::new();
            let mut want = std::collections::BTreeSet::new();
            for (start, len) in parts {
                set.insert(start..start + len);
                want.extend(start..start + len);
            }
            proptest::prop_assert_eq!((0..260).filter(|&r| set.contains(r)).collect::<std::collections::BTreeSet<_>>(), want);
            proptest::prop_assert_eq!(set.to_string().parse(), Ok(set));
        }
    }
}
