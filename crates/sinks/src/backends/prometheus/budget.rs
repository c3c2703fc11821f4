//! How many series a metric may have, and where it counts what would be one more.

use hashbrown::HashSet;

use super::label::{Label, SEPARATOR, Source, values};

/// Value of a label whose own values are too many.
pub(super) const OTHER: &str = "__other__";

/// The series that a metric may have. A tenth of them is for series with [`OTHER`], so that these still tell what the other
/// labels are as long as there is room; the last of them is `__other__` in every label and has room always.
#[derive(Debug, Default)]
pub(super) struct Budget {
    /// 0: no limit.
    most: usize,
    /// Labels that have many values, most first; found out when the metric is full.
    by_values: Option<Vec<(usize, usize)>>,
}

impl Budget {
    pub(super) fn new(most: usize) -> Budget {
        Budget { most, by_values: None }
    }

    /// Whether a metric with so many series may have one more of its own.
    pub(super) fn has_room(&self, series: usize) -> bool {
        self.most == 0 || series < self.most - self.most / 10
    }

    /// Whether it may have one more with [`OTHER`].
    pub(super) fn has_room_for_folded(&self, series: usize) -> bool {
        series < self.most
    }

    /// Labels to fold, that with the most values first: their place among `labels` and how many values they have. `keys` are
    /// the series there are.
    pub(super) fn folds_next<'a>(
        &mut self,
        labels: &[Label],
        keys: impl Iterator<Item = &'a [u8]>,
    ) -> &[(usize, usize)] {
        self.by_values.get_or_insert_with(|| {
            let mut found: Vec<HashSet<&str>> = labels.iter().map(|_| HashSet::new()).collect();
            for key in keys {
                for (values, value) in found.iter_mut().zip(values(key)) {
                    values.insert(value);
                }
            }
            let mut order: Vec<(usize, usize)> = found.iter().map(HashSet::len).enumerate().collect();
            order.retain(|(at, _)| labels.get(*at).is_some_and(|label| label.source != Source::Type));
            order.sort_by_key(|(_, values)| std::cmp::Reverse(*values));
            order
        })
    }

    /// The label with the most values and how many these are, if the metric is full.
    pub(super) fn worst(&self) -> Option<(usize, usize)> {
        self.by_values.as_ref()?.first().copied()
    }

    /// Series have gone: what is full has to be found out anew.
    pub(super) fn reset(&mut self) {
        self.by_values = None;
    }
}

/// The key of the series that counts what `key` would: `folded` labels are [`OTHER`].
pub(super) fn fold(out: &mut Vec<u8>, key: &[u8], folded: &[(usize, usize)]) {
    out.clear();
    for (at, value) in values(key).enumerate() {
        if at > 0 {
            out.push(SEPARATOR);
        }
        let is_folded = folded.iter().any(|(label, _)| *label == at);
        out.extend_from_slice(if is_folded { OTHER } else { value }.as_bytes());
    }
}
