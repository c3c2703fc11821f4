//! Type `sqs`: records to a queue of SQS.

mod message;
mod options;

use std::{collections::HashMap, sync::Arc};

use analytics::{RowId, Selection};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde::Deserialize;
use serde_json::json;

pub use self::options::Options;
use self::{message::Encoder, options::Plan};
use crate::{
    Applied, BuildContext, BuildError, Sink, SinkSpec, WriteError, Written,
    transport::{
        aws::{self, Api, Kind, Outboxes, Service, Settings, entry_words, kind_of},
        outbox::{Fate, Packing, Parcel, Parcels, Reply},
    },
};

const SQS: Api = Api {
    name: "sqs",
    host: "sqs",
    variable: "SQS",
    target: "AmazonSQS",
    content_type: "application/x-amz-json-1.0",
};

/// What requests have at most, counted with the escapes of their encoding; the service's oldest limit, which all have.
const REQUEST: usize = 256 << 10;

/// The type `sqs`.
pub const SPEC: SinkSpec = SinkSpec {
    options: crate::options::schema::<Options>,
    check: Some(check),
    ..SinkSpec::new("sqs", "SQS Pump", "sqs-pump", "TYK_PMP_PUMPS_SQS_META", build)
};

fn check(context: &BuildContext) -> Result<(), BuildError> {
    aws::look(prepare(context)).map(drop)
}

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Sqs::new(&context).await?) as Box<dyn Sink>) }.boxed()
}

struct Sqs {
    service: Service,
    queue_url: String,
    /// Messages of a group have an order, which nothing sent later may disturb.
    keeps_order: bool,
    encoder: Encoder,
    outboxes: Outboxes,
}

/// Reads the options and contacts nobody.
async fn prepare(context: &BuildContext) -> Result<(Options, Plan, Service), BuildError> {
    let options: Options = context.options()?;
    let mut plan = Plan::of(&options, context)?;
    let settings = Settings {
        region: ("meta.aws_region", &options.aws_region),
        endpoint: ("meta.aws_endpoint", &options.aws.aws_endpoint),
        keys: plan.keys.take(),
    };
    let service = Service::new(&SQS, settings).await?;
    Ok((options, plan, service))
}

impl Sqs {
    async fn new(context: &BuildContext) -> Result<Sqs, BuildError> {
        let (options, plan, service) = prepare(context).await?;
        let queue_url = match options.aws_queue_name.starts_with("https://") {
            true => options.aws_queue_name.clone(),
            false => queue_url(&service, &options.aws_queue_name).await?,
        };
        let packing = Packing {
            separator: b",",
            rows: plan.batch,
            bytes: REQUEST,
        };
        tracing::info!(prefix = SPEC.log_prefix, "SQS Pump Initialized");
        Ok(Sqs {
            service,
            queue_url,
            keeps_order: plan.is_fifo,
            encoder: Encoder {
                pump: context.pump.clone(),
                group: plan.group.into(),
                deduplicates: plan.deduplicates,
                delay: plan.delay,
            },
            outboxes: Outboxes::new(SPEC.log_prefix, packing, context.compat || plan.is_fifo),
        })
    }

    async fn send(&self, parcel: Parcel, applied: &Applied) -> Result<Reply, WriteError> {
        let mut body = Vec::with_capacity(parcel.body.len() + self.queue_url.len() + 40);
        body.extend_from_slice(b"{\"Entries\":[");
        body.extend_from_slice(&parcel.body);
        body.extend_from_slice(format!("],\"QueueUrl\":{}}}", json!(self.queue_url)).as_bytes());
        let failure = match self.service.call("SendMessageBatch", body).await? {
            Ok(said) => {
                let fates = self.fates(&said, &parcel.rows)?;
                return match self.keeps_order {
                    true => in_order(&parcel.rows, fates, applied),
                    false => Ok(Reply::Each(fates)),
                };
            }
            Err(failure) => failure,
        };
        match failure.kind() {
            Some(Kind::TooLarge) => Ok(Reply::TooLarge(format!(
                "the messages have {} bytes, the queue takes less: {}",
                parcel.body.len(),
                failure.describe()
            ))),
            _ => Err(failure.into_error()),
        }
    }

    fn fates(&self, said: &[u8], rows: &[RowId]) -> Result<Vec<Fate>, WriteError> {
        let said: Said = serde_json::from_slice(said)
            .map_err(|_| WriteError::retry("SendMessageBatch: the answer is not one of SQS"))?;
        let failed = said.failed.unwrap_or_default().into_iter();
        let mut by_id: HashMap<String, Fate> = failed.map(SaidFailed::fate).collect();
        let sent = said.successful.unwrap_or_default().into_iter();
        let sent = sent.map(|entry| (entry.id, Fate::Accepted));
        by_id.extend(sent);
        let unknown = || Fate::Later("SendMessageBatch: the answer does not name every message".to_owned());
        let fate = |row: &RowId| by_id.remove(&self.encoder.id(*row)).unwrap_or_else(unknown);
        Ok(rows.iter().map(fate).collect())
    }
}

/// Where the queue is.
async fn queue_url(service: &Service, name: &str) -> Result<String, BuildError> {
    #[derive(Deserialize)]
    struct Said {
        #[serde(rename = "QueueUrl")]
        queue_url: String,
    }
    let unavailable = |text: String| Err(BuildError::Unavailable(text.into()));
    let said = match service
        .call("GetQueueUrl", json!({"QueueName": name}).to_string())
        .await
    {
        Ok(Ok(said)) => said,
        Ok(Err(failure)) => return unavailable(failure.into_error().to_string()),
        Err(error) => return unavailable(error.to_string()),
    };
    match serde_json::from_slice(&said) {
        Ok(Said { queue_url }) => Ok(queue_url),
        Err(_) => unavailable("GetQueueUrl: the answer is not one of SQS – check meta.aws_endpoint".to_owned()),
    }
}

/// On a queue with an order, what comes after a message that is not accepted yet has to wait for it.
fn in_order(rows: &[RowId], fates: Vec<Fate>, applied: &Applied) -> Result<Reply, WriteError> {
    let later = fates.iter().find_map(|fate| match fate {
        Fate::Later(why) => Some(why.clone()),
        _ => None,
    });
    let Some(why) = later else {
        return Ok(Reply::Each(fates));
    };
    let accepted = rows.iter().zip(&fates).filter(|(_, fate)| **fate == Fate::Accepted);
    applied.mark(accepted.map(|(row, _)| *row));
    Err(WriteError::retry(why))
}

/// What SQS says of a batch.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Said {
    successful: Option<Vec<SaidSent>>,
    failed: Option<Vec<SaidFailed>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SaidSent {
    id: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct SaidFailed {
    id: String,
    code: String,
    sender_fault: bool,
    message: Option<String>,
}

impl SaidFailed {
    fn fate(self) -> (String, Fate) {
        let code = self.code.rsplit('.').next().unwrap_or_default();
        let why = entry_words(code, &self.message.unwrap_or_default());
        let fate = match kind_of(code) {
            Some(Kind::Identity | Kind::Setup) => Fate::Blocked(format!(
                "SQS refuses messages: {why} – check the queue's kind, its key, and what the pump may do there"
            )),
            None if self.sender_fault => Fate::Rejected(why),
            _ => Fate::Later(why),
        };
        (self.id, fate)
    }
}

#[async_trait]
impl Sink for Sqs {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let encoder = self.encoder.clone();
        let pack = move |group: &[Selection], parcels: &mut Parcels| encoder.pack(group, parcels);
        let outbox = self.outboxes.of(group);
        let send = |parcel| self.send(parcel, applied);
        outbox.deliver(group, applied, pack, send).await
    }
}

#[cfg(test)]
mod tests;
