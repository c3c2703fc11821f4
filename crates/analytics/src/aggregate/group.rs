//! The aggregates that are being filled.

use hashbrown::HashMap;

use super::{Aggregate, Bucketing, Counter, Window, result, slots::Slots};
use crate::Time;

/// Aggregates by owner and bucket.
#[derive(Debug, Default)]
pub(super) struct Groups {
    /// By owner: starts of buckets, ascending, with positions in `groups`. 0 is the only start unless every record has a
    /// bucket of its own.
    known: HashMap<Vec<u8>, Vec<(i64, u32)>>,
    groups: Vec<Aggregate>,
    /// The group found last: consecutive records mostly share it.
    last: usize,
}

impl Groups {
    /// The group of a record, made if it is not there.
    pub(super) fn get(
        &mut self,
        owner: &[u8],
        (window, bucketing): (Window, &Bucketing),
        time: Time,
        header: impl FnOnce() -> Header,
    ) -> (u32, &mut Aggregate) {
        let own = bucketing.is_own_time().then(|| window.start(time));
        let is_it = |group: &Aggregate| {
            *group.owner == *owner && own.is_none_or(|bucket| bucket.seconds == group.bucket.seconds)
        };
        if !self.groups.get(self.last).is_some_and(is_it) {
            let start = own.map_or(0, |bucket| bucket.seconds);
            let buckets = self.known.entry_ref(owner).or_default();
            let at = buckets.binary_search_by_key(&start, |&(start, _)| start);
            let at = at.unwrap_or_else(|at| {
                let Header { org_id, expire_at } = header();
                buckets.insert(at, (start, self.groups.len() as u32));
                self.groups.push(Aggregate {
                    owner: owner.into(),
                    org_id,
                    bucket: own.unwrap_or_else(|| bucketing.start(window, time)),
                    first_time: time,
                    expire_at,
                    last_time: time,
                    total: Counter::new(time),
                    entries: Vec::new(),
                });
                at
            });
            self.last = buckets.get(at).map_or(0, |&(_, group)| group as usize);
        }
        #[allow(clippy::indexing_slicing)] // Found or just pushed.
        (self.last as u32, &mut self.groups[self.last])
    }

    /// The aggregates with their entries, sorted by owner and bucket.
    pub(super) fn finish(self, slots: Slots) -> Vec<Aggregate> {
        let mut groups = self.groups;
        for slot in slots.into_vec() {
            if let Some(group) = groups.get_mut(slot.group as usize) {
                group.entries.push(result::Entry::new(slot));
            }
        }
        for group in &mut groups {
            group.entries = result::sorted(std::mem::take(&mut group.entries));
        }
        groups.sort_by(|a, b| (&a.owner, a.bucket.seconds).cmp(&(&b.owner, b.bucket.seconds)));
        groups
    }
}

/// What an aggregate has from its first record.
pub(super) struct Header {
    pub(super) org_id: Box<[u8]>,
    pub(super) expire_at: Time,
}
