//! The pumps `sql_aggregate`, `sql-graph-aggregate`, `sql-mcp-aggregate` and the uptime pump: counters by bucket, which
//! every write adds to. Rows have the keys that upstream gives them, so that both add to the same ones.

mod job;
mod layout;
mod rows;

use analytics::aggregate::{Bucketing, Rules, Window};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use self::{
    job::{AggregateJob, Kind},
    layout::{IndexRule, Shape},
};
use super::options::Connection;
use crate::{BuildContext, Gather, SinkSpec};

/// Many records at once make few rows: half a second of traffic.
pub(crate) const GATHER: Gather = Gather {
    rows: 50_000,
    bytes: 16 << 20,
    wait: std::time::Duration::from_millis(500),
};

/// Options of the pumps for traffic records.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "type": "postgres",
    "connection_string": "host=localhost port=5432 user=tyk password=secret dbname=tyk_analytics sslmode=disable"
}))]
pub struct AggregateOptions {
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub connection: Connection,
    /// Counts endpoints of all records, not only of those whose API tracks them. `sql_aggregate` only.
    pub track_all_paths: bool,
    /// Tags that begin with one of these texts are not counted, besides `key-`; an empty text means every tag.
    /// `sql_aggregate` only.
    pub ignore_tag_prefix_list: Vec<String>,
    /// Minimum latencies come from requests that were answered (below 400, totals: 2xx), however records are grouped; from
    /// others only where there is nothing else. Otherwise, as in Tyk Pump, the first record of a write counts whatever its
    /// code, and a connection counts as 0.
    pub answered_minima: bool,
    /// One row a minute instead of one an hour.
    pub store_analytics_per_minute: bool,
    /// Does not create the index `<table>_idx_dimension`.
    pub omit_index_creation: bool,
    /// Without effect in SQL pumps.
    pub threshold_len_tag_list: i64,
    /// Without effect in SQL pumps.
    #[schemars(extend("x-env" = "IGNOREAGGREGATIONSLIST"))]
    pub ignore_aggregations: Vec<String>,
}

impl AggregateOptions {
    /// What is counted; `uses_all`: the options that only `sql_aggregate` has count.
    pub(crate) fn rules(&self, compat: bool, uses_all: bool) -> Rules {
        let prefixes = self.ignore_tag_prefix_list.iter();
        Rules {
            track_all_paths: uses_all && self.track_all_paths,
            ignore_tag_prefixes: match uses_all {
                true => prefixes.map(|prefix| prefix.clone().into_bytes()).collect(),
                false => Vec::new(),
            },
            window: match self.store_analytics_per_minute {
                true => Window::MINUTE,
                false => Window::HOUR,
            },
            bucketing: bucketing(compat),
            answered_minima: self.answered_minima,
            compat,
            ..Rules::default()
        }
    }

    /// The index of the tables.
    pub(crate) fn index(&self) -> IndexRule {
        match self.omit_index_creation {
            true => IndexRule::None,
            false => IndexRule::Dimension,
        }
    }

    /// Warns of options that have no effect.
    pub(crate) fn warn(&self, context: &BuildContext, spec: &SinkSpec, uses_all: bool) {
        let mut idle = Vec::new();
        idle.extend((!self.ignore_aggregations.is_empty()).then_some("ignore_aggregations"));
        idle.extend((self.threshold_len_tag_list != 0).then_some("threshold_len_tag_list"));
        if !uses_all {
            idle.extend(self.track_all_paths.then_some("track_all_paths"));
            idle.extend((!self.ignore_tag_prefix_list.is_empty()).then_some("ignore_tag_prefix_list"));
        }
        for key in idle {
            tracing::warn!(
                prefix = spec.log_prefix,
                pump = %context.pump,
                "meta.{key} has no effect in pumps of type {}: remove it",
                spec.name
            );
        }
    }
}

/// By default each record goes into its own hour or minute; `compat`: all of a purge into that of the first one.
pub(crate) fn bucketing(compat: bool) -> Bucketing {
    match compat {
        true => Bucketing::FirstRecord,
        false => Bucketing::OwnTime,
    }
}
