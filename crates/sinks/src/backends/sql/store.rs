//! What all SQL pumps do around their rows: tables first, then one transaction with the ledger.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use analytics::{ClaimId, RowRanges, Selection};
use async_trait::async_trait;
use tokio::task::JoinSet;

use super::{
    database::{Database, DatabaseError, Statement, Transaction},
    ledger,
    table::Table,
};
use crate::{Fleet, Rejected, WriteError, Written};

/// How often tables are looked at again when somebody else changes them at the same time.
const PLAN_ATTEMPTS: usize = 4;

/// What one pump makes of a group of records.
#[async_trait]
pub(crate) trait Job: Send + Sync {
    /// The table, or what the names of its shards begin with.
    fn base(&self) -> &str;

    /// The base table, or the shard of a date.
    fn table(&self, date: Option<&str>) -> Table;

    /// The tables that these rows go to.
    fn tables(&self, group: &[Selection]) -> Vec<Table>;

    /// The records of a selection that the pump takes. What it leaves out counts as applied, like filtered rows.
    fn taken(&self, selection: &Selection) -> Selection {
        selection.clone()
    }

    /// Writes the rows that the ledger does not know yet. Rows that are returned are refused: nothing is committed, and
    /// the lane hands over the others again.
    async fn write(
        &self,
        transaction: &mut dyn Transaction,
        fresh: &[Selection],
    ) -> Result<Vec<Rejected>, DatabaseError>;
}

/// A database as one pump uses it.
pub(crate) struct Store {
    database: Arc<dyn Database>,
    pump: Arc<str>,
    fleet: Fleet,
    log_prefix: &'static str,
    /// Tables that have their shape.
    ready: Mutex<HashSet<String>>,
    /// Indexes that are built in the background, until this is closed or dropped.
    building: Mutex<JoinSet<()>>,
}

impl Store {
    pub(crate) fn new(database: Arc<dyn Database>, pump: Arc<str>, fleet: Fleet, log_prefix: &'static str) -> Store {
        Store {
            database,
            pump,
            fleet,
            log_prefix,
            ready: Mutex::default(),
            building: Mutex::default(),
        }
    }

    pub(crate) fn database(&self) -> &Arc<dyn Database> {
        &self.database
    }

    /// Creates or extends a table, once a process and table; after a failed write it is looked at again.
    pub(crate) async fn ensure(&self, table: &Table) -> Result<(), DatabaseError> {
        if self.locked().contains(&table.name) {
            return Ok(());
        }
        self.shape(table).await?;
        self.locked().insert(table.name.clone());
        Ok(())
    }

    fn building(&self) -> MutexGuard<'_, JoinSet<()>> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends what is being built, and lets go of the database.
    pub(crate) async fn close(&self) {
        let mut building = std::mem::take(&mut *self.building());
        building.shutdown().await;
        self.database.close().await;
    }

    fn locked(&self) -> MutexGuard<'_, HashSet<String>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Creates or extends a table. Indexes on a table that exists are built in the background.
    pub(crate) async fn shape(&self, table: &Table) -> Result<(), DatabaseError> {
        let mut concurrent = Vec::new();
        for attempt in 1.. {
            let statements = self.database.plan(table).await?;
            let (later, now): (Vec<_>, Vec<_>) = statements.into_iter().partition(|statement| statement.concurrent);
            concurrent = later;
            if now.is_empty() {
                break;
            }
            if attempt == PLAN_ATTEMPTS {
                let first = now.first().map_or("", |statement| statement.sql.as_str());
                return Err(DatabaseError::Config(
                    format!("table {} does not get its shape; still wanted: {first}", table.name).into(),
                ));
            }
            for statement in &now {
                self.execute(statement).await?;
            }
        }
        if !concurrent.is_empty() {
            let building = build_indexes(self.database.clone(), self.pump.clone(), self.log_prefix, concurrent);
            self.building().spawn(building);
        }
        Ok(())
    }

    /// Lets `job` write the rows of `group` that the ledger does not know yet, and notes them in the same transaction.
    pub(crate) async fn write(&self, group: &[Selection], job: &dyn Job) -> Result<Written, WriteError> {
        if group.iter().all(Selection::is_empty) {
            return Ok(Written::default());
        }
        let written = self.write_once(group, job).await;
        if written.is_err() {
            // A table may have been dropped or changed.
            self.locked().clear();
        }
        written
    }

    async fn write_once(&self, group: &[Selection], job: &dyn Job) -> Result<Written, WriteError> {
        self.ensure(&ledger::table()).await?;
        for table in job.tables(group) {
            self.ensure(&table).await?;
        }
        let claims: Vec<ClaimId> = sorted_claims(group);
        let mut transaction = self.database.begin().await?;
        let applied = transaction
            .lock_ledger(&self.pump, self.fleet.get().map_or("", |fleet| fleet), &claims)
            .await?;
        let mut entries: BTreeMap<ClaimId, RowRanges> = claims.iter().copied().zip(applied).collect();
        let mut fresh = Vec::with_capacity(group.len());
        for selection in group {
            let Some(applied) = entries.get_mut(&selection.batch().claim) else {
                continue;
            };
            let left = match applied.is_empty() {
                true => selection.clone(),
                false => selection.exclude(applied),
            };
            for rows in selection.covered().iter() {
                applied.insert(rows.clone());
            }
            if !left.is_empty() {
                fresh.push(left);
            }
        }
        let refused = job.write(transaction.as_mut(), &fresh).await?;
        if let Some(first) = refused.first() {
            let source = first.reason.clone().into();
            return Err(WriteError::Reject { rows: refused, source });
        }
        let entries: Vec<(ClaimId, RowRanges)> = entries.into_iter().collect();
        transaction.store_ledger(&self.pump, &entries).await?;
        transaction.commit().await?;
        Ok(Written::default())
    }

    /// Executes one statement outside of a transaction, with a line in the log.
    pub(crate) async fn execute(&self, statement: &Statement) -> Result<(), DatabaseError> {
        tracing::info!(prefix = self.log_prefix, pump = %self.pump, "{}", statement.sql);
        self.database.execute(statement).await
    }

    /// Warns of something that keeps no record from being written.
    pub(crate) fn warn(&self, text: &str) {
        tracing::warn!(prefix = self.log_prefix, pump = %self.pump, "{text}");
    }

    /// See [`crate::Sink::forget`].
    pub(crate) async fn forget(&self, claims: &[ClaimId]) {
        let fleet = self.fleet.get().map_or("", |fleet| fleet);
        if let Err(error) = self.database.forget(&self.pump, fleet, claims).await {
            tracing::debug!(prefix = self.log_prefix, pump = %self.pump, "ledger entries stay: {error}");
        }
    }

    /// See [`crate::Sink::applied`].
    pub(crate) async fn applied(&self, claim: ClaimId, former: Option<&str>) -> Result<Option<RowRanges>, WriteError> {
        let pump = former.unwrap_or(&self.pump);
        Ok(Some(self.database.applied(pump, claim).await?))
    }
}

async fn build_indexes(
    database: Arc<dyn Database>,
    pump: Arc<str>,
    log_prefix: &'static str,
    statements: Vec<Statement>,
) {
    for statement in statements {
        tracing::info!(prefix = log_prefix, pump = %pump, "in the background: {}", statement.sql);
        match database.execute(&statement).await {
            Ok(()) => tracing::info!(prefix = log_prefix, pump = %pump, "done: {}", statement.sql),
            Err(error) => tracing::error!(prefix = log_prefix, pump = %pump, "{}: {error}", statement.sql),
        }
    }
}

fn sorted_claims(group: &[Selection]) -> Vec<ClaimId> {
    let mut claims: Vec<ClaimId> = group.iter().map(|selection| selection.batch().claim).collect();
    claims.sort_unstable();
    claims.dedup();
    claims
}
