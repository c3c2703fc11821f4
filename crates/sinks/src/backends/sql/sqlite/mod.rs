//! SQLite: a file of this machine, for quick starts, tests and small installations.
//!
//! Rows are written ahead (WAL) and synced at every commit, so that readers are not in the way and nothing that was
//! acknowledged is lost. Times are text in UTC. Several pumps, and several processes, can share a file: each waits for
//! the others' transactions.

mod error;
mod ledger;
mod location;
mod schema;
mod statement;
mod transaction;
mod value;
mod worker;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use analytics::{ClaimId, RowRanges};
use async_trait::async_trait;

use self::{location::Location, transaction::SqliteTransaction, worker::Worker};
use super::{
    database::{Access, Database, DatabaseError, Statement, Transaction},
    ledger::NAME,
    options::Connection,
    statement_log::StatementLog,
    table::{Table, split_name},
};
use crate::BuildError;

/// How often old ledger entries are looked for, which reads the whole table.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// A SQLite database.
pub(crate) struct Sqlite {
    worker: Worker,
    log: StatementLog,
    /// Held by a transaction from its begin to its end, and by every change of a table.
    alone: Arc<tokio::sync::Mutex<()>>,
    pruned: Mutex<Option<Instant>>,
}

impl Sqlite {
    /// Understands the options; nothing is opened yet.
    pub(crate) fn new(options: &Connection, log_prefix: &'static str, access: Access) -> Result<Sqlite, BuildError> {
        let mut location =
            Location::parse(&options.connection_string).map_err(|error| BuildError::Options(error.to_string()))?;
        if location.file.is_none() {
            tracing::warn!(
                prefix = log_prefix,
                "connection_string: the database lives in memory and is lost when the pump stops; name a file"
            );
        }
        if access == Access::Look {
            location = location.untouched();
        }
        let worker = Worker::start(location).map_err(|error| BuildError::Unavailable(error.into()))?;
        Ok(Sqlite {
            worker,
            log: StatementLog::new(&options.log_level, log_prefix),
            alone: Arc::default(),
            pruned: Mutex::default(),
        })
    }

    /// Whether it is time to look for old ledger entries.
    fn is_prune_due(&self) -> bool {
        let mut pruned = self.pruned.lock().unwrap_or_else(PoisonError::into_inner);
        if pruned.is_some_and(|last| last.elapsed() < PRUNE_EVERY) {
            return false;
        }
        *pruned = Some(Instant::now());
        true
    }
}

#[async_trait]
impl Database for Sqlite {
    async fn ping(&self) -> Result<(), DatabaseError> {
        // Reading the catalogue notices a file that is no database.
        let work = |connection: &mut rusqlite::Connection| schema::tables(connection, None).map(drop);
        self.worker.run(work).await
    }

    async fn plan(&self, table: &Table) -> Result<Vec<Statement>, DatabaseError> {
        let _alone = self.alone.lock().await;
        let table = table.clone();
        self.worker
            .run(move |connection| schema::plan(connection, &table))
            .await
    }

    async fn execute(&self, statement: &Statement) -> Result<(), DatabaseError> {
        let _alone = self.alone.lock().await;
        let sql = statement.sql.clone();
        let work = move |connection: &mut rusqlite::Connection| match connection.execute_batch(&sql) {
            Err(error) if !error::is_there_already(&error) => Err(error::classify(error).of_a_change()),
            _ => Ok(()),
        };
        self.log.run(&statement.sql, self.worker.run(work)).await
    }

    async fn tables(&self, prefix: &str) -> Result<Vec<String>, DatabaseError> {
        let (schema, start) = split_name(prefix);
        let (schema, start) = (schema.map(str::to_owned), start.to_owned());
        let work = move |connection: &mut rusqlite::Connection| {
            let mut names = schema::tables(connection, schema.as_deref())?;
            names.retain(|name| name.starts_with(&start));
            names.sort_unstable();
            Ok(match schema {
                Some(schema) => names.into_iter().map(|name| format!("{schema}.{name}")).collect(),
                None => names,
            })
        };
        self.worker.run(work).await
    }

    fn drop_table(&self, name: &str) -> Statement {
        Statement {
            sql: format!("DROP TABLE IF EXISTS {}", statement::quoted(name)),
            concurrent: false,
        }
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, DatabaseError> {
        let alone = self.alone.clone().lock_owned().await;
        let begun = SqliteTransaction::begin(self.worker.clone(), self.log.clone(), alone);
        Ok(Box::new(begun.await?))
    }

    async fn applied(&self, pump: &str, claim: ClaimId) -> Result<RowRanges, DatabaseError> {
        let _alone = self.alone.lock().await;
        let pump = pump.to_owned();
        let work = move |connection: &mut rusqlite::Connection| match schema::tables(connection, None)?
            .iter()
            .any(|name| name == NAME)
        {
            true => ledger::read(connection, &pump, claim, "AND done = 0"),
            false => Ok(RowRanges::default()),
        };
        self.worker.run(work).await
    }

    async fn forget(&self, pump: &str, fleet: &str, claims: &[ClaimId]) -> Result<(), DatabaseError> {
        let _alone = self.alone.lock().await;
        let prune = self.is_prune_due();
        let (pump, fleet, claims) = (pump.to_owned(), fleet.to_owned(), claims.to_owned());
        self.worker
            .run(move |connection| ledger::forget(connection, &pump, &fleet, &claims, prune))
            .await
    }

    async fn close(&self) {
        let _alone = self.alone.lock().await;
        self.worker.close().await;
    }
}
