//! The sink of both types.

use std::{collections::HashSet, sync::Arc};

use analytics::{
    ClaimId, RowRanges, Selection, Text, Time, Zone,
    aggregate::{Aggregate, Aggregator, Bucketing, Engine, Filling, Rules, Window},
};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use mongodb::bson::{Document, RawDocument, doc};
use tokio::sync::Mutex;

use super::{
    Setup,
    applied::Ledger,
    claims::Claims,
    guarded::Work,
    part::{Place, Places},
    prefixes, stored, update,
};
use crate::{
    Applied, BuildContext, BuildError, Fleet, Guarantee, Rejected, Sink, SinkSpec, WriteError, Written,
    mongo::{client::Connection, index::Family, organisation},
};

/// Documents that are written at the same time.
const IN_FLIGHT: usize = 4;

/// Counts records in documents.
pub(in crate::backends::mongo) struct Aggregates {
    pub(super) connection: Connection,
    pub(super) setup: Setup,
    pub(super) pump: String,
    pub(super) places: Places,
    pub(super) claims: Claims,
    /// `compat`: the window, which self-healing halves, and the bucket that is being filled.
    pub(super) compat: Option<(Mutex<Window>, Arc<Filling>)>,
    pub(super) prefix: &'static str,
    fleet: Fleet,
    /// Collections whose indexes have been looked after.
    prepared: Mutex<HashSet<String>>,
}

impl Aggregates {
    pub(in crate::backends::mongo) async fn open(
        context: &BuildContext,
        spec: &'static SinkSpec,
        setup: impl Into<Setup>,
    ) -> Result<Aggregates, BuildError> {
        let setup = setup.into();
        let connection = Connection::open(&setup.common.connection, spec.log_prefix, &context.pump).await?;
        let window = setup.rules.window;
        let aggregates = Aggregates {
            connection,
            setup,
            pump: context.pump.to_string(),
            places: Places::default(),
            claims: Claims::default(),
            compat: context
                .compat
                .then(|| (Mutex::new(window), Arc::new(Filling::default()))),
            prefix: spec.log_prefix,
            fleet: context.fleet.clone(),
            prepared: Mutex::default(),
        };
        if aggregates.setup.engine == Engine::Rest {
            aggregates.resume_bucket().await;
        }
        Ok(aggregates)
    }

    /// `compat`: goes on with the bucket of the document that was stored last, as upstream does.
    async fn resume_bucket(&self) {
        let Some((_, filling)) = &self.compat else {
            return;
        };
        let (_, mixed) = self.setup.collections();
        let find = doc! {"find": mixed, "filter": {}, "limit": 1i64, "singleBatch": true, "sort": {"$natural": -1}};
        let Ok(answer) = self.connection.run(find).await else {
            return;
        };
        let last = answer
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"));
        let last = last.ok().and_then(|batch| batch.first()?.as_document());
        if let Some(start) = last.and_then(|last| last.get_datetime("timestamp").ok()) {
            filling.resume(Time {
                seconds: start.timestamp_millis().div_euclid(1000),
                nanos: 0,
                // As times read back are for upstream; `timeid` is made in it.
                zone: Zone::LOCAL,
            });
        }
    }

    /// Counts a whole group.
    pub(super) fn aggregate(&self, group: &[Selection], rules: &Rules) -> Vec<Aggregate> {
        let mut aggregator = Aggregator::new(self.setup.engine, rules);
        for (_, record) in group.iter().flat_map(Selection::records) {
            aggregator.add(&record);
        }
        aggregator.finish()
    }

    /// `compat`: everything goes into the bucket that is being filled.
    pub(super) fn filling_rules(&self, window: Window, filling: &Arc<Filling>) -> Rules {
        Rules {
            window,
            bucketing: Bucketing::Filling(filling.clone()),
            compat: true,
            ..self.setup.rules.clone()
        }
    }

    /// The collections that count an aggregate.
    pub(super) fn collections(&self, aggregate: &Aggregate) -> Vec<String> {
        let (prefix, mixed) = self.setup.collections();
        let mut collections = vec![organisation::name(prefix, &aggregate.org_id)];
        if self.setup.common.use_mixed_collection {
            collections.push(mixed.to_owned());
        }
        collections
    }

    /// The group without records whose organisations make no name of a collection, which are refused. Records that are
    /// not counted here are none of this pump's business, whatever their organisation.
    fn without_nameless(&self, group: &[Selection], rejected: &mut Vec<Rejected>) -> Vec<Selection> {
        let (prefix, _) = self.setup.collections();
        let database = self.connection.database.name();
        let mut last: Option<(Vec<u8>, Result<(), &'static str>)> = None;
        let mut kept = Vec::with_capacity(group.len());
        for selection in group {
            let mut nameless = RowRanges::new();
            for (row, record) in selection.records() {
                if !self.setup.engine.takes(&record) {
                    continue;
                }
                let id = record.text(Text::OrgId);
                let known = last.as_ref().filter(|(of, _)| *of == *id).map(|(_, outcome)| *outcome);
                let outcome = known.unwrap_or_else(|| organisation::collection(database, prefix, &id).map(drop));
                if known.is_none() {
                    last = Some((id.to_vec(), outcome));
                }
                if let Err(reason) = outcome {
                    let reason = reason.to_owned();
                    rejected.push(Rejected { row, reason });
                    nameless.insert(row.row..row.row + 1);
                }
            }
            kept.push(match nameless.is_empty() {
                true => selection.clone(),
                false => selection.exclude(&nameless),
            });
        }
        kept
    }

    /// What tells an aggregate's documents from others of the collection.
    pub(super) fn filter(&self, aggregate: &Aggregate) -> Document {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let mut filter = doc! {"orgid": text(&aggregate.org_id), "timestamp": update::date(aggregate.bucket)};
        if self.setup.engine == Engine::Mcp {
            filter.insert("owner_apiid", text(&aggregate.owner));
        }
        filter
    }

    /// Looks after the indexes of a collection: once, with `compat` before every write as upstream does.
    pub(super) async fn prepare(&self, collection: &str) {
        let is_done = self.compat.is_none() && self.prepared.lock().await.contains(collection);
        if is_done {
            return;
        }
        self.connection
            .ensure_indexes(collection, Family::Aggregates, self.prefix, &self.pump)
            .await;
        self.prepared.lock().await.insert(collection.to_owned());
    }

    /// Warns when a document has very many tags.
    pub(super) fn look_at_tags(&self, collection: &str, document: &RawDocument) {
        let Some(limit) = self.setup.tags else {
            return;
        };
        let tags = stored::tags(document);
        if tags.len() > limit {
            self.warn(format!(
                "{} tags in one document of {collection}, more than meta.threshold_len_tag_list ({limit}); most of them begin \
                 with: {} – add those that are unique to every request to meta.ignore_tag_prefix_list",
                tags.len(),
                prefixes::of(&tags).join(", ")
            ));
        }
    }

    pub(super) fn warn(&self, text: String) {
        tracing::warn!(prefix = self.prefix, pump = self.pump, "{text}");
    }

    /// Counts rows whose claims have this window.
    async fn write_counting(&self, ledger: &Ledger, window: Window, group: &[Selection]) -> Result<(), WriteError> {
        let rules = &Rules {
            window,
            ..self.setup.rules.clone()
        };
        let aggregates = self.aggregate(group, rules);
        let mut writes: Vec<BoxFuture<'_, Result<(), WriteError>>> = Vec::new();
        for aggregate in &aggregates {
            for collection in self.collections(aggregate) {
                let place = Place::new(collection, self.filter(aggregate), aggregate);
                let work = Work {
                    rules,
                    group,
                    whole: aggregate,
                };
                writes.push(self.count_once(ledger, place, work).boxed());
            }
        }
        // One that fails must not undo the way of the others: under many failures none would ever arrive.
        let done: Vec<Result<(), WriteError>> = stream::iter(writes).buffer_unordered(IN_FLIGHT).collect().await;
        done.into_iter().collect()
    }

    /// The pump's name in documents. The source's id is known before the first write.
    pub(super) fn ledger(&self) -> Result<Ledger, WriteError> {
        match self.fleet.get() {
            Some(fleet) => Ok(Ledger::new(&self.pump, fleet)),
            None => Err(WriteError::retry("the source has not said its id yet")),
        }
    }
}

#[async_trait]
impl Sink for Aggregates {
    fn guarantee(&self) -> Option<Guarantee> {
        self.compat.is_some().then_some(Guarantee::AtLeastOnce)
    }

    async fn write(&self, group: &[Selection], _applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let mut written = Written::default();
        let group = &self.without_nameless(group, &mut written.rejected);
        if let Some((window, filling)) = &self.compat {
            self.write_filling(group, window, filling).await?;
            return Ok(written);
        }
        let ledger = self.ledger()?;
        for (window, group) in self.by_window(&ledger, group).await? {
            self.write_counting(&ledger, window, &group).await?;
        }
        Ok(written)
    }

    async fn forget(&self, claims: &[ClaimId]) {
        if self.compat.is_some() {
            return;
        }
        if let Ok(ledger) = self.ledger() {
            self.note_finished(&ledger, claims).await;
        }
    }
}
