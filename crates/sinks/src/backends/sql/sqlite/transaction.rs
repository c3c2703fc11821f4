//! A transaction on the database's thread.

use std::{ops::Range, sync::Arc};

use analytics::{ClaimId, RowRanges};
use async_trait::async_trait;
use rusqlite::Connection;
use tokio::sync::OwnedMutexGuard;

use super::{error::classify, ledger, statement, value::Parameter, worker::Worker};
use crate::backends::sql::{
    database::{DatabaseError, Transaction},
    statement_log::StatementLog,
    table::{Rows, Table, Value},
};

/// See [`Transaction`]. Dropped without a commit it rolls back before anything else is done on the thread.
pub(super) struct SqliteTransaction {
    worker: Worker,
    log: StatementLog,
    committed: bool,
    has_savepoint: bool,
    /// Keeps statements that change tables out of the transaction. Let go of last.
    _alone: OwnedMutexGuard<()>,
}

impl SqliteTransaction {
    pub(super) async fn begin(
        worker: Worker,
        log: StatementLog,
        alone: OwnedMutexGuard<()>,
    ) -> Result<SqliteTransaction, DatabaseError> {
        // Exists before it has begun: whoever stops waiting for BEGIN drops it, which rolls back.
        let transaction = SqliteTransaction {
            worker,
            log,
            committed: false,
            has_savepoint: false,
            _alone: alone,
        };
        // With the lock for writing, which a transaction cannot always get later on.
        transaction.run("BEGIN IMMEDIATE").await?;
        Ok(transaction)
    }

    async fn run(&self, sql: &'static str) -> Result<(), DatabaseError> {
        let work = move |connection: &mut Connection| connection.execute_batch(sql).map_err(classify);
        self.log.run(sql, self.worker.run(work)).await
    }

    async fn write(&self, sql: String, rows: &Arc<dyn Rows>, range: Range<usize>) -> Result<(), DatabaseError> {
        let rows = rows.clone();
        let text = sql.clone();
        let work = move |connection: &mut Connection| write_rows(connection, &text, rows.as_ref(), range);
        self.log.run(&sql, self.worker.run(work)).await
    }
}

fn write_rows(connection: &Connection, sql: &str, rows: &dyn Rows, range: Range<usize>) -> Result<(), DatabaseError> {
    let mut statement = connection.prepare(sql).map_err(classify)?;
    for index in range {
        let mut column = 0;
        let mut failed = None;
        let written = rows.write(index, &mut |value: Value<'_>| {
            column += 1;
            if failed.is_none() {
                failed = statement.raw_bind_parameter(column, Parameter(value)).err();
            }
        });
        written.map_err(DatabaseError::Row)?;
        if let Some(error) = failed {
            return Err(classify(error));
        }
        statement.raw_execute().map_err(classify)?;
    }
    Ok(())
}

impl Drop for SqliteTransaction {
    fn drop(&mut self) {
        if !self.committed {
            self.worker.roll_back();
        }
    }
}

#[async_trait]
impl Transaction for SqliteTransaction {
    async fn lock_ledger(
        &mut self,
        pump: &str,
        fleet: &str,
        claims: &[ClaimId],
    ) -> Result<Vec<RowRanges>, DatabaseError> {
        let (pump, fleet, claims) = (pump.to_owned(), fleet.to_owned(), claims.to_owned());
        let work = move |connection: &mut Connection| ledger::read_or_make(connection, &pump, &fleet, &claims);
        self.worker.run(work).await
    }

    async fn store_ledger(&mut self, pump: &str, entries: &[(ClaimId, RowRanges)]) -> Result<(), DatabaseError> {
        let (pump, entries) = (pump.to_owned(), entries.to_vec());
        let work = move |connection: &mut Connection| ledger::store(connection, &pump, &entries);
        self.worker.run(work).await
    }

    async fn insert(&mut self, table: &Table, rows: &Arc<dyn Rows>, range: Range<usize>) -> Result<(), DatabaseError> {
        self.write(statement::insert(table), rows, range).await
    }

    async fn upsert(&mut self, table: &Table, rows: &Arc<dyn Rows>, range: Range<usize>) -> Result<(), DatabaseError> {
        self.write(statement::upsert(table), rows, range).await
    }

    async fn set_savepoint(&mut self) -> Result<(), DatabaseError> {
        let sql = match self.has_savepoint {
            true => "RELEASE tyk_pump; SAVEPOINT tyk_pump",
            false => "SAVEPOINT tyk_pump",
        };
        self.run(sql).await?;
        self.has_savepoint = true;
        Ok(())
    }

    async fn roll_back_to_savepoint(&mut self) -> Result<(), DatabaseError> {
        self.run("ROLLBACK TO tyk_pump").await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), DatabaseError> {
        self.run("COMMIT").await?;
        self.committed = true;
        Ok(())
    }
}
