//! The pumps `mongo-pump-aggregate` and `mongo-mcp-aggregate`: counters by bucket, one document for each organisation (or
//! API) and bucket, which every write adds to.

mod applied;
mod claims;
mod guarded;
mod healing;
mod part;
mod prefixes;
mod pump;
mod room;
mod stored;
mod update;

use analytics::aggregate::{Dimension, Engine, Rules, Window};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(super) use self::{pump::Aggregates, update::int};
use super::options::ConnectionOptions;

/// Options of both types.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CommonOptions {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub connection: ConnectionOptions,
    /// Also count in the collection of all organisations, `tyk_analytics_aggregates` (MCP: `tyk_mcp_analytics_aggregate`).
    pub use_mixed_collection: bool,
    /// Buckets of a minute.
    pub store_analytics_per_minute: bool,
    /// Minutes of a bucket, 1 to 60; anything else is 60.
    pub aggregation_time: i64,
    /// Minimum latencies come from requests that were answered (below 400, totals: 2xx), however records are grouped.
    /// Otherwise, as in Tyk Pump, the first record of a write counts whatever its code, and a connection counts as 0.
    pub answered_minima: bool,
    /// Average request times in `lists` are those of the counters. Otherwise, as in Tyk Pump, they are one write behind.
    pub fresh_averages: bool,
    /// Counters that a dimension (tags, keys, paths and so on) of one document may have; what is beyond them is counted
    /// together under `__other__`. 0: no limit.
    pub max_keys_per_dimension: u64,
}

impl Default for CommonOptions {
    fn default() -> Self {
        CommonOptions {
            connection: ConnectionOptions::default(),
            use_mixed_collection: false,
            store_analytics_per_minute: false,
            aggregation_time: 60,
            answered_minima: false,
            fresh_averages: false,
            max_keys_per_dimension: 0,
        }
    }
}

impl CommonOptions {
    fn window(&self) -> Window {
        if self.store_analytics_per_minute {
            return Window::MINUTE;
        }
        Window::minutes(self.aggregation_time).unwrap_or(Window::HOUR)
    }
}

/// Counts ordinary records by organisation and hour: a document for each, with counters by API, response code, version, key,
/// OAuth client, country, tag and endpoint. GraphQL and MCP records are left out.
///
/// Each record counts exactly once, for the bucket of its own time, also when it comes late. A document that grows to
/// 12 MB is closed and continued in another one of the same bucket.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AggregateOptions {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub common: CommonOptions,
    /// Counts endpoints of all records, not only of those whose API tracks them.
    pub track_all_paths: bool,
    /// Tags that begin with one of these texts are not counted, besides `key-`; an empty text means every tag.
    pub ignore_tag_prefix_list: Vec<String>,
    /// Number of tags in one document above which a warning names their most frequent beginnings; -1: never.
    pub threshold_len_tag_list: i64,
    /// Has an effect with `compat` alone: the window is halved when a document has become too large. Otherwise documents
    /// are continued before they do.
    pub enable_aggregate_self_healing: bool,
    /// Dimensions that are not counted, by their name in the document (`apikeys`) or in Tyk Pump (`APIKeys`).
    #[schemars(extend("x-env" = "IGNOREAGGREGATIONSLIST"))]
    pub ignore_aggregations: Vec<String>,
}

impl Default for AggregateOptions {
    fn default() -> Self {
        AggregateOptions {
            common: CommonOptions::default(),
            track_all_paths: false,
            ignore_tag_prefix_list: Vec::new(),
            threshold_len_tag_list: 1000,
            enable_aggregate_self_healing: false,
            ignore_aggregations: Vec::new(),
        }
    }
}

/// Counts MCP records by API and hour, as `mongo-pump-aggregate` does by organisation, and also by method, primitive type
/// and name.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct McpAggregateOptions {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub common: CommonOptions,
    /// Without effect.
    pub track_all_paths: bool,
    /// Without effect.
    pub ignore_tag_prefix_list: Vec<String>,
    /// Without effect.
    pub threshold_len_tag_list: i64,
    /// Without effect.
    pub enable_aggregate_self_healing: bool,
    /// Without effect.
    #[schemars(extend("x-env" = "IGNOREAGGREGATIONSLIST"))]
    pub ignore_aggregations: Vec<String>,
}

/// What a pump of either type does.
pub(super) struct Setup {
    pub(super) engine: Engine,
    pub(super) common: CommonOptions,
    /// `bucketing` is left to the pump.
    pub(super) rules: Rules,
    /// Warn when a document has more tags.
    pub(super) tags: Option<usize>,
    pub(super) heals: bool,
}

impl From<AggregateOptions> for Setup {
    fn from(options: AggregateOptions) -> Setup {
        let prefixes = options.ignore_tag_prefix_list.into_iter();
        let names = options.ignore_aggregations.iter();
        Setup {
            engine: Engine::Rest,
            rules: Rules {
                track_all_paths: options.track_all_paths,
                ignore_tag_prefixes: prefixes.map(String::into_bytes).collect(),
                ignored: names.filter_map(|name| Dimension::ignorable(name)).collect(),
                window: options.common.window(),
                answered_minima: options.common.answered_minima,
                escape_keys: true,
                ..Rules::default()
            },
            tags: match options.threshold_len_tag_list {
                -1 => None,
                0 => Some(1000),
                number => usize::try_from(number).ok(),
            },
            heals: options.enable_aggregate_self_healing,
            common: options.common,
        }
    }
}

impl From<McpAggregateOptions> for Setup {
    fn from(options: McpAggregateOptions) -> Setup {
        Setup {
            engine: Engine::Mcp,
            rules: Rules {
                window: options.common.window(),
                answered_minima: options.common.answered_minima,
                escape_keys: true,
                ..Rules::default()
            },
            tags: None,
            heals: false,
            common: options.common,
        }
    }
}

impl Setup {
    /// Prefix of organisations' collections, and the collection of all.
    pub(super) fn collections(&self) -> (&'static str, &'static str) {
        match self.engine {
            Engine::Mcp => ("z_tyk_mcp_analyticz_aggregate_", "tyk_mcp_analytics_aggregate"),
            _ => ("z_tyk_analyticz_aggregate_", "tyk_analytics_aggregates"),
        }
    }
}
