//! Counters by key while records are being added. A key is copied when it is first seen and only looked up afterwards.

use std::hash::{BuildHasher, Hasher};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::{Counter, Dimension};
use crate::Time;

/// A text that goes with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Label {
    Empty,
    /// The key itself.
    Key,
    /// The same as the identifier.
    Identifier,
    Text(Box<[u8]>),
}

impl Label {
    /// Makes `text` the label; free if it is already.
    pub(super) fn set(&mut self, text: &[u8]) {
        match self {
            _ if text.is_empty() => *self = Label::Empty,
            Label::Text(known) if **known == *text => {}
            _ => *self = Label::Text(text.into()),
        }
    }
}

/// A key and its figures.
#[derive(Debug)]
pub(super) struct Slot {
    /// Position of the aggregate that it belongs to.
    pub(super) group: u32,
    pub(super) dimension: Dimension,
    /// Length of the outer key at the beginning of `key`; 0 unless nested.
    pub(super) outer: usize,
    /// Before base64 and hexadecimal, which are not worth computing for every record.
    pub(super) key: Box<[u8]>,
    pub(super) identifier: Label,
    pub(super) human: Label,
    pub(super) counter: Counter,
}

impl Slot {
    /// Makes `text` the identifier.
    pub(super) fn identify(&mut self, text: &[u8]) {
        if *self.key == *text {
            self.identifier = Label::Key;
        } else {
            self.identifier.set(text);
        }
    }
}

/// All counters of all aggregates.
#[derive(Debug, Default)]
pub(super) struct Slots {
    /// Positions in `slots`. Keys come from clients: the hash has a random seed, so that nobody can make them collide.
    table: HashTable<u32>,
    hasher: DefaultHashBuilder,
    slots: Vec<Slot>,
}

impl Slots {
    /// The slot of a key, made if it is not there. `time` is the record's.
    pub(super) fn get(&mut self, group: u32, dimension: Dimension, outer: usize, key: &[u8], time: Time) -> &mut Slot {
        let hash = hash(&self.hasher, group, dimension, key);
        let found = self.table.find(hash, |&at| {
            self.slots.get(at as usize).is_some_and(|slot| {
                slot.group == group && slot.dimension == dimension && slot.outer == outer && *slot.key == *key
            })
        });
        let at = match found {
            Some(&at) => at as usize,
            None => {
                let at = self.slots.len();
                let (slots, hasher) = (&self.slots, &self.hasher);
                self.table.insert_unique(hash, at as u32, |&at| {
                    let slot = slots.get(at as usize);
                    slot.map_or(0, |slot| hash_of(hasher, slot))
                });
                self.slots.push(Slot {
                    group,
                    dimension,
                    outer,
                    key: key.into(),
                    identifier: Label::Key,
                    human: Label::Identifier,
                    counter: Counter::new(time),
                });
                at
            }
        };
        #[allow(clippy::indexing_slicing)] // Found or just pushed.
        &mut self.slots[at]
    }

    pub(super) fn into_vec(self) -> Vec<Slot> {
        self.slots
    }
}

fn hash(hasher: &DefaultHashBuilder, group: u32, dimension: Dimension, key: &[u8]) -> u64 {
    let mut hasher = hasher.build_hasher();
    hasher.write_u64(u64::from(group) << 8 | dimension as u64);
    hasher.write(key);
    hasher.finish()
}

fn hash_of(hasher: &DefaultHashBuilder, slot: &Slot) -> u64 {
    hash(hasher, slot.group, slot.dimension, &slot.key)
}
