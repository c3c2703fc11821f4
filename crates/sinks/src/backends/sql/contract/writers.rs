//! Several writers at once.

use std::sync::Arc;

use analytics::{ClaimId, Flag, Int, Text, record::Builder};
use serde_json::json;

use super::{
    raw::{group, pump},
    *,
};
use crate::{WriteError, sql::database::Transaction};

/// Two pumps with connections of their own, upserting the same keys in the order that every caller keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_add_up() {
    const ROUNDS: i64 = 20;
    everywhere(async |place| {
        let first = place.database();
        make(first.as_ref(), &sums_table()).await.unwrap();
        make(first.as_ref(), &crate::backends::sql::ledger::table())
            .await
            .unwrap();
        let writer = |database: Arc<dyn Database>, claim: u128| async move {
            let claims = [analytics::ClaimId(ulid::Ulid(claim))];
            for _ in 0..ROUNDS {
                let rows = cells(
                    (0..100)
                        .map(|number| {
                            let mut row = merges::row("", 1, 2.0, 3, 4);
                            row[0] = text(format!("{number:06}"));
                            row
                        })
                        .collect(),
                );
                let mut transaction = database.begin().await.unwrap();
                transaction.lock_ledger("SQL", "fleet", &claims).await.unwrap();
                transaction.upsert(&sums_table(), &rows, 0..rows.len()).await.unwrap();
                transaction.commit().await.unwrap();
            }
        };
        let one = tokio::spawn(writer(first, 1));
        let two = tokio::spawn(writer(place.database(), 2));
        one.await.unwrap();
        two.await.unwrap();
        let sums = place.query("SELECT COUNT(*), SUM(\"hits\") FROM \"sums\"").await;
        let expected = [[Some("100".to_owned()), Some((2 * ROUNDS * 100).to_string())]];
        assert_eq!(sums, expected, "{}", place.name);
    })
    .await;
}

/// Two processes may hold the same claim for a moment: the second waits, and sees what the first has applied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_is_locked_until_the_commit() {
    everywhere(async |place| {
        let (first, second) = (place.database(), place.database());
        make(first.as_ref(), &crate::backends::sql::ledger::table())
            .await
            .unwrap();
        let claims = [analytics::ClaimId(ulid::Ulid(7))];
        let mut held = first.begin().await.unwrap();
        held.lock_ledger("SQL", "fleet", &claims).await.unwrap();
        let waiting = tokio::spawn(async move {
            let mut transaction = second.begin().await.unwrap();
            transaction.lock_ledger("SQL", "fleet", &claims).await.unwrap()
        });
        let mut rows = analytics::RowRanges::default();
        rows.insert(0..10);
        held.store_ledger("SQL", &[(claims[0], rows.clone())]).await.unwrap();
        assert!(!waiting.is_finished(), "{}", place.name);
        held.commit().await.unwrap();
        assert_eq!(waiting.await.unwrap(), [rows], "{}", place.name);
    })
    .await;
}

/// Pumps whose records come in opposite orders, and make rows that nobody has made yet. Servers that lock the gaps between
/// rows end some of these transactions; the lane tries them again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_with_keys_in_opposite_orders_lose_nothing() {
    const WRITERS: u128 = 4;
    const ROUNDS: u128 = 8;
    const PATHS: i64 = 60;
    let records = |writer: u128, round: u128| {
        let mut records: Vec<Builder> = (0..PATHS)
            .map(|path| {
                let mut record = Builder::new();
                record.recorded_at(Time {
                    seconds: 1_715_940_300 + round as i64 * 3600,
                    ..Time::ZERO
                });
                record
                    .text(Text::OrgId, "org")
                    .text(Text::ApiId, format!("api{path}"))
                    .text(Text::Path, format!("/{path}"))
                    .flag(Flag::TrackPath, true)
                    .int(Int::ResponseCode, 200);
                record
            })
            .collect();
        if writer % 2 == 1 {
            records.reverse();
        }
        records
    };
    everywhere(async |place| {
        let mut writers = Vec::new();
        for writer in 0..WRITERS {
            let pump = pump(&place, "sql_aggregate", json!({})).await;
            writers.push(tokio::spawn(async move {
                let mut again = 0;
                for round in 0..ROUNDS {
                    let claim = ClaimId(ulid::Ulid(1 + writer * ROUNDS + round));
                    let group = group(claim, &records(writer, round));
                    while let Err(error) = pump.write(&group, &Arc::default()).await {
                        assert!(matches!(error, WriteError::Retry { .. }), "{error}");
                        again += 1;
                        assert!(again < 1000, "{error}");
                    }
                }
                pump.close().await.unwrap();
                again
            }));
        }
        let mut again = 0;
        for writer in writers {
            again += writer.await.unwrap();
        }
        println!("{}: {again} writes were tried again", place.name);
        let sums = place
            .query(
                "SELECT \"dimension\", COUNT(*), SUM(\"counter_hits\") FROM \"tyk_aggregated\" \
                 WHERE \"dimension\" IN ('', 'apiid', 'endpoints') GROUP BY \"dimension\" ORDER BY 1",
            )
            .await;
        let hits = WRITERS as i64 * ROUNDS as i64 * PATHS;
        let row = |dimension: &str, rows: i64| {
            [dimension.to_owned(), rows.to_string(), hits.to_string()]
                .map(Some)
                .to_vec()
        };
        let rows = ROUNDS as i64;
        let expected = [
            row("", rows),
            row("apiid", rows * PATHS),
            row("endpoints", rows * PATHS),
        ];
        assert_eq!(sums, expected, "{}", place.name);
    })
    .await;
}

/// What no order of keys can prevent: somebody else, such as a Dashboard, locks rows in another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadlock_is_to_be_tried_again() {
    everywhere(async |place| {
        if place.name == "sqlite" {
            return; // Has one writer.
        }
        let row = |id: &'static str| cells(vec![merges::row(id, 1, 2.0, 3, 4)]);
        let (one, two) = (place.database(), place.database());
        make(one.as_ref(), &sums_table()).await.unwrap();
        let write =
            async |transaction: &mut dyn Transaction, id| transaction.upsert(&sums_table(), &row(id), 0..1).await;
        let mut setup = one.begin().await.unwrap();
        for id in ["a", "b"] {
            write(setup.as_mut(), id).await.unwrap();
        }
        setup.commit().await.unwrap();
        let (mut first, mut second) = (one.begin().await.unwrap(), two.begin().await.unwrap());
        write(first.as_mut(), "a").await.unwrap();
        write(second.as_mut(), "b").await.unwrap();
        // Who is chosen lets go of everything, and the other one goes on.
        let finish = async |mut transaction: Box<dyn Transaction>, id| {
            write(transaction.as_mut(), id).await?;
            transaction.commit().await
        };
        let ends = tokio::join!(finish(first, "b"), finish(second, "a"));
        let (chosen, database, ids) = match ends {
            (Err(error), Ok(())) => (error, one, ["a", "b"]),
            (Ok(()), Err(error)) => (error, two, ["b", "a"]),
            ends => panic!("{}: {ends:?}", place.name),
        };
        assert!(matches!(chosen, DatabaseError::Retry(_)), "{}: {chosen}", place.name);
        let mut again = database.begin().await.unwrap();
        for id in ids {
            write(again.as_mut(), id).await.unwrap();
        }
        again.commit().await.unwrap();
        let found = place.rows(&sums_table(), "id").await;
        assert_eq!(
            found.iter().map(|row| &row["hits"]).collect::<Vec<_>>(),
            ["3", "3"],
            "{}",
            place.name
        );
    })
    .await;
}
