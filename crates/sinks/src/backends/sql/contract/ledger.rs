//! The ledger, and what a transaction leaves behind.

use analytics::{ClaimId, RowRanges};

use super::*;

fn claim(number: u128) -> ClaimId {
    ClaimId(ulid::Ulid(number))
}

fn ranges(rows: Range<u64>) -> RowRanges {
    let mut ranges = RowRanges::default();
    ranges.insert(rows);
    ranges
}

#[tokio::test]
async fn entries_come_back() {
    everywhere(async |place| {
        let database = place.database();
        assert_eq!(database.applied("SQL", claim(1)).await.unwrap(), RowRanges::default());
        make(database.as_ref(), &crate::backends::sql::ledger::table())
            .await
            .unwrap();
        let claims = [claim(1), claim(2), claim(u128::MAX >> 3)];
        for (round, rows) in [(0, 0..10), (1, 0..500)] {
            let mut transaction = database.begin().await.unwrap();
            let applied = transaction.lock_ledger("SQL", "fleet", &claims).await.unwrap();
            let expected = if round == 0 {
                RowRanges::default()
            } else {
                ranges(0..10)
            };
            assert_eq!(applied, vec![expected; 3], "{}", place.name);
            let entries = claims.map(|claim| (claim, ranges(rows.clone())));
            transaction.store_ledger("SQL", &entries).await.unwrap();
            transaction.commit().await.unwrap();
        }
        assert_eq!(database.applied("SQL", claim(2)).await.unwrap(), ranges(0..500));
        assert_eq!(database.applied("OTHER", claim(2)).await.unwrap(), RowRanges::default());
        assert_eq!(database.applied("SQL", claim(3)).await.unwrap(), RowRanges::default());
    })
    .await;
}

#[tokio::test]
async fn a_dropped_transaction_leaves_nothing_and_locks_nothing() {
    everywhere(async |place| {
        let database = place.database();
        for table in [log_table(), crate::backends::sql::ledger::table()] {
            make(database.as_ref(), &table).await.unwrap();
        }
        for _ in 0..3 {
            let mut transaction = database.begin().await.unwrap();
            let applied = transaction.lock_ledger("SQL", "fleet", &[claim(1)]).await.unwrap();
            assert_eq!(applied, [RowRanges::default()], "{}", place.name);
            transaction.insert(&log_table(), &log_rows(0..3), 0..3).await.unwrap();
            transaction
                .store_ledger("SQL", &[(claim(1), ranges(0..3))])
                .await
                .unwrap();
        }
        // Tables can be changed at once, too.
        let index = Table {
            indexes: vec![Index {
                name: "log_idx_serial".to_owned(),
                columns: &["serial"],
                concurrent: false,
            }],
            ..log_table()
        };
        make(database.as_ref(), &index).await.unwrap();
        assert_eq!(place.rows(&log_table(), "1").await, [], "{}", place.name);
        assert_eq!(database.applied("SQL", claim(1)).await.unwrap(), RowRanges::default());
    })
    .await;
}

#[tokio::test]
async fn only_old_entries_of_finished_claims_go() {
    everywhere(async |place| {
        let database = place.database();
        make(database.as_ref(), &crate::backends::sql::ledger::table())
            .await
            .unwrap();
        let claims = [claim(1), claim(2), claim(3), claim(4)];
        let mut transaction = database.begin().await.unwrap();
        transaction.lock_ledger("SQL", "ours", &claims).await.unwrap();
        let entries = claims.map(|claim| (claim, ranges(0..5)));
        transaction.store_ledger("SQL", &entries).await.unwrap();
        transaction.lock_ledger("SQL", "theirs", &[claim(5)]).await.unwrap();
        transaction.commit().await.unwrap();
        let old = |number| {
            let week = "'2020-01-01 00:00:00'";
            format!(
                "UPDATE \"tyk_pump_ledger\" SET \"at\" = {week} WHERE \"claim\" = '{}'",
                claim(number)
            )
        };
        // 1 is finished and old, 2 old, 3 finished, 5 finished and old but of another fleet.
        for number in [1, 2, 5] {
            place.query(&old(number)).await;
        }
        let finished = [claim(1), claim(3), claim(5)];
        database.forget("SQL", "ours", &finished).await.unwrap();
        let left = place
            .query("SELECT \"claim\" FROM \"tyk_pump_ledger\" ORDER BY 1")
            .await;
        let expected: Vec<_> = [2, 3, 4, 5].map(|number| vec![Some(claim(number).to_string())]).into();
        assert_eq!(left, expected, "{}", place.name);
    })
    .await;
}
