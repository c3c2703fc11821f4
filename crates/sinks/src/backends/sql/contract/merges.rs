//! Upserts.

use super::*;

pub(super) fn row(id: &'static str, hits: i64, total: f64, least: i64, most: i64) -> Vec<Cell> {
    let time = Time {
        seconds: 1_700_000_000 + hits,
        ..Time::ZERO
    };
    let average = if hits == 0 { 0.0 } else { total / hits as f64 };
    vec![
        text(id),
        Cell::Int(hits),
        Cell::Float(total),
        Cell::Float(average),
        Cell::Int(least),
        Cell::Int(most),
        Cell::Time(time),
        text(format!("value of {hits}")),
    ]
}

async fn upsert(database: &dyn Database, rows: Vec<Vec<Cell>>) {
    let rows = cells(rows);
    let mut transaction = database.begin().await.unwrap();
    transaction.upsert(&sums_table(), &rows, 0..rows.len()).await.unwrap();
    transaction.commit().await.unwrap();
}

#[tokio::test]
async fn rows_merge_by_each_columns_rule() {
    everywhere(async |place| {
        let database = place.database();
        make(database.as_ref(), &sums_table()).await.unwrap();
        upsert(
            database.as_ref(),
            vec![row("a", 5, 49.0, 3, 10), row("b", 1, 1.0, 1, 1)],
        )
        .await;
        upsert(database.as_ref(), vec![row("a", 1, 0.0, 2, 30), row("c", 7, 1.0, 1, 1)]).await;
        let found = place.rows(&sums_table(), "id").await;
        assert_eq!(found.len(), 3, "{}", place.name);
        let get = |name: &str| found[0][name].clone();
        for (name, value) in [
            ("hits", "6"),
            ("least", "2"),
            ("most", "30"),
            ("last", "2023-11-14 22:13:21"),
            ("value", "value of 5"),
        ] {
            assert_eq!(get(name), value, "{} {name}", place.name);
        }
        // The average is made of the sums before they change, and not of integers.
        let average: f64 = get("average").parse().unwrap();
        assert!((average - 49.0 / 6.0).abs() < 1e-9, "{}: {average}", place.name);
    })
    .await;
}

#[tokio::test]
async fn an_average_of_nothing_is_zero() {
    everywhere(async |place| {
        let database = place.database();
        make(database.as_ref(), &sums_table()).await.unwrap();
        for _ in 0..2 {
            upsert(database.as_ref(), vec![row("a", 0, 0.0, 0, 0)]).await;
        }
        let found = place.rows(&sums_table(), "id").await;
        assert_eq!(found[0]["average"].parse(), Ok(0.0), "{}", place.name);
    })
    .await;
}

#[tokio::test]
async fn keys_that_differ_in_case_are_two() {
    everywhere(async |place| {
        let database = place.database();
        make(database.as_ref(), &sums_table()).await.unwrap();
        upsert(database.as_ref(), vec![row("A", 1, 0.0, 0, 0), row("a", 1, 0.0, 0, 0)]).await;
        assert_eq!(place.rows(&sums_table(), "id").await.len(), 2, "{}", place.name);
    })
    .await;
}

#[tokio::test]
async fn many_rows_merge_in_one_transaction() {
    everywhere(async |place| {
        let database = place.database();
        make(database.as_ref(), &sums_table()).await.unwrap();
        let rows = || {
            let rows = (0..2345).map(|number| {
                let mut row = row("", 1, 2.0, 3, 4);
                row[0] = text(format!("{number:06}"));
                row
            });
            rows.collect()
        };
        upsert(database.as_ref(), rows()).await;
        upsert(database.as_ref(), rows()).await;
        let sums = place.query("SELECT COUNT(*), SUM(\"hits\") FROM \"sums\"").await;
        assert_eq!(
            sums,
            [[Some("2345".to_owned()), Some("4690".to_owned())]],
            "{}",
            place.name
        );
    })
    .await;
}

#[tokio::test]
async fn a_long_key_neither_fails_nor_collides() {
    everywhere(async |place| {
        if place.name == "postgres" {
            // Its limit is one of the index entry after compression.
            return;
        }
        let database = place.database();
        make(database.as_ref(), &sums_table()).await.unwrap();
        let ids = ["6f".repeat(1000), "6f".repeat(1001), "6f".repeat(1000) + "70"];
        for _ in 0..2 {
            let rows = ids.iter().map(|id| {
                let mut row = row("", 1, 2.0, 3, 4);
                row[0] = text(id.clone());
                row
            });
            upsert(database.as_ref(), rows.collect()).await;
        }
        let found = place.query("SELECT \"hits\" FROM \"sums\"").await;
        assert_eq!(found, vec![vec![Some("2".to_owned())]; 3], "{}", place.name);
    })
    .await;
}
