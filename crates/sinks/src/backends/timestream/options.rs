//! The options of `timestream`.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::transport::aws::AwsOptions;

/// Writes every record as a multi-measure record of a table of Amazon Timestream for LiveAnalytics.
///
/// The time is that of the record, the measure's name `request_metrics`. A record without any of the dimensions, or without
/// any of the measures, has nothing to write and is left out. Records that the service refuses become dead letters with its
/// reason; a record that is written again is the same point. Texts are cut to the 2,048 bytes that the service takes.
/// Without `aws_key` credentials come from the environment, the profile, single sign-on, a web identity, a process, the
/// container or the instance, in the order of AWS's own tools.
#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "aws_region": "eu-central-1",
    "timestream_database_name": "tyk",
    "timestream_table_name": "requests",
    "dimensions": ["Method", "APIName", "OrgID"],
    "measures": ["ResponseCode", "RequestTime", "Latency.Upstream"]
}))]
pub struct Options {
    /// Region of the database. Empty: that of `AWS_REGION` or of the profile.
    pub aws_region: String,
    /// The table.
    #[schemars(extend("x-env" = "TABLENAME"))]
    pub timestream_table_name: String,
    /// Its database.
    #[schemars(extend("x-env" = "DATABASENAME"))]
    pub timestream_database_name: String,
    /// Dimensions, in this order: `Method`, `Host`, `Path`, `RawPath`, `APIKey`, `APIVersion`, `APIName`, `APIID`, `OrgID`,
    /// `OauthID`. One that is empty is left out. Required.
    pub dimensions: Vec<String>,
    /// Measures, in this order: `ContentLength`, `ResponseCode`, `RequestTime`, `NetworkStats.OpenConnections`,
    /// `NetworkStats.ClosedConnection`, `NetworkStats.BytesIn`, `NetworkStats.BytesOut`, `Latency.Total`, `Latency.Upstream`,
    /// `GeoData.City.GeoNameID`, `GeoData.Location.Latitude`, `GeoData.Location.Longitude`, `GeoData.Country.ISOCode`,
    /// `GeoData.City.Names`, `GeoData.Location.TimeZone`, `UserAgent`, `RawRequest`, `IPAddress`, `RawResponse` (in pieces, at
    /// the end), and with `write_rate_limit` `RateLimit.Limit`, `Ratelimit.Remaining`, `Ratelimit.Reset`. Required.
    pub measures: Vec<String>,
    /// Take the rate limits from the headers of the response.
    pub write_rate_limit: bool,
    /// Take country and city from the request's headers `CloudFront-Viewer-Country` and `CloudFront-Viewer-City`, where the
    /// record has none.
    pub read_geo_from_request: bool,
    /// Write numbers that are 0.
    pub write_zero_values: bool,
    /// Other names for dimensions and measures.
    #[schemars(extend("x-env" = "NAMEMAPPINGS"))]
    pub field_name_mappings: BTreeMap<String, String>,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub aws: AwsOptions,
}
