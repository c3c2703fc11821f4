//! Inserting documents whose ids are derived from their rows: what is there already is done.

use analytics::RowId;
use mongodb::{
    Collection,
    bson::{RawDocumentBuf, doc},
    error::{ErrorKind, InsertManyError},
};

use super::{
    client::Connection,
    failure::{DUPLICATE, Failure, INVALID_NAMESPACE, Remedy, remedy_of, told_of_one},
};
use crate::{Rejected, WriteError};

/// A document and the row that it came from.
pub(super) type Row = (RowId, RawDocumentBuf);

/// Where the name of a collection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// From the configuration.
    Configured,
    /// From the rows that go there, which are to blame for it.
    ByRows,
}

/// A document beyond it is refused by every server.
pub(super) const MAX_DOCUMENT: usize = 16 << 20;

impl Connection {
    /// Inserts what is not there yet. Returns the rows that the server refuses for good.
    ///
    /// `ordered` is how upstream inserts; a document that cannot be inserted keeps none of the others from it either way.
    pub(super) async fn insert(
        &self,
        collection: &str,
        mut rows: Vec<Row>,
        naming: Naming,
        mut ordered: bool,
    ) -> Result<Vec<Rejected>, WriteError> {
        let target: Collection<RawDocumentBuf> = self.database.collection(collection);
        let mut rejected = Vec::new();
        rows.retain(|(row, document)| {
            let bytes = document.as_bytes().len();
            if bytes > MAX_DOCUMENT {
                let reason = format!("the document has {bytes} bytes, MongoDB allows {MAX_DOCUMENT}");
                rejected.push(Rejected { row: *row, reason });
            }
            bytes <= MAX_DOCUMENT
        });
        while !rows.is_empty() {
            let documents = rows.iter().map(|(_, document)| document);
            let insert = target.insert_many(documents).ordered(ordered);
            let failure = match self.within(insert.into_future()).await {
                Ok(_) => break,
                Err(failure) => failure,
            };
            if naming == Naming::ByRows && failure.code() == Some(INVALID_NAMESPACE) {
                rejected.extend(rows.drain(..).map(|(row, _)| Rejected {
                    row,
                    reason: format!("no collection can have the name of its organisation: {failure}"),
                }));
                break;
            }
            let Some(errors) = insert_errors(&failure) else {
                return Err(failure.into_write_error());
            };
            self.judge(&target, &rows, &errors, &mut rejected).await?;
            if errors.write_concern_error.is_some() {
                return Err(WriteError::retry(failure));
            }
            if !ordered {
                break;
            }
            // The server stopped at the first error.
            let last = errors.write_errors.iter().flatten().map(|error| error.index).max();
            rows.drain(..last.map_or(rows.len(), |last| rows.len().min(last + 1)));
            ordered = false;
        }
        Ok(rejected)
    }

    /// What became of the documents that were not inserted.
    async fn judge(
        &self,
        target: &Collection<RawDocumentBuf>,
        rows: &[Row],
        errors: &InsertManyError,
        rejected: &mut Vec<Rejected>,
    ) -> Result<(), WriteError> {
        for error in errors.write_errors.iter().flatten() {
            let Some((row, document)) = rows.get(error.index) else {
                continue;
            };
            // Otherwise it is an index that somebody else has made.
            if error.code == DUPLICATE && (is_about_id(&error.message) || self.has(target, document).await?) {
                continue;
            }
            let reason = told_of_one(error);
            match remedy_of(error) {
                Remedy::Refuse => rejected.push(Rejected { row: *row, reason }),
                Remedy::Retry(after) => {
                    return Err(WriteError::Retry {
                        after,
                        source: reason.into(),
                    });
                }
                Remedy::Configure => return Err(WriteError::Config(reason.into())),
            }
        }
        Ok(())
    }

    async fn has(&self, target: &Collection<RawDocumentBuf>, document: &RawDocumentBuf) -> Result<bool, WriteError> {
        let Ok(id) = document.get_object_id("_id") else {
            return Ok(false);
        };
        let found = self
            .within(target.find_one(doc! {"_id": id}).into_future())
            .await
            .map_err(Failure::into_write_error)?;
        Ok(found.is_some())
    }
}

fn insert_errors(failure: &Failure) -> Option<InsertManyError> {
    let Failure::Refused { error } = failure else {
        return None;
    };
    match error.kind.as_ref() {
        ErrorKind::InsertMany(errors) => Some(errors.clone()),
        _ => None,
    }
}

/// Whether a duplicate key is that of `_id`: servers name the index.
fn is_about_id(message: &str) -> bool {
    message.contains("_id_") || message.contains("dup key: { _id:")
}
