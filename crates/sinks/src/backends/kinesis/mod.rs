//! Type `kinesis`: records to a Kinesis data stream.

mod encryption;

use std::{collections::BTreeMap, sync::Arc};

use analytics::{RecordView, RowId, Selection};
use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Applied, BuildContext, BuildError, Sink, SinkSpec, WriteError, Written,
    encode::{flat::FlatDocument, row_uuid::row_draw},
    options,
    transport::{
        aws::{self, Api, AwsOptions, Kind, Outboxes, Service, Settings, entry_words, kind_of},
        outbox::{Fate, Packing, Parcel, Parcels, Reply},
    },
};

const KINESIS: Api = Api {
    name: "kinesis",
    host: "kinesis",
    variable: "KINESIS",
    target: "Kinesis_20131202",
    content_type: "application/x-amz-json-1.1",
};

/// Records of a request when the option is 0.
const RECORDS: i64 = 100;
/// The most records that the service takes in a request.
const MOST_RECORDS: i64 = 500;
/// What a request takes of data and partition keys together.
const REQUEST: usize = 5 << 20;
/// What a stream takes of one record, unless it was made to take more. Such a record travels alone.
const USUAL_RECORD: usize = 1 << 20;
/// What no stream takes.
const LARGEST_RECORD: usize = 10 << 20;
/// Partition keys are below; each falls into one of the stream's shards by its hash.
const PARTITIONS: u64 = 1_000_000_000;

/// Sends every record to a Kinesis data stream, as a flat JSON object with a random partition key.
///
/// A request has `batch_size` records and 5 MiB at most. Records that the stream has no room for are sent again, and no
/// others; a record that it does not take becomes a dead letter. Kinesis cannot tell a record that comes twice, so the promise
/// is at least once. Without `aws_key` credentials come from the environment, the profile, single sign-on, a web identity, a process, the
/// container or the instance, in the order of AWS's own tools.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"stream_name": "tyk-analytics", "region": "eu-central-1", "batch_size": 500}))]
pub struct Options {
    /// Name of the stream, or its ARN.
    pub stream_name: String,
    /// Region of the stream. Empty: that of `AWS_REGION` or of the profile.
    pub region: String,
    /// Records of a request, 500 at most. 0: 100.
    pub batch_size: i64,
    /// Id, ARN or alias of a KMS key: at the start encryption of the stream is switched on with it, if it is off.
    pub kms_key_id: String,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub aws: AwsOptions,
}

/// The type `kinesis`.
pub const SPEC: SinkSpec = SinkSpec {
    options: options::schema::<Options>,
    check: Some(check),
    ..SinkSpec::new(
        "kinesis",
        "Kinesis Pump",
        "kinesis-pump",
        "TYK_PMP_PUMPS_KINESIS_META",
        build,
    )
};

fn check(context: &BuildContext) -> Result<(), BuildError> {
    aws::look(prepare(context)).map(drop)
}

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Kinesis::new(&context).await?) as Box<dyn Sink>) }.boxed()
}

struct Kinesis {
    service: Service,
    stream: Stream,
    encoder: Encoder,
    outboxes: Outboxes,
}

/// How calls name the stream: member and value.
struct Stream(&'static str, String);

impl Stream {
    fn new(name: &str) -> Stream {
        match name.starts_with("arn:") {
            true => Stream("StreamARN", name.to_owned()),
            false => Stream("StreamName", name.to_owned()),
        }
    }
}

/// Reads the options and contacts nobody. Returns how many records a request may have, too.
async fn prepare(context: &BuildContext) -> Result<(Options, i64, Service), BuildError> {
    let options: Options = context.options()?;
    let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
    let batch_size = match options.batch_size {
        0 => RECORDS,
        size @ 1..=MOST_RECORDS => size,
        size if size < 0 => {
            warn(&format!("meta.batch_size is {size}: requests have {RECORDS} records"));
            RECORDS
        }
        size => {
            warn(&format!(
                "meta.batch_size is {size}: Kinesis takes {MOST_RECORDS} records at most"
            ));
            MOST_RECORDS
        }
    };
    if options.stream_name.is_empty() {
        tracing::error!(
            prefix = SPEC.log_prefix,
            "Stream name unset - may be unable to produce records"
        );
    }
    let settings = Settings {
        region: ("meta.region", &options.region),
        endpoint: ("meta.aws_endpoint", &options.aws.aws_endpoint),
        keys: options.aws.keys(|text| warn(&text)),
    };
    let service = Service::new(&KINESIS, settings).await?;
    Ok((options, batch_size, service))
}

impl Kinesis {
    async fn new(context: &BuildContext) -> Result<Kinesis, BuildError> {
        let (options, batch_size, service) = prepare(context).await?;
        let stream = Stream::new(&options.stream_name);
        if !options.kms_key_id.is_empty() {
            encryption::switch_on(&service, &stream, &options.kms_key_id).await?;
        }
        let packing = Packing {
            separator: b",",
            rows: usize::try_from(batch_size).unwrap_or(1),
            // In base64; what surrounds each record is on top, so that a request stays below the limit.
            bytes: REQUEST / 3 * 4,
        };
        tracing::info!(prefix = SPEC.log_prefix, "Kinesis Pump Initialized");
        Ok(Kinesis {
            service,
            stream,
            encoder: Encoder {
                pump: context.pump.clone(),
                document: Arc::new(FlatDocument::new(&BTreeMap::new())),
            },
            outboxes: Outboxes::new(SPEC.log_prefix, packing, context.compat),
        })
    }

    async fn send(&self, parcel: Parcel) -> Result<Reply, WriteError> {
        let Stream(member, stream) = &self.stream;
        let mut body = Vec::with_capacity(parcel.body.len() + stream.len() + 40);
        body.extend_from_slice(b"{\"Records\":[");
        body.extend_from_slice(&parcel.body);
        body.extend_from_slice(format!("],\"{member}\":{}}}", serde_json::json!(stream)).as_bytes());
        let failure = match self.service.call("PutRecords", body).await? {
            Ok(said) => return fates(&said, parcel.rows.len()).map(Reply::Each),
            Err(failure) => failure,
        };
        let is_alone = parcel.rows.len() == 1;
        match failure.kind() {
            Some(Kind::TooLarge) => Ok(Reply::TooLarge(failure.describe())),
            None if stream.is_empty() => Err(WriteError::Config(
                format!(
                    "{} – write the name of the stream into meta.stream_name",
                    failure.describe()
                )
                .into(),
            )),
            // The stream was not made for records of this size.
            None if is_alone && parcel.body.len() > USUAL_RECORD => Ok(Reply::TooLarge(format!(
                "the record has some {} bytes, the stream takes {USUAL_RECORD} unless its largest record was raised: {}",
                parcel.body.len() / 4 * 3,
                failure.describe()
            ))),
            _ => Err(failure.into_error()),
        }
    }
}

/// What Kinesis says of a request.
#[derive(Deserialize)]
struct Said {
    #[serde(rename = "Records")]
    records: Vec<SaidRecord>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SaidRecord {
    error_code: Option<String>,
    error_message: Option<String>,
}

fn fates(said: &[u8], rows: usize) -> Result<Vec<Fate>, WriteError> {
    let said: Said =
        serde_json::from_slice(said).map_err(|_| WriteError::retry("PutRecords: the answer is not one of Kinesis"))?;
    if said.records.len() != rows {
        let count = said.records.len();
        return Err(WriteError::retry(format!(
            "PutRecords: the answer has {count} records, the request had {rows}"
        )));
    }
    Ok(said.records.into_iter().map(SaidRecord::fate).collect())
}

impl SaidRecord {
    fn fate(self) -> Fate {
        let Some(code) = self.error_code.filter(|code| !code.is_empty()) else {
            return Fate::Accepted;
        };
        let why = entry_words(&code, &self.error_message.unwrap_or_default());
        match kind_of(&code) {
            Some(Kind::Identity | Kind::Setup) => Fate::Blocked(format!(
                "Kinesis refuses records: {why} – check the stream's key and who may use it"
            )),
            _ if code.starts_with("Validation") || code.starts_with("Invalid") => Fate::Rejected(why),
            _ => Fate::Later(why),
        }
    }
}

/// Makes entries of records.
#[derive(Clone)]
struct Encoder {
    pump: Arc<str>,
    document: Arc<FlatDocument>,
}

impl Encoder {
    fn pack(&self, group: &[Selection], parcels: &mut Parcels) {
        let mut plain = Vec::new();
        for (row, record) in group.iter().flat_map(Selection::records) {
            plain.clear();
            if let Err(error) = self.write_data(&mut plain, &record) {
                parcels.reject(row, error);
                continue;
            }
            let is_large = plain.len() > USUAL_RECORD;
            if is_large {
                parcels.seal();
            }
            parcels.write(row, |entry| {
                self.write_entry(entry, &plain, row);
                Ok::<_, String>(true)
            });
            if is_large {
                parcels.seal();
            }
        }
    }

    fn write_data(&self, plain: &mut Vec<u8>, record: &RecordView<'_>) -> Result<(), String> {
        self.document.write(plain, record).map_err(|error| error.to_string())?;
        match plain.len() {
            size if size > LARGEST_RECORD => Err(format!(
                "the record has {size} bytes, a stream takes {LARGEST_RECORD} at most"
            )),
            _ => Ok(()),
        }
    }

    fn write_entry(&self, entry: &mut Vec<u8>, data: &[u8], row: RowId) {
        entry.extend_from_slice(b"{\"Data\":\"");
        let start = entry.len();
        // Four characters for three bytes, the last of them filled up.
        entry.resize(start + data.len().div_ceil(3) * 4, 0);
        let room = entry.get_mut(start..).unwrap_or_default();
        let written = STANDARD.encode_slice(data, room).unwrap_or_default();
        entry.truncate(start + written);
        let partition = row_draw(&self.pump, row) % PARTITIONS;
        entry.extend_from_slice(format!("\",\"PartitionKey\":\"{partition}\"}}").as_bytes());
    }
}

#[async_trait]
impl Sink for Kinesis {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let encoder = self.encoder.clone();
        let pack = move |group: &[Selection], parcels: &mut Parcels| encoder.pack(group, parcels);
        let outbox = self.outboxes.of(group);
        outbox.deliver(group, applied, pack, |parcel| self.send(parcel)).await
    }
}

#[cfg(test)]
mod tests;
