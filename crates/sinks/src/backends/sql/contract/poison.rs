//! Rows that a database refuses.

use super::*;
use crate::backends::sql::poison::{Way, write_accepted};

/// A table in which something can be wrong with a row on every database.
async fn picky(place: &Place) -> Table {
    let table = log_table();
    make(place.database().as_ref(), &table).await.unwrap();
    match place.name {
        // SQLite cannot add a constraint.
        "sqlite" => {
            let refuse = "SELECT RAISE(ABORT, 'negative') WHERE NEW.serial < 0";
            let trigger = format!("CREATE TRIGGER picky BEFORE INSERT ON log BEGIN {refuse}; END");
            place.query(&trigger).await;
        }
        "postgres" => {
            place.query("ALTER TABLE log ADD CHECK (serial >= 0)").await;
        }
        _ => {
            place.query("ALTER TABLE log MODIFY serial bigint unsigned").await;
        }
    }
    table
}

#[tokio::test]
async fn a_refused_row_costs_only_itself() {
    everywhere(async |place| {
        let table = picky(&place).await;
        let database = place.database();
        make(database.as_ref(), &table).await.unwrap();
        let serials = (0..1000).map(|serial| {
            if [0, 500, 501, 999].contains(&serial) {
                -serial - 1
            } else {
                serial
            }
        });
        let rows = cells(
            serials
                .map(|serial| vec![Cell::Int(serial), text("x"), Cell::Time(Time::ZERO)])
                .collect(),
        );
        let mut transaction = database.begin().await.unwrap();
        let refused = write_accepted(transaction.as_mut(), &table, &rows, Way::Insert, 100)
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let indexes: Vec<usize> = refused.iter().map(|(index, _)| *index).collect();
        assert_eq!(indexes, [0, 500, 501, 999], "{}: {refused:?}", place.name);
        assert_eq!(place.rows(&table, "1").await.len(), 996, "{}", place.name);
    })
    .await;
}

#[tokio::test]
async fn a_missing_table_is_no_fault_of_the_rows() {
    everywhere(async |place| {
        let database = place.database();
        let mut transaction = database.begin().await.unwrap();
        let error = transaction
            .insert(&log_table(), &log_rows(0..1), 0..1)
            .await
            .unwrap_err();
        assert!(matches!(error, DatabaseError::Retry(_)), "{}: {error}", place.name);
    })
    .await;
}
