//! The documents of one owner's bucket: one that is written to, and those before it that are closed because they were full.

use std::collections::{BTreeMap, HashMap};

use analytics::{ClaimId, RowRanges, Time, aggregate::Aggregate};
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
    stored::Contents,
};
use crate::backends::mongo::{failure::Failure, id};

/// A document that is refused at this size is not refused for its size.
const SMALL: usize = 64 << 10;
/// Places that are remembered.
const REMEMBERED: usize = 512;

/// Field of a document that never changes again.
pub(super) const CLOSED: &str = "_closed";

/// One owner's bucket in one collection: one or several documents.
pub(super) struct Place {
    pub(super) collection: String,
    pub(super) filter: Document,
    pub(super) owner: Box<[u8]>,
    pub(super) bucket: Time,
}

/// What is known about the documents of places that were written lately.
#[derive(Default)]
pub(super) struct Places(pub(super) Mutex<HashMap<PlaceKey, Part>>);

/// Collection, owner, seconds of the bucket.
type PlaceKey = (String, Box<[u8]>, i64);

/// The document of a place that is being written to.
pub(super) struct Part {
    /// How many of the place are closed.
    number: u64,
    pub(super) id: ObjectId,
    pub(super) exists: bool,
    /// Its notes.
    pub(super) entries: Entries,
    /// Rows that closed documents have, by the name of the note.
    closed: BTreeMap<String, RowRanges>,
    pub(super) contents: Contents,
    /// Averages and lists may be missing.
    pub(super) stale: bool,
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

    pub(super) fn key(&self) -> PlaceKey {
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

    pub(super) fn can_close(&self) -> bool {
        self.exists && self.contents.size > SMALL
    }

    /// The rows of a claim that this place has counted.
    pub(super) fn rows(&self, ledger: &Ledger, claim: ClaimId) -> RowRanges {
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
    pub(super) fn documents(&self, place: &Place) -> Collection<RawDocumentBuf> {
        self.connection.database.collection(&place.collection)
    }

    /// Looks for the document to write to: the first one that is not closed, or a new one.
    pub(super) async fn load(&self, ledger: &Ledger, place: &Place) -> Result<Part, Failure> {
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

    /// The document never changes again. Returns the next one, or `None`: it is gone, look again.
    pub(super) async fn close(&self, ledger: &Ledger, place: &Place, part: Part) -> Result<Option<Part>, Failure> {
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

    pub(super) async fn remember(&self, place: &Place, part: Part) {
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
