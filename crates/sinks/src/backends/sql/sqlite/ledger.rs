//! The ledger in SQLite. Whoever writes has the file to himself: no entry needs a lock of its own.

use analytics::{ClaimId, RowRanges};
use rusqlite::{Connection, OptionalExtension, params};

use super::error::classify;
use crate::backends::sql::{database::DatabaseError, ledger::NAME};

/// Makes missing entries and returns what each has applied.
pub(super) fn read_or_make(
    connection: &Connection,
    pump: &str,
    fleet: &str,
    claims: &[ClaimId],
) -> Result<Vec<RowRanges>, DatabaseError> {
    let sql = format!(
        "INSERT INTO {NAME} (pump, claim, fleet, applied, at, done) VALUES (?1, ?2, ?3, '', datetime('now'), 0) \
         ON CONFLICT DO NOTHING"
    );
    let mut insert = connection.prepare(&sql).map_err(classify)?;
    let mut applied = Vec::with_capacity(claims.len());
    for claim in claims {
        insert
            .execute(params![pump, claim.to_string(), fleet])
            .map_err(classify)?;
        applied.push(read(connection, pump, *claim, "")?);
    }
    Ok(applied)
}

/// What `pump` has applied of `claim`; nothing without an entry that meets the condition.
pub(super) fn read(
    connection: &Connection,
    pump: &str,
    claim: ClaimId,
    condition: &'static str,
) -> Result<RowRanges, DatabaseError> {
    let sql = format!("SELECT applied FROM {NAME} WHERE pump = ?1 AND claim = ?2 {condition}");
    let text: Option<String> = connection
        .query_row(&sql, params![pump, claim.to_string()], |row| row.get(0))
        .optional()
        .map_err(classify)?;
    text.unwrap_or_default().parse().map_err(|error| {
        DatabaseError::Config(format!("{NAME}: the entry of claim {claim} cannot be read: {error}").into())
    })
}

/// Stores what each claim has applied.
pub(super) fn store(
    connection: &Connection,
    pump: &str,
    entries: &[(ClaimId, RowRanges)],
) -> Result<(), DatabaseError> {
    let sql = format!("UPDATE {NAME} SET applied = ?3, at = datetime('now'), done = 0 WHERE pump = ?1 AND claim = ?2");
    let mut update = connection.prepare(&sql).map_err(classify)?;
    for (claim, applied) in entries {
        update
            .execute(params![pump, claim.to_string(), applied.to_string()])
            .map_err(classify)?;
    }
    Ok(())
}

/// Marks entries as done; removes old ones of `fleet` with `prune`.
pub(super) fn forget(
    connection: &mut Connection,
    pump: &str,
    fleet: &str,
    claims: &[ClaimId],
    prune: bool,
) -> Result<(), DatabaseError> {
    let transaction = connection.transaction().map_err(classify)?;
    let sql = format!("UPDATE {NAME} SET done = 1 WHERE pump = ?1 AND claim = ?2");
    for claim in claims {
        transaction
            .execute(&sql, params![pump, claim.to_string()])
            .map_err(classify)?;
    }
    if prune {
        let sql = format!("DELETE FROM {NAME} WHERE fleet = ?1 AND done = 1 AND at < datetime('now', '-7 days')");
        transaction.execute(&sql, params![fleet]).map_err(classify)?;
    }
    transaction.commit().map_err(classify)
}
