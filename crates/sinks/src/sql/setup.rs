//! What a pump does before its first record.

use super::{connect, options::Connection, shard, store::Store, table::Table};
use crate::{BuildContext, BuildError, SinkSpec, clock};

/// Connects to the database that the options name.
pub(crate) async fn open(
    context: &BuildContext,
    spec: &SinkSpec,
    connection: &Connection,
) -> Result<Store, BuildError> {
    let database = connect(connection, spec.log_prefix)?;
    database.ping().await?;
    Ok(Store::new(
        database,
        context.pump.clone(),
        context.fleet.clone(),
        spec.log_prefix,
    ))
}

/// Creates or extends the table, or the shards that upstream prepares at its start: today's, or with
/// `migrate_sharded_tables` all that exist. `table` is the base table (`None`) or the shard of a date.
pub(crate) async fn prepare(
    store: &Store,
    connection: &Connection,
    base: &str,
    table: &(dyn Fn(Option<&str>) -> Table + Send + Sync),
) -> Result<(), BuildError> {
    for table in tables(store, connection, base, table).await? {
        store.ensure(&table).await?;
    }
    Ok(())
}

/// The tables that [`prepare`] looks at.
pub(crate) async fn tables(
    store: &Store,
    connection: &Connection,
    base: &str,
    table: &(dyn Fn(Option<&str>) -> Table + Send + Sync),
) -> Result<Vec<Table>, BuildError> {
    if !connection.table_sharding {
        return Ok(vec![table(None)]);
    }
    if !connection.migrate_sharded_tables {
        return Ok(vec![table(Some(&shard::date(clock::local_time())))]);
    }
    let names = store.database().tables(&format!("{base}_")).await?;
    let dates = names.iter().filter_map(|name| shard::date_of(base, name));
    Ok(dates.map(|date| table(Some(date))).collect())
}
