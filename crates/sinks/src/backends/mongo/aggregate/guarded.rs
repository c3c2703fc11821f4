//! Counting every row exactly once.
//!
//! Each document notes which rows it has counted, in the update that counts them; the update takes place only while that
//! note is the one that was seen last. Whoever was overtaken reads again and counts what is left. A document that has
//! become large is closed: it never changes again, and what it does not have goes into the next one of the same bucket.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use analytics::{
    ClaimId, RowRanges, Selection, When,
    aggregate::{Aggregate, Aggregator, Rules},
};
use mongodb::{
    bson::{Document, RawDocument, RawDocumentBuf, doc},
    options::ReturnDocument,
};

use super::{
    applied::{self, APPLIED, Ledger},
    claims::ago,
    part::{CLOSED, Part, Place},
    pump::Aggregates,
    room, stored,
    update::{Moved, Update},
};
use crate::{
    WriteError,
    mongo::{bson::Writer, failure::Failure},
};

/// A document that would become larger is closed. Servers refuse more than 16 MiB.
const LARGEST: usize = 12_000_000;
/// What a row adds at most, by a generous estimate, that a server may still take.
const HOPELESS: usize = 3 * LARGEST;
/// How long the note of a finished claim is kept: a write of another instance may still be on its way.
const NOTE_KEPT: Duration = Duration::from_secs(600);
/// Attempts that end because somebody else was faster.
const ATTEMPTS: usize = 100;

/// A group, and what it amounts to in one place.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) rules: &'a Rules,
    pub(super) group: &'a [Selection],
    /// All of its rows that belong to the place.
    pub(super) whole: &'a Aggregate,
}

/// Rows of one place that are to be counted.
struct Pending<'a> {
    aggregate: Cow<'a, Aggregate>,
    /// The rows that are settled once they are counted.
    covered: BTreeMap<ClaimId, RowRanges>,
    /// Whether that is all of the group.
    whole: bool,
}

impl Aggregates {
    /// Counts the rows of a group that belong to `place` and are not counted yet.
    pub(super) async fn count_once(&self, ledger: &Ledger, place: Place, work: Work<'_>) -> Result<(), WriteError> {
        let group = work.group;
        self.prepare(&place.collection).await;
        let mut limit = usize::MAX;
        for _ in 0..ATTEMPTS {
            let mut part = match self.places.0.lock().await.remove(&place.key()) {
                Some(part) => part,
                None => self.load(ledger, &place).await.map_err(Failure::into_write_error)?,
            };
            let Some(pending) = self.pending(ledger, &place, &part, work, limit) else {
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
            if growth > HOPELESS {
                // Not even made: the update would take many times as much memory.
                let text = format!(
                    "the counters of one record would take about {growth} bytes, a document can have {LARGEST}"
                );
                return Err(WriteError::Reject {
                    rows: Vec::new(),
                    source: text.into(),
                });
            }
            match self.count(ledger, &place, &part, &pending, &moved).await {
                Ok(Some(document)) => {
                    part.exists = true;
                    part.entries = applied::entries(&document);
                    self.average(&place, &mut part, &document).await?;
                    // Averages and the copies in lists are written by the second update.
                    part.contents.size += growth * 2 / 3;
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

    /// The rows that are left, at most `limit` of them; `None`: none.
    fn pending<'a>(
        &self,
        ledger: &Ledger,
        place: &Place,
        part: &Part,
        work: Work<'a>,
        limit: usize,
    ) -> Option<Pending<'a>> {
        let Work { rules, group, whole } = work;
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
        let owner = self.setup.engine.owner();
        let window = rules.window;
        let mut aggregator = Aggregator::new(self.setup.engine, rules);
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

    /// Notes that nobody needs any more.
    async fn old_notes(&self, ledger: &Ledger, part: &Part, pending: &Pending<'_>) -> Document {
        let limit = ago(NOTE_KEPT);
        let mut old = Document::new();
        for (name, value) in &part.entries {
            let Some(claim) = ledger.claim_of(name).filter(|_| !ledger.rows(value).is_empty()) else {
                continue;
            };
            if !pending.covered.contains_key(&claim) && self.claims.is_finished_before(claim, limit).await {
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
        stored::write_averages(
            &mut command,
            document,
            self.setup.engine,
            !self.setup.common.fresh_averages,
        );
        command.close(update);
        // The answer would have the whole document otherwise.
        let fields = command.open_document("fields");
        command.int("_id", 1);
        command.close(fields);
        self.connection
            .run_written(command)
            .await
            .map_err(Failure::into_write_error)?;
        part.contents = stored::Contents::of(document, self.setup.engine);
        part.stale = false;
        Ok(())
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
