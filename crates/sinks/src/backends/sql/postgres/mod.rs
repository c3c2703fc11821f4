//! PostgreSQL: COPY BINARY for rows, UNNEST upserts for aggregates, the simple query protocol for the rest.
//!
//! No prepared statement outlives the transaction that it was made in, so that poolers in transaction mode work.

mod catalog;
mod connect;
mod failure;
mod files;
mod numeric;
mod settings;
mod statement;
mod transaction;
mod tuple;
mod upsert;
mod words;

use std::sync::Arc;

use analytics::{ClaimId, RowRanges};
use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio_postgres::SimpleQueryMessage;

use self::{catalog::Shapes, connect::Connected, transaction::PostgresTransaction};
use super::{
    database::{Database, DatabaseError, Statement, Transaction},
    ledger,
    options::Connection,
    statement_log::StatementLog,
    table::Table,
};
use crate::BuildError;

/// How long a statement that changes a table waits for its lock.
const LOCK_TIMEOUT: &str = "3s";

/// A transaction whose client says nothing for a minute is ended by the server: a pump that was frozen, or whose host is
/// gone, would keep rows locked that every other instance adds to.
const BEGIN: &str = "BEGIN; SET LOCAL idle_in_transaction_session_timeout = '60s'";

/// A Postgres database: one connection for rows, and one for tables while it is needed.
pub(crate) struct PostgresDatabase {
    connector: connect::Connector,
    log: StatementLog,
    /// The connection between two transactions.
    idle: Arc<Mutex<Option<Connected>>>,
    /// Types of the columns of tables that were looked at.
    shapes: Shapes,
}

impl PostgresDatabase {
    pub(crate) fn new(options: &Connection, log_prefix: &'static str) -> Result<PostgresDatabase, BuildError> {
        Ok(PostgresDatabase {
            connector: connect::Connector::new(&options.connection_string)?,
            log: StatementLog::new(&options.log_level, log_prefix),
            idle: Arc::default(),
            shapes: Shapes::default(),
        })
    }

    /// The idle connection if it is alive, else a new one.
    async fn take(&self) -> Result<Connected, DatabaseError> {
        if let Some(connected) = self.idle.lock().await.take()
            && !connected.client.is_closed()
        {
            return Ok(connected);
        }
        self.connector.connect().await
    }

    async fn give_back(&self, connected: Connected) {
        *self.idle.lock().await = Some(connected);
    }

    /// Rows of one statement as texts. A connection that has been lost meanwhile is replaced once.
    async fn query(&self, sql: &str) -> Result<Vec<Vec<Option<String>>>, DatabaseError> {
        let connected = self.take().await?;
        let rows = match self.log.run(sql, connected.client.simple_query(sql)).await {
            Err(_) if connected.client.is_closed() => {
                let connected = self.connector.connect().await?;
                let rows = self.log.run(sql, connected.client.simple_query(sql)).await;
                self.give_back(connected).await;
                rows
            }
            rows => {
                self.give_back(connected).await;
                rows
            }
        };
        Ok(texts(rows.map_err(failure::classify)?))
    }
}

fn texts(messages: Vec<SimpleQueryMessage>) -> Vec<Vec<Option<String>>> {
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    rows.map(|row| (0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect())
        .collect()
}

#[async_trait]
impl Database for PostgresDatabase {
    async fn ping(&self) -> Result<(), DatabaseError> {
        self.query("SELECT 1").await.map(drop)
    }

    async fn plan(&self, table: &Table) -> Result<Vec<Statement>, DatabaseError> {
        let columns = self.query(&catalog::columns_query(table)).await?;
        let indexes = match table.indexes.is_empty() {
            true => Vec::new(),
            false => self.query(&catalog::indexes_query(table)).await?,
        };
        let found = catalog::Found::read(&columns, &indexes);
        let statements = catalog::plan(table, &found);
        self.shapes.note(table, found);
        Ok(statements)
    }

    async fn execute(&self, statement: &Statement) -> Result<(), DatabaseError> {
        // Its own connection: building an index takes its time.
        let connected = self.connector.connect().await?;
        // Whoever waits for a lock on a table keeps everybody behind it waiting; better to try again later.
        let sql = match statement.concurrent {
            true => statement.sql.clone(),
            false => format!(
                "BEGIN; SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'; {}; COMMIT",
                statement.sql
            ),
        };
        match self.log.run(&sql, connected.client.batch_execute(&sql)).await {
            Err(error) if failure::is_already_there(&error) => Ok(()),
            done => done.map_err(failure::classify),
        }
    }

    async fn tables(&self, prefix: &str) -> Result<Vec<String>, DatabaseError> {
        let (schema, start) = super::table::split_name(prefix);
        let rows = self.query(&catalog::tables_query(schema, start)).await?;
        let names = rows.into_iter().filter_map(|row| row.into_iter().next().flatten());
        Ok(match schema {
            None => names.collect(),
            Some(schema) => names.map(|name| format!("{schema}.{name}")).collect(),
        })
    }

    fn drop_table(&self, name: &str) -> Statement {
        Statement {
            sql: format!("DROP TABLE IF EXISTS {}", statement::quote(name)),
            concurrent: false,
        }
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, DatabaseError> {
        let connected = self.take().await?;
        let begun = match self.log.run(BEGIN, connected.client.batch_execute(BEGIN)).await {
            Err(_) if connected.client.is_closed() => {
                // The server was restarted, or closed a connection that was idle for long.
                let connected = self.connector.connect().await?;
                let begun = self.log.run(BEGIN, connected.client.batch_execute(BEGIN)).await;
                begun.map(|()| connected)
            }
            begun => begun.map(|()| connected),
        };
        let connected = begun.map_err(failure::classify)?;
        Ok(Box::new(PostgresTransaction::new(
            connected,
            self.idle.clone(),
            self.shapes.clone(),
            self.log.clone(),
        )))
    }

    async fn applied(&self, pump: &str, claim: ClaimId) -> Result<RowRanges, DatabaseError> {
        let sql = format!(
            "SELECT applied FROM {} WHERE pump = {} AND claim = {} AND NOT done",
            ledger::NAME,
            statement::literal(pump),
            statement::literal(&claim.to_string())
        );
        let rows = match self.query(&format!("SELECT to_regclass('{}')", ledger::NAME)).await? {
            there if matches!(there.first().and_then(|row| row.first()), Some(Some(_))) => self.query(&sql).await?,
            _ => Vec::new(),
        };
        let text = rows.into_iter().flatten().flatten().next().unwrap_or_default();
        text.parse().map_err(|error| DatabaseError::Config(Box::new(error)))
    }

    async fn forget(&self, pump: &str, fleet: &str, claims: &[ClaimId]) -> Result<(), DatabaseError> {
        let list: Vec<String> = claims.iter().map(|claim| format!("'{claim}'")).collect();
        let (table, pump, fleet) = (ledger::NAME, statement::literal(pump), statement::literal(fleet));
        if !list.is_empty() {
            let list = list.join(", ");
            let done = format!("UPDATE {table} SET done = true WHERE pump = {pump} AND claim IN ({list})");
            self.query(&done).await?;
        }
        let old = format!(
            "DELETE FROM {table} WHERE pump = {pump} AND fleet = {fleet} AND done AND at < now() - interval '7 days'"
        );
        self.query(&old).await.map(drop)
    }

    async fn close(&self) {
        self.idle.lock().await.take();
    }
}
