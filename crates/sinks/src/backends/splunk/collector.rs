//! The HTTP Event Collector: requests, its answers, and waiting until it has indexed.

use std::{collections::BTreeMap, time::Duration};

use analytics::RowId;
use bytes::Bytes;
use reqwest::header::{HeaderName, HeaderValue};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::Options;
use crate::{
    BuildError, WriteError,
    encode::uuid,
    transport::http::{Answer, Endpoint, HttpClient, HttpSettings, Request, Url, secret_header},
};

const EVENT_PATH: &str = "/services/collector/event/1.0";
const ACK_PATH: &str = "/services/collector/ack";
const CHANNEL: HeaderName = HeaderName::from_static("x-splunk-request-channel");

/// Codes of a 400 that say that something is set up wrongly, not that an event is bad: index, channel, acknowledgement.
const CONFIG_CODES: [u64; 4] = [7, 10, 11, 14];

pub(super) struct Collector {
    client: HttpClient,
    url: Url,
    authorization: HeaderValue,
    gzip: bool,
    ack: Option<Acknowledgement>,
}

/// Waiting until events are indexed.
struct Acknowledgement {
    url: Url,
    /// Tells this pump's acknowledgements from those of others.
    channel: HeaderValue,
    timeout: Duration,
}

/// What came of a request that was not accepted.
pub(super) enum Refusal {
    /// Nothing is known about single events.
    Whole(WriteError),
    /// The request as a whole was too large; why.
    TooLarge(String),
    /// An event is refused for good; which one of the request, if the collector says so.
    Event { number: Option<usize>, reason: String },
}

impl Collector {
    pub(super) fn new(options: &Options, warn: impl Fn(&str)) -> Result<Collector, BuildError> {
        if options.collector_token.is_empty() || options.collector_url.is_empty() {
            let text = "Empty settings: meta.collector_token and meta.collector_url are required – write the token of the \
                        collector and https://host:8088";
            return Err(BuildError::Options(text.to_owned()));
        }
        let endpoint = Endpoint::parse("meta.collector_url", &options.collector_url)?;
        let mut url = endpoint.url;
        if !options.keep_url_path {
            url.set_path(EVENT_PATH);
        }
        let client = HttpClient::new(HttpSettings {
            tls: options.ssl.settings(&options.ssl_server_name, warn),
            named: Some(url.clone()),
            timeout: Duration::from_secs(options.timeout.max(1)),
            secrets: [Some(options.collector_token.clone()), endpoint.secret]
                .into_iter()
                .flatten()
                .collect(),
            ..HttpSettings::default()
        })?;
        let ack = options.use_ack.then(|| {
            let mut ack_url = url.clone();
            match options.keep_url_path {
                true => ack_url.set_path(&url.path().replace("/event", "/ack")),
                false => ack_url.set_path(ACK_PATH),
            }
            Acknowledgement {
                url: ack_url,
                channel: secret_header(&uuid::text(ulid::Ulid::new().0)),
                timeout: Duration::from_secs(options.ack_timeout.max(1)),
            }
        });
        Ok(Collector {
            client,
            url,
            authorization: secret_header(&format!("Splunk {}", options.collector_token)),
            gzip: options.gzip,
            ack,
        })
    }

    /// Where requests go, for the log.
    pub(super) fn shown_address(&self) -> &Url {
        &self.url
    }

    /// Returns once the collector has taken all events of `body`: with the id by which it will say that they are indexed,
    /// if that is wanted.
    pub(super) async fn post(&self, body: Bytes) -> Result<Option<u64>, Refusal> {
        let mut request = Request::post(self.url.clone()).authorization(Some(&self.authorization));
        if let Some(ack) = &self.ack {
            request = request.header_value(CHANNEL, ack.channel.clone());
        }
        let request = if self.gzip {
            request.gzip(body)
        } else {
            request.body(body)
        };
        let answer = self.client.send(request).await.map_err(Refusal::Whole)?;
        let reply: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if !answer.status.is_success() {
            return Err(refusal(answer, &reply));
        }
        // A proxy may turn the status of an error into 200, but leaves the code as it is. Any other 2xx is the collector's own.
        let code = reply.get("code").and_then(Value::as_u64).unwrap_or(0);
        if code != 0 && answer.status.as_u16() == 200 {
            return Err(refusal_of_code(code, &answer, &reply));
        }
        answer.accepted().map_err(Refusal::Whole)?;
        if self.ack.is_none() {
            return Ok(None);
        }
        match reply.get("ackId").and_then(Value::as_u64) {
            Some(id) => Ok(Some(id)),
            None => {
                let text = "the collector answers without an ackId – switch on indexer acknowledgement for this token, or \
                            set meta.use_ack to false";
                Err(Refusal::Whole(WriteError::Config(text.into())))
            }
        }
    }

    /// Waits until the collector has indexed the events of all these requests; `indexed` is told of each.
    pub(super) async fn wait_until_indexed(
        &self,
        mut waiting: BTreeMap<u64, Vec<RowId>>,
        mut indexed: impl FnMut(&[RowId]),
    ) -> Result<(), WriteError> {
        let Some(ack) = self.ack.as_ref().filter(|_| !waiting.is_empty()) else {
            return Ok(());
        };
        let until = Instant::now() + ack.timeout;
        let mut pause = Duration::from_millis(100);
        while Instant::now() < until {
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
            let ids: Vec<u64> = waiting.keys().copied().collect();
            let request = Request::post(ack.url.clone())
                .authorization(Some(&self.authorization))
                .header_value(CHANNEL, ack.channel.clone())
                .body(json!({"acks": ids}).to_string());
            let answer = self.client.send(request).await?.accepted()?;
            let reply: Acknowledged = serde_json::from_slice(&answer.body).unwrap_or_default();
            for (id, _) in reply.acks.into_iter().filter(|(_, is_indexed)| *is_indexed) {
                if let Some(rows) = id.parse().ok().and_then(|id: u64| waiting.remove(&id)) {
                    indexed(&rows);
                }
            }
            if waiting.is_empty() {
                return Ok(());
            }
        }
        let seconds = ack.timeout.as_secs();
        Err(WriteError::retry(format!(
            "Splunk has not indexed the events within {seconds} s (meta.ack_timeout)"
        )))
    }
}

/// An answer to the question what is indexed.
#[derive(Default, Deserialize)]
struct Acknowledged {
    acks: BTreeMap<String, bool>,
}

/// An answer whose status says success and whose code does not.
fn refusal_of_code(code: u64, answer: &Answer, reply: &Value) -> Refusal {
    let text = answer.describe();
    match code {
        // Token disabled, missing or wrong.
        1..=4 => Refusal::Whole(WriteError::Config(text.into())),
        code if CONFIG_CODES.contains(&code) => Refusal::Whole(WriteError::Config(text.into())),
        // No data, bad format, no event, an empty one, bad fields.
        5 | 6 | 12 | 13 | 15 | 16 => Refusal::Event {
            number: number(reply),
            reason: text,
        },
        _ => Refusal::Whole(WriteError::retry(text)),
    }
}

/// Which event of the request is at fault, if the collector says so.
fn number(reply: &Value) -> Option<usize> {
    let number = reply.get("invalid-event-number").and_then(Value::as_u64)?;
    usize::try_from(number).ok()
}

fn refusal(answer: Answer, reply: &Value) -> Refusal {
    let code = reply.get("code").and_then(Value::as_u64).unwrap_or_default();
    match answer.status.as_u16() {
        413 => Refusal::TooLarge(answer.describe()),
        400 if CONFIG_CODES.contains(&code) => Refusal::Whole(WriteError::Config(answer.describe().into())),
        status => match answer.accepted() {
            Err(WriteError::Reject { source, .. }) => Refusal::Event {
                number: number(reply).filter(|_| status == 400),
                reason: source.to_string(),
            },
            Err(error) => Refusal::Whole(error),
            // Successes were dealt with before.
            Ok(answer) => Refusal::Whole(WriteError::retry(answer.describe())),
        },
    }
}
