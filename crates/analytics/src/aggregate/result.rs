//! Finished aggregates.

use std::{borrow::Cow, cmp::Ordering};

use super::{
    Counter, Dimension,
    slots::{Label, Slot},
    text,
};
use crate::Time;

/// Every count of one owner in one bucket.
#[derive(Clone, Debug, PartialEq)]
pub struct Aggregate {
    /// The organisation, for GraphQL and MCP the API.
    pub owner: Box<[u8]>,
    /// Organisation of the first record.
    pub org_id: Box<[u8]>,
    /// Start of the bucket, in the zone of the first record.
    pub bucket: Time,
    /// Time of the first record: `timeid` of hybrid's JSON comes from it.
    pub first_time: Time,
    /// When the first record expires.
    pub expire_at: Time,
    /// Time of the last record.
    pub last_time: Time,
    /// Every record.
    pub total: Counter,
    /// By dimension, then by outer key, then by key. The total is not among them.
    pub entries: Vec<Entry>,
}

/// One key of one dimension.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// The dimension.
    pub dimension: Dimension,
    /// Outer key of nested dimensions, else empty.
    outer: Box<[u8]>,
    key: Box<[u8]>,
    identifier: Label,
    human: Label,
    /// Its figures.
    pub counter: Counter,
}

impl Entry {
    pub(super) fn new(slot: Slot) -> Entry {
        let (outer, inner) = slot.key.split_at(slot.outer);
        let (outer, key) = match slot.dimension {
            Dimension::KeyEndpoints | Dimension::OauthEndpoints => (outer.into(), text::base64(inner)),
            Dimension::Versions => (Box::default(), text::base64(inner)),
            Dimension::ApiEndpoints => (Box::default(), text::hex(inner)),
            _ => (Box::default(), slot.key),
        };
        Entry {
            dimension: slot.dimension,
            outer,
            key,
            identifier: slot.identifier,
            human: slot.human,
            counter: slot.counter,
        }
    }

    /// Outer key of a nested dimension; empty for the others.
    pub fn outer(&self) -> &[u8] {
        &self.outer
    }

    /// Key in the dimension's map, for nested dimensions in the map of [`Entry::outer`].
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// `dimension_value` in SQL, and what follows the dimension's name in a path of MongoDB: the key, in nested dimensions
    /// behind the outer key and a dot.
    pub fn value(&self) -> Cow<'_, [u8]> {
        if self.dimension.is_nested() {
            return Cow::Owned([&self.outer, b".".as_slice(), &self.key].concat());
        }
        Cow::Borrowed(&self.key)
    }

    /// What the key stands for: the key itself in most dimensions, the version or the path in others.
    pub fn identifier(&self) -> &[u8] {
        match &self.identifier {
            Label::Text(text) => text,
            Label::Empty => b"",
            Label::Key | Label::Identifier => &self.key,
        }
    }

    /// Name for people: of the API, alias of the key; empty in some dimensions. The last record's.
    pub fn human_identifier(&self) -> &[u8] {
        match &self.human {
            Label::Text(text) => text,
            Label::Empty => b"",
            Label::Key => &self.key,
            Label::Identifier => self.identifier(),
        }
    }

    fn place(&self) -> (Dimension, &[u8], &[u8]) {
        (self.dimension, &self.outer, &self.key)
    }
}

impl Aggregate {
    /// Entries of one dimension, sorted by key.
    pub fn dimension(&self, dimension: Dimension) -> &[Entry] {
        let start = self.entries.partition_point(|entry| entry.dimension < dimension);
        let end = self.entries.partition_point(|entry| entry.dimension <= dimension);
        self.entries.get(start..end).unwrap_or_default()
    }

    /// Adds `later`, which has the same owner and bucket and whose records come after the ones of this one: times and texts
    /// that belong to the first record stay, those of the last one are taken over.
    pub fn merge(&mut self, later: Aggregate) {
        self.last_time = later.last_time;
        self.total.merge(&later.total);
        self.total.last_time = later.total.last_time;
        let mut ours = std::mem::take(&mut self.entries).into_iter().peekable();
        let mut theirs = later.entries.into_iter().peekable();
        loop {
            let order = match (ours.peek(), theirs.peek()) {
                (None, None) => return,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(our), Some(their)) => our.place().cmp(&their.place()),
            };
            let mut next = if order == Ordering::Greater {
                theirs.next()
            } else {
                ours.next()
            };
            if order == Ordering::Equal
                && let (Some(our), Some(their)) = (&mut next, theirs.next())
            {
                our.counter.merge(&their.counter);
                our.identifier = their.identifier;
                our.human = their.human;
            }
            self.entries.extend(next);
        }
    }
}

/// The entries in their order. Most comparisons need no more than the beginnings of keys, which lie side by side here:
/// following two pointers for each comparison costs several times as much.
pub(super) fn sorted(entries: Vec<Entry>) -> Vec<Entry> {
    let mut order: Vec<(Dimension, u128, usize)> = Vec::with_capacity(entries.len());
    for (at, entry) in entries.iter().enumerate() {
        let first = if entry.outer.is_empty() {
            &entry.key
        } else {
            &entry.outer
        };
        order.push((entry.dimension, beginning(first), at));
    }
    let place = |at: usize| entries.get(at).map(Entry::place);
    order.sort_unstable_by(|a, b| (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| place(a.2).cmp(&place(b.2))));
    let mut entries: Vec<Option<Entry>> = entries.into_iter().map(Some).collect();
    let taken = order.into_iter().filter_map(|(_, _, at)| entries.get_mut(at)?.take());
    taken.collect()
}

/// The first 16 bytes as a number that compares like them.
fn beginning(text: &[u8]) -> u128 {
    let mut bytes = [0; 16];
    let len = text.len().min(16);
    if let (Some(to), Some(from)) = (bytes.get_mut(..len), text.get(..len)) {
        to.copy_from_slice(from);
    }
    u128::from_be_bytes(bytes)
}
