//! Type `moesif`: calls as events of Moesif.

mod event;
mod identity;
mod masks;
mod sampling;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use analytics::Selection;
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::{
    Applied, BuildContext, BuildError, Sink, SinkSpec, WriteError, Written,
    encode::go_json::lower,
    options,
    transport::http::{
        self, Answer, Endpoint, HttpClient, HttpSettings, Method, Request, Url,
        header::{HeaderName, HeaderValue},
    },
    transport::outbox::{Outbox, Pace, Packing, Parcel, Parcels, Reply},
};
use event::{Capture, Encoder};
use identity::Identity;
use masks::BodyMasks;
use sampling::Sampling;

/// Events that are sent at once, unless `bulk_config` says otherwise.
const BATCH: usize = 200;
/// Bytes that are sent at once, before compression.
const BATCH_BYTES: usize = 8 << 20;
/// Address of Moesif.
const API: &str = "https://api.moesif.net";
/// How often the application's settings are fetched at most.
const SETTINGS_EVERY: Duration = Duration::from_secs(60);
/// Header with the version of the application's settings.
const SETTINGS_TAG: &str = "x-moesif-config-etag";

/// Sends every record to Moesif as an event with headers and bodies (with detailed recording), user and company. How many
/// events are kept is set at Moesif, for the application, a user or a company.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"application_id": "<collector application id>", "request_header_masks": ["Authorization"], "request_body_masks": ["password"], "user_id_header": "X-User"}))]
pub struct Options {
    /// Collector application id of the application at Moesif.
    #[schemars(extend("x-secret" = true))]
    pub application_id: String,
    /// Headers of requests whose values are hidden, in any case.
    pub request_header_masks: Vec<String>,
    /// Headers of responses whose values are hidden, in any case.
    pub response_header_masks: Vec<String>,
    /// Members of JSON bodies of requests whose values are hidden, wherever they are.
    pub request_body_masks: Vec<String>,
    /// Members of JSON bodies of responses whose values are hidden, wherever they are.
    pub response_body_masks: Vec<String>,
    /// Send no bodies of requests.
    pub disable_capture_request_body: bool,
    /// Send no bodies of responses.
    pub disable_capture_response_body: bool,
    /// Header of the response or request that names the user. Otherwise the user is the alias, the OAuth client, or the
    /// one whom the authorization header names.
    pub user_id_header: String,
    /// Header of the response or request that names the company.
    pub company_id_header: String,
    /// Add a header `x-moesif-transaction-id` to each event, made from the record's place in Redis unless the call has one,
    /// by which Moesif knows an event that comes twice after a crash.
    pub transaction_ids: bool,
    /// Whether `bulk_config` counts.
    pub enable_bulk: bool,
    /// `batch_size` (200): events in a request; `api_endpoint`: address in place of `https://api.moesif.net`. Without
    /// effect, because records wait in Redis: `event_queue_size`, `timer_wake_up_seconds`.
    pub bulk_config: Map<String, Value>,
    /// Header with the credentials that name a user. Unless set: `authorization`.
    pub authorization_header_name: String,
    /// Claim of a token that names the user. Unless set: `sub`.
    pub authorization_user_id_field: String,
}

/// The type `moesif`.
pub const SPEC: SinkSpec = SinkSpec {
    options: options::schema::<Options>,
    ..SinkSpec::new(
        "moesif",
        "Moesif Pump",
        "moesif-pump",
        "TYK_PMP_PUMPS_MOESIF_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Moesif::new(&context)?) as Box<dyn Sink>) }.boxed()
}

struct Moesif {
    client: HttpClient,
    events: Url,
    settings: Url,
    application: HeaderValue,
    encoder: Arc<Encoder>,
    outbox: Outbox,
    known: Mutex<Known>,
}

/// What Moesif has said about the application.
#[derive(Default)]
struct Known {
    sampling: Sampling,
    /// Version of the settings that are known.
    tag: Option<HeaderValue>,
    /// Version that the last answer named.
    latest: Option<HeaderValue>,
    fetched: Option<Instant>,
}

impl Known {
    fn is_stale(&self) -> bool {
        let Some(fetched) = self.fetched else { return true };
        self.latest.is_some() && self.latest != self.tag && fetched.elapsed() > SETTINGS_EVERY
    }
}

impl Moesif {
    fn new(context: &BuildContext) -> Result<Moesif, BuildError> {
        let options: Options = context.options()?;
        let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
        if options.application_id.is_empty() {
            warn("meta.application_id is missing: Moesif will refuse every event – write the id of the application");
        }
        let bulk = match options.enable_bulk {
            true => Bulk::read(&options.bulk_config, warn)?,
            false => Bulk::default(),
        };
        let endpoint = Endpoint::parse("meta.bulk_config.api_endpoint", &bulk.api)?;
        let base = endpoint.base();
        let url = |path: &str| {
            Url::parse(&format!("{base}{path}"))
                .map_err(|error| BuildError::Options(format!("meta.bulk_config.api_endpoint: {error}")))
        };
        let client = HttpClient::new(HttpSettings {
            timeout: Duration::from_secs(10),
            secrets: vec![options.application_id.clone()],
            ..HttpSettings::default()
        })?;
        let all_lower = |names: &[String]| names.iter().map(|name| lower(name)).collect();
        let masks = |names: &[String]| BodyMasks {
            names: names.to_vec(),
            rounds: context.compat,
        };
        let or = |text: &str, default: &str| {
            if text.is_empty() {
                default.to_owned()
            } else {
                text.to_owned()
            }
        };
        tracing::info!(prefix = SPEC.log_prefix, "Moesif Pump Initialized");
        Ok(Moesif {
            client,
            events: url("/v1/events/batch")?,
            settings: url("/v1/config")?,
            application: http::secret_header(&options.application_id),
            encoder: Arc::new(Encoder {
                request: Capture {
                    hidden_headers: all_lower(&options.request_header_masks),
                    masks: masks(&options.request_body_masks),
                    without_body: options.disable_capture_request_body,
                },
                response: Capture {
                    hidden_headers: all_lower(&options.response_header_masks),
                    masks: masks(&options.response_body_masks),
                    without_body: options.disable_capture_response_body,
                },
                identity: Identity {
                    user_header: lower(&options.user_id_header),
                    company_header: lower(&options.company_id_header),
                    authorization_header: lower(&or(&options.authorization_header_name, "authorization")),
                    user_claim: or(&options.authorization_user_id_field, "sub"),
                },
                pump: context.pump.to_string(),
                transaction_ids: options.transaction_ids && !context.compat,
            }),
            outbox: Outbox::new(
                SPEC.log_prefix,
                Packing {
                    separator: b",",
                    rows: bulk.batch,
                    bytes: BATCH_BYTES,
                },
                Pace::SERVICE,
            ),
            known: Mutex::new(Known {
                sampling: Sampling::new(context.compat),
                ..Known::default()
            }),
        })
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn request(&self, method: Method, url: &Url) -> Request {
        Request::new(method, url.clone())
            .header("content-type", "application/json; charset=utf-8")
            .header("user-agent", "moesifapi-go/1.0.6")
            .header_value(
                HeaderName::from_static("x-moesif-application-id"),
                self.application.clone(),
            )
    }

    /// Fetches the application's settings if they are not known or have changed. Without an answer events are kept as
    /// before: sending too many is better than losing them.
    async fn refresh(&self) {
        if !self.known().is_stale() {
            return;
        }
        match self.client.send(self.request(Method::GET, &self.settings)).await {
            Ok(answer) => {
                let mut known = self.known();
                known.fetched = Some(Instant::now());
                if !answer.status.is_success() {
                    let text = answer.describe();
                    tracing::debug!(
                        prefix = SPEC.log_prefix,
                        "the settings of the application are not to be had: {text}"
                    );
                    return;
                }
                known.tag = tag(&answer);
                known.latest = known.tag.clone();
                if let Ok(settings) = serde_json::from_slice(&answer.body) {
                    known.sampling.merge(&settings);
                }
            }
            Err(error) => {
                tracing::debug!(
                    prefix = SPEC.log_prefix,
                    "the settings of the application are not to be had: {error}"
                );
            }
        }
    }

    async fn send(&self, parcel: Parcel) -> Result<Reply, WriteError> {
        let body = [b"[", parcel.body.as_ref(), b"]"].concat();
        let answer = self
            .client
            .send(self.request(Method::POST, &self.events).gzip(body))
            .await?;
        if let Some(tag) = tag(&answer).filter(|_| answer.status.is_success()) {
            self.known().latest = Some(tag);
        }
        Reply::to_all(answer)
    }
}

fn tag(answer: &Answer) -> Option<HeaderValue> {
    answer.headers.get(SETTINGS_TAG).cloned()
}

/// The part of `bulk_config` that has an effect.
struct Bulk {
    api: String,
    batch: usize,
}

impl Default for Bulk {
    fn default() -> Self {
        Self {
            api: API.to_owned(),
            batch: BATCH,
        }
    }
}

impl Bulk {
    fn read(config: &Map<String, Value>, warn: impl Fn(&str)) -> Result<Bulk, BuildError> {
        let mut bulk = Bulk::default();
        for (key, value) in config {
            let wrong = |expected: &str| {
                let text = format!("meta.bulk_config.{key} is {value}, expected {expected}");
                Err(BuildError::Options(text))
            };
            match key.to_lowercase().as_str() {
                "api_endpoint" => match value.as_str() {
                    Some("") => {}
                    Some(url) => bulk.api = url.to_owned(),
                    None => return wrong("an address – write for instance \"https://api.moesif.net\""),
                },
                name @ ("batch_size" | "event_queue_size" | "timer_wake_up_seconds") => {
                    // A variable can only give texts.
                    let number = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok());
                    match number.map(|number| number as i64) {
                        Some(0) => {}
                        Some(number @ 1..) if name == "batch_size" => bulk.batch = number as usize,
                        Some(1..) => {}
                        _ => return wrong("a whole number from 0 up – write for instance 200"),
                    }
                }
                _ => warn(&format!(
                    "meta.bulk_config.{key} is unknown – remove it; there are batch_size and api_endpoint"
                )),
            }
        }
        Ok(bulk)
    }
}

#[async_trait]
impl Sink for Moesif {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        if group.iter().all(Selection::is_empty) {
            return Ok(Written::default());
        }
        self.refresh().await;
        let (encoder, sampling) = (self.encoder.clone(), self.known().sampling.clone());
        let pack = move |group: &[Selection], parcels: &mut Parcels| {
            parcels.write_all(group, |event, row, record| encoder.write(event, row, record, &sampling));
        };
        self.outbox
            .deliver(group, applied, pack, |parcel| self.send(parcel))
            .await
    }
}

#[cfg(test)]
mod tests;
