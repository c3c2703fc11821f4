//! Type `splunk`: records as events of an HTTP Event Collector.

mod collector;
mod event;

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use analytics::{ClaimId, RecordKind, RowId, Selection};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::{
    collector::{Collector, Refusal},
    event::Template,
};
use crate::{
    BuildContext, BuildError, Gather, Guarantee, Rejected, Sink, SinkSpec, WriteError, Written, ledger::Ledger,
    options, tls::SslOptions,
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
    /// Most bytes of a request with `enable_batch`; 0: 838860800. A larger event goes alone. When the collector answers
    /// 413 the pump halves its requests by itself.
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
        let given = given.into_iter().find(|&limit| limit > 0);
        match (self.enable_batch, given) {
            (false, _) => 0,
            (true, None) => LONGEST_BATCH,
            (true, Some(limit)) => usize::try_from(limit).unwrap_or(LONGEST_BATCH),
        }
    }
}

/// The type `splunk`.
pub const SPEC: SinkSpec = SinkSpec {
    name: "splunk",
    title: "Splunk Pump",
    log_prefix: "splunk-pump",
    env_prefix: "TYK_PMP_PUMPS_SPLUNK_META",
    records: RecordKind::Traffic,
    guarantee: Guarantee::AtLeastOnce,
    gather: Gather::WINDOW,
    decodes_bodies: true,
    writes_empty: false,
    purge_line: true,
    options: options::schema::<Options>,
    build: Some(build),
    migrate: None,
    indexes: None,
    #[cfg(feature = "testkit")]
    harness: Some(crate::testkit::splunk::start),
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Splunk::new(&context)?) as Box<dyn Sink>) }.boxed()
}

/// One pump's way to a collector.
struct Splunk {
    template: Arc<Template>,
    collector: Collector,
    /// Most bytes of a request; lowered when the collector finds one too large. 0: one event a request.
    limit: AtomicUsize,
    /// Rows that the collector has taken although the write as a whole has failed: they are not sent again.
    sent: Arc<Mutex<Ledger>>,
}

impl Splunk {
    fn new(context: &BuildContext) -> Result<Splunk, BuildError> {
        let options: Options =
            options::decode(&context.meta).map_err(|error| BuildError::Options(error.to_string()))?;
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
            limit: AtomicUsize::new(options.limit()),
            sent: Arc::default(),
        })
    }

    fn sent(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.sent)
    }

    async fn encode(&self, group: &[Selection]) -> Result<Encoded, WriteError> {
        let (template, sent, group) = (self.template.clone(), self.sent.clone(), group.to_vec());
        let limit = self.limit.load(Relaxed);
        let task = tokio::task::spawn_blocking(move || encode(&template, &lock(&sent), &group, limit));
        task.await.map_err(WriteError::retry)
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Sink for Splunk {
    async fn write(&self, group: &[Selection]) -> Result<Written, WriteError> {
        let Encoded { posts, rejected } = self.encode(group).await?;
        let mut written = Written {
            rejected,
            ..Written::default()
        };
        let mut suspicious = Vec::new();
        let mut accepted = false;
        for Post { body, rows } in posts {
            let size = body.len();
            match self.collector.post(body).await {
                Ok(()) => {
                    accepted = true;
                    let mut sent = self.sent();
                    for row in &rows {
                        sent.insert(row.claim, row.row..row.row + 1);
                    }
                }
                Err(Refusal::Whole(error)) => return Err(error),
                Err(Refusal::TooLarge(error)) if rows.len() > 1 => {
                    self.limit.store((size / 2).max(1), Relaxed);
                    let text = format!(
                        "{error} – requests of this pump stay below {} bytes from now on",
                        size / 2
                    );
                    tracing::warn!(prefix = SPEC.log_prefix, "{text}");
                    return Err(WriteError::retry(text));
                }
                Err(Refusal::TooLarge(reason)) => {
                    written.rejected.extend(rows.into_iter().map(|row| Rejected {
                        row,
                        reason: reason.clone(),
                    }));
                }
                Err(Refusal::Event { number, reason }) => {
                    let row = match (number, rows.as_slice()) {
                        (_, [row]) => Some(*row),
                        (Some(number), rows) => rows.get(number).copied(),
                        (None, _) => None,
                    };
                    let Some(row) = row else {
                        return Err(WriteError::Reject {
                            rows: Vec::new(),
                            source: reason.into(),
                        });
                    };
                    let refused = Rejected {
                        row,
                        reason: reason.clone(),
                    };
                    if rows.len() > 1 {
                        return Err(WriteError::Reject {
                            rows: vec![refused],
                            source: reason.into(),
                        });
                    }
                    if !accepted {
                        suspicious.push(refused.clone());
                        if suspicious.len() >= SUSPICIOUS {
                            return Err(WriteError::Reject {
                                rows: suspicious,
                                source: reason.into(),
                            });
                        }
                    }
                    written.rejected.push(refused);
                }
            }
        }
        written
            .rejected
            .sort_by_key(|rejected| (rejected.row.claim, rejected.row.row));
        Ok(written)
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
