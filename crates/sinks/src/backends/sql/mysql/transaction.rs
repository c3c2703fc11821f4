//! A transaction: rows of many values in one statement, within the server's limits.

use std::{collections::HashMap, ops::Range, sync::Arc};

use analytics::{ClaimId, RowRanges};
use async_trait::async_trait;
use mysql_async::Value;

use super::{Shared, connect::Connection, statement, value};
use crate::backends::sql::{
    database::{DatabaseError, Transaction},
    table::{Rows, Table},
};

/// Parameters of one statement, a limit of the protocol.
const MAX_PARAMETERS: usize = 65_535;

/// Claims of one statement.
const MAX_CLAIMS: usize = 1000;

/// A transaction on a connection that is nobody else's. Dropped before the commit it closes the connection, at which the
/// server rolls back and lets go of every lock.
pub(super) struct MysqlTransaction {
    connection: Connection,
    shared: Arc<Shared>,
}

impl MysqlTransaction {
    pub(super) async fn begin(mut connection: Connection, shared: Arc<Shared>) -> Result<Self, DatabaseError> {
        connection.query("START TRANSACTION").await?;
        Ok(MysqlTransaction { connection, shared })
    }

    async fn write(
        &mut self,
        table: &Table,
        rows: &Arc<dyn Rows>,
        range: Range<usize>,
        upsert: bool,
    ) -> Result<(), DatabaseError> {
        let columns = table.layout.columns.len().max(1);
        let most = self.shared.batch_size.min(MAX_PARAMETERS / columns).max(1);
        let mut chunk = Chunk::default();
        for index in range {
            let row = self.encode(table, rows, index, upsert)?;
            let size: usize = row.iter().map(value::size).sum();
            let limit = self.connection.server.max_packet;
            if size > limit {
                return Err(DatabaseError::Row(format!(
                    "the row takes {size} bytes, more than the server's max_allowed_packet of {limit}"
                )));
            }
            if chunk.rows == most || chunk.bytes + size > limit {
                self.flush(table, &mut chunk, most, upsert).await?;
            }
            chunk.values.extend(row);
            chunk.rows += 1;
            chunk.bytes += size;
        }
        self.flush(table, &mut chunk, most, upsert).await
    }

    fn encode(
        &self,
        table: &Table,
        rows: &Arc<dyn Rows>,
        index: usize,
        upsert: bool,
    ) -> Result<Vec<Value>, DatabaseError> {
        let mut values = Vec::with_capacity(table.layout.columns.len());
        let mut problem = None;
        let written = rows.write(index, &mut |value| match value::encode(value, self.shared.dsn.zone) {
            Ok(value) => values.push(value),
            Err(reason) => problem = Some(reason),
        });
        if let Err(reason) = written {
            problem = Some(reason);
        }
        if let Some(reason) = problem {
            return Err(DatabaseError::Row(reason));
        }
        if upsert {
            for (column, value) in table.layout.columns.iter().zip(&mut values) {
                if table.layout.key.contains(&&*column.name) {
                    value::shorten_key(value, statement::key_length(&self.shared.options));
                }
            }
        }
        Ok(values)
    }

    /// Sends what the chunk holds. Statements have `most` rows or a power of two, so that few of them are prepared.
    async fn flush(
        &mut self,
        table: &Table,
        chunk: &mut Chunk,
        most: usize,
        upsert: bool,
    ) -> Result<(), DatabaseError> {
        let columns = table.layout.columns.len();
        let mut values = std::mem::take(&mut chunk.values);
        while chunk.rows > 0 {
            let rows = match chunk.rows >= most {
                true => most,
                false => 1 << chunk.rows.ilog2(),
            };
            let rest = values.split_off((rows * columns).min(values.len()));
            let sql = statement::insert(table, rows, upsert, &self.connection.server);
            self.connection.exec(&sql, values).await?;
            values = rest;
            chunk.rows -= rows;
        }
        chunk.bytes = 0;
        Ok(())
    }
}

/// Rows that wait for their statement.
#[derive(Default)]
struct Chunk {
    values: Vec<Value>,
    rows: usize,
    bytes: usize,
}

#[async_trait]
impl Transaction for MysqlTransaction {
    async fn lock_ledger(
        &mut self,
        pump: &str,
        fleet: &str,
        claims: &[ClaimId],
    ) -> Result<Vec<RowRanges>, DatabaseError> {
        let mut applied = HashMap::new();
        for claims in claims.chunks(MAX_CLAIMS) {
            let names: Vec<String> = claims.iter().map(ClaimId::to_string).collect();
            let parameters = names
                .iter()
                .flat_map(|claim| [Value::from(pump), Value::from(claim), Value::from(fleet)]);
            self.connection
                .exec(&statement::lock_ledger(claims.len()), parameters.collect())
                .await?;
        }
        // The view of the data begins with this query, when all locks are there, so that it shows what their last owners
        // have committed.
        for claims in claims.chunks(MAX_CLAIMS) {
            applied.extend(read_ledger(&mut self.connection, pump, claims, "").await?);
        }
        Ok(claims
            .iter()
            .map(|claim| applied.remove(claim).unwrap_or_default())
            .collect())
    }

    async fn store_ledger(&mut self, pump: &str, entries: &[(ClaimId, RowRanges)]) -> Result<(), DatabaseError> {
        for (claim, applied) in entries {
            let parameters = vec![applied.to_string().into(), pump.into(), claim.to_string().into()];
            self.connection.exec(&statement::store_ledger(), parameters).await?;
        }
        Ok(())
    }

    async fn insert(&mut self, table: &Table, rows: &Arc<dyn Rows>, range: Range<usize>) -> Result<(), DatabaseError> {
        self.write(table, rows, range, false).await
    }

    async fn upsert(&mut self, table: &Table, rows: &Arc<dyn Rows>, range: Range<usize>) -> Result<(), DatabaseError> {
        self.write(table, rows, range, true).await
    }

    async fn set_savepoint(&mut self) -> Result<(), DatabaseError> {
        self.connection.query("SAVEPOINT tyk_pump").await
    }

    async fn roll_back_to_savepoint(&mut self) -> Result<(), DatabaseError> {
        self.connection.query("ROLLBACK TO SAVEPOINT tyk_pump").await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), DatabaseError> {
        self.connection.query("COMMIT").await?;
        self.shared.give_back(self.connection);
        Ok(())
    }
}

/// What the ledger has of `claims`; claims without an entry that meets the condition are missing.
pub(super) async fn read_ledger(
    connection: &mut Connection,
    pump: &str,
    claims: &[ClaimId],
    condition: &'static str,
) -> Result<HashMap<ClaimId, RowRanges>, DatabaseError> {
    let by_name: HashMap<String, ClaimId> = claims.iter().map(|claim| (claim.to_string(), *claim)).collect();
    let mut parameters = vec![Value::from(pump)];
    parameters.extend(claims.iter().map(|claim| Value::from(claim.to_string())));
    let rows: Vec<(String, String)> = connection
        .select(&(statement::read_ledger(claims.len()) + condition), parameters)
        .await?;
    let mut found = HashMap::new();
    for (name, applied) in rows {
        let Some(claim) = by_name.get(&name) else {
            continue;
        };
        let ranges = applied.parse().map_err(|_| {
            DatabaseError::Config(format!("tyk_pump_ledger: entry of claim {name} has no row ranges: {applied}").into())
        })?;
        found.insert(*claim, ranges);
    }
    Ok(found)
}
