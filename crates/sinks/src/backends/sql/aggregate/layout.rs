//! Tables of counters: one row for each key of each dimension and bucket.

use std::sync::Arc;

use super::super::table::{Class, Column, Index, Layout, Merge};

/// Columns by status, and what they are of. A status without a column of its own counts for its class.
const CODES: [&str; 21] = [
    "1x", "200", "201", "2x", "301", "302", "303", "304", "3x", "400", "401", "403", "404", "429", "4x", "500", "501",
    "502", "503", "504", "5x",
];

/// Number of the status columns.
pub(super) const CODE_COLUMNS: usize = CODES.len();

/// Position of the column that a status counts in; `None`: in none (6xx and above, 0, negative).
pub(super) fn code_column(code: i64) -> Option<usize> {
    let text = code.to_string();
    let class = text.get(..1).map(|digit| format!("{digit}x"));
    let at = |name: &str| CODES.iter().position(|column| *column == name);
    at(&text).or_else(|| at(&class?))
}

/// Which columns stand beside the counters, and where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// 48 columns: `tyk_aggregated`, `tyk_uptime_analytics`.
    Organisation,
    /// 49 columns: `tyk_graph_aggregated`, `tyk_mcp_aggregated`.
    Api,
}

impl Shape {
    /// Columns and key. Without `answered_minima` the minimum of errors, and that of rows without hits, counts like any other.
    pub(crate) fn layout(self, answered_minima: bool) -> Arc<Layout> {
        let text = |name: &'static str| Column::new(name, Class::Text);
        let start = Column::new("timestamp", Class::Int);
        let mut columns = vec![text("id")];
        match self {
            Shape::Organisation => {
                columns.extend(counters(answered_minima));
                columns.extend([start, text("org_id"), text("dimension"), text("dimension_value")]);
                columns.extend(codes());
            }
            Shape::Api => {
                columns.extend(["org_id", "dimension", "dimension_value", "api_id"].map(text));
                columns.extend(counters(answered_minima));
                columns.extend(codes());
                columns.push(start);
            }
        }
        Arc::new(Layout { columns, key: &["id"] })
    }
}

fn counters(answered_minima: bool) -> [Column; 22] {
    let sum = |name: &'static str| Column::new(name, Class::Int).merged(Merge::Add);
    let average = |name: &'static str, total| {
        let hits = "counter_hits";
        Column::new(name, Class::Float).merged(Merge::Average { total, hits })
    };
    let extreme = |name: &'static str, merge| Column::new(name, Class::Int).merged(merge);
    let least = match answered_minima {
        false => Merge::Min,
        true => Merge::AnsweredMin {
            hits: "counter_hits",
            errors: "counter_error",
        },
    };
    let kept = |name: &'static str, class| Column::new(name, class);
    [
        sum("counter_hits"),
        sum("counter_success"),
        sum("counter_error"),
        average("counter_request_time", "counter_total_request_time"),
        Column::new("counter_total_request_time", Class::Float).merged(Merge::Add),
        kept("counter_identifier", Class::Text),
        kept("counter_human_identifier", Class::Text),
        Column::new("counter_last_time", Class::Time).merged(Merge::Replace),
        sum("counter_open_connections"),
        sum("counter_closed_connections"),
        sum("counter_bytes_in"),
        sum("counter_bytes_out"),
        extreme("counter_max_upstream_latency", Merge::Max),
        extreme("counter_min_upstream_latency", least),
        sum("counter_total_upstream_latency"),
        average("counter_upstream_latency", "counter_total_upstream_latency"),
        extreme("counter_max_latency", Merge::Max),
        extreme("counter_min_latency", least),
        sum("counter_total_latency"),
        average("counter_latency", "counter_total_latency"),
        kept("counter_error_map", Class::Json),
        kept("counter_error_list", Class::Json),
    ]
}

fn codes() -> impl Iterator<Item = Column> {
    CODES
        .into_iter()
        .map(|code| Column::new(format!("code_{code}"), Class::Int).merged(Merge::Add))
}

/// Which index a table of counters has besides its primary key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IndexRule {
    /// None.
    None,
    /// `<table>_idx_dimension`.
    Dimension,
    /// `dimension` on the base table, `<table>_dimension` on shards: names are unique in a schema.
    Uptime,
}

impl IndexRule {
    /// The indexes of `table`, named without its schema.
    pub(crate) fn indexes(self, table: &str, is_shard: bool) -> Vec<Index> {
        match self {
            IndexRule::None => Vec::new(),
            IndexRule::Dimension => vec![Index {
                name: format!("{table}_idx_dimension"),
                columns: &["dimension", "timestamp", "org_id", "dimension_value"],
                concurrent: true,
            }],
            IndexRule::Uptime => vec![Index {
                name: if is_shard {
                    format!("{table}_dimension")
                } else {
                    "dimension".to_owned()
                },
                columns: &["timestamp", "org_id", "dimension", "dimension_value"],
                concurrent: false,
            }],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(shape: Shape) -> Vec<String> {
        let layout = shape.layout(false);
        layout.columns.iter().map(|column| column.name.to_string()).collect()
    }

    #[test]
    fn tables_have_the_columns_of_existing_ones() {
        let counters = "counter_hits,counter_success,counter_error,counter_request_time,counter_total_request_time,\
            counter_identifier,counter_human_identifier,counter_last_time,counter_open_connections,\
            counter_closed_connections,counter_bytes_in,counter_bytes_out,counter_max_upstream_latency,\
            counter_min_upstream_latency,counter_total_upstream_latency,counter_upstream_latency,counter_max_latency,\
            counter_min_latency,counter_total_latency,counter_latency,counter_error_map,counter_error_list";
        let codes = "code_1x,code_200,code_201,code_2x,code_301,code_302,code_303,code_304,code_3x,code_400,code_401,\
            code_403,code_404,code_429,code_4x,code_500,code_501,code_502,code_503,code_504,code_5x";
        let (organisation, api) = (names(Shape::Organisation), names(Shape::Api));
        assert_eq!(
            organisation.join(","),
            format!("id,{counters},timestamp,org_id,dimension,dimension_value,{codes}")
        );
        assert_eq!(
            api.join(","),
            format!("id,org_id,dimension,dimension_value,api_id,{counters},{codes},timestamp")
        );
        assert_eq!((organisation.len(), api.len()), (48, 49));
    }

    #[test]
    fn a_status_has_its_column_or_that_of_its_class_or_none() {
        let column = |code| code_column(code).map(|at| CODES[at]);
        for (code, want) in [
            (200, "200"),
            (204, "2x"),
            (405, "4x"),
            (429, "429"),
            (520, "5x"),
            (100, "1x"),
        ] {
            assert_eq!(column(code), Some(want));
        }
        for dropped in [666, 0, -1, -404, 999] {
            assert_eq!(column(dropped), None);
        }
    }
}
