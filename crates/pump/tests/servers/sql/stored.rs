//! What the tables hold, compared with what the records say.

use std::collections::BTreeMap;

use super::database::Database;
use crate::support::deck::{Cell, Name, compare, compare_serials, hex};

/// Every record of the deck is in these tables once, and nothing else.
#[track_caller]
pub(crate) fn assert_rows(database: &mut Database, tables: &[String], records: u64) {
    let mut serials = Vec::new();
    for table in tables {
        let rows = database.query(&format!("SELECT contentlength FROM {table}"));
        serials.extend(rows.iter().map(|row| row[0].parse::<u64>().unwrap()));
    }
    compare_serials(serials.into_iter(), records);
}

/// The tables of aggregates hold these rows and no others, every counter equal.
#[track_caller]
pub(crate) fn assert_aggregates(database: &mut Database, tables: &[String], expected: &BTreeMap<Name, Cell>) {
    let mut found = BTreeMap::new();
    let mut wrong = Vec::new();
    for table in tables {
        let sql = format!(
            "SELECT \"timestamp\", org_id, dimension, dimension_value, counter_hits, counter_success, counter_error, \
             counter_total_request_time, counter_total_latency, counter_total_upstream_latency, counter_max_latency, \
             counter_max_upstream_latency, code_404, code_4x, code_500, counter_request_time, counter_latency, \
             counter_upstream_latency, id FROM {table}"
        );
        for row in database.query(&sql) {
            let whole = |at: usize| -> i64 {
                let number: f64 = row[at].parse().unwrap_or_else(|_| panic!("{row:?}"));
                number as i64
            };
            let cell = Cell {
                hits: whole(4),
                success: whole(5),
                error: whole(6),
                request_time: whole(7),
                total_latency: whole(8),
                total_upstream: whole(9),
                max_latency: whole(10),
                max_upstream: whole(11),
                code_404: whole(12),
                code_4x: whole(13),
                code_500: whole(14),
            };
            for (average, total) in [(15, 7), (16, 8), (17, 9)] {
                let average: f64 = row[average].parse().unwrap();
                let right = whole(total) as f64 / cell.hits as f64;
                if (average - right).abs() > 1e-9 * right.max(1.0) {
                    wrong.push(format!("{row:?}: average {average}, not {right}"));
                }
            }
            let name = (whole(0), row[1].clone(), row[2].clone(), row[3].clone());
            if row[18] != hex(&format!("{}{}{}{}", name.0, name.1, name.2, name.3)) {
                wrong.push(format!("{name:?} has the id {}", row[18]));
            }
            if found.insert(name.clone(), cell).is_some() {
                wrong.push(format!("{name:?} has two rows"));
            }
        }
    }
    compare(&found, expected, wrong);
}
