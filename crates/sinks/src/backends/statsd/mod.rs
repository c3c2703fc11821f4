//! Type `statsd`: the timings of records as metrics of a StatsD daemon.

mod metric;

use std::{ops::Range, sync::Arc, time::Duration};

use analytics::{Selection, Zone};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Applied, BuildContext, BuildError, Guarantee, Sink, SinkSpec, WriteError, Written, options,
    table::closest,
    transport::wire::{Address, Datagrams, Dispatch, Limits, LocalDatagrams, MAX_DATAGRAM, Post},
};
use metric::{Encoder, TAGS, TIMINGS, Tag};

/// How long a daemon on this machine may leave a datagram waiting.
const PATIENCE: Duration = Duration::from_secs(1);

/// Bytes of datagrams that are put together at once: each timing repeats the tags, of which a raw request may be one.
const PIECE: usize = 1 << 20;

/// Sends timings of every record to a StatsD daemon, as `field.tags:value|ms`. The values of `tags` are parts of the
/// metric's name, in lower case and without blanks; without tags the name ends in a dot. Over UDP nobody tells whether a
/// datagram arrives; where a machine says that nobody listens, the records wait and are sent later.
///
/// `:` and `|` in values become `_`, because a daemon reads them as the end of the name, and so does `=` behind `#`, `,`,
/// `;` or `[`, which some daemons read as a tag: nobody who calls an API can write metrics of their own. With `compat`
/// values are sent as they are.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"address": "statsd.example.com:8125", "fields": ["request_time"], "tags": ["path", "response_code", "api_name"]}))]
pub struct Options {
    /// `host:port` of the daemon, or `unix://` and the path of a datagram socket (statsd_exporter and Datadog's agent have
    /// one).
    pub address: String,
    /// Timings that are sent: `request_time`, `latency_total`, `latency_upstream`, `latency_gateway`. Without any nothing
    /// is sent.
    pub fields: Vec<String>,
    /// Values of a record that are parts of the metric's name, in this order: `path` (behind the method), `response_code`,
    /// `api_key`, `api_version`, `api_name`, `api_id`, `org_id`, `oauth_id`, `raw_request`, `raw_response`, `ip_address`,
    /// `time_stamp`, `request_time`, `latency_total`, `latency_upstream`, `latency_gateway`, and with `separated_method`
    /// `method`. Any other name is sent as `null`.
    pub tags: Vec<String>,
    /// `path` is the path alone, and `method` a tag of its own.
    pub separated_method: bool,
    /// Puts as many metrics into a datagram as fit into this many bytes, a line each, which costs both sides much less:
    /// 1432 over networks, 8192 on one machine. 0: each metric has a datagram of its own.
    pub max_datagram_size: i64,
}

/// The type `statsd`.
pub const SPEC: SinkSpec = SinkSpec {
    guarantee: Guarantee::BestEffort,
    options: options::schema::<Options>,
    ..SinkSpec::new(
        "statsd",
        "Statsd Pump",
        "statsd-pump",
        "TYK_PMP_PUMPS_STATSD_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Statsd::new(&context)?) as Box<dyn Sink>) }.boxed()
}

/// One pump's way to a daemon.
struct Statsd {
    encoder: Arc<Encoder>,
    limits: Limits,
    post: Post,
}

impl Statsd {
    fn new(context: &BuildContext) -> Result<Statsd, BuildError> {
        let options: Options = context.options()?;
        let post = post(options.address.trim())?;
        let limits = match usize::try_from(options.max_datagram_size) {
            Ok(0) => Limits {
                lines: 1,
                bytes: MAX_DATAGRAM,
            },
            Ok(bytes) => Limits {
                lines: usize::MAX,
                bytes: bytes.min(MAX_DATAGRAM),
            },
            Err(_) => {
                return Err(BuildError::Options(format!(
                    "meta.max_datagram_size is {}, expected a number of bytes, or 0 – write for instance 1432",
                    options.max_datagram_size
                )));
            }
        };
        let warn = |warning: String| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{warning}");
        let mut timings = Vec::new();
        for field in &options.fields {
            match TIMINGS.iter().find(|(name, _)| name == field) {
                Some(timing) => timings.push(*timing),
                None => warn(format!(
                    "meta.fields has \"{field}\", which is no timing – {}",
                    remedy(field, TIMINGS.iter().map(|(name, _)| *name))
                )),
            }
        }
        if timings.is_empty() {
            warn("meta.fields names no timing, so that nothing is sent – write for instance [\"request_time\"]".into());
        }
        let mut tags = Vec::new();
        for name in &options.tags {
            let tag = Tag::of(name, options.separated_method);
            if tag == Tag::Unknown {
                let remedy = match name.as_str() {
                    "method" => "set separated_method, or remove it".to_owned(),
                    _ => remedy(name, TAGS.iter().map(|(name, _)| *name)),
                };
                warn(format!(
                    "meta.tags has \"{name}\", which is no value of a record and is sent as null – {remedy}"
                ));
            }
            tags.push(tag);
        }
        tracing::info!(
            prefix = SPEC.log_prefix, pump = %context.pump,
            "Statsd Pump sends to {}", options.address
        );
        Ok(Statsd {
            encoder: Arc::new(Encoder {
                timings,
                tags,
                zone: Zone::LOCAL,
                as_it_is: context.compat,
            }),
            limits,
            post,
        })
    }
}

fn post(address: &str) -> Result<Post, BuildError> {
    if let Some(path) = address.strip_prefix("unix://") {
        let local = LocalDatagrams::new(path, PATIENCE).map_err(|error| {
            BuildError::Options(format!("meta.address is \"{address}\": {error} – shorten the path"))
        })?;
        return Ok(Post::Local(local));
    }
    match Address::parse(address) {
        Some(address) => Ok(Post::Network(Datagrams::new(address))),
        None => Err(BuildError::Options(format!(
            "meta.address is \"{address}\", expected host:port – write for instance \"localhost:8125\""
        ))),
    }
}

fn remedy(given: &str, names: impl Iterator<Item = &'static str>) -> String {
    match closest(given, names) {
        Some(name) => format!("write \"{name}\", or remove it"),
        None => "remove it".to_owned(),
    }
}

/// Makes datagrams of a group, and hands them over in pieces until `pass` does not want any more.
fn encode(encoder: &Encoder, limits: Limits, group: &[Selection], mut pass: impl FnMut(Dispatch) -> bool) {
    let mut out = Dispatch::default();
    let (mut tags, mut line) = (Vec::new(), Vec::new());
    for (row, record) in group.iter().flat_map(Selection::records) {
        tags.clear();
        encoder.write_tags(&mut tags, &record);
        let longest = encoder.longest() + tags.len();
        if longest > MAX_DATAGRAM {
            out.reject(
                row,
                format!(
                    "its metric has {longest} bytes, and a datagram takes {MAX_DATAGRAM} – choose fewer tags, or set \
                     max_record_size"
                ),
            );
            continue;
        }
        let mut datagrams: Option<Range<usize>> = None;
        for timing in &encoder.timings {
            line.clear();
            encoder.write_metric(&mut line, *timing, &tags, &record);
            let datagram = out.write(&line, limits);
            datagrams.get_or_insert(datagram..datagram).end = datagram + 1;
        }
        if let Some(datagrams) = datagrams {
            out.carry(row, datagrams);
        }
        if out.size() >= PIECE && !pass(std::mem::take(&mut out)) {
            return;
        }
    }
    pass(out);
}

#[async_trait]
impl Sink for Statsd {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let (encoder, limits, group) = (self.encoder.clone(), self.limits, applied.rest_of(group));
        let (pieces, mut ready) = tokio::sync::mpsc::channel(1);
        // It ends when nobody wants its pieces any more.
        let encoding = tokio::task::spawn_blocking(move || {
            encode(&encoder, limits, &group, |piece| pieces.blocking_send(piece).is_ok());
        });
        let mut written = Written::default();
        while let Some(piece) = ready.recv().await {
            let part = piece.send(&self.post, applied).await?;
            written.rejected.extend(part.rejected);
        }
        encoding.await.map_err(WriteError::retry)?;
        Ok(written)
    }
}

#[cfg(test)]
mod tests;
