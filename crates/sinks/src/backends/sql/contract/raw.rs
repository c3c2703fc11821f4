//! The same records through pumps of every dialect.

use std::sync::Arc;

use analytics::{
    ClaimId, Flag, Float, Int, Selection, Text, Transform, When, Zone,
    record::{Builder, GraphError, PathItem},
};
use fakes::rows;
use serde_json::json;

use super::*;
use crate::{BuildContext, Sink, sql::raw::RawLayout};

/// Records in which every column has a value at least once.
pub(super) fn deck() -> Vec<Builder> {
    let mut records = Vec::new();
    for number in 0..40_i64 {
        let mut record = Builder::new();
        let zone = [Zone::UTC, Zone::named(b"Asia/Kathmandu").unwrap()][number as usize % 2];
        record.recorded_at(Time {
            seconds: 1_715_940_300 + number * 7_919,
            nanos: (number as u32 % 10) * 100_000_000,
            zone,
        });
        for (index, field) in Text::ALL.iter().enumerate() {
            record.text(*field, format!("{index}/{number} é 🦀 \"' \\ % ` $1 ? :x"));
        }
        for (index, field) in Int::ALL.iter().enumerate() {
            if !matches!(field, Int::Day | Int::Month | Int::Year | Int::Hour) {
                record.int(*field, number * 1_000_003 + index as i64);
            }
        }
        for field in Float::ALL {
            record.float(*field, number as f64 / 7.0 - 2.5);
        }
        record.flag(Flag::TrackPath, number % 2 == 0);
        record.flag(Flag::GraphHasErrors, number % 3 == 0);
        match number % 5 {
            0 => {}
            1 => {
                record.time(When::ExpireAt, Time::ZERO);
            }
            _ => {
                record.time(
                    When::ExpireAt,
                    Time {
                        seconds: 4_000_000_000 + number,
                        nanos: 0,
                        zone,
                    },
                );
            }
        }
        if number % 4 == 1 {
            record.flag(Flag::IsGraphQl, true);
            record.tags(["team.blue", "<&>\u{2028}"]);
            record.city_names([("en", "Vienna"), ("de", "Wien")]);
            record.root_fields(["characters"]);
            record.types([("Info", Some(vec!["height"])), ("Character", None)]);
            let message = record.keep("not \"found\"");
            record.errors(vec![GraphError {
                message,
                path: Some(vec![PathItem::Uint(1)]),
            }]);
        }
        records.push(record);
    }
    records.push(Builder::new());
    records
}

pub(super) fn group(claim: ClaimId, records: &[Builder]) -> Vec<Selection> {
    vec![rows::all(&rows::batch_of_built(claim, 0, records))]
}

/// A pump of type `name`.
pub(super) async fn pump(place: &Place, name: &str, more: serde_json::Value) -> Box<dyn Sink> {
    build(place, name, more, false).await
}

/// A pump of type `name`, in `compat` or not.
pub(super) async fn build(place: &Place, name: &str, more: serde_json::Value, compat: bool) -> Box<dyn Sink> {
    let context = BuildContext {
        compat,
        ..BuildContext::new("TEST", "fleet", meta(place, more))
    };
    (crate::find(name).unwrap().build)(context).await.unwrap()
}

/// Options of a pump that writes to `place`.
pub(super) fn meta(place: &Place, more: serde_json::Value) -> serde_json::Value {
    let mut meta = json!({"type": place.options.kind, "connection_string": place.options.connection_string});
    meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    meta
}

fn table() -> Table {
    Table {
        name: "tyk_analytics".to_owned(),
        layout: RawLayout::plain().layout.clone(),
        indexes: Vec::new(),
    }
}

const ORDER: &str = "\"requesttime\", \"timestamp\"";

#[tokio::test]
async fn every_database_holds_the_same_values() {
    let mut first: Option<(&'static str, Vec<_>)> = None;
    let deck = deck();
    for place in Place::all().await {
        let pump = pump(&place, "sql", json!({"batch_size": 7})).await;
        pump.write(&group(ClaimId(ulid::Ulid(1)), &deck), &Arc::default())
            .await
            .unwrap();
        let rows = place.rows(&table(), ORDER).await;
        assert_eq!(rows.len(), deck.len(), "{}", place.name);
        match &first {
            None => first = Some((place.name, rows)),
            Some((name, expected)) => {
                for (number, (row, expected)) in rows.iter().zip(expected).enumerate() {
                    for (column, value) in expected {
                        assert_eq!(&row[column], value, "row {number}, {column}: {} and {name}", place.name);
                    }
                }
            }
        }
        pump.close().await.unwrap();
        place.remove().await;
    }
}

#[tokio::test]
async fn rows_that_come_again_are_written_once() {
    everywhere(async |place| {
        let deck = deck();
        let claim = ClaimId(ulid::Ulid(9));
        for rows in [10, 10, 25, deck.len(), deck.len()] {
            // A new process each time.
            let pump = pump(&place, "sql", json!({})).await;
            pump.write(&group(claim, &deck[..rows]), &Arc::default()).await.unwrap();
            assert_eq!(pump.applied(claim, None).await.unwrap().unwrap().len(), rows as u64);
            pump.close().await.unwrap();
        }
        assert_eq!(place.rows(&table(), ORDER).await.len(), deck.len(), "{}", place.name);
    })
    .await;
}

#[tokio::test]
async fn fields_that_are_ignored_do_not_choose_the_pump() {
    let Some(place) = Place::all().await.into_iter().next() else {
        return;
    };
    let mut record = Builder::new();
    record.flag(Flag::IsMcp, true);
    let transform = Transform {
        ignored: Transform::parse_ignore_fields(&["mcp_stats"]).0,
        ..Transform::default()
    };
    let (batch, transform) = (
        group(ClaimId(ulid::Ulid(1)), &[record])[0].batch().clone(),
        Arc::new(transform),
    );
    let group = [Selection::new(batch, 0..1, transform)];
    for (kind, table_name, rows) in [("sql", "tyk_analytics", 1), ("sql-mcp", "tyk_analytics_mcp", 0)] {
        let pump = pump(&place, kind, json!({})).await;
        pump.write(&group, &Arc::default()).await.unwrap();
        let count = place.query(&format!("SELECT count(*) FROM {table_name}")).await;
        assert_eq!(count[0][0].as_deref(), Some(rows.to_string().as_str()), "{kind}");
        pump.close().await.unwrap();
    }
    place.remove().await;
}

#[tokio::test]
async fn days_have_tables_with_indexes() {
    everywhere(async |place| {
        let pump = pump(&place, "sql", json!({"table_sharding": true})).await;
        let mut deck = deck();
        deck.pop();
        pump.write(&group(ClaimId(ulid::Ulid(1)), &deck), &Arc::default())
            .await
            .unwrap();
        let mut names = place.database().tables("tyk_analytics_2024").await.unwrap();
        names.retain(|name| !name.contains("idx"));
        assert_eq!(
            names,
            ["17", "18", "19", "20"].map(|day| format!("tyk_analytics_202405{day}")),
            "{}",
            place.name
        );
        let mut rows = 0;
        for name in names {
            rows += place.rows(&Table { name, ..table() }, ORDER).await.len();
        }
        assert_eq!(rows, deck.len(), "{}", place.name);
    })
    .await;
}
