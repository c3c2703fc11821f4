//! Type `splunk`: records as events of an HTTP Event Collector.

mod collector;
mod event;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use analytics::{ClaimId, RowId, Selection};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    collector::{Collector, Refusal},
    event::Template,
};
use crate::{
    Applied, BuildContext, BuildError, Rejected, Sink, SinkSpec, WriteError, Written, contract::ledger::Ledger,
    options, transport::http::BodyLimit, transport::tls::SslOptions,
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
    /// Do not check the collector's certificate.
    pub ssl_insecure_skip_verify: bool,
    /// PEM file with a client certificate; goes with `ssl_key_file`.
    pub ssl_cert_file: String,
    /// PEM file with the key of the client certificate.
    pub ssl_key_file: String,
    /// PEM file with the authorities to trust, instead of those of the system.
    pub ssl_ca_file: String,
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
            ssl_insecure_skip_verify: false,
            ssl_cert_file: String::new(),
            ssl_key_file: String::new(),
            ssl_ca_file: String::new(),
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
    fn ssl(&self) -> SslOptions<'_> {
        SslOptions {
            insecure_skip_verify: self.ssl_insecure_skip_verify,
            cert_file: &self.ssl_cert_file,
            key_file: &self.ssl_key_file,
            ca_file: &self.ssl_ca_file,
            server_name: &self.ssl_server_name,
        }
    }

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
    /// Most bytes of a request. 0: one event a request.
    limit: BodyLimit,
    /// Rows that the collector has taken although the write as a whole has failed: they are not sent again.
    sent: Arc<Mutex<Ledger>>,
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
        Ok(Splunk {
            template: Arc::new(template),
            collector,
            limit: BodyLimit::new(options.limit()),
            sent: Arc::default(),
        })
    }

    fn sent(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.sent)
    }

    async fn encode(&self, group: &[Selection]) -> Result<Encoded, WriteError> {
        let (template, sent, group) = (self.template.clone(), self.sent.clone(), group.to_vec());
        let limit = self.limit.bytes();
        let task = tokio::task::spawn_blocking(move || encode(&template, &lock(&sent), &group, limit));
        task.await.map_err(WriteError::retry)
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What became of a group so far.
#[derive(Default)]
struct Round {
    rejected: Vec<Rejected>,
    /// Refused although nothing was accepted before them.
    suspicious: Vec<Rejected>,
    accepted: bool,
    /// Requests whose events are not indexed yet.
    waiting: BTreeMap<u64, Vec<RowId>>,
    /// A request was too large, and the limit is lower now.
    again: bool,
}

impl Splunk {
    fn taken(&self, rows: &[RowId]) {
        let mut sent = self.sent();
        for row in rows {
            sent.insert(row.claim, row.row..row.row + 1);
        }
    }

    async fn post(&self, posts: Vec<Post>, round: &mut Round) -> Result<(), WriteError> {
        for Post { body, rows } in posts {
            let size = body.len();
            match self.collector.post(body).await {
                Ok(id) => {
                    round.accepted = true;
                    match id {
                        Some(id) => round.waiting.entry(id).or_default().extend(rows),
                        None => self.taken(&rows),
                    }
                }
                Err(Refusal::Whole(error)) => return Err(error),
                Err(Refusal::TooLarge(error)) if rows.len() > 1 => {
                    let limit = self.limit.lower(size);
                    let text = format!("{error} – requests of this pump stay below {limit} bytes for an hour");
                    tracing::warn!(prefix = SPEC.log_prefix, "{text}");
                    round.again = true;
                    return Ok(());
                }
                Err(Refusal::TooLarge(reason)) => round.rejected.extend(refused(&rows, &reason)),
                Err(Refusal::Event { number, reason }) => round.refuse(&rows, number, reason)?,
            }
        }
        Ok(())
    }
}

impl Round {
    fn refuse(&mut self, rows: &[RowId], number: Option<usize>, reason: String) -> Result<(), WriteError> {
        let row = match (number, rows) {
            (_, [row]) => Some(*row),
            (Some(number), rows) => rows.get(number).copied(),
            (None, _) => None,
        };
        let refused: Vec<Rejected> = refused(row.as_slice(), &reason).collect();
        if rows.len() > 1 {
            return Err(WriteError::Reject {
                rows: refused,
                source: reason.into(),
            });
        }
        if !self.accepted {
            self.suspicious.extend(refused.iter().cloned());
            if self.suspicious.len() >= SUSPICIOUS {
                return Err(WriteError::Reject {
                    rows: std::mem::take(&mut self.suspicious),
                    source: reason.into(),
                });
            }
        }
        self.rejected.extend(refused);
        Ok(())
    }
}

fn refused(rows: &[RowId], reason: &str) -> impl Iterator<Item = Rejected> {
    rows.iter().map(|&row| Rejected {
        row,
        reason: reason.to_owned(),
    })
}

#[async_trait]
impl Sink for Splunk {
    async fn write(&self, group: &[Selection], _applied: &Arc<Applied>) -> Result<Written, WriteError> {
        loop {
            let Encoded { posts, rejected } = self.encode(group).await?;
            let mut round = Round {
                rejected,
                ..Round::default()
            };
            let posted = self.post(posts, &mut round).await;
            // What was taken before a failure is not sent again, if it is indexed.
            let waiting = std::mem::take(&mut round.waiting);
            let indexed = self.collector.wait_until_indexed(waiting, |rows| self.taken(rows));
            let indexed = indexed.await;
            posted?;
            indexed?;
            if round.again {
                continue;
            }
            if !round.accepted && !round.rejected.is_empty() {
                self.limit.restore();
            }
            let mut rejected = round.rejected;
            rejected.sort_by_key(|rejected| (rejected.row.claim, rejected.row.row));
            return Ok(Written {
                rejected,
                ..Written::default()
            });
        }
    }

    async fn forget(&self, claims: &[ClaimId]) {
        self.sent().forget(claims);
    }
}

/// A request's body and the rows in it.
struct Post {
    body: Vec<u8>,
    rows: Vec<RowId>,
}

#[derive(Default)]
struct Encoded {
    posts: Vec<Post>,
    rejected: Vec<Rejected>,
}

/// Events of the rows that are not in `sent`, in requests below `limit` bytes; an event that is larger stands alone.
fn encode(template: &Template, sent: &Ledger, group: &[Selection], limit: usize) -> Encoded {
    let mut encoded = Encoded::default();
    let mut body = Vec::new();
    let mut rows = Vec::new();
    for selection in group {
        for (row, record) in selection.records() {
            if sent.contains(row) {
                continue;
            }
            let start = body.len();
            if let Err(error) = template.write(&mut body, &record) {
                body.truncate(start);
                encoded.rejected.push(Rejected {
                    row,
                    reason: error.to_string(),
                });
                continue;
            }
            if start > 0 && body.len() > limit {
                let rest = body.split_off(start);
                encoded.posts.push(Post {
                    body: std::mem::replace(&mut body, rest),
                    rows: std::mem::take(&mut rows),
                });
            }
            rows.push(row);
        }
    }
    if !rows.is_empty() {
        encoded.posts.push(Post { body, rows });
    }
    encoded
}

#[cfg(test)]
mod tests;
