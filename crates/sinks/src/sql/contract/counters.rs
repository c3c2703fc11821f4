//! The same records through aggregate pumps of every dialect.

use std::collections::BTreeMap;

use analytics::{ClaimId, Flag};
use serde_json::json;

use super::{
    raw::{deck, group, pump},
    *,
};
use crate::sql::aggregate::Shape;

/// Every column but the id, by bucket and dimension.
type Counters = BTreeMap<[String; 4], BTreeMap<String, String>>;

async fn counters(place: &Place, table: &Table) -> Counters {
    let rows = place.rows(table, "1").await.into_iter();
    rows.map(|mut row| {
        // MySQL has no room for long ones.
        row.remove("id");
        let key = ["timestamp", "org_id", "dimension", "dimension_value"].map(|name| row[name].clone());
        (key, row.into_iter().collect())
    })
    .collect()
}

#[tokio::test]
async fn every_database_holds_the_same_counters() {
    let mut records = deck();
    for record in records.iter_mut().step_by(5) {
        record.flag(Flag::IsMcp, true);
    }
    let tables = [
        ("sql_aggregate", "tyk_aggregated", Shape::Organisation),
        ("sql-graph-aggregate", "tyk_graph_aggregated", Shape::Api),
        ("sql-mcp-aggregate", "tyk_mcp_aggregated", Shape::Api),
    ];
    let mut first: Option<(&'static str, Vec<Counters>)> = None;
    for place in Place::all().await {
        let mut held = Vec::new();
        for (name, table, shape) in tables {
            let pump = pump(&place, name, json!({"track_all_paths": true, "batch_size": 7})).await;
            // The second claim adds to the rows of the first; the third has been there.
            for claim in [1, 2, 1] {
                pump.write(&group(ClaimId(ulid::Ulid(claim)), &records)).await.unwrap();
            }
            pump.close().await.unwrap();
            let table = Table {
                name: table.to_owned(),
                layout: shape.layout(),
                indexes: Vec::new(),
            };
            let counters = counters(&place, &table).await;
            assert!(counters.len() > 10, "{} {name}: {} rows", place.name, counters.len());
            assert!(counters.values().any(|row| row["counter_hits"] != "0"));
            held.push(counters);
        }
        match &first {
            None => first = Some((place.name, held)),
            Some((name, expected)) => assert_eq!(&held, expected, "{} and {name}", place.name),
        }
        place.remove().await;
    }
}
