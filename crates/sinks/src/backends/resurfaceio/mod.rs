//! Type `resurfaceio`: calls, with request and response, to a Resurface database.

mod http_text;
mod message;
mod rules;

use std::{
    io::Write,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use analytics::Selection;
use async_trait::async_trait;
use flate2::{Compression, write::ZlibEncoder};
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Applied, BuildContext, BuildError, Sink, SinkSpec, WriteError, Written,
    encode::row_uuid::row_draw,
    options,
    transport::http::{Endpoint, HttpClient, HttpSettings, Request, Url, header::HeaderValue},
    transport::outbox::{Outbox, Pace, Packing, Parcel, Parcels, Reply},
};
use message::{Encoder, Made};
use rules::Rules;

/// Resurface takes bundles of lines.
const PACKING: Packing = Packing {
    separator: b"",
    rows: usize::MAX,
    bytes: 5 << 20,
};

/// Sends every record that has its request and response (detailed recording) to Resurface. Rules say what is kept; without
/// any these are metadata alone. The fields `tyk-…`, among them the API key, are always sent, whatever the rules.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"capture_url": "http://resurface.example.com:7701/message", "rules": "include debug"}))]
pub struct Options {
    /// Address of the collector. Without it the variable `USAGE_LOGGERS_URL` counts. Plain `http` has to be permitted by
    /// the rule `allow_http_url`.
    #[schemars(extend("x-env" = "URL"))]
    pub capture_url: String,
    /// Rules, one a line, or `file://` and the path of a file with them. `include debug` keeps everything, `include
    /// standard` masks what looks like an e-mail address or a long number, `include strict`, the default, keeps no bodies
    /// and parameters.
    pub rules: String,
    /// `include strict` and `include default` keep the URL of a request, without its query. Otherwise, as in Tyk Pump, they
    /// lose it; rules that are written out and an empty `rules` keep it.
    pub keep_url: bool,
    /// Values of headers are whole. Otherwise, as in Tyk Pump, they end at their first colon with a blank behind it, and
    /// headers without a blank behind the name are left out.
    pub whole_values: bool,
    /// Without effect: it kept messages in memory, for tests.
    pub queue: Vec<String>,
}

/// The type `resurfaceio`.
pub const SPEC: SinkSpec = SinkSpec {
    options: options::schema::<Options>,
    ..SinkSpec::new(
        "resurfaceio",
        "Resurface Pump",
        "resurface-pump",
        "TYK_PMP_PUMPS_RESURFACEIO_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Ok(Box::new(Resurface::new(&context, variable)?) as Box<dyn Sink>)
    }
    .boxed()
}

struct Resurface {
    client: HttpClient,
    url: Url,
    authorization: Option<HeaderValue>,
    pump: Arc<str>,
    encoder: Arc<Encoder>,
    outbox: Outbox,
    /// Records that had neither request nor response.
    empty: Arc<AtomicU64>,
}

impl Resurface {
    /// `variable` reads the environment.
    fn new(context: &BuildContext, variable: impl Fn(&str) -> String) -> Result<Resurface, BuildError> {
        let options: Options = context.options()?;
        let wrong = |text: String| Err(BuildError::Options(text));
        let text = match options.rules.strip_prefix("file://").map(str::trim) {
            None => options.rules,
            Some(path) => match std::fs::read_to_string(path) {
                Ok(text) => text,
                Err(error) => {
                    return wrong(format!(
                        "meta.rules: the file {path} cannot be read: {error} – name a file of rules, or write them here"
                    ));
                }
            },
        };
        let keeps_url = options.keep_url && !context.compat;
        let rules = Rules::parse(&text, keeps_url).map_err(|why| {
            BuildError::Options(format!("meta.rules: {why} – correct the rule, or write include strict"))
        })?;
        if options::parse_bool(&variable("USAGE_LOGGERS_DISABLE")) == Some(true) {
            return wrong("the variable USAGE_LOGGERS_DISABLE is true: nothing may be sent – remove it".to_owned());
        }
        let url = match options.capture_url.as_str() {
            "" => variable("USAGE_LOGGERS_URL"),
            url => url.to_owned(),
        };
        if url.is_empty() {
            return wrong(
                "meta.capture_url is missing – write the address of the collector, such as \
                 \"https://resurface.example.com/message\""
                    .to_owned(),
            );
        }
        let endpoint = Endpoint::parse("meta.capture_url", &url)?;
        if endpoint.url.scheme() == "http" && !rules.allow_http_url {
            return wrong(
                "meta.capture_url is plain http, which the rules do not permit – add the rule allow_http_url, or use https"
                    .to_owned(),
            );
        }
        let client = HttpClient::new(HttpSettings {
            secrets: endpoint.secret.into_iter().collect(),
            ..HttpSettings::default()
        })?;
        let host = match variable("DYNO") {
            host if host.is_empty() => rustix::system::uname().nodename().to_string_lossy().into_owned(),
            host => host,
        };
        tracing::info!(prefix = SPEC.log_prefix, "Resurface Pump Initialized");
        Ok(Resurface {
            client,
            url: endpoint.url,
            authorization: endpoint.authorization,
            pump: context.pump.clone(),
            encoder: Arc::new(Encoder {
                rules,
                host: if host.is_empty() { "unknown".to_owned() } else { host },
                whole_values: options.whole_values && !context.compat,
            }),
            outbox: Outbox::new(SPEC.log_prefix, PACKING, Pace::SERVICE),
            empty: Arc::default(),
        })
    }

    async fn send(&self, parcel: Parcel) -> Result<Reply, WriteError> {
        let request = Request::post(self.url.clone())
            .header("content-type", "application/ndjson; charset=UTF-8")
            .header("user-agent", "Resurface/3.3.2 (HttpLogger.go)")
            .authorization(self.authorization.as_ref());
        let request = match self.encoder.rules.skip_compression {
            true => request.body(parcel.body),
            // The collector knows zlib under this name.
            false => request
                .header("content-encoding", "deflated")
                .body(deflate(&parcel.body)),
        };
        Reply::to_all(self.client.send(request).await?)
    }
}

fn deflate(body: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing to memory does not fail.
    let _ = encoder.write_all(body);
    encoder.finish().unwrap_or_default()
}

fn pack(encoder: &Encoder, pump: &str, empty: &AtomicU64, group: &[Selection], parcels: &mut Parcels) {
    let mut without_detail = 0;
    parcels.write_all(group, |line, row, record| {
        match encoder.write(line, record, row_draw(pump, row)) {
            Made::Message if encoder.rules.skip_submission => Ok(false),
            Made::Message => {
                line.push(b'\n');
                Ok(true)
            }
            Made::Empty => {
                without_detail += 1;
                Ok(false)
            }
            Made::Stopped => Ok(false),
            Made::Unusable(why) => Err(why),
        }
    });
    if without_detail > 0 && empty.fetch_add(without_detail, Relaxed) == 0 {
        tracing::warn!(
            prefix = SPEC.log_prefix, %pump,
            "records without request and response are not sent ({without_detail} so far) – enable detailed recording for \
             the API, or filter it out; this is said once"
        );
    }
}

#[async_trait]
impl Sink for Resurface {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let (encoder, pump, empty) = (self.encoder.clone(), self.pump.clone(), self.empty.clone());
        let pack = move |group: &[Selection], parcels: &mut Parcels| pack(&encoder, &pump, &empty, group, parcels);
        self.outbox
            .deliver(group, applied, pack, |parcel| self.send(parcel))
            .await
    }
}

#[cfg(test)]
mod tests;
