//! How much room a document has left.

use std::collections::BTreeMap;

use analytics::aggregate::{Aggregate, Dimension};

use super::{
    pump::Aggregates,
    stored::Contents,
    update::{self, Moved, OTHER},
};

impl Aggregates {
    /// Entries for which a dimension has no room: those with the fewest hits are counted together.
    pub(super) fn crowded_out(&self, collection: &str, contents: &Contents, aggregate: &Aggregate) -> Moved {
        let mut moved = Moved::new();
        let Ok(budget @ 1..) = usize::try_from(self.setup.common.max_keys_per_dimension) else {
            return moved;
        };
        let mut new: BTreeMap<Dimension, Vec<(i64, usize, String)>> = BTreeMap::new();
        for (number, entry) in aggregate.entries.iter().enumerate() {
            if let Some(path) = update::path(entry).filter(|path| !contents.has(path)) {
                let entries = new.entry(entry.dimension).or_default();
                entries.push((entry.counter.hits, number, path));
            }
        }
        for (dimension, mut entries) in new {
            let name = dimension.name();
            let room = budget.saturating_sub(contents.count(name));
            if entries.len() <= room {
                continue;
            }
            entries.sort_unstable_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
            let beyond = entries.split_off(room);
            if let Some((_, _, example)) = beyond.first() {
                self.warn(format!(
                    "{} new keys of {name} are counted together as {OTHER} in {}: there are {budget} already \
                     (meta.max_keys_per_dimension); one of them is {example}",
                    beyond.len(),
                    collection
                ));
            }
            let other = match dimension.is_nested() {
                true => format!("{name}.{OTHER}.{OTHER}"),
                false => format!("{name}.{OTHER}"),
            };
            moved.extend(beyond.into_iter().map(|(_, number, _)| (number, other.clone())));
        }
        moved
    }
}

/// Bytes that a document grows by when an aggregate is counted in it.
pub(super) fn growth(aggregate: &Aggregate, contents: &Contents, moved: &Moved) -> usize {
    let entries = aggregate.entries.iter().enumerate();
    let new = entries.filter(|(number, entry)| {
        !moved.contains_key(number) && update::path(entry).is_some_and(|path| !contents.has(&path))
    });
    new.map(|(_, entry)| update::weight(entry)).sum()
}
