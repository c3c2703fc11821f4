//! Aggregates: records counted by API, code, key and so on, in buckets of up to an hour. Pure: no store, no I/O.
//!
//! ```text
//! let mut aggregator = Aggregator::new(Engine::Rest, &rules);
//! for selection in group {
//!     for (row, record) in selection.records() {
//!         aggregator.add(&record);            // false: not for this engine
//!     }
//! }
//! for aggregate in aggregator.finish() {      // sorted by owner and bucket
//!     for entry in &aggregate.entries {       // sorted by dimension and key; aggregate.total stands beside them
//!     }
//! }
//! ```
//!
//! **What is counted.** [`Engine`] says which records, and whether an aggregate belongs to an organisation or to an API.
//! [`Dimension`] lists what they are counted by, [`Counter`] the figures. Uptime checks have an aggregator of their own,
//! [`UptimeAggregator`], with the same result.
//!
//! **Buckets.** By default a record is booked into the bucket of its own time ([`Bucketing::OwnTime`]). A bucket is then a
//! function of the record alone, [`Window::start`], so that a store may ask for any subset of rows, bucket by bucket: group
//! the rows by `rules.window.start(record.time(When::TimeStamp))`, leave out those that the store has, and aggregate the rest.
//! [`Aggregate::merge`] adds two results of the same owner and bucket. `compat` pumps use [`Bucketing::FirstRecord`] (SQL)
//! or [`Bucketing::Filling`] (MongoDB, hybrid), where everything that one aggregator gets goes into the bucket of the
//! first record of its owner.
//!
//! **Texts.** Keys and labels are the bytes that gateways sent, which need not be UTF-8. [`Entry::key`] is the form that
//! stores know: base64, hexadecimal, dots escaped, as upstream's rows and documents have it. [`Entry::value`] joins the two
//! keys of nested dimensions. With [`Rules::escape_keys`] every key is safe as a component of a MongoDB path; two texts with
//! the same escaped form then share an entry.
//!
//! **First and last.** [`Counter::last_time`] of an entry is the time of the first record that touched it, of a total that of
//! the last one; [`Entry::identifier`] and [`Entry::human_identifier`] are the last record's; the header is the first one's.
//! Nothing else but minima depends on the order of records.
//!
//! **Minima** come from the first record, whatever its code, and from answered requests behind it; those of an API that a
//! connection record named first are 0. So they hang on what is counted together, as with the reference. With
//! [`Rules::answered_minima`] they come from answered requests alone, below 400 in dimensions, 2xx in totals; only where
//! there is none, from what there is; [`Counter::has_minimum`] tells.
//!
//! With [`Rules::compat`] an API that a connection record named first has the time of year 1, and a GraphQL error takes a
//! success away even from a request that was none.

mod bucket;
mod counter;
mod counting;
mod dimension;
mod group;
mod result;
mod rules;
mod slots;
mod text;
mod uptime;

pub use self::{
    bucket::{Bucketing, Filling, Window},
    counter::{Codes, Counter},
    dimension::{Dimension, Dimensions},
    result::{Aggregate, Entry},
    rules::{Engine, Rules},
    text::{escape_component, escape_dots, hex},
    uptime::UptimeAggregator,
};
use self::{
    counter::{Hit, Rank},
    counting::Counting,
    group::{Groups, Header},
};
use crate::{RecordView, Text, When};

/// Counts records.
#[derive(Debug)]
pub struct Aggregator<'r> {
    engine: Engine,
    rules: &'r Rules,
    groups: Groups,
    counting: Counting<'r>,
}

impl<'r> Aggregator<'r> {
    /// Nothing counted yet.
    pub fn new(engine: Engine, rules: &'r Rules) -> Self {
        Aggregator {
            engine,
            rules,
            groups: Groups::default(),
            counting: Counting::new(rules, engine),
        }
    }

    /// Counts a record; `false`: it is none of this engine's.
    pub fn add(&mut self, record: &RecordView<'_>) -> bool {
        if !self.engine.takes(record) {
            return false;
        }
        let time = record.time(When::TimeStamp);
        let hit = Hit::of(record);
        let buckets = (self.rules.window, &self.rules.bucketing);
        let owner = record.text(self.engine.owner());
        let (number, group) = self.groups.get(&owner, buckets, time, || Header {
            org_id: record.text(Text::OrgId).into(),
            expire_at: record.time(When::ExpireAt),
        });
        group.last_time = time;
        group.total.last_time = time;
        let rank = match (hit.success, hit.error) {
            (1, _) => Rank::Best,
            (_, 1) => Rank::Error,
            _ => Rank::Other,
        };
        group.total.add(&hit, rank, !self.rules.answered_minima);
        if !self.rules.answered_minima {
            group.total.raise_maxima();
        }

        self.counting.group = number;
        self.counting.time = time;
        self.counting.hit = hit;
        if hit.is_connection() {
            self.counting.connection(record);
        } else {
            self.counting.standard(record);
        }
        match self.engine {
            Engine::Rest => {}
            Engine::Graph => self.counting.graph(record),
            Engine::Mcp => self.counting.mcp(record),
        }
        true
    }

    /// The aggregates, sorted by owner and bucket.
    pub fn finish(self) -> Vec<Aggregate> {
        self.groups.finish(self.counting.slots)
    }
}
