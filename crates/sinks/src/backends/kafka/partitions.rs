//! Which partition a message goes to.

use std::{cmp::Reverse, collections::BinaryHeap};

/// The partitions of a topic, by what each has got so far.
#[derive(Default)]
pub(super) struct Partitions {
    /// Bytes and number, the least first; of equal ones the lowest number.
    loads: BinaryHeap<Reverse<(u64, i32)>>,
}

impl Partitions {
    /// Everybody starts from zero when their number changes.
    pub(super) fn resize(&mut self, count: usize) {
        if self.loads.len() != count {
            self.loads = (0..).take(count).map(|number| Reverse((0, number))).collect();
        }
    }

    /// The partition that has got the fewest bytes; it gets `bytes` more. `None`: there is no partition.
    pub(super) fn give(&mut self, bytes: usize) -> Option<i32> {
        let mut least = self.loads.peek_mut()?;
        let Reverse((load, number)) = &mut *least;
        let number = *number;
        *load = load.saturating_add(bytes as u64);
        Some(number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_loaded_one_is_next_and_of_equal_ones_the_lowest() {
        let mut partitions = Partitions::default();
        assert_eq!(partitions.give(1), None);
        partitions.resize(3);
        let given: Vec<_> = [10, 5, 5, 1, 1, 20]
            .into_iter()
            .filter_map(|bytes| partitions.give(bytes))
            .collect();
        assert_eq!(given, [0, 1, 2, 1, 2, 1]);
        partitions.resize(3);
        assert_eq!(partitions.give(1), Some(2));
        partitions.resize(2);
        assert_eq!(partitions.give(1), Some(0));
    }
}
