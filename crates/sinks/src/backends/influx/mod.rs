//! Types `influx` and `influx2`: records as points of InfluxDB 1, and of InfluxDB 2 and 3.

mod line;
mod moment;
mod refusal;
mod setup;
mod two;
mod writer;

use std::sync::Arc;

use analytics::Selection;
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::two::{NewBucket, Options as TwoOptions, RetentionRule, SPEC as TWO};
use self::{
    line::{Dialect, Lines},
    moment::Clock,
    writer::{Target, Writer, address},
};
use crate::{
    Applied, BuildContext, BuildError, Guarantee, Sink, SinkSpec, WriteError, Written, options,
    transport::{
        http::{Endpoint, HttpClient, HttpSettings, basic},
        tls::SslOptions,
    },
};

/// Writes every record as a point of the measurement `analytics` to an InfluxDB 1, or to the endpoint of that name of a later
/// version. A point's time is that of its record, with up to a millisecond added that keeps two requests two points; so a
/// record that comes again overwrites itself. Points that are older than the database keeps are refused and become dead
/// letters.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "database_name": "tyk_analytics",
    "address": "http://influx:8086",
    "username": "root",
    "password": "<password>",
    "fields": ["request_time"],
    "tags": ["path", "response_code", "api_key", "api_version", "api_name", "api_id"]
}))]
pub struct Options {
    /// The database. Required.
    pub database_name: String,
    /// Address of the server, with a path if it has one. Required.
    #[schemars(extend("x-env" = "ADDR"))]
    pub address: String,
    /// User; empty: no credentials are sent.
    pub username: String,
    /// Password of the user.
    #[schemars(extend("x-secret" = true))]
    pub password: String,
    /// Values that become fields: `method`, `path`, `response_code`, `api_key`, `time_stamp`, `api_version`, `api_name`,
    /// `api_id`, `org_id`, `oauth_id`, `raw_request`, `request_time`, `raw_response`, `ip_address`; empty: all of them.
    pub fields: Vec<String>,
    /// Values that become tags, of the same names. Each combination of values is a series of its own: leave out what has many,
    /// such as `time_stamp`.
    pub tags: Vec<String>,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub ssl: SslOptions,
}

/// The type `influx`.
pub const SPEC: SinkSpec = SinkSpec {
    options: options::schema::<Options>,
    guarantee: Guarantee::ExactlyOnce,
    ..SinkSpec::new(
        "influx",
        "InfluxDB Pump",
        "influx-pump",
        "TYK_PMP_PUMPS_INFLUX_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Influx(one(&context)?)) as Box<dyn Sink>) }.boxed()
}

fn one(context: &BuildContext) -> Result<Writer, BuildError> {
    let options: Options = context.options()?;
    let missing = |what: &str| Err(BuildError::Options(format!("{what} is missing – write it into meta")));
    if options.address.is_empty() {
        return missing("meta.address, such as \"http://localhost:8086\",");
    }
    if options.database_name.is_empty() {
        return missing("meta.database_name");
    }
    let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
    let endpoint = Endpoint::parse("meta.address", &options.address)?;
    let client = HttpClient::new(HttpSettings {
        tls: options.ssl.settings("", warn),
        secrets: [Some(options.password.clone()), endpoint.secret]
            .into_iter()
            .flatten()
            .collect(),
        ..HttpSettings::default()
    })?;
    let url = |precision| {
        let database = options.database_name.as_str();
        let parameters = [
            ("consistency", ""),
            ("db", database),
            ("precision", precision),
            ("rp", ""),
        ];
        address(&endpoint.url, "write", &parameters)
    };
    let user = options.username.as_str();
    let target = Target {
        client,
        // Upstream says microseconds and writes nanoseconds, which InfluxDB up to 1.7 takes for what they are.
        url: url(if context.compat { "us" } else { "ns" }),
        instead: context.compat.then(|| url("ns")),
        authorization: match user.is_empty() {
            true => endpoint.authorization,
            false => Some(basic(user, &options.password)),
        },
        empty_content_type: true,
    };
    let clock = clock(context, 1);
    let lines = Lines::new(Dialect::One, &options.tags, &options.fields, clock, warn);
    tracing::info!(prefix = SPEC.log_prefix, "InfluxDB Pump Initialized");
    Ok(Writer::new(SPEC.log_prefix, target, lines))
}

/// The clock of a pump; `unit` is that of upstream's times, in nanoseconds.
fn clock(context: &BuildContext, unit: i64) -> Clock {
    match context.compat {
        true => Clock::of_writing(unit),
        false => Clock::of_records(),
    }
}

/// A database, of whatever version.
struct Influx(Writer);

#[async_trait]
impl Sink for Influx {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        self.0.write(group, applied).await
    }

    fn guarantee(&self) -> Option<Guarantee> {
        (!self.0.is_exact()).then_some(Guarantee::AtLeastOnce)
    }
}

#[cfg(test)]
mod tests;
