//! Several writers at once.

use super::*;

/// Two pumps with connections of their own, upserting the same keys in the order that every caller keeps.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_writers_add_up() {
    const ROUNDS: i64 = 20;
    everywhere(async |place| {
        let first = place.database();
        make(first.as_ref(), &sums_table()).await.unwrap();
        make(first.as_ref(), &crate::sql::ledger::table()).await.unwrap();
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
        make(first.as_ref(), &crate::sql::ledger::table()).await.unwrap();
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
