//! The same records through aggregate pumps of every dialect.

use std::{collections::BTreeMap, sync::Arc};

use analytics::{ClaimId, Flag, Int, Text, record::Builder};
use serde_json::json;

use super::{
    raw::{build, deck, group, pump},
    *,
};
use crate::backends::sql::aggregate::Shape;

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
        for (number, (name, table, shape)) in (0..).zip(tables) {
            let pump = pump(&place, name, json!({"track_all_paths": true, "batch_size": 7})).await;
            // The second claim adds to the rows of the first; the third has been there. The pumps share a ledger and a name.
            for claim in [1, 2, 1].map(|claim| claim + 10 * number) {
                pump.write(&group(ClaimId(ulid::Ulid(claim)), &records), &Arc::default())
                    .await
                    .unwrap();
            }
            pump.close().await.unwrap();
            let table = Table {
                name: table.to_owned(),
                layout: shape.layout(false),
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

/// A request, or a connection (code -1).
fn request(code: i64, latency: i64) -> Builder {
    let mut record = Builder::new();
    record.text(Text::OrgId, "org").text(Text::ApiId, "api");
    record.recorded_at(Time {
        seconds: 1_715_940_300,
        ..Time::ZERO
    });
    record
        .int(Int::ResponseCode, code)
        .int(Int::LatencyTotal, latency)
        .int(Int::LatencyUpstream, latency + 1);
    record
}

/// Minima of API and total, and number of hits, after these groups.
async fn minima(place: &Place, answered: bool, groups: &[&[Builder]]) -> [Vec<String>; 2] {
    let pump = build(place, "sql_aggregate", json!({"answered_minima": answered}), false).await;
    for (number, records) in (1..).zip(groups) {
        pump.write(&group(ClaimId(ulid::Ulid(number)), records), &Arc::default())
            .await
            .unwrap();
    }
    let table = Table {
        name: "tyk_aggregated".to_owned(),
        layout: Shape::Organisation.layout(answered),
        indexes: Vec::new(),
    };
    let counters = counters(place, &table).await;
    pump.close().await.unwrap();
    let names = ["counter_hits", "counter_min_latency", "counter_min_upstream_latency"];
    [["apiid", "api"], ["", "total"]].map(|[dimension, value]| {
        let key = ["1715940000", "org", dimension, value].map(str::to_owned);
        names.iter().map(|name| counters[&key][*name].clone()).collect()
    })
}

#[tokio::test]
async fn answered_minima_do_not_depend_on_how_records_are_grouped() {
    let (ok, slow) = (request(200, 20), request(200, 30));
    let (error, connection) = (request(404, 5), request(-1, 0));
    let (ok, slow, error, connection) = ([ok], [slow], [error], [connection]);
    let together = [&slow[..], &connection, &error, &ok].concat();
    let orders: [&[&[Builder]]; 7] = [
        &[&together],
        &[&connection, &slow, &ok, &error],
        &[&error, &connection, &ok, &slow],
        &[&slow, &ok, &error, &connection],
        &[&connection, &error, &slow, &ok],
        &[&ok, &connection, &error, &slow],
        &[&error, &ok, &connection, &slow],
    ];
    for groups in orders {
        everywhere(async |place| {
            assert_eq!(
                minima(&place, true, groups).await,
                [["3", "20", "21"]; 2],
                "{}",
                place.name
            );
        })
        .await;
    }
    // Errors alone have the lowest of theirs, connections alone none.
    let errors = [request(500, 9)];
    for (groups, want) in [
        (&[&errors[..], &connection, &error][..], ["2", "5", "6"]),
        (&[&connection, &errors], ["1", "9", "10"]),
        (&[&connection, &connection], ["0", "0", "0"]),
    ] {
        everywhere(async |place| {
            assert_eq!(minima(&place, true, groups).await, [want; 2], "{}", place.name);
        })
        .await;
    }
}

#[tokio::test]
async fn every_minimum_counts_unless_answered_ones_are_asked_for() {
    everywhere(async |place| {
        let groups: &[&[Builder]] = &[&[request(200, 20)], &[request(404, 5)]];
        assert_eq!(
            minima(&place, false, groups).await,
            [["2", "5", "6"]; 2],
            "{}",
            place.name
        );
    })
    .await;
    everywhere(async |place| {
        let groups: &[&[Builder]] = &[&[request(200, 20)], &[request(-1, 0)]];
        assert_eq!(
            minima(&place, false, groups).await,
            [["1", "0", "0"]; 2],
            "{}",
            place.name
        );
    })
    .await;
}
