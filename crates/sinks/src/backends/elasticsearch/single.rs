//! One request a document (`disable_bulk`).

use analytics::{RecordView, RowId, Selection};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::Value;

use super::{
    Dialect, Elasticsearch, Ids, Tally,
    bulk::{IndexNames, Outcome},
    cluster::Call,
    id::RowIds,
    lock,
};
use crate::{Rejected, WriteError, Written, transport::http::Method};

/// Everything in a part of a path but unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A document, and where it goes.
struct Single {
    row: RowId,
    method: Method,
    path: String,
    body: Vec<u8>,
}

impl Elasticsearch {
    pub(super) async fn write_singly(&self, dialect: Dialect, group: &[Selection]) -> Result<Written, WriteError> {
        let mut tally = Tally::default();
        let mut ids = RowIds::new(&self.encoder.pump);
        for selection in group {
            let mut requests = Vec::new();
            {
                let done = lock(&self.done);
                let mut names = IndexNames::new(&self.encoder.naming);
                for (row, record) in selection.records().filter(|(row, _)| !done.contains(*row)) {
                    match self.request(dialect, row, &record, names.of(&record), &mut ids) {
                        Ok(request) => requests.push(request),
                        Err(rejected) => tally.rejected.push(rejected),
                    }
                }
            }
            for request in requests {
                let outcome = self.send_single(request).await?;
                tally.add(outcome, &self.done);
            }
        }
        tally.finish()
    }

    fn request(
        &self,
        dialect: Dialect,
        row: RowId,
        record: &RecordView<'_>,
        index: &str,
        ids: &mut RowIds,
    ) -> Result<Single, Rejected> {
        let mut body = Vec::new();
        self.encoder
            .template
            .write(&mut body, record)
            .map_err(|error| Rejected {
                row,
                reason: error.to_string(),
            })?;
        let mut id = Vec::new();
        self.encoder.write_id(&mut id, row, record, ids);
        let encode = |part: &[u8]| percent_encode(part, RESERVED).to_string();
        let document_type = match dialect {
            Dialect::Seven => "_doc",
            _ => &self.encoder.naming.document_type,
        };
        let mut path = format!("{}/{}/", encode(index.as_bytes()), encode(document_type.as_bytes()));
        let mut method = Method::POST;
        if self.encoder.ids != Ids::Server {
            method = Method::PUT;
            path.push_str(&encode(&id));
        }
        if self.encoder.creates {
            path.push_str("?op_type=create");
        }
        Ok(Single {
            row,
            method,
            path,
            body,
        })
    }

    async fn send_single(&self, single: Single) -> Result<Outcome, WriteError> {
        let answer = self
            .cluster
            .send(Call::json(single.method, &single.path, single.body))
            .await?;
        let mut outcome = Outcome::default();
        let status = answer.status.as_u16();
        let reply: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match status {
            // What the whole server says, with its pause.
            401 | 403 | 404 | 429 | 500.. => return answer.accepted().map(|_| outcome),
            413 => outcome.rejected.push(Rejected {
                row: single.row,
                reason: answer.describe(),
            }),
            300..=399 | 405 | 407 | 408 => return answer.accepted().map(|_| outcome),
            _ => outcome.add(single.row, status, reply.get("error"), self.encoder.creates),
        }
        Ok(outcome)
    }
}
