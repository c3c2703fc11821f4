//! Counting every row exactly once.
//!
//! Each document notes which rows it has counted, in the update that counts them; the update takes place only while that
//! note is the one that was seen last. Whoever was overtaken reads again and counts what is left. A document that has
//! become large is closed: it never changes again, and what it does not have goes into the next one of the same bucket.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use analytics::{
    ClaimId, RowRanges, Selection, Text, Time, When,
    aggregate::{Aggregate, Aggregator, Engine},
};
use futures::TryStreamExt;
use mongodb::{
    Collection,
    bson::{Document, RawDocument, RawDocumentBuf, doc, oid::ObjectId},
    options::ReturnDocument,
};
use tokio::sync::Mutex;

use super::{
    applied::{self, APPLIED, Entries, Ledger},
    pump::Aggregates,
    room,
    stored::{self, Contents},
    update::{Moved, Update},
};
use crate::{
    WriteError,
    mongo::{bson::Writer, failure::Failure, id},
};

/// A document that would become larger is closed. Servers refuse more than 16 MiB.
const LARGEST: usize = 12_000_000;
/// A document that is refused at this size is not refused for its size.
const SMALL: usize = 64 << 10;
/// How long the note of a finished claim is kept: a write of another instance may still be on its way.
const NOTE_KEPT: Duration = Duration::from_secs(600);
/// Places that are remembered.
const REMEMBERED: usize = 512;
/// Attempts that end because somebody else was faster.
const ATTEMPTS: usize = 100;

/// Field of a document that never changes again.
const CLOSED: &str = "_closed";

/// One owner's bucket in one collection: one or several documents.
pub(super) struct Place {
    collection: String,
    filter: Document,
    owner: Box<[u8]>,
    bucket: Time,
}

/// What is known about the documents of places that were written lately.
#[derive(Default)]
pub(super) struct Places(Mutex<HashMap<PlaceKey, Part>>);

/// Collection, owner, seconds of the bucket.
type PlaceKey = (String, Box<[u8]>, i64);

/// The document of a place that is being written to.
struct Part {
    /// How many of the place are closed.
    number: u64,
    id: ObjectId,
    exists: bool,
    /// Its notes.
    entries: Entries,
    /// Rows that closed documents have, by the name of the note.
    closed: BTreeMap<String, RowRanges>,
    contents: Contents,
    /// Averages and lists may be missing.
    stale: bool,
}

/// Rows of one place that are to be counted.
struct Pending<'a> {
    aggregate: Cow<'a, Aggregate>,
    /// The rows that are settled once they are counted.
    covered: BTreeMap<ClaimId, RowRanges>,
    /// Whether that is all of the group.
    whole: bool,
}

impl Place {
    pub(super) fn new(collection: String, filter: Document, aggregate: &Aggregate) -> Place {
        Place {
            collection,
            filter,
            owner: aggregate.owner.clone(),
            bucket: aggregate.bucket,
        }
    }

    fn key(&self) -> PlaceKey {
        (self.collection.clone(), self.owner.clone(), self.bucket.seconds)
    }
}

impl Part {
    /// A document that is not there yet, after so many that are closed.
    fn new(pump: &str, place: &Place, number: u64, closed: BTreeMap<String, RowRanges>) -> Part {
        let name = [
            pump.as_bytes(),
            place.collection.as_bytes(),
            &place.owner,
            &place.bucket.seconds.to_be_bytes(),
            &number.to_be_bytes(),
        ];
        Part {
            number,
            id: ObjectId::from_bytes(id::derived(place.bucket, &name)),
            exists: false,
            entries: Entries::new(),
            closed,
            contents: Contents::default(),
            stale: false,
        }
    }

    fn can_close(&self) -> bool {
        self.exists && self.contents.size > SMALL
    }

    /// The rows of a claim that this place has counted.
    fn rows(&self, ledger: &Ledger, claim: ClaimId) -> RowRanges {
        let name = ledger.name(claim);
        let mut rows = self.closed.get(&name).cloned().unwrap_or_default();
        let here = self.entries.get(&name).map(|value| ledger.rows(value));
        for range in here.iter().flat_map(RowRanges::iter) {
            rows.insert(range.clone());
        }
        rows
    }
}

impl Aggregates {
    /// Counts the rows of a group that belong to `place` and are not counted yet. `whole`: all of them, aggregated.
    pub(super) async fn count_once(
        &self,
        ledger: &Ledger,
        place: Place,
        group: &[Selection],
        whole: &Aggregate,
    ) -> Result<(), WriteError> {
        self.prepare(&place.collection).await;
        let mut limit = usize::MAX;
        for _ in 0..ATTEMPTS {
            let mut part = match self.places.0.lock().await.remove(&place.key()) {
                Some(part) => part,
                None => self.load(ledger, &place).await.map_err(Failure::into_write_error)?,
            };
            let Some(pending) = self.pending(ledger, &place, &part, group, whole, limit) else {
                if part.stale {
                    self.refresh(&place, &mut part).await?;
                }
                self.remember(&place, part).await;
                return Ok(());
            };
            let moved = self.crowded_out(&place.collection, &part.contents, &pending.aggregate);
            let growth = room::growth(&pending.aggregate, &part.contents, &moved);
            let is_full = part.contents.size + growth > LARGEST;
            if is_full && can_shrink(&part, group, limit) {
                self.make_room(ledger, &place, part, &mut limit, group).await?;
                continue;
            }
            match self.count(ledger, &place, &part, &pending, &moved).await {
                Ok(Some(document)) => {
                    part.exists = true;
                    part.entries = applied::entries(&document);
                    self.average(&place, &mut part, &document).await?;
                    // Its copies in the lists are written by the second update.
                    part.contents.size += growth / 2;
                    self.look_at_tags(&place.collection, &document);
                    self.remember(&place, part).await;
                    if pending.whole {
                        return Ok(());
                    }
                }
                // Somebody else was faster.
                Ok(None) => {}
                Err(failure) if failure.is_duplicate() => {}
                Err(failure) if failure.is_about_size() => {
                    if !can_shrink(&part, group, limit) {
                        return Err(failure.into_write_error());
                    }
                    self.make_room(ledger, &place, part, &mut limit, group).await?;
                }
                Err(failure) => return Err(failure.into_write_error()),
            }
        }
        Err(WriteError::retry(format!(
            "others keep writing to the same document of {}",
            place.collection
        )))
    }

    /// Closes a document that is full, or lowers the number of rows that are counted at once.
    async fn make_room(
        &self,
        ledger: &Ledger,
        place: &Place,
        part: Part,
        limit: &mut usize,
        group: &[Selection],
    ) -> Result<(), WriteError> {
        if part.can_close() {
            let next = self.close(ledger, place, part).await;
            if let Some(next) = next.map_err(Failure::into_write_error)? {
                self.remember(place, next).await;
            }
            return Ok(());
        }
        *limit = rows(group, *limit) / 2;
        self.remember(place, part).await;
        Ok(())
    }

    fn documents(&self, place: &Place) -> Collection<RawDocumentBuf> {
        self.connection.database.collection(&place.collection)
    }

    /// Looks for the document to write to: the first one that is not closed, or a new one.
    async fn load(&self, ledger: &Ledger, place: &Place) -> Result<Part, Failure> {
        let documents = self.documents(place);
        let found = async {
            documents
                .find(place.filter.clone())
                .projection(doc! {"_id": 1, CLOSED: 1, APPLIED: 1})
                .sort(doc! {"_id": 1})
                .await?
                .try_collect::<Vec<RawDocumentBuf>>()
                .await
        };
        let found = self.connection.within(found).await?;
        let mut closed = BTreeMap::new();
        let mut number = 0;
        for document in &found {
            let Ok(id) = document.get_object_id("_id") else {
                continue;
            };
            if matches!(document.get(CLOSED), Ok(Some(_))) {
                number += 1;
                add_notes(ledger, document, &mut closed);
                continue;
            }
            let whole = self
                .connection
                .within(documents.find_one(doc! {"_id": id}).into_future())
                .await?;
            let Some(whole) = whole else {
                continue;
            };
            return Ok(Part {
                number,
                id,
                exists: true,
                entries: applied::entries(&whole),
                closed,
                contents: Contents::of(&whole, self.setup.engine),
                stale: true,
            });
        }
        Ok(Part::new(&self.pump, place, number, closed))
    }

    /// The rows that are left, at most `limit` of them; `None`: none.
    fn pending<'a>(
        &self,
        ledger: &Ledger,
        place: &Place,
        part: &Part,
        group: &[Selection],
        whole: &'a Aggregate,
        limit: usize,
    ) -> Option<Pending<'a>> {
        let mut counted: BTreeMap<ClaimId, RowRanges> = BTreeMap::new();
        for selection in group {
            let claim = selection.batch().claim;
            counted.entry(claim).or_insert_with(|| part.rows(ledger, claim));
        }
        let mut covered: BTreeMap<ClaimId, RowRanges> = BTreeMap::new();
        let mut cover = |selection: &Selection| {
            let rows = covered.entry(selection.batch().claim).or_default();
            selection.covered().iter().for_each(|range| rows.insert(range.clone()));
        };
        if limit == usize::MAX && counted.values().all(RowRanges::is_empty) {
            group.iter().for_each(cover);
            return Some(Pending {
                aggregate: Cow::Borrowed(whole),
                covered,
                whole: true,
            });
        }
        let owner = match self.setup.engine {
            Engine::Rest => Text::OrgId,
            Engine::Graph | Engine::Mcp => Text::ApiId,
        };
        let window = self.setup.rules.window;
        let mut aggregator = Aggregator::new(self.setup.engine, &self.setup.rules);
        let mut rows = 0;
        let mut cut = None;
        'group: for selection in group {
            let done = counted.get(&selection.batch().claim);
            for (row, record) in selection.records() {
                if done.is_some_and(|done| done.contains(row.row))
                    || *record.text(owner) != *place.owner
                    || window.start(record.time(When::TimeStamp)).seconds != place.bucket.seconds
                {
                    continue;
                }
                if rows >= limit.max(1) {
                    cut = Some(row);
                    cover(&selection.slice(selection.rows().start..row.row));
                    break 'group;
                }
                rows += usize::from(aggregator.add(&record));
            }
            cover(selection);
        }
        let aggregate = aggregator.finish().into_iter().next()?;
        Some(Pending {
            aggregate: Cow::Owned(aggregate),
            covered,
            whole: cut.is_none(),
        })
    }

    /// Counts, if nobody else has written to the document since it was seen. `None`: somebody has.
    async fn count(
        &self,
        ledger: &Ledger,
        place: &Place,
        part: &Part,
        pending: &Pending<'_>,
        moved: &Moved,
    ) -> Result<Option<RawDocumentBuf>, Failure> {
        let mut query = doc! {"_id": part.id, CLOSED: {"$exists": false}};
        let mut update = Update::of(&pending.aggregate, moved);
        for (&claim, rows) in &pending.covered {
            let name = ledger.name(claim);
            let path = format!("{APPLIED}.{name}");
            let mut all = RowRanges::new();
            match part.entries.get(&name) {
                Some(seen) => {
                    query.insert(path.clone(), seen.as_str());
                    all = ledger.rows(seen);
                }
                None => drop(query.insert(path.clone(), doc! {"$exists": false})),
            }
            rows.iter().for_each(|range| all.insert(range.clone()));
            update.set(path, ledger.value(&all));
        }
        let mut update = update.into_document();
        let old = self.old_notes(ledger, part, pending).await;
        if !old.is_empty() {
            update.insert("$unset", old);
        }
        if !part.exists {
            query.extend(place.filter.clone());
        }
        let documents = self.documents(place);
        let change = documents
            .find_one_and_update(query, update)
            .upsert(!part.exists)
            .return_document(ReturnDocument::After);
        self.connection.within(change.into_future()).await
    }

    /// Notes that nobody needs any more. Those of an earlier run stay: only the process that finishes a claim knows.
    async fn old_notes(&self, ledger: &Ledger, part: &Part, pending: &Pending<'_>) -> Document {
        let finished = self.finished.lock().await;
        let mut old = Document::new();
        for (name, value) in &part.entries {
            let Some(claim) = ledger.claim_of(name).filter(|_| !ledger.rows(value).is_empty()) else {
                continue;
            };
            let is_finished = finished.get(&claim).is_some_and(|since| since.elapsed() > NOTE_KEPT);
            if is_finished && !pending.covered.contains_key(&claim) {
                old.insert(format!("{APPLIED}.{name}"), "");
            }
        }
        old
    }

    /// Averages and lists of a document that somebody may have counted in without them.
    async fn refresh(&self, place: &Place, part: &mut Part) -> Result<(), WriteError> {
        let find = self.documents(place);
        let find = find.find_one(doc! {"_id": part.id});
        let found = self
            .connection
            .within(find.into_future())
            .await
            .map_err(Failure::into_write_error)?;
        match found {
            Some(document) => self.average(place, part, &document).await,
            None => Ok(()),
        }
    }

    /// The second update. It does not take place if the document was counted in since: whoever did writes his own.
    async fn average(&self, place: &Place, part: &mut Part, document: &RawDocument) -> Result<(), WriteError> {
        let mut command = Writer::new(document.as_bytes().len());
        command.text("findAndModify", place.collection.as_bytes());
        let query = command.open_document("query");
        command.object_id("_id", part.id.bytes());
        command.long("total.hits", stored::hits(document));
        command.close(query);
        let update = command.open_document("update");
        stored::write_averages(&mut command, document, self.setup.engine, false);
        command.close(update);
        // The answer would have the whole document otherwise.
        let fields = command.open_document("fields");
        command.int("_id", 1);
        command.close(fields);
        self.connection
            .run_written(command)
            .await
            .map_err(Failure::into_write_error)?;
        part.contents = Contents::of(document, self.setup.engine);
        part.stale = false;
        Ok(())
    }

    /// The document never changes again. Returns the next one, or `None`: it is gone, look again.
    async fn close(&self, ledger: &Ledger, place: &Place, part: Part) -> Result<Option<Part>, Failure> {
        let documents = self.documents(place);
        let change = documents
            .find_one_and_update(doc! {"_id": part.id}, doc! {"$set": {CLOSED: true}})
            .projection(doc! {APPLIED: 1})
            .return_document(ReturnDocument::After);
        let Some(document) = self.connection.within(change.into_future()).await? else {
            return Ok(None);
        };
        self.warn(format!(
            "a document of {} has {} bytes and is continued in another one; look for tags, keys or paths that are unique to \
             every request, or set meta.max_keys_per_dimension",
            place.collection, part.contents.size
        ));
        let mut closed = part.closed;
        add_notes(ledger, &document, &mut closed);
        Ok(Some(Part::new(&self.pump, place, part.number + 1, closed)))
    }

    async fn remember(&self, place: &Place, part: Part) {
        let mut places = self.places.0.lock().await;
        if places.len() >= REMEMBERED {
            places.clear();
        }
        places.insert(place.key(), part);
    }
}

/// Adds the rows that a closed document has counted.
fn add_notes(ledger: &Ledger, document: &RawDocument, closed: &mut BTreeMap<String, RowRanges>) {
    for (name, value) in applied::entries(document) {
        let rows = closed.entry(name).or_default();
        ledger.rows(&value).iter().for_each(|range| rows.insert(range.clone()));
    }
}

/// Whether less can be added to a document than all of the group, or another document begun.
fn can_shrink(part: &Part, group: &[Selection], limit: usize) -> bool {
    part.can_close() || rows(group, limit) > 1
}

/// Rows that are counted at once.
fn rows(group: &[Selection], limit: usize) -> usize {
    group.iter().map(Selection::len).sum::<usize>().min(limit)
}
