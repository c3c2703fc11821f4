//! Type `segment`: records as events of Segment.

use std::{
    borrow::Cow,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use analytics::{RecordView, RowId, Selection, Text, Time, When, gotime, json};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Applied, BuildContext, BuildError, Sink, SinkSpec, WriteError, Written,
    encode::clock,
    encode::go_json,
    encode::row_uuid::row_uuid,
    options,
    transport::http::{self, Endpoint, HttpClient, HttpSettings, Request, Url, header::HeaderValue},
    transport::outbox::{Outbox, Pace, Packing, Parcel, Parcels, Reply},
};

/// Segment takes requests of up to 500 KB; some of it is for what surrounds the events.
const PACKING: Packing = Packing {
    separator: b",",
    rows: 250,
    bytes: 480_000,
};
/// What surrounds the events names the library that upstream uses.
const OPEN: &[u8] = br#"{"context":{"library":{"name":"analytics-go","version":"2.1.0"}},"batch":["#;

/// Sends every record to Segment as an event `Hit` with all its fields as properties, in requests of up to 250 events and
/// 480 KB. The id of an event is made from its place in Redis, so that Segment recognises one that comes twice. Segment
/// refuses events of more than 32 KB: with detailed recording set `max_record_size` or `omit_detailed_recording`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"segment_write_key": "<write key of the source>"}))]
pub struct Options {
    /// Write key of the source in Segment.
    #[schemars(extend("x-env" = "WRITEKEY", "x-secret" = true))]
    pub segment_write_key: String,
    /// Events of calls without an API key have another identity: the alias, the OAuth client, or `anonymous`. Segment bills
    /// by identity. Otherwise, as with Tyk Pump, such calls are left out.
    pub anonymous: bool,
    /// The time of an event is that of its record, so that what comes late is counted where it belongs. Otherwise, as with
    /// Tyk Pump, it is the time of writing.
    pub record_time: bool,
    /// Address that events are sent to. Workspaces in Europe have `https://events.eu1.segmentapis.com/v1/batch`.
    pub endpoint: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_write_key: String::new(),
            anonymous: false,
            record_time: false,
            endpoint: "https://api.segment.io/v1/batch".to_owned(),
        }
    }
}

/// The type `segment`.
pub const SPEC: SinkSpec = SinkSpec {
    options: options::schema::<Options>,
    ..SinkSpec::new(
        "segment",
        "Segment Pump",
        "segment-pump",
        "TYK_PMP_PUMPS_SEGMENT_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Segment::new(&context)?) as Box<dyn Sink>) }.boxed()
}

struct Segment {
    client: HttpClient,
    url: Url,
    authorization: HeaderValue,
    encoder: Encoder,
    outbox: Outbox,
    /// Records without an identity.
    left_out: Arc<AtomicU64>,
}

impl Segment {
    fn new(context: &BuildContext) -> Result<Segment, BuildError> {
        let options: Options = context.options()?;
        let endpoint = match options.endpoint.as_str() {
            "" => Options::default().endpoint,
            url => url.to_owned(),
        };
        let endpoint = Endpoint::parse("meta.endpoint", &endpoint)?;
        let key = options.segment_write_key;
        if key.is_empty() {
            tracing::warn!(
                prefix = SPEC.log_prefix, pump = %context.pump,
                "meta.segment_write_key is missing: Segment will refuse every event – write the key of the source"
            );
        }
        let client = HttpClient::new(HttpSettings {
            secrets: vec![key.clone()],
            ..HttpSettings::default()
        })?;
        tracing::info!(prefix = SPEC.log_prefix, "Segment Pump Initialized");
        Ok(Segment {
            client,
            url: endpoint.url,
            authorization: http::basic(&key, ""),
            encoder: Encoder {
                pump: context.pump.clone(),
                anonymous: options.anonymous,
                record_time: options.record_time && !context.compat,
            },
            left_out: Arc::default(),
            outbox: Outbox::new(SPEC.log_prefix, PACKING, Pace::SERVICE),
        })
    }

    async fn send(&self, parcel: Parcel) -> Result<Reply, WriteError> {
        let mut body = Vec::with_capacity(OPEN.len() + parcel.body.len() + 120);
        body.extend_from_slice(OPEN);
        body.extend_from_slice(&parcel.body);
        body.extend_from_slice(b"],\"messageId\":\"");
        if let Some(&first) = parcel.rows.first() {
            body.extend_from_slice(row_uuid(&self.encoder.pump, first, "batch").as_bytes());
        }
        body.extend_from_slice(b"\",\"sentAt\":\"");
        write_time(&mut body, clock::local_time());
        body.extend_from_slice(b"\"}");
        let request = Request::post(self.url.clone())
            .header("content-type", "application/json")
            .header("user-agent", "analytics-go (version: 2.1.0)")
            .authorization(Some(&self.authorization))
            .body(body);
        let answer = self.client.send(request).await?;
        let said: Said = serde_json::from_slice(&answer.body).unwrap_or_default();
        if answer.status.is_success() && said.success == Some(false) {
            return Err(WriteError::retry(answer.describe()));
        }
        Reply::to_all(answer)
    }
}

/// What Segment says of a request.
#[derive(Default, Deserialize)]
struct Said {
    success: Option<bool>,
}

/// Makes events of records.
#[derive(Clone)]
struct Encoder {
    pump: Arc<str>,
    /// Whether calls without an API key have another identity; otherwise they are left out, as by upstream.
    anonymous: bool,
    /// Whether an event has the time of its record; otherwise that of writing, as with upstream.
    record_time: bool,
}

impl Encoder {
    /// Returns how many records have no identity.
    fn pack(&self, group: &[Selection], parcels: &mut Parcels) -> u64 {
        let (mut plain, mut without) = (Vec::new(), 0);
        parcels.write_all(group, |event, row, record| {
            plain.clear();
            match self.user(record) {
                Some(user) => self.write_event(event, &mut plain, row, record, &user).map(|()| true),
                None => {
                    without += 1;
                    Ok(false)
                }
            }
        });
        without
    }

    /// Segment wants an identity for every event. `None`: the record has none.
    fn user<'a>(&self, record: &RecordView<'a>) -> Option<Cow<'a, [u8]>> {
        let texts: &[Text] = match self.anonymous {
            true => &[Text::ApiKey, Text::Alias, Text::OauthId],
            false => &[Text::ApiKey],
        };
        let mut texts = texts.iter().map(|text| record.text(*text));
        let named = texts.find(|text| !text.is_empty());
        named.or_else(|| self.anonymous.then_some(Cow::Borrowed(b"anonymous".as_slice())))
    }

    fn write_event(
        &self,
        out: &mut Vec<u8>,
        plain: &mut Vec<u8>,
        row: RowId,
        record: &RecordView<'_>,
        user: &[u8],
    ) -> Result<(), String> {
        json::write_record(plain, record).map_err(|error| error.to_string())?;
        let properties = go_json::read(plain).ok_or("its fields are nested too deep for an event")?;
        out.extend_from_slice(b"{\"properties\":");
        go_json::write_value(out, &properties);
        out.extend_from_slice(b",\"anonymousId\":");
        json::write_string(out, user);
        out.extend_from_slice(b",\"event\":\"Hit\",\"type\":\"track\",\"messageId\":\"");
        out.extend_from_slice(row_uuid(&self.pump, row, "event").as_bytes());
        out.extend_from_slice(b"\",\"timestamp\":\"");
        match record.time(When::TimeStamp) {
            // A record without a time was not made in the year 1.
            time if self.record_time && time.seconds != Time::ZERO.seconds => {
                gotime::write_rfc3339_nano(out, time).map_err(|error| error.to_string())?
            }
            _ => write_time(out, clock::local_time()),
        }
        out.extend_from_slice(b"\"}");
        Ok(())
    }
}

/// `2006-01-02T15:04:05+0000`
fn write_time(out: &mut Vec<u8>, time: Time) {
    let start = out.len();
    gotime::write_rfc3339(out, time);
    match out.pop() {
        Some(b'Z') => out.extend_from_slice(b"+0000"),
        Some(last) => {
            out.push(last);
            let zone = out.len().saturating_sub(3).max(start);
            out.remove(zone);
        }
        None => {}
    }
}

#[async_trait]
impl Sink for Segment {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let (encoder, left_out) = (self.encoder.clone(), self.left_out.clone());
        let pack = move |group: &[Selection], parcels: &mut Parcels| {
            let without = encoder.pack(group, parcels);
            if without > 0 && left_out.fetch_add(without, Relaxed) == 0 {
                tracing::warn!(
                    prefix = SPEC.log_prefix, pump = %encoder.pump,
                    "records without an API key are left out ({without} so far), because Segment takes no event without an \
                     identity – set \"anonymous\": true to send them, or filter them out; this is said once"
                );
            }
        };
        self.outbox
            .deliver(group, applied, pack, |parcel| self.send(parcel))
            .await
    }
}

#[cfg(test)]
mod tests;
