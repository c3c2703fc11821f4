//! Type `influx2`: the write endpoint of InfluxDB 2, which InfluxDB 1.8 and 3 have as well.

use std::time::Duration;

use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    Influx, clock,
    line::{Dialect, Lines},
    setup::Setup,
    writer::{Target, Writer, address},
};
use crate::{
    BuildContext, BuildError, Guarantee, Sink, SinkSpec, options,
    transport::{
        http::{Endpoint, HttpClient, HttpSettings, Url, header::HeaderValue, secret_header},
        tls::SslOptions,
    },
};

/// Writes every record as a point of the measurement `analytics` to a bucket of InfluxDB 2, to a database of InfluxDB 3 (its
/// name is the bucket; the organisation may be empty), or to InfluxDB 1.8 (the bucket is `database/retention-policy`, the
/// token `user:password`). A point's time is that of its record, with up to a millisecond added that keeps two requests two
/// points; so a record that comes again overwrites itself. Points that are older than the bucket keeps are refused and become
/// dead letters.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "organization": "my-org",
    "bucket": "tyk",
    "address": "http://influx:8086",
    "token": "<token>",
    "fields": ["request_time"],
    "tags": ["path", "response_code", "api_name"],
    "create_missing_bucket": true,
    "new_bucket_config": {
        "description": "requests of the gateways",
        "retention_rules": [{"every_seconds": 2_592_000, "type": "expire"}]
    }
}))]
pub struct Options {
    /// The bucket. Required.
    #[schemars(extend("x-env" = "BUCKETNAME"))]
    pub bucket: String,
    /// Name of the organisation that the bucket belongs to.
    #[schemars(extend("x-env" = "ORGNAME"))]
    pub organization: String,
    /// Address of the server, with a path if it has one. Required.
    #[schemars(extend("x-env" = "ADDR"))]
    pub address: String,
    /// A token that may read the organisation and the bucket, and write to it.
    #[schemars(extend("x-secret" = true))]
    pub token: String,
    /// Values that become fields: those of `influx`, `total_latency` and `upstream_latency`; empty: those of `influx`.
    pub fields: Vec<String>,
    /// Values that become tags, of the same names. Each combination of values is a series of its own: leave out what has many,
    /// such as `time_stamp`.
    pub tags: Vec<String>,
    /// Without effect: every write waits until the server has answered.
    pub flush: bool,
    /// Make the bucket if there is none. The token must be allowed to.
    pub create_missing_bucket: bool,
    /// How it is made then.
    pub new_bucket_config: NewBucket,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub ssl: SslOptions,
}

/// A bucket that is made.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct NewBucket {
    /// Its description.
    pub description: String,
    /// How long points are kept; empty: for ever. In the variable a list in JSON.
    pub retention_rules: Vec<RetentionRule>,
}

/// How long points of a bucket are kept.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct RetentionRule {
    /// Seconds that points are kept; 0: for ever.
    pub every_seconds: i64,
    /// Seconds of points that are deleted together; 0: the server's choice.
    pub shard_group_duration_seconds: i64,
    /// `expire`, which is also what an empty one means.
    pub r#type: String,
}

/// The type `influx2`.
pub const SPEC: SinkSpec = SinkSpec {
    options: options::schema::<Options>,
    guarantee: Guarantee::ExactlyOnce,
    check: Some(|context| prepare(context).map(drop)),
    ..SinkSpec::new(
        "influx2",
        "InfluxDB2 Pump",
        "influx2-pump",
        "TYK_PMP_PUMPS_INFLUX2_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Influx(two(&context).await?)) as Box<dyn Sink>) }.boxed()
}

/// What is known before the server is asked.
struct Prepared {
    options: Options,
    base: Url,
    client: HttpClient,
    authorization: Option<HeaderValue>,
    lines: Lines,
}

fn prepare(context: &BuildContext) -> Result<Prepared, BuildError> {
    let options: Options = context.options()?;
    let missing = |what: &str| Err(BuildError::Options(format!("{what} is missing – write it into meta")));
    if options.address.is_empty() {
        return missing("meta.address, such as \"http://localhost:8086\",");
    }
    if options.bucket.is_empty() {
        return missing("meta.bucket");
    }
    let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
    let endpoint = Endpoint::parse("meta.address", &options.address)?;
    let client = HttpClient::new(HttpSettings {
        tls: options.ssl.settings("", warn),
        connect_timeout: Duration::from_secs(5),
        timeout: Duration::from_secs(20),
        secrets: [Some(options.token.clone()), endpoint.secret]
            .into_iter()
            .flatten()
            .collect(),
        ..HttpSettings::default()
    })?;
    let authorization = match options.token.as_str() {
        "" => endpoint.authorization,
        token => Some(secret_header(&format!("Token {token}"))),
    };
    let clock = clock(context, 1_000);
    let lines = Lines::new(Dialect::Two, &options.tags, &options.fields, clock, warn);
    Ok(Prepared {
        options,
        base: endpoint.url,
        client,
        authorization,
        lines,
    })
}

async fn two(context: &BuildContext) -> Result<Writer, BuildError> {
    let Prepared {
        options,
        base,
        client,
        authorization,
        lines,
    } = prepare(context)?;
    let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
    let setup = Setup {
        client: &client,
        base: &base,
        authorization: authorization.as_ref(),
        organization: &options.organization,
        bucket: &options.bucket,
        create: options.create_missing_bucket.then_some(&options.new_bucket_config),
    };
    setup.check(warn).await?;
    let parameters = [
        ("bucket", options.bucket.as_str()),
        ("org", options.organization.as_str()),
        ("precision", if context.compat { "us" } else { "ns" }),
    ];
    let target = Target {
        url: address(&base, "api/v2/write", &parameters),
        client,
        instead: None,
        authorization,
        empty_content_type: false,
    };
    tracing::info!(prefix = SPEC.log_prefix, "InfluxDB2 Pump Initialized");
    Ok(Writer::new(SPEC.log_prefix, target, lines))
}
