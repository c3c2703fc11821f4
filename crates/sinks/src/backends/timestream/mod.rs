//! Type `timestream`: records to a table of Timestream for LiveAnalytics.

mod options;
mod record;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use analytics::Selection;
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;

pub use self::options::Options;
use self::record::Encoder;
use crate::{
    Applied, BuildContext, BuildError, Sink, SinkSpec, WriteError, Written,
    transport::{
        aws::{self, Api, Kind, Service, Settings},
        http::Url,
        outbox::{Fate, Outbox, Pace, Packing, Parcel, Parcels, Reply},
        words::plain,
    },
};

const TIMESTREAM: Api = Api {
    name: "timestream",
    host: "ingest.timestream",
    variable: "TIMESTREAM_WRITE",
    target: "Timestream_20181101",
    content_type: "application/x-amz-json-1.0",
};

/// What the service takes in a request: records and bytes.
const PACKING: Packing = Packing {
    separator: b",",
    rows: 100,
    bytes: 4 << 20,
};
/// Of an address whose life the service does not tell, and of one that should live longer.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// The type `timestream`.
pub const SPEC: SinkSpec = SinkSpec {
    options: crate::options::schema::<Options>,
    check: Some(check),
    ..SinkSpec::new(
        "timestream",
        "Timestream Pump",
        "timestream-pump",
        "TYK_PMP_PUMPS_TIMESTREAM_META",
        build,
    )
};

fn check(context: &BuildContext) -> Result<(), BuildError> {
    aws::look(Timestream::new(context)).map(drop)
}

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Timestream::new(&context).await?) as Box<dyn Sink>) }.boxed()
}

struct Timestream {
    service: Service,
    database: String,
    table: String,
    encoder: Arc<Encoder>,
    outbox: Outbox,
    /// Where to write, as the service has said, and until when that holds.
    cell: Mutex<Option<(Url, Instant)>>,
}

impl Timestream {
    async fn new(context: &BuildContext) -> Result<Timestream, BuildError> {
        let options: Options = context.options()?;
        let warn = |text: String| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
        let encoder = Encoder::new(&options, context.compat, warn)?;
        let settings = Settings {
            region: ("meta.aws_region", &options.aws_region),
            endpoint: ("meta.aws_endpoint", &options.aws.aws_endpoint),
            keys: options.aws.keys(warn),
        };
        let service = Service::new(&TIMESTREAM, settings).await?;
        tracing::info!(prefix = SPEC.log_prefix, "Timestream Pump Initialized");
        Ok(Timestream {
            service,
            database: options.timestream_database_name,
            table: options.timestream_table_name,
            encoder: Arc::new(encoder),
            outbox: Outbox::new(SPEC.log_prefix, PACKING, Pace::AtOnce(1)),
            cell: Mutex::new(None),
        })
    }

    /// Where to write: each account has a cell of the service, which the region's address names. An address of the options
    /// or the environment is taken as it is.
    async fn address(&self) -> Result<Url, WriteError> {
        if self.service.has_given_address() {
            return Ok(self.service.url().clone());
        }
        let mut cell = self.cell.lock().await;
        if let Some((url, _)) = cell.as_ref().filter(|(_, until)| Instant::now() < *until) {
            return Ok(url.clone());
        }
        let said = self.service.call("DescribeEndpoints", "{}").await?;
        let said = said.map_err(|failure| failure.into_error())?;
        let said: Endpoints = serde_json::from_slice(&said).unwrap_or_default();
        let found = said.endpoints.into_iter().next();
        let url = found
            .as_ref()
            .and_then(|found| Url::parse(&format!("https://{}", found.address)).ok());
        let (Some(found), Some(url)) = (found, url) else {
            return Err(WriteError::retry("DescribeEndpoints: the answer names no address"));
        };
        let life = match found.cache_period_in_minutes {
            0 => LIFE,
            minutes => Duration::from_secs(minutes.saturating_mul(60)).min(LIFE),
        };
        *cell = Some((url.clone(), Instant::now() + life));
        Ok(url)
    }

    async fn send(&self, parcel: Parcel) -> Result<Reply, WriteError> {
        let mut body = Vec::with_capacity(parcel.body.len() + 200);
        body.extend_from_slice(b"{\"Records\":[");
        body.extend_from_slice(&parcel.body);
        let (database, table) = (json!(self.database), json!(self.table));
        body.extend_from_slice(format!("],\"DatabaseName\":{database},\"TableName\":{table}}}").as_bytes());
        let address = self.address().await?;
        let failure = match self.service.call_at(&address, "WriteRecords", body).await? {
            Ok(_) => return Ok(Reply::Accepted),
            Err(failure) => failure,
        };
        if failure.code() == "RejectedRecordsException"
            && let Some(fates) = fates(failure.body(), parcel.rows.len())
        {
            return Ok(Reply::Each(fates));
        }
        match failure.kind() {
            Some(Kind::TooLarge) => Ok(Reply::TooLarge(failure.describe())),
            kind => {
                if failure.code() == "InvalidEndpointException" {
                    *self.cell.lock().await = None;
                    return Err(WriteError::retry(failure.describe()));
                }
                let missing = self.database.is_empty() || self.table.is_empty();
                match kind {
                    None if missing => Err(WriteError::Config(
                        format!(
                            "{} – write meta.timestream_database_name and meta.timestream_table_name",
                            failure.describe()
                        )
                        .into(),
                    )),
                    _ => Err(failure.into_error()),
                }
            }
        }
    }
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Endpoints {
    endpoints: Vec<CellEndpoint>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct CellEndpoint {
    address: String,
    cache_period_in_minutes: u64,
}

/// What the service says when it refuses some of the records; the others are written.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RejectedRecords {
    rejected_records: Vec<RejectedRecord>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct RejectedRecord {
    record_index: Option<usize>,
    reason: Option<String>,
}

/// `None`: the answer does not say which ones.
fn fates(said: &[u8], rows: usize) -> Option<Vec<Fate>> {
    let said: RejectedRecords = serde_json::from_slice(said).ok()?;
    let mut fates = vec![Fate::Accepted; rows];
    let mut refused = 0;
    for record in said.rejected_records {
        let words = plain(&record.reason.unwrap_or_default());
        *fates.get_mut(record.record_index?)? = Fate::Rejected(format!("Timestream refuses the record: {words}"));
        refused += 1;
    }
    (refused > 0).then_some(fates)
}

#[async_trait]
impl Sink for Timestream {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let encoder = self.encoder.clone();
        let pack = move |group: &[Selection], parcels: &mut Parcels| encoder.pack(group, parcels);
        self.outbox
            .deliver(group, applied, pack, |parcel| self.send(parcel))
            .await
    }
}

#[cfg(test)]
mod tests;
