//! Which entries one record touches.

use std::borrow::Cow;

use super::{
    Dimension, Dimensions, Engine, Rules,
    counter::{Hit, Rank, Traffic},
    slots::{Label, Slot, Slots},
    text,
};
use crate::{Flag, Int, RecordView, Text, Time};

/// Counts one record after the other under its keys.
#[derive(Debug)]
pub(super) struct Counting<'r> {
    rules: &'r Rules,
    engine: Engine,
    pub(super) slots: Slots,
    /// The aggregate of the present record.
    pub(super) group: u32,
    /// Its time.
    pub(super) time: Time,
    /// What it adds.
    pub(super) hit: Hit,
    /// A key of several parts, kept for its memory.
    joined: Vec<u8>,
}

impl<'r> Counting<'r> {
    pub(super) fn new(rules: &'r Rules, engine: Engine) -> Self {
        Counting {
            rules,
            engine,
            slots: Slots::default(),
            group: 0,
            time: Time::ZERO,
            hit: Hit::of_code(0),
            joined: Vec::new(),
        }
    }

    /// A record without a request touches the bytes of its API.
    pub(super) fn connection(&mut self, record: &RecordView<'_>) {
        let (api, traffic) = (record.text(Text::ApiId), self.hit.traffic);
        if api.is_empty() || !self.counts(Dimension::ApiId) {
            return;
        }
        let (pins, timeless) = (!self.rules.answered_minima, self.rules.compat);
        let slot = self.slot(Dimension::ApiId, &api);
        if pins {
            slot.counter.pin_minimum(timeless);
        }
        // Names of requests count for more.
        if slot.human == Label::Identifier {
            slot.human.set(&record.text(Text::ApiName));
        }
        if let Some(traffic) = traffic {
            let (open, closed) = (0, 0);
            slot.counter.add_traffic(&Traffic {
                open,
                closed,
                ..traffic
            });
        }
    }

    /// What every engine counts.
    pub(super) fn standard(&mut self, record: &RecordView<'_>) {
        let text = |field| record.text(field);
        let (api, version) = (text(Text::ApiId), text(Text::ApiVersion));
        let (key, client) = (text(Text::ApiKey), text(Text::OauthId));
        if !api.is_empty() && self.counts(Dimension::ApiId) {
            self.count(Dimension::ApiId, &api).human.set(&text(Text::ApiName));
        }
        if self.hit.error > 0 && self.counts(Dimension::Errors) {
            let code = self.hit.code;
            self.count(Dimension::Errors, itoa::Buffer::new().format(code).as_bytes())
                .human = Label::Empty;
        }
        if !version.is_empty() && self.counts(Dimension::Versions) {
            let slot = self.count_encoded(Dimension::Versions, b"", &[&api, b":", &version]);
            slot.identifier.set(&version);
        }
        if !key.is_empty() && self.counts(Dimension::ApiKeys) {
            self.count(Dimension::ApiKeys, &key).human.set(&text(Text::Alias));
        }
        if !client.is_empty() && self.counts(Dimension::OauthIds) {
            self.count(Dimension::OauthIds, &client).human = Label::Empty;
        }
        let country = text(Text::GeoCountryIsoCode);
        if !country.is_empty() && self.counts(Dimension::Geo) {
            self.count(Dimension::Geo, &country);
        }
        if self.counts(Dimension::Tags) {
            self.tags(record);
        }
        let tracks_all = self.engine == Engine::Rest && self.rules.track_all_paths;
        if tracks_all || record.flag(Flag::TrackPath) {
            self.endpoints(&text(Text::Path), (&api, &version), (&key, &client));
        }
    }

    fn tags(&mut self, record: &RecordView<'_>) {
        for tag in record.tags().into_iter().flatten() {
            if self.rules.ignores_tag(tag, self.engine) {
                continue;
            }
            let tag = text::clean_tag(tag);
            if !tag.is_empty() {
                self.count(Dimension::Tags, &tag);
            }
        }
    }

    fn endpoints(&mut self, path: &[u8], (api, version): (&[u8], &[u8]), (key, client): (&[u8], &[u8])) {
        // The empty key is no path component of MongoDB, whose server would refuse the whole update.
        if path.is_empty() && self.rules.escape_keys {
            return;
        }
        if self.counts(Dimension::Endpoints) {
            let escaped = text::escape_dots(path);
            self.count(Dimension::Endpoints, &escaped).identify(path);
        }
        for (dimension, outer) in [(Dimension::KeyEndpoints, key), (Dimension::OauthEndpoints, client)] {
            if !outer.is_empty() && self.counts(dimension) {
                self.count_encoded(dimension, outer, &[api, b":", path]);
            }
        }
        if self.counts(Dimension::ApiEndpoints) {
            let slot = self.count_encoded(Dimension::ApiEndpoints, b"", &[api, b":", version, b":", path]);
            slot.human.set(path);
        }
    }

    pub(super) fn graph(&mut self, record: &RecordView<'_>) {
        let compat = self.rules.compat;
        // Errors in the body of an answer that is none by its code.
        if record.flag(Flag::GraphHasErrors) && self.hit.error == 0 && (compat || self.hit.hits > 0) {
            self.hit.error = 1;
            if compat || self.hit.success == 1 {
                self.hit.success -= 1;
            }
        }
        let operation: &[u8] = match record.int(Int::GraphOperationType) {
            1 => b"Query",
            2 => b"Mutation",
            3 => b"Subscription",
            _ => b"",
        };
        self.count(Dimension::Operation, operation);
        for (name, fields) in record.types().into_iter().flatten() {
            self.count(Dimension::Types, name);
            for field in fields.into_iter().flatten() {
                self.count_joined(Dimension::Fields, &[name, b"_", field]);
            }
        }
        for field in record.root_fields().into_iter().flatten() {
            self.count(Dimension::RootFields, field);
        }
    }

    pub(super) fn mcp(&mut self, record: &RecordView<'_>) {
        let (method, kind) = (record.text(Text::McpJsonRpcMethod), record.text(Text::McpPrimitiveType));
        if !method.is_empty() {
            self.count(Dimension::Methods, &method);
        }
        if !kind.is_empty() {
            self.count(Dimension::Primitives, &kind);
        }
        let name = record.text(Text::McpPrimitiveName);
        if !name.is_empty() {
            let separator: &[u8] = if kind.is_empty() { b"" } else { b"_" };
            self.count_joined(Dimension::Names, &[&kind, separator, &name])
                .human
                .set(&name);
        }
    }

    fn counts(&self, dimension: Dimension) -> bool {
        let ignored = match self.engine {
            Engine::Rest => self.rules.ignored,
            Engine::Graph | Engine::Mcp => Dimensions::default(),
        };
        !ignored.contains(dimension)
    }

    /// Counts the record under a key that stores show as it is, or escaped.
    fn count(&mut self, dimension: Dimension, key: &[u8]) -> &mut Slot {
        let (hit, first_counts) = (self.hit, !self.rules.answered_minima);
        let slot = self.slot(dimension, key);
        count(slot, &hit, first_counts);
        slot
    }

    /// As [`Counting::count`], with a key of several parts.
    fn count_joined(&mut self, dimension: Dimension, parts: &[&[u8]]) -> &mut Slot {
        self.join(parts);
        let key = escape(self.rules, &self.joined);
        let slot = self.slots.get(self.group, dimension, 0, &key, self.time);
        slot.identify(&self.joined);
        count(slot, &self.hit, !self.rules.answered_minima);
        slot
    }

    /// Counts the record under a key that stores show in base64 or hexadecimal. Its parts are kept until then.
    fn count_encoded(&mut self, dimension: Dimension, outer: &[u8], parts: &[&[u8]]) -> &mut Slot {
        let outer = escape(self.rules, outer);
        self.join(&[&outer]);
        parts.iter().for_each(|part| self.joined.extend_from_slice(part));
        let slot = self
            .slots
            .get(self.group, dimension, outer.len(), &self.joined, self.time);
        count(slot, &self.hit, !self.rules.answered_minima);
        slot
    }

    fn join(&mut self, parts: &[&[u8]]) {
        self.joined.clear();
        parts.iter().for_each(|part| self.joined.extend_from_slice(part));
    }

    fn slot(&mut self, dimension: Dimension, key: &[u8]) -> &mut Slot {
        let escaped = escape(self.rules, key);
        let slot = self.slots.get(self.group, dimension, 0, &escaped, self.time);
        if self.rules.escape_keys {
            slot.identify(key);
        }
        slot
    }
}

fn count(slot: &mut Slot, hit: &Hit, first_counts: bool) {
    let rank = if hit.error > 0 { Rank::Error } else { Rank::Best };
    slot.counter.add(hit, rank, first_counts);
}

fn escape<'a>(rules: &Rules, key: &'a [u8]) -> Cow<'a, [u8]> {
    if rules.escape_keys {
        text::escape_component(key)
    } else {
        Cow::Borrowed(key)
    }
}
