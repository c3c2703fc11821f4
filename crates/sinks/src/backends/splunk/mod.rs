//! Type `splunk`: records as events of an HTTP Event Collector.

mod collector;
mod event;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use analytics::{RowId, Selection};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    collector::{Collector, Refusal},
    event::Template,
};
use crate::{
    Applied, BuildContext, BuildError, Rejected, Sink, SinkSpec, WriteError, Written, options,
    transport::{
        outbox::{Fate, Outbox, Pace, Packing, Parcel, Parcels, Reply},
        tls::SslOptions,
    },
};

/// What `batch_max_content_length` 0 means; a group of the lane never gets near it.
const LONGEST_BATCH: usize = 838_860_800;
/// Refused events in a row, with none accepted before them, that look like a wrong set-up rather than like bad events.
const SUSPICIOUS: usize = 25;

/// Sends records as events to a Splunk HTTP Event Collector, one request each or, with `enable_batch`, many at once.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "collector_token": "<token>",
    "collector_url": "https://splunk:8088/services/collector/event",
    "enable_batch": true,
    "batch_max_content_length": 1_000_000,
    "ssl_ca_file": "/etc/ssl/splunk-ca.pem"
}))]
pub struct Options {
    /// Token of the collector. Required.
    #[schemars(extend("x-secret" = true))]
    pub collector_token: String,
    /// Address of the collector. Required. Its path is replaced by `/services/collector/event/1.0` unless `keep_url_path`.
    pub collector_url: String,
    /// Use the path of `collector_url` as it is, for collectors behind a proxy. It must take events, not raw text.
    pub keep_url_path: bool,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub ssl: SslOptions,
    /// Name that the collector's certificate is made out to, if not the host of the URL.
    pub ssl_server_name: String,
    /// Hide API keys: `****` and the last characters.
    pub obfuscate_api_keys: bool,
    /// How many characters of a hidden key are shown. Keys that are not longer become `****`.
    pub obfuscate_api_keys_length: i64,
    /// Fields of an event; empty: `method`, `path`, `response_code`, `api_key`, `time_stamp`, `api_version`, `api_name`,
    /// `api_id`, `org_id`, `oauth_id`, `raw_request`, `request_time`, `raw_response`, `ip_address`. Further ones: `host`,
    /// `raw_path`, `content_length`, `user_agent`, `geo`, `network`, `latency`, `tags`, `alias`, `track_path`.
    pub fields: Vec<String>,
    /// Tags that begin with one of these are left out of `tags`.
    pub ignore_tag_prefix_list: Vec<String>,
    /// Send many events in one request.
    pub enable_batch: bool,
    /// Most bytes of a request with `enable_batch`; 0: 838860800; negative: one event a request. A larger event goes
    /// alone. When the collector answers 413 the pump halves its requests by itself, for an hour.
    pub batch_max_content_length: i64,
    /// Other name of `batch_max_content_length`, which wins.
    pub max_content_length: i64,
    /// Accepted for compatibility; without effect, because failing writes are repeated until they succeed.
    pub max_retries: u64,
    /// Compress requests.
    pub gzip: bool,
    /// Wait until Splunk has indexed the events (indexer acknowledgement, which must be on for the token).
    pub use_ack: bool,
    /// Seconds that `use_ack` waits before the events are sent again.
    pub ack_timeout: u64,
    /// Index of the events; empty: that of the token.
    pub index: String,
    /// Host of the events; empty: the collector's choice.
    pub host: String,
    /// Source of the events; empty: that of the token.
    pub source: String,
    /// Source type of the events; empty: that of the token.
    pub sourcetype: String,
    /// Seconds that a request may take.
    pub timeout: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            collector_token: String::new(),
            collector_url: String::new(),
            keep_url_path: false,
            ssl: SslOptions::default(),
            ssl_server_name: String::new(),
            obfuscate_api_keys: false,
            obfuscate_api_keys_length: 0,
            fields: Vec::new(),
            ignore_tag_prefix_list: Vec::new(),
            enable_batch: false,
            batch_max_content_length: 0,
            max_content_length: 0,
            max_retries: 0,
            gzip: false,
            use_ack: false,
            ack_timeout: 60,
            index: String::new(),
            host: String::new(),
            source: String::new(),
            sourcetype: String::new(),
            timeout: 60,
        }
    }
}

impl Options {
    /// Most bytes of a request; 0: one event a request.
    fn limit(&self) -> usize {
        let given = [self.batch_max_content_length, self.max_content_length];
        let given = given.into_iter().find(|&limit| limit != 0);
        match (self.enable_batch, given) {
            (false, _) => 0,
            (true, None) => LONGEST_BATCH,
            // No event is shorter than a negative limit.
            (true, Some(limit)) => usize::try_from(limit).unwrap_or(0),
        }
    }
}

/// The type `splunk`.
pub const SPEC: SinkSpec = SinkSpec {
    options: options::schema::<Options>,
    ..SinkSpec::new(
        "splunk",
        "Splunk Pump",
        "splunk-pump",
        "TYK_PMP_PUMPS_SPLUNK_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Splunk::new(&context)?) as Box<dyn Sink>) }.boxed()
}

/// One pump's way to a collector.
struct Splunk {
    template: Arc<Template>,
    collector: Collector,
    outbox: Outbox,
}

impl Splunk {
    fn new(context: &BuildContext) -> Result<Splunk, BuildError> {
        let options: Options = context.options()?;
        let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
        let template = Template::new(&options, warn);
        let collector = Collector::new(&options, warn)?;
        tracing::info!(
            prefix = SPEC.log_prefix,
            "Splunk Pump Endpoint: {}",
            collector.shown_address()
        );
        tracing::info!(prefix = SPEC.log_prefix, "Splunk Pump Initialized");
        let packing = Packing {
            separator: b"",
            rows: usize::MAX,
            bytes: options.limit(),
        };
        Ok(Splunk {
            template: Arc::new(template),
            collector,
            outbox: Outbox::new(SPEC.log_prefix, packing, Pace::AtOnce(1)),
        })
    }

    async fn post(&self, parcel: Parcel, round: &Mutex<Round>) -> Result<Reply, WriteError> {
        let posted = self.collector.post(parcel.body).await;
        let mut round = lock(round);
        match posted {
            Ok(None) => {
                round.accepted = true;
                Ok(Reply::Accepted)
            }
            Ok(Some(id)) => {
                round.accepted = true;
                round.waiting.entry(id).or_default().extend_from_slice(&parcel.rows);
                Ok(Reply::Unconfirmed)
            }
            Err(Refusal::Whole(error)) => Err(error),
            Err(Refusal::TooLarge(reason)) => Ok(Reply::TooLarge(reason)),
            Err(Refusal::Event { number, reason }) => round.refuse(&parcel.rows, number, reason),
        }
    }
}

fn lock(round: &Mutex<Round>) -> MutexGuard<'_, Round> {
    round.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the collector has said during one write.
#[derive(Default)]
struct Round {
    accepted: bool,
    /// Refused although nothing was accepted before them.
    suspicious: Vec<Rejected>,
    /// Requests whose events are not indexed yet.
    waiting: BTreeMap<u64, Vec<RowId>>,
}

impl Round {
    fn refuse(&mut self, rows: &[RowId], number: Option<usize>, reason: String) -> Result<Reply, WriteError> {
        let rejected = |&row: &RowId| Rejected {
            row,
            reason: reason.clone(),
        };
        let [row] = rows else {
            let named = number.and_then(|number| rows.get(number));
            return Err(WriteError::Reject {
                rows: named.map(rejected).into_iter().collect(),
                source: reason.into(),
            });
        };
        if !self.accepted {
            self.suspicious.push(rejected(row));
            if self.suspicious.len() >= SUSPICIOUS {
                return Err(WriteError::Reject {
                    rows: std::mem::take(&mut self.suspicious),
                    source: reason.into(),
                });
            }
        }
        Ok(Reply::Each(vec![Fate::Rejected(reason)]))
    }
}

#[async_trait]
impl Sink for Splunk {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let template = self.template.clone();
        let pack = move |group: &[Selection], parcels: &mut Parcels| {
            parcels.write_all(group, |out, _, record| template.write(out, record).map(|()| true));
        };
        let round = Mutex::default();
        let posted = self
            .outbox
            .deliver(group, applied, pack, |parcel| self.post(parcel, &round));
        let posted = posted.await;
        // What was taken before a failure is not sent again, if it is indexed.
        let waiting = std::mem::take(&mut lock(&round).waiting);
        let indexed = |rows: &[RowId]| applied.mark(rows.iter().copied());
        let indexed = self.collector.wait_until_indexed(waiting, indexed).await;
        let written = posted?;
        indexed?;
        Ok(written)
    }
}

#[cfg(test)]
mod tests;
