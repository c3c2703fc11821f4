//! Type `dogstatsd`: request times as histograms of a Datadog agent.

mod agent;
mod line;

use std::{sync::Arc, time::Duration};

use analytics::Selection;
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Applied, BuildContext, BuildError, Guarantee, Sink, SinkSpec, WriteError, Written, options,
    table::closest,
    transport::wire::{Limits, Post},
};
use agent::Surroundings;
use line::{DEFAULT_TAGS, Encoder, Head, TAGS, Tag};

/// Sends the request time of every record to a Datadog agent, as a histogram `namespace.request_time` with tags. Over UDP
/// nobody tells whether a datagram arrives; where the machine says that nobody listens, and where a Unix socket is away or
/// full, the records wait and are sent later.
///
/// The agent's variables count: without `address` it is `DD_AGENT_HOST` (with `DD_DOGSTATSD_PORT`), and `DD_ENTITY_ID`,
/// `DD_ENV`, `DD_SERVICE` and `DD_VERSION` are sent as tags, each if it is set. Every metric has the tag `tyk-pump`.
///
/// `,` and `|` in values become `_`, because the agent reads another tag or another part of the metric out of them: nobody
/// who calls an API can write tags or change figures. What is no UTF-8 becomes U+FFFD. With `compat` values are sent as
/// they are. Line feeds are left out.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"address": "unix:///var/run/datadog/dsd.socket", "namespace": "tyk", "buffered": true, "tags": ["path", "method", "response_code", "api_name"]}))]
pub struct Options {
    /// First part of the metric's name; a dot follows.
    pub namespace: String,
    /// Where the agent listens: `host:port`, `host` (port 8125), or `unix://` and the path of its datagram socket. Empty:
    /// the variables `DD_AGENT_HOST` and `DD_DOGSTATSD_PORT`.
    pub address: String,
    /// Part of the records that is sent, from 0 to 1. The agent multiplies what it gets. 0 and negative numbers mean 1.
    pub sample_rate: f64,
    /// Makes `async_uds_write_timeout_seconds` count.
    pub async_uds: bool,
    /// With `async_uds` and a Unix socket: how long an agent that is busy may leave a datagram waiting before the pump
    /// tries again later. 0 and negative numbers mean 1. Without `async_uds` it is a tenth of a second.
    #[schemars(extend("x-env" = "ASYNCUDSWRITETIMEOUT"))]
    pub async_uds_write_timeout_seconds: i64,
    /// Several metrics in a datagram.
    pub buffered: bool,
    /// With `buffered`: the most metrics in a datagram. 0 and negative numbers mean 16.
    pub buffered_max_messages: i64,
    /// Tags of the metric, in this order: `method`, `response_code`, `api_version`, `api_name`, `api_id`, `org_id`,
    /// `tracked`, `path` (without slashes at its end), `oauth_id` (if the record has one). Empty: all of them, and the path
    /// as it is.
    pub tags: Vec<String>,
    /// The most bytes of a datagram. 0 means 1432 over UDP and 8192 over a Unix socket. A record whose metric does not fit
    /// becomes a dead letter. The agent takes 8192 unless its `dogstatsd_buffer_size` says more.
    pub max_datagram_size: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            address: String::new(),
            sample_rate: 1.0,
            async_uds: false,
            async_uds_write_timeout_seconds: 1,
            buffered: false,
            buffered_max_messages: 16,
            tags: Vec::new(),
            max_datagram_size: 0,
        }
    }
}

/// The type `dogstatsd`.
pub const SPEC: SinkSpec = SinkSpec {
    guarantee: Guarantee::BestEffort,
    options: options::schema::<Options>,
    ..SinkSpec::new(
        "dogstatsd",
        "DogStatsd Pump",
        "dogstatsd",
        "TYK_PMP_PUMPS_DOGSTATSD_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(DogStatsd::new(&context, &Surroundings::of_process())?) as Box<dyn Sink>) }.boxed()
}

/// One pump's way to an agent.
struct DogStatsd {
    encoder: Arc<Encoder>,
    post: Post,
}

impl DogStatsd {
    fn new(context: &BuildContext, surroundings: &Surroundings) -> Result<DogStatsd, BuildError> {
        let options: Options = context.options()?;
        let defaults = Options::default();
        let warn = |warning: String| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{warning}");
        let positive = |key: &str, value: i64, default: i64| match value {
            1.. => value,
            0 => default,
            _ => {
                warn(format!(
                    "meta.{key} is {value}, which cannot be: it is {default} – write a number from 1 up"
                ));
                default
            }
        };
        let timeout = positive(
            "async_uds_write_timeout_seconds",
            options.async_uds_write_timeout_seconds,
            defaults.async_uds_write_timeout_seconds,
        );
        let timeout = match options.async_uds {
            true => Duration::from_secs(timeout.unsigned_abs()),
            false => Duration::from_millis(100),
        };
        let lines = positive(
            "buffered_max_messages",
            options.buffered_max_messages,
            defaults.buffered_max_messages,
        );
        let lines = if options.buffered { lines } else { 1 };
        let rate = match options.sample_rate {
            rate if rate > 0.0 => rate.min(1.0),
            rate => {
                if rate < 0.0 {
                    warn(format!(
                        "meta.sample_rate is {rate}, expected a number above 0 and up to 1; 1 is used – write it"
                    ));
                }
                1.0
            }
        };
        let (post, bytes) = surroundings.post(options.address.trim(), timeout)?;
        let bytes = match usize::try_from(options.max_datagram_size) {
            Ok(0) => bytes,
            Ok(size) => size,
            Err(_) => {
                return Err(BuildError::Options(format!(
                    "meta.max_datagram_size is {}, expected a number of bytes, or 0 – write for instance 8192",
                    options.max_datagram_size
                )));
            }
        };
        let namespace = match options.namespace.as_str() {
            "" => &defaults.namespace,
            namespace => namespace,
        };
        tracing::info!(
            prefix = SPEC.log_prefix, pump = %context.pump,
            "namespace {namespace}., sample rate {rate}, {lines} metrics in a datagram of at most {bytes} bytes, a Unix \
             socket may keep it waiting for {} ms", timeout.as_millis()
        );
        Ok(DogStatsd {
            encoder: Arc::new(Encoder {
                head: Head::new(namespace, rate, &surroundings.tags()),
                tags: tags(&options.tags)?,
                rate,
                limits: Limits {
                    lines: usize::try_from(lines).unwrap_or(usize::MAX),
                    bytes,
                },
                as_it_is: context.compat,
            }),
            post,
        })
    }
}

fn tags(names: &[String]) -> Result<Vec<Tag>, BuildError> {
    if names.is_empty() {
        return Ok(DEFAULT_TAGS.to_vec());
    }
    let known = |name: &String| TAGS.iter().find(|(known, _)| known == name).map(|(_, tag)| *tag);
    let tags = names.iter().map(|name| {
        known(name).ok_or_else(|| {
            let all = || TAGS.iter().map(|(name, _)| *name);
            let remedy = match closest(name, all()) {
                Some(meant) => format!("write \"{meant}\", or remove it"),
                None => format!("remove it, or write one of {}", all().collect::<Vec<_>>().join(", ")),
            };
            BuildError::Options(format!("meta.tags has \"{name}\", which is no tag – {remedy}"))
        })
    });
    tags.collect()
}

#[async_trait]
impl Sink for DogStatsd {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let (encoder, group) = (self.encoder.clone(), applied.rest_of(group));
        let dispatch = tokio::task::spawn_blocking(move || encoder.encode(&group))
            .await
            .map_err(WriteError::retry)?;
        dispatch.send(&self.post, applied).await
    }
}

#[cfg(test)]
mod tests;
