//! Type `logzio`: records to the bulk listener of Logz.io.

use std::sync::Arc;

use analytics::{Int, RecordView, Selection, Text, When, gotime, json};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Applied, BuildContext, BuildError, Sink, SinkSpec, WriteError, Written, options,
    transport::http::{Endpoint, HttpClient, HttpSettings, Request, Url, header::HeaderValue},
    transport::outbox::{Outbox, Pace, Packing, Parcel, Parcels, Reply},
};

/// A line feed ends each record; a request has 3 MiB at most.
const PACKING: Packing = Packing {
    separator: b"",
    rows: usize::MAX,
    bytes: 3 << 20,
};

/// Sends records as lines of JSON to the listener of Logz.io, at most 3 MiB a request. Records that it has not accepted
/// stay in Redis, so there is no queue on disk any more.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"token": "<the shipping token of the account>", "url": "https://listener.logz.io:8071"}))]
pub struct Options {
    /// The shipping token of the account. Required.
    #[schemars(extend("x-secret" = true))]
    pub token: String,
    /// Address of the listener; each region has its own.
    pub url: String,
    /// Without effect: there is no queue on disk. It has to be a duration such as `3s` or `500ms`.
    pub drain_duration: String,
    /// Without effect: there is no queue on disk. Where records wait, and how many, is a matter of `delivery` and `on_full`.
    pub queue_dir: String,
    /// Without effect: there is no queue on disk.
    pub check_disk_space: bool,
    /// Without effect: there is no queue on disk. From 0 to 100.
    pub disk_threshold: i64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            token: String::new(),
            url: "https://listener.logz.io:8071".to_owned(),
            drain_duration: "3s".to_owned(),
            queue_dir: String::new(),
            check_disk_space: true,
            disk_threshold: 98,
        }
    }
}

/// The type `logzio`.
pub const SPEC: SinkSpec = SinkSpec {
    options: options::schema::<Options>,
    ..SinkSpec::new(
        "logzio",
        "Logzio Pump",
        "logzio-pump",
        "TYK_PMP_PUMPS_LOGZIO_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Logzio::new(&context)?) as Box<dyn Sink>) }.boxed()
}

struct Logzio {
    client: HttpClient,
    url: Url,
    authorization: Option<HeaderValue>,
    outbox: Outbox,
}

impl Logzio {
    fn new(context: &BuildContext) -> Result<Logzio, BuildError> {
        let options: Options = context.options()?;
        let wrong = |text: String| Err(BuildError::Options(text));
        if options.token.is_empty() {
            return wrong("meta.token is missing – write the shipping token of the Logz.io account".to_owned());
        }
        let duration = options.drain_duration.as_str();
        if !is_duration(duration) {
            return wrong(format!(
                "meta.drain_duration is \"{duration}\", expected a duration with its unit – write for instance \"3s\""
            ));
        }
        if !(0..=100).contains(&options.disk_threshold) {
            return wrong(format!(
                "meta.disk_threshold is {}, expected a percentage from 0 to 100 – remove it, there is no queue on disk",
                options.disk_threshold
            ));
        }
        let base = match options.url.as_str() {
            "" => Options::default().url,
            url => url.to_owned(),
        };
        let endpoint = Endpoint::parse("meta.url", &base)?;
        // The token is not escaped, as upstream has it; a `#` would end the URL.
        let token = options.token.replace('#', "%23");
        let url = Url::parse(&format!("{}/?token={token}", endpoint.base()))
            .map_err(|error| BuildError::Options(format!("meta.url and meta.token make no URL: {error}")))?;
        let secrets = [Some(options.token), endpoint.secret].into_iter().flatten().collect();
        let client = HttpClient::new(HttpSettings {
            secrets,
            ..HttpSettings::default()
        })?;
        tracing::info!(prefix = SPEC.log_prefix, "Logzio Pump Initialized");
        Ok(Logzio {
            client,
            url,
            authorization: endpoint.authorization,
            outbox: Outbox::new(SPEC.log_prefix, PACKING, Pace::SERVICE),
        })
    }
}

impl Logzio {
    async fn send(&self, parcel: Parcel) -> Result<Reply, WriteError> {
        let request = Request::post(self.url.clone())
            .header("content-type", "text/plain")
            .authorization(self.authorization.as_ref())
            .body(parcel.body);
        Reply::to_all(self.client.send(request).await?)
    }
}

/// A duration of Go: numbers with units, such as `1h30m` or `1.5s`.
fn is_duration(text: &str) -> bool {
    let text = text.strip_prefix(['+', '-']).unwrap_or(text);
    if text == "0" {
        return true;
    }
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, after) = rest.split_at(digits);
        let is_number = number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() < 2;
        let unit = ["ns", "us", "µs", "μs", "ms", "s", "m", "h"]
            .into_iter()
            .filter(|unit| after.starts_with(unit))
            .max_by_key(|unit| unit.len());
        let Some(unit) = unit.filter(|_| is_number) else {
            return false;
        };
        rest = after.get(unit.len()..).unwrap_or_default();
    }
    !text.is_empty()
}

/// Appends the line of a record, keys sorted.
fn write_line(out: &mut Vec<u8>, record: &RecordView<'_>) -> Result<(), json::JsonError> {
    enum Value {
        Text(Text),
        Int(Int),
    }
    #[rustfmt::skip]
    const MEMBERS: &[(&str, Value)] = &[
        ("api_id", Value::Text(Text::ApiId)),
        ("api_key", Value::Text(Text::ApiKey)),
        ("api_name", Value::Text(Text::ApiName)),
        ("api_version", Value::Text(Text::ApiVersion)),
        ("http_method", Value::Text(Text::Method)),
        ("ip_address", Value::Text(Text::IpAddress)),
        ("oauth_id", Value::Text(Text::OauthId)),
        ("org_id", Value::Text(Text::OrgId)),
        ("raw_request", Value::Text(Text::RawRequest)),
        ("raw_response", Value::Text(Text::RawResponse)),
        ("request_time_ms", Value::Int(Int::RequestTime)),
        ("request_uri", Value::Text(Text::Path)),
        ("response_code", Value::Int(Int::ResponseCode)),
    ];
    out.extend_from_slice(b"{\"@timestamp\":\"");
    gotime::write_rfc3339_nano(out, record.time(When::TimeStamp))?;
    out.push(b'"');
    for (key, value) in MEMBERS {
        out.push(b',');
        json::write_string(out, key.as_bytes());
        out.push(b':');
        match value {
            Value::Text(text) => json::write_string(out, &record.text(*text)),
            Value::Int(int) => json::write_int(out, record.int(*int)),
        }
    }
    out.extend_from_slice(b"}\n");
    Ok(())
}

fn pack(group: &[Selection], parcels: &mut Parcels) {
    parcels.write_all(group, |line, _, record| write_line(line, record).map(|()| true));
}

#[async_trait]
impl Sink for Logzio {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        self.outbox
            .deliver(group, applied, pack, |parcel| self.send(parcel))
            .await
    }
}

#[cfg(test)]
mod tests;
