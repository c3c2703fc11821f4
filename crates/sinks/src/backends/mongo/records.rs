//! Pumps that store a document for every record.

use std::{collections::BTreeMap, sync::Arc};

use analytics::{Flag, Int, Key, RecordView, RowId, Selection, Text};
use async_trait::async_trait;
use futures::{FutureExt, StreamExt, TryStreamExt, future::BoxFuture, stream};
use tokio::sync::Mutex;

use super::{
    client::Connection,
    document::{self, Form},
    id::Ids,
    index::Family,
    insert::{Naming, Row},
    options::{CollectionOptions, ConnectionOptions, SelectiveOptions, Sizes},
    organisation,
};
use crate::{Applied, BuildContext, BuildError, Guarantee, Rejected, Sink, SinkSpec, WriteError, Written};

/// Inserts that are under way at the same time.
const IN_FLIGHT: usize = 4;
/// Rows of one insert, so that a large group becomes several.
const MAX_ROWS: usize = 2_500;

/// Where documents go.
enum Target {
    Collection(String),
    /// One for each organisation.
    Organisations,
}

/// Which records a pump of this kind takes, and what they become.
pub(super) struct Records {
    connection: Connection,
    spec: &'static SinkSpec,
    pump: String,
    form: Form,
    target: Target,
    sizes: Sizes,
    ids: Ids,
    compat: bool,
    /// Collections whose indexes have been looked after.
    prepared: Mutex<Vec<String>>,
}

/// Inserts that are one after the other; what is refused for good.
type Insert<'a> = BoxFuture<'a, Result<Vec<Rejected>, WriteError>>;

/// Documents of one insert.
struct Chunk<'a> {
    rows: Vec<(RowId, RecordView<'a>, &'a Key)>,
    bytes: usize,
}

impl Records {
    pub(super) async fn one_collection(
        context: &BuildContext,
        spec: &'static SinkSpec,
        form: Form,
        options: CollectionOptions,
    ) -> Result<Records, BuildError> {
        let (name, cap) = collection(&options)?;
        let sizes = Sizes::new(options.max_insert_batch_size_bytes, options.max_document_size_bytes);
        let records = Records::new(
            context,
            spec,
            form,
            Target::Collection(name.clone()),
            sizes,
            &options.connection,
        )
        .await?;
        prepare(&records.connection, &name, cap, spec.log_prefix, &records.pump).await;
        Ok(records)
    }

    pub(super) async fn selective(
        context: &BuildContext,
        spec: &'static SinkSpec,
        options: SelectiveOptions,
    ) -> Result<Records, BuildError> {
        let sizes = Sizes::new(options.max_insert_batch_size_bytes, options.max_document_size_bytes);
        Records::new(
            context,
            spec,
            Form::Record,
            Target::Organisations,
            sizes,
            &options.connection,
        )
        .await
    }

    async fn new(
        context: &BuildContext,
        spec: &'static SinkSpec,
        form: Form,
        target: Target,
        sizes: Sizes,
        options: &ConnectionOptions,
    ) -> Result<Records, BuildError> {
        Ok(Records {
            connection: Connection::open(options, spec.log_prefix, &context.pump).await?,
            spec,
            pump: context.pump.to_string(),
            form,
            target,
            sizes,
            ids: Ids::new(&context.pump),
            compat: context.compat,
            prepared: Mutex::default(),
        })
    }

    fn takes(&self, record: &RecordView<'_>) -> bool {
        let is_its = match self.form {
            Form::Record => !record.flag(Flag::IsMcp),
            Form::Graph => record.flag(Flag::IsGraphQl),
            Form::Mcp => record.flag(Flag::IsMcp),
        };
        is_its && record.int(Int::ResponseCode) != -1
    }

    /// The collection of a record; `None`: it has no organisation; an error: none can have its name.
    fn collection_of(&self, record: &RecordView<'_>) -> Option<Result<String, &'static str>> {
        match &self.target {
            Target::Collection(name) => Some(Ok(name.clone())),
            Target::Organisations => {
                let id = record.text(Text::OrgId);
                let database = self.connection.database.name();
                (!id.is_empty()).then(|| organisation::collection(database, "z_tyk_analyticz_", &id))
            }
        }
    }

    /// Sorts the group's records into inserts.
    fn plan<'a>(&self, group: &'a [Selection], rejected: &mut Vec<Rejected>) -> BTreeMap<String, Vec<Chunk<'a>>> {
        let mut plan: BTreeMap<String, Vec<Chunk<'a>>> = BTreeMap::new();
        let selective = matches!(self.target, Target::Organisations);
        let (mut without_organisation, mut too_large) = (0, 0);
        let records = group.iter().flat_map(|selection| {
            selection
                .records()
                .map(|(row, record)| (row, record, selection.batch()))
        });
        for (row, record, batch) in records {
            if !self.takes(&record) {
                continue;
            }
            let Some(collection) = self.collection_of(&record) else {
                without_organisation += 1;
                continue;
            };
            let collection = match collection {
                Ok(collection) => collection,
                Err(reason) => {
                    let reason = reason.to_owned();
                    rejected.push(Rejected { row, reason });
                    continue;
                }
            };
            let size = document::estimated_size(&record);
            if size > self.sizes.document {
                too_large += 1;
                if selective {
                    self.refuse(row, size, rejected);
                    continue;
                }
            }
            let chunks = plan.entry(collection).or_default();
            match chunks.last_mut() {
                Some(chunk) if self.fits(chunk, size, selective) => {
                    chunk.rows.push((row, record, &batch.key));
                    chunk.bytes += size;
                }
                _ => chunks.push(Chunk {
                    rows: vec![(row, record, &batch.key)],
                    bytes: size,
                }),
            }
        }
        if without_organisation > 0 {
            tracing::warn!(
                prefix = self.spec.log_prefix,
                pump = self.pump,
                "{without_organisation} records have no organisation and are left out"
            );
        }
        if too_large > 0 && self.form != Form::Graph {
            let fate = match (selective, self.compat) {
                (false, _) => "stored without their raw data",
                (true, false) => "refused",
                (true, true) => "left out",
            };
            tracing::warn!(
                prefix = self.spec.log_prefix,
                pump = self.pump,
                "{too_large} records are larger than meta.max_document_size_bytes ({}): {fate}",
                self.sizes.document
            );
        }
        plan
    }

    /// A record that no document is made of. With `compat` it is dropped, as upstream does.
    fn refuse(&self, row: RowId, size: usize, rejected: &mut Vec<Rejected>) {
        if self.compat {
            return;
        }
        let limit = self.sizes.document;
        let reason = format!("the record has {size} bytes, meta.max_document_size_bytes allows {limit}");
        rejected.push(Rejected { row, reason });
    }

    fn fits(&self, chunk: &Chunk<'_>, size: usize, selective: bool) -> bool {
        let bytes = chunk.bytes + size;
        let below = if selective {
            bytes < self.sizes.insert
        } else {
            bytes <= self.sizes.insert
        };
        below && chunk.rows.len() < MAX_ROWS
    }

    async fn insert(&self, collection: &str, chunk: Chunk<'_>) -> Result<Vec<Rejected>, WriteError> {
        let mut rows: Vec<Row> = Vec::with_capacity(chunk.rows.len());
        let mut rejected = Vec::new();
        for (row, record, key) in &chunk.rows {
            let id = self.ids.of(*row, key);
            let without_raw = self.form != Form::Graph && document::estimated_size(record) > self.sizes.document;
            match document::of_record(self.form, id, record, without_raw) {
                Ok(document) => rows.push((*row, document)),
                Err(error) => rejected.push(Rejected {
                    row: *row,
                    reason: error.to_string(),
                }),
            }
        }
        drop(chunk);
        let naming = match self.target {
            Target::Collection(_) => Naming::Configured,
            Target::Organisations => Naming::ByRows,
        };
        rejected.extend(self.connection.insert(collection, rows, naming, self.compat).await?);
        Ok(rejected)
    }

    /// The inserts of one organisation's collection, one after the other.
    async fn insert_all(&self, collection: String, chunks: Vec<Chunk<'_>>) -> Result<Vec<Rejected>, WriteError> {
        let mut rejected = Vec::new();
        for chunk in chunks {
            self.prepare_once(&collection).await;
            rejected.extend(self.insert(&collection, chunk).await?);
        }
        Ok(rejected)
    }

    /// Looks after the indexes of an organisation's collection: once, or before every insert as upstream does.
    async fn prepare_once(&self, collection: &str) {
        let is_known = |known: &String| known == collection;
        if !self.compat && self.prepared.lock().await.iter().any(is_known) {
            return;
        }
        self.connection
            .ensure_indexes(collection, Family::Selective, self.spec.log_prefix, &self.pump)
            .await;
        let mut prepared = self.prepared.lock().await;
        if !prepared.iter().any(is_known) {
            prepared.push(collection.to_owned());
        }
    }
}

#[async_trait]
impl Sink for Records {
    fn guarantee(&self) -> Option<Guarantee> {
        self.compat.then_some(Guarantee::AtLeastOnce)
    }

    async fn write(&self, group: &[Selection], _applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let mut rejected = Vec::new();
        let plan = self.plan(group, &mut rejected);
        let mut inserts: Vec<Insert<'_>> = Vec::new();
        for (collection, chunks) in plan {
            match &self.target {
                Target::Collection(name) => {
                    inserts.extend(chunks.into_iter().map(|chunk| self.insert(name, chunk).boxed()));
                }
                Target::Organisations => inserts.push(self.insert_all(collection, chunks).boxed()),
            }
        }
        let inserts = stream::iter(inserts).buffer_unordered(IN_FLIGHT);
        let refused: Vec<Vec<Rejected>> = inserts.try_collect().await?;
        rejected.extend(refused.into_iter().flatten());
        rejected.sort_by_key(|rejected| rejected.row);
        Ok(Written {
            rejected,
            possibly_doubled: 0,
        })
    }
}

/// Caps a new collection, if wanted, and creates the indexes of a new one.
pub(super) async fn prepare(connection: &Connection, collection: &str, cap: Option<i64>, prefix: &str, pump: &str) {
    if let Some(bytes) = cap
        && connection.create_capped(collection, bytes, prefix, pump).await
        && !connection.omit_indexes
    {
        connection
            .create_indexes(collection, Family::Records, prefix, pump)
            .await;
        return;
    }
    connection
        .ensure_indexes(collection, Family::Records, prefix, pump)
        .await;
}

/// The collection and, if it is to be capped, its size. The name has no default.
pub(super) fn collection(options: &CollectionOptions) -> Result<(String, Option<i64>), BuildError> {
    if options.collection_name.is_empty() {
        return Err(BuildError::Options(
            "meta.collection_name is missing – No collection name! Write \"tyk_analytics\", for instance".to_owned(),
        ));
    }
    Ok((options.collection_name.clone(), options.cap()?))
}
