//! One request a document (`disable_bulk`).

use analytics::{RecordView, RowId, Selection, json};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use serde_json::Value;

use super::{
    Dialect, Elasticsearch, Ids,
    bulk::{self, IndexNames},
    cluster::Call,
    id::RowIds,
};
use crate::{
    Applied, WriteError, Written,
    transport::{
        http::Method,
        outbox::{Fate, Tally},
    },
};

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
    pub(super) async fn write_singly(
        &self,
        dialect: Dialect,
        group: &[Selection],
        applied: &Applied,
    ) -> Result<Written, WriteError> {
        let mut tally = Tally::default();
        let mut ids = RowIds::new(&self.encoder.pump);
        for selection in applied.rest_of(group) {
            let mut requests = Vec::new();
            {
                let mut names = IndexNames::new(&self.encoder.naming);
                for (row, record) in selection.records() {
                    match self.request(dialect, row, &record, names.of(&record), &mut ids) {
                        Ok(request) => requests.push(request),
                        Err(error) => tally.add(applied, row, Fate::Rejected(error.to_string())),
                    }
                }
            }
            for request in requests {
                let row = request.row;
                let fate = self.send_single(dialect, request).await?;
                tally.add(applied, row, fate);
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
    ) -> Result<Single, json::JsonError> {
        let mut body = Vec::new();
        self.encoder.template.write(&mut body, record)?;
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

    async fn send_single(&self, dialect: Dialect, single: Single) -> Result<Fate, WriteError> {
        let call = Call::json(single.method, &single.path, single.body);
        let answer = self.cluster.send(call).await?;
        let status = answer.status.as_u16();
        if self.is_misunderstood(dialect, status).await? {
            return Err(WriteError::retry(answer.describe()));
        }
        let reply: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match status {
            // What the whole server says, with its pause.
            300..=399 | 401 | 403 | 404 | 405 | 407 | 408 | 429 | 500.. => answer.accepted().map(|_| Fate::Accepted),
            413 => Ok(Fate::Rejected(answer.describe())),
            200..=299 => {
                let answer = answer.accepted()?;
                match reply.is_object() {
                    true => Ok(Fate::Accepted),
                    false => Err(WriteError::retry(format!(
                        "no answer about a document: {}",
                        answer.describe()
                    ))),
                }
            }
            _ => Ok(bulk::fate(status, reply.get("error"), self.encoder.creates)),
        }
    }
}
