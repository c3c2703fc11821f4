//! What a pump does before its first record, and now and then afterwards.

use std::sync::atomic::{AtomicI64, Ordering};

use analytics::{Time, Zone};

use super::{
    connect,
    database::{Access, DatabaseError, Statement},
    ledger,
    options::Connection,
    shard,
    store::{Job, Store},
    table::Table,
};
use crate::{BuildContext, BuildError, MigrationMode, SinkSpec, encode::clock};

const DAY: i64 = 86_400;
/// Seconds between two looks for old shards.
const RETENTION_INTERVAL: i64 = 3_600;

/// The database that the options name, connected.
pub(crate) async fn open(
    context: &BuildContext,
    spec: &SinkSpec,
    connection: &Connection,
    access: Access,
) -> Result<Store, BuildError> {
    let database = connect(connection, spec.log_prefix, access)?;
    database.ping().await?;
    Ok(Store::new(
        database,
        context.pump.clone(),
        context.fleet.clone(),
        spec.log_prefix,
    ))
}

/// Creates or extends the table, or the shards that are prepared at the start: today's, or with
/// `migrate_sharded_tables` those that exist. Shards get the indexes that are built in the background when they are
/// written to. One that cannot be brought up to date is a warning.
pub(crate) async fn prepare(store: &Store, connection: &Connection, job: &dyn Job) -> Result<(), BuildError> {
    if !connection.table_sharding {
        store.ensure(&job.table(None)).await?;
        return Ok(());
    }
    match initial_shards(store, connection, job).await {
        Ok(shards) => {
            for shard in shards.into_iter().map(at_start) {
                if let Err(error) = store.shape(&shard).await {
                    store.warn(&format!("shard {} is not brought up to date: {error}", shard.name));
                }
            }
        }
        Err(error) => store.warn(&format!("shards of {} cannot be listed: {error}", job.base())),
    }
    Ok(())
}

/// A shard without the indexes that its first rows are to get.
fn at_start(mut shard: Table) -> Table {
    shard.indexes.retain(|index| !index.concurrent);
    shard
}

/// The shards that [`prepare`] looks at.
async fn initial_shards(store: &Store, connection: &Connection, job: &dyn Job) -> Result<Vec<Table>, DatabaseError> {
    if !connection.migrate_sharded_tables {
        return Ok(vec![job.table(Some(&shard::date(clock::local_time())))]);
    }
    let names = store.database().tables(&format!("{}_", job.base())).await?;
    let dates = names.iter().filter_map(|name| shard::date_of(job.base(), name));
    Ok(dates.map(|date| at_start(job.table(Some(date)))).collect())
}

/// Lists or executes what [`prepare`] and the first write would change, the ledger's table and old shards included.
pub(crate) async fn migrate(
    store: &Store,
    connection: &Connection,
    job: &dyn Job,
    mode: MigrationMode,
) -> Result<Vec<String>, BuildError> {
    let mut wanted = vec![ledger::table()];
    match connection.table_sharding {
        false => wanted.push(job.table(None)),
        true => wanted.extend(initial_shards(store, connection, job).await?),
    }
    let mut statements = Vec::new();
    for table in wanted {
        let planned = migrate_table(store, &table, mode).await;
        statements.extend(planned.map_err(|error| names_table(&table.name, error))?);
    }
    for (name, statement) in old_shards(store, connection, job.base()).await? {
        if mode == MigrationMode::Apply {
            let dropped = store.execute(&statement).await;
            dropped.map_err(|error| names_table(&name, error))?;
        }
        statements.push(statement.sql);
    }
    Ok(statements)
}

async fn migrate_table(store: &Store, table: &Table, mode: MigrationMode) -> Result<Vec<String>, DatabaseError> {
    let planned = store.database().plan(table).await?;
    if mode == MigrationMode::Apply {
        for statement in &planned {
            store.execute(statement).await?;
        }
        // Something else of that name, a view for instance, counts as there already.
        if let Some(left) = store.database().plan(table).await?.first() {
            let text = format!("it does not get its shape; still wanted: {}", left.sql);
            return Err(DatabaseError::Config(text.into()));
        }
    }
    Ok(planned.into_iter().map(|statement| statement.sql).collect())
}

/// An error that keeps `table` from being changed, with what helps.
fn names_table(table: &str, error: DatabaseError) -> BuildError {
    let remedy = match &error {
        DatabaseError::Retry(_) => "run the command again when the table is not in use",
        DatabaseError::Row(_) | DatabaseError::Config(_) => {
            "correct the cause, or execute what --plan lists as the table's owner, and run the command again"
        }
    };
    BuildError::Unavailable(format!("table {table}: {error} – {remedy}").into())
}

/// Drops the shards that `retention_days` no longer wants; looks at most once an hour.
pub(crate) async fn drop_old_shards(store: &Store, connection: &Connection, base: &str, last_look: &AtomicI64) {
    let now = clock::local_time().seconds;
    let is_wanted = connection.table_sharding && connection.retention_days > 0;
    if !is_wanted || now - last_look.load(Ordering::Relaxed) < RETENTION_INTERVAL {
        return;
    }
    last_look.store(now, Ordering::Relaxed);
    let dropped = async {
        for (_, statement) in old_shards(store, connection, base).await? {
            store.execute(&statement).await?;
        }
        Ok::<(), DatabaseError>(())
    };
    if let Err(error) = dropped.await {
        store.warn(&format!("old shards of {base} stay for now: {error}"));
    }
}

/// The shards that are to be dropped, with the statement that does it.
async fn old_shards(
    store: &Store,
    connection: &Connection,
    base: &str,
) -> Result<Vec<(String, Statement)>, DatabaseError> {
    if !connection.table_sharding || connection.retention_days == 0 {
        return Ok(Vec::new());
    }
    let first_kept = Time {
        seconds: clock::local_time().seconds - i64::from(connection.retention_days) * DAY,
        nanos: 0,
        zone: Zone::LOCAL,
    };
    let first_kept = shard::date(first_kept);
    let names = store.database().tables(&format!("{base}_")).await?;
    let is_old = |name: &String| shard::date_of(base, name).is_some_and(|date| date < first_kept.as_str());
    let old = names.into_iter().filter(is_old);
    let with_statement = |name: String| {
        let statement = store.database().drop_table(&name);
        (name, statement)
    };
    Ok(old.map(with_statement).collect())
}
