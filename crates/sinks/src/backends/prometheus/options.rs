//! Options of the type `prometheus`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Series that a metric may have unless `max_series` says otherwise.
const MAX_SERIES: u64 = 100_000;

/// Counts requests in metrics that Prometheus scrapes from this process. A record is counted once while the process lives;
/// with `state_dir` through crashes and restarts, too. Without it counters begin at 0 when the pump starts, and the guarantee
/// is best effort. What a group of records changes becomes visible all at once.
///
/// Metrics by path, key or client have as many series as their labels have values. What goes beyond `max_series` is counted
/// all the same, under the value `__other__` of the label with the most values; `tyk_pump_series_folded_total` and
/// `/status` then name metric and label.
///
/// Several pumps of this type can listen at one address, each with a path of its own.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "listen_address": ":9090", "path": "/metrics", "disabled_metrics": ["tyk_http_status_per_key"],
    "custom_metrics": [{"name": "acme_calls_total", "help": "Calls by API.", "metric_type": "counter", "labels": ["response_code", "api_name"]}]}))]
pub struct Options {
    /// Where Prometheus finds the metrics: `host:port`, or `:port` for every address of this machine. Needed.
    #[schemars(extend("x-env" = "ADDR"))]
    pub listen_address: String,
    /// Path of the metrics. A method in front of it (`GET /metrics`) refuses the others, a slash at its end serves
    /// everything below.
    pub path: String,
    /// For histograms: one observation per batch of records and series, the average, instead of one per record.
    pub aggregate_observations: bool,
    /// Names of base metrics to leave out: `tyk_http_status`, `tyk_http_status_per_path`, `tyk_http_status_per_key`,
    /// `tyk_http_status_per_oauth_client`, `tyk_latency`.
    pub disabled_metrics: Vec<String>,
    /// Use the path of every request. Otherwise it is `unknown` unless the gateway tracks the path.
    pub track_all_paths: bool,
    /// Metrics of your own, each with `name`, `metric_type` (`counter`, or `histogram` of the request time), `help`, `labels`,
    /// `mcp_only` (count MCP requests alone); for histograms `buckets` (upper bounds in milliseconds, ascending; those of
    /// `tyk_latency` if there are none); `obfuscate_api_keys` and `obfuscate_api_keys_length` (show only so many characters at
    /// the end of a key, 4 if it is 0). Labels: `host`, `method`, `path`, `code` or `response_code`, `api_key` or `key`,
    /// `time_stamp`, `api_version`, `api_name`, `api` or `api_id`, `org_id`, `client_id` or `oauth_id`, `request_time`,
    /// `latency_total`, `latency_upstream`, `latency_gateway`, `ip_address`, `alias`, `mcp_method`, `mcp_primitive_type`,
    /// `mcp_primitive_name`; a histogram has `type` besides. As a variable: the list as JSON, which takes the place of the
    /// file's.
    pub custom_metrics: Vec<CustomMetric>,
    /// Most series that a metric has, those of `__other__` included; a histogram counts once, however many buckets it has.
    /// 0 is no limit.
    pub max_series: u64,
    /// Seconds without a request after which a series is no longer shown and begins anew; 0 keeps all of them.
    pub series_ttl: u64,
    /// Folder in which the counters are kept, so that they go on after a restart and every record is counted exactly once.
    /// Empty: they begin at 0 with the process, which is a reset to Prometheus. Each pump has files of its own in it.
    pub state_dir: String,
    /// Name that a scraper has to give (basic authentication), with `password`.
    pub username: String,
    /// Password that a scraper has to give.
    #[schemars(extend("x-secret" = true))]
    pub password: String,
    /// PEM file with the certificate of the listener, which then speaks HTTPS. It needs `ssl_key_file` too.
    pub ssl_cert_file: String,
    /// PEM file with the private key of the listener.
    pub ssl_key_file: String,
    /// PEM file with authorities: only scrapers with a certificate of one of them are let in.
    pub ssl_ca_file: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            listen_address: String::new(),
            path: "/metrics".to_owned(),
            aggregate_observations: false,
            disabled_metrics: Vec::new(),
            track_all_paths: false,
            custom_metrics: Vec::new(),
            max_series: MAX_SERIES,
            series_ttl: 0,
            state_dir: String::new(),
            username: String::new(),
            password: String::new(),
            ssl_cert_file: String::new(),
            ssl_key_file: String::new(),
            ssl_ca_file: String::new(),
        }
    }
}

/// A metric that a configuration adds.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CustomMetric {
    /// Its name: letters, digits, `_` and `:`.
    pub name: String,
    /// What it is, for people.
    pub help: String,
    /// The same as `help`.
    pub description: String,
    /// `counter` or `histogram`.
    pub metric_type: String,
    /// Upper bounds of a histogram's buckets in milliseconds, ascending; none: those of `tyk_latency`.
    pub buckets: Vec<f64>,
    /// Show only the end of API keys.
    pub obfuscate_api_keys: bool,
    /// How many characters of a key are shown; 0 means 4.
    pub obfuscate_api_keys_length: i64,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// Count MCP requests alone.
    pub mcp_only: bool,
}
