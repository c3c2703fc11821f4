//! Finding the rows that a database refuses.

use std::sync::Arc;

use super::{
    database::{DatabaseError, Transaction},
    table::{Rows, Table},
};

/// How rows get into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// Appended.
    Insert,
    /// Merged by key.
    Upsert,
}

/// A row that the database refuses: its index, and why.
pub(crate) type Refused = (usize, String);

/// Writes all rows but those that the database refuses, which it finds by halves. What is left in the transaction are
/// the accepted rows; when the list is full (100 rows), some later ones are missing.
pub(crate) async fn write_accepted(
    transaction: &mut dyn Transaction,
    table: &Table,
    rows: &Arc<dyn Rows>,
    way: Way,
    most: usize,
) -> Result<Vec<Refused>, DatabaseError> {
    let mut refused = Vec::new();
    let mut left = Vec::new();
    left.push(0..rows.len());
    while let Some(range) = left.pop() {
        if range.is_empty() {
            continue;
        }
        transaction.set_savepoint().await?;
        let written = match way {
            Way::Insert => transaction.insert(table, rows, range.clone()).await,
            Way::Upsert => transaction.upsert(table, rows, range.clone()).await,
        };
        let reason = match written {
            Ok(()) => continue,
            Err(DatabaseError::Row(reason)) => reason,
            Err(error) => return Err(error),
        };
        transaction.roll_back_to_savepoint().await?;
        if range.len() == 1 {
            refused.push((range.start, reason));
            if refused.len() == most {
                break;
            }
            continue;
        }
        let middle = range.start + range.len() / 2;
        left.push(middle..range.end);
        left.push(range.start..middle);
    }
    Ok(refused)
}
