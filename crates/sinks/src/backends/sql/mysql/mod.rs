//! MySQL and MariaDB.
//!
//! Tables have upstream's columns and types. Texts of a primary key are `varchar(191)`; a longer key is replaced by its
//! beginning and a digest. Indexes on longer texts take their first 191 characters.

mod connect;
mod dsn;
mod error;
mod schema;
mod server;
mod statement;
mod transaction;
mod value;

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use analytics::{ClaimId, RowRanges};
use async_trait::async_trait;
use mysql_async::Value;

use self::{connect::Connection, dsn::Dsn, transaction::MysqlTransaction};
use super::{
    database::{Database, DatabaseError, Statement, Transaction},
    options,
    statement_log::StatementLog,
    table::{Table, split_name},
};
use crate::{BuildError, Guarantee};

/// Connections that are kept open while nobody uses them, as upstream's pool does.
const MOST_IDLE: usize = 2;

/// How often old ledger entries are looked for, which reads the whole table.
const PRUNE_EVERY: Duration = Duration::from_secs(600);

/// A MySQL or MariaDB server.
pub(crate) struct Mysql {
    shared: Arc<Shared>,
}

/// What transactions need after the call that began them.
struct Shared {
    dsn: Dsn,
    options: options::Mysql,
    /// Rows of one statement.
    batch_size: usize,
    log_prefix: &'static str,
    log: StatementLog,
    idle: Mutex<Vec<Connection>>,
    /// Tables that cannot be rolled back.
    without_transactions: Mutex<HashSet<String>>,
    pruned: Mutex<Option<Instant>>,
}

impl Mysql {
    /// Understands the options; nothing is connected yet.
    pub(crate) fn new(connection: &options::Connection, log_prefix: &'static str) -> Result<Mysql, BuildError> {
        let dsn = Dsn::parse(&connection.connection_string).map_err(|error| BuildError::Options(error.to_string()))?;
        for (parameter, reason) in &dsn.without_effect {
            tracing::warn!(
                prefix = log_prefix,
                "connection_string: {parameter} has no effect: {reason}"
            );
        }
        if connection.mysql.default_string_size > 0 {
            tracing::warn!(
                prefix = log_prefix,
                "mysql.default_string_size is {}: longer texts are refused, also raw requests and responses; leave it out for longtext",
                connection.mysql.default_string_size
            );
        }
        let batch_size = usize::try_from(connection.batch_size).unwrap_or(0);
        Ok(Mysql {
            shared: Arc::new(Shared {
                dsn,
                options: connection.mysql.clone(),
                batch_size: if batch_size == 0 { 1000 } else { batch_size },
                log_prefix,
                log: StatementLog::new(&connection.log_level, log_prefix),
                idle: Mutex::default(),
                without_transactions: Mutex::default(),
                pruned: Mutex::default(),
            }),
        })
    }
}

impl Shared {
    /// A connection that is nobody else's: an idle one that still works, or a new one.
    async fn take(&self) -> Result<Connection, DatabaseError> {
        loop {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut connection) = idle else {
                return Connection::open(&self.dsn, &self.log).await;
            };
            if connection.is_alive().await {
                return Ok(connection);
            }
        }
    }

    /// Keeps a connection without an open transaction for later.
    fn give_back(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(connection);
        }
    }

    /// Remembers whether `table` can be rolled back, and says once that its rows may double otherwise. `engine`: one
    /// without transactions.
    fn note_engine(&self, table: &str, engine: Option<&str>) {
        let mut tables = self.without_transactions();
        let Some(engine) = engine else {
            tables.remove(table);
            return;
        };
        if tables.insert(table.to_owned()) {
            tracing::warn!(
                prefix = self.log_prefix,
                "table {table} has the engine {engine}, which has no transactions: its rows arrive at least once instead \
                 of exactly once. Remedy: ALTER TABLE {} ENGINE=InnoDB",
                statement::quoted(table)
            );
        }
    }

    fn without_transactions(&self) -> MutexGuard<'_, HashSet<String>> {
        self.without_transactions.lock().unwrap_or_else(PoisonError::into_inner)
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
impl Database for Mysql {
    async fn ping(&self) -> Result<(), DatabaseError> {
        let connection = self.shared.take().await?;
        self.shared.give_back(connection);
        Ok(())
    }

    async fn plan(&self, table: &Table) -> Result<Vec<Statement>, DatabaseError> {
        let mut connection = self.shared.take().await?;
        let (statements, engine) = schema::plan(&mut connection, table, &self.shared.options).await?;
        self.shared.give_back(connection);
        self.shared.note_engine(&table.name, engine.as_deref());
        Ok(statements)
    }

    async fn execute(&self, statement: &Statement) -> Result<(), DatabaseError> {
        let mut connection = self.shared.take().await?;
        connection.change(&statement.sql).await?;
        self.shared.give_back(connection);
        Ok(())
    }

    async fn tables(&self, prefix: &str) -> Result<Vec<String>, DatabaseError> {
        let (schema, start) = split_name(prefix);
        let mut connection = self.shared.take().await?;
        let mut names = schema::tables(&mut connection, schema).await?;
        self.shared.give_back(connection);
        names.retain(|name| name.starts_with(start));
        names.sort_unstable();
        Ok(match schema {
            Some(schema) => names.into_iter().map(|name| format!("{schema}.{name}")).collect(),
            None => names,
        })
    }

    fn drop_table(&self, name: &str) -> Statement {
        Statement {
            sql: format!("DROP TABLE IF EXISTS {}", statement::quoted(name)),
            concurrent: false,
        }
    }

    async fn begin(&self) -> Result<Box<dyn Transaction>, DatabaseError> {
        let connection = self.shared.take().await?;
        Ok(Box::new(
            MysqlTransaction::begin(connection, self.shared.clone()).await?,
        ))
    }

    async fn applied(&self, pump: &str, claim: ClaimId) -> Result<RowRanges, DatabaseError> {
        let mut connection = self.shared.take().await?;
        let there = schema::tables(&mut connection, None).await?;
        if !there.iter().any(|name| name == super::ledger::NAME) {
            self.shared.give_back(connection);
            return Ok(RowRanges::default());
        }
        let mut applied = transaction::read_ledger(&mut connection, pump, &[claim], " AND `done` = 0").await?;
        self.shared.give_back(connection);
        Ok(applied.remove(&claim).unwrap_or_default())
    }

    async fn forget(&self, pump: &str, fleet: &str, claims: &[ClaimId]) -> Result<(), DatabaseError> {
        let mut connection = self.shared.take().await?;
        if !claims.is_empty() {
            let mut parameters = vec![Value::from(pump)];
            parameters.extend(claims.iter().map(|claim| Value::from(claim.to_string())));
            connection
                .exec(&statement::finish_ledger(claims.len()), parameters)
                .await?;
        }
        if self.shared.is_prune_due() {
            let old: Vec<(String, String)> = connection.select(&statement::old_ledger(), vec![fleet.into()]).await?;
            for (pump, claim) in old {
                connection
                    .exec(&statement::delete_ledger(), vec![pump.into(), claim.into()])
                    .await?;
            }
        }
        self.shared.give_back(connection);
        Ok(())
    }

    fn guarantee(&self) -> Option<Guarantee> {
        let has_some = !self.shared.without_transactions().is_empty();
        has_some.then_some(Guarantee::AtLeastOnce)
    }

    async fn close(&self) {
        let idle = std::mem::take(&mut *self.shared.idle.lock().unwrap_or_else(PoisonError::into_inner));
        for connection in idle {
            // The server notices a closed connection anyway.
            let _ = connection.conn.disconnect().await;
        }
    }
}
