//! One transaction on one connection.

use std::{future::Future, ops::Range, pin::pin, sync::Arc};

use analytics::{ClaimId, RowRanges};
use async_trait::async_trait;
use bytes::{BufMut, Bytes, BytesMut};
use futures::SinkExt;
use tokio::sync::Mutex;
use tokio_postgres::{CopyInSink, Error};

use super::{
    super::{
        database::{DatabaseError, Transaction},
        ledger,
        statement_log::StatementLog,
        table::{Rows, Table, Value},
    },
    catalog::Shapes,
    connect::Connected,
    failure,
    statement::{literal, quote, quote_part},
    texts, tuple, upsert,
};

/// Bytes of rows that are encoded before they are sent.
const CHUNK: usize = 256 << 10;
/// The same for the first bytes of a statement, for which the server is waiting.
const FIRST_CHUNK: usize = 16 << 10;
/// Rows of one statement that merges: more would only take memory, here and in the server.
const UPSERTED: usize = 2_000;
/// What every COPY BINARY begins with: signature, flags, length of the extension.
const HEADER: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// See [`Transaction`]. Dropped without a commit, the connection goes with it.
///
/// A statement whose answer decides nothing is sent together with the next one: while the server waits for the client it
/// writes no rows.
pub(super) struct PostgresTransaction {
    connected: Connected,
    idle: Arc<Mutex<Option<Connected>>>,
    shapes: Shapes,
    log: StatementLog,
    has_savepoint: bool,
    /// To be sent with the next statement; empty: nothing.
    unsent: String,
}

impl PostgresTransaction {
    pub(super) fn new(
        connected: Connected,
        idle: Arc<Mutex<Option<Connected>>>,
        shapes: Shapes,
        log: StatementLog,
    ) -> PostgresTransaction {
        PostgresTransaction {
            connected,
            idle,
            shapes,
            log,
            has_savepoint: false,
            unsent: String::new(),
        }
    }

    /// Sends what is unsent, and right behind it `statement`, which an error of the former makes fail as well.
    async fn with_unsent<T>(
        &mut self,
        statement: impl AsyncFnOnce(&Self) -> Result<T, DatabaseError>,
    ) -> Result<T, DatabaseError> {
        let unsent = std::mem::take(&mut self.unsent);
        if unsent.is_empty() {
            return statement(self).await;
        }
        // `join!` polls in this order, and the client sends in the order in which it is asked.
        let (before, outcome) = tokio::join!(self.run(&unsent), statement(self));
        before?;
        outcome
    }

    /// Sends a statement with the next one.
    fn defer(&mut self, sql: &str) {
        if !self.unsent.is_empty() {
            self.unsent.push_str("; ");
        }
        self.unsent.push_str(sql);
    }

    async fn run(&self, sql: &str) -> Result<(), DatabaseError> {
        let outcome = self.log.run(sql, self.connected.client.batch_execute(sql)).await;
        outcome.map_err(failure::classify)
    }

    async fn copy(&self, sql: &str, table: &Table, rows: &dyn Rows, range: Range<usize>) -> Result<(), DatabaseError> {
        let kinds = self.shapes.of(table).ok_or_else(|| unknown_shape(table))?;
        let sink: CopyInSink<Bytes> = self.connected.client.copy_in(sql).await.map_err(failure::classify)?;
        let mut sink = pin!(sink);
        let mut encoder = Encoder {
            table,
            kinds: &kinds,
            buffer: BytesMut::with_capacity(CHUNK + (64 << 10)),
        };
        encoder.buffer.put_slice(HEADER);
        let mut enough = FIRST_CHUNK;
        for index in range {
            encoder.add_row(rows, index)?;
            if encoder.buffer.len() >= enough {
                enough = CHUNK;
                let chunk = encoder.buffer.split().freeze();
                if let Err(error) = sink.send(chunk).await {
                    return Err(self.reason(error, sink.as_mut().finish()).await);
                }
                encoder.buffer.reserve(CHUNK + (64 << 10));
            }
        }
        encoder.buffer.put_i16(-1);
        if let Err(error) = sink.send(encoder.buffer.freeze()).await {
            return Err(self.reason(error, sink.as_mut().finish()).await);
        }
        sink.finish().await.map(drop).map_err(failure::classify)
    }

    /// A stream that the server has ended says only that it is closed; the end of the statement says why.
    async fn reason(&self, error: Error, end: impl Future<Output = Result<u64, Error>>) -> DatabaseError {
        match end.await {
            Err(end) if end.as_db_error().is_some() => failure::classify(end),
            _ => failure::classify(error),
        }
    }
}

fn unknown_shape(table: &Table) -> DatabaseError {
    DatabaseError::Retry(format!("the columns of {} are not known yet", table.name).into())
}

/// Rows in the form of COPY BINARY.
struct Encoder<'a> {
    table: &'a Table,
    kinds: &'a [Option<tuple::Kind>],
    buffer: BytesMut,
}

impl Encoder<'_> {
    fn add_row(&mut self, rows: &dyn Rows, index: usize) -> Result<(), DatabaseError> {
        let start = self.buffer.len();
        self.buffer.put_i16(self.kinds.len() as i16);
        let mut column = 0;
        let mut failed = None;
        let buffer = &mut self.buffer;
        let mut add = |value: Value<'_>| {
            match self.kinds.get(column) {
                Some(Some(kind)) => {
                    if let Err(reason) = tuple::write(buffer, value, *kind) {
                        failed = Some((column, reason));
                    }
                }
                _ => failed = Some((column, "its type is not supported".to_owned())),
            }
            column += 1;
        };
        let written = rows.write(index, &mut add);
        let name = |column: usize| self.table.layout.columns.get(column).map_or("", |column| &*column.name);
        let error = match (written, failed) {
            (Ok(()), None) => return Ok(()),
            (Err(reason), _) => DatabaseError::Row(reason),
            (_, Some((column, reason))) => DatabaseError::Row(format!("column {}: {reason}", name(column))),
        };
        self.buffer.truncate(start);
        Err(error)
    }
}

#[async_trait]
impl Transaction for PostgresTransaction {
    async fn lock_ledger(
        &mut self,
        pump: &str,
        fleet: &str,
        claims: &[ClaimId],
    ) -> Result<Vec<RowRanges>, DatabaseError> {
        let (pump, fleet) = (literal(pump), literal(fleet));
        let entries: Vec<String> = claims
            .iter()
            .map(|claim| format!("({pump}, '{claim}', {fleet}, '', now(), false)"))
            .collect();
        let names: Vec<String> = claims.iter().map(|claim| format!("'{claim}'")).collect();
        let select = format!(
            "INSERT INTO {ledger} (pump, claim, fleet, applied, at, done) VALUES {} ON CONFLICT DO NOTHING; \
             SELECT claim, applied FROM {ledger} WHERE pump = {pump} AND claim IN ({}) ORDER BY claim FOR UPDATE",
            entries.join(", "),
            names.join(", "),
            ledger = ledger::NAME,
        );
        let rows = self.log.run(&select, self.connected.client.simple_query(&select)).await;
        let rows = texts(rows.map_err(failure::classify)?);
        let mut applied = Vec::with_capacity(claims.len());
        for claim in claims {
            let claim = claim.to_string();
            let entry = rows
                .iter()
                .find(|row| matches!(row.first(), Some(Some(name)) if *name == claim));
            let text = entry.and_then(|row| row.get(1)?.as_deref()).unwrap_or_default();
            let ranges = text.parse().map_err(|error| DatabaseError::Config(Box::new(error)))?;
            applied.push(ranges);
        }
        Ok(applied)
    }

    async fn store_ledger(&mut self, pump: &str, entries: &[(ClaimId, RowRanges)]) -> Result<(), DatabaseError> {
        let values: Vec<String> = entries
            .iter()
            .map(|(claim, applied)| format!("('{claim}', '{applied}')"))
            .collect();
        let update = format!(
            "UPDATE {} AS l SET applied = e.applied, at = now() FROM (VALUES {}) AS e (claim, applied) \
             WHERE l.pump = {} AND l.claim = e.claim",
            ledger::NAME,
            values.join(", "),
            literal(pump)
        );
        self.defer(&update);
        Ok(())
    }

    async fn insert(&mut self, table: &Table, rows: &Arc<dyn Rows>, range: Range<usize>) -> Result<(), DatabaseError> {
        let columns: Vec<String> = table
            .layout
            .columns
            .iter()
            .map(|column| quote_part(&column.name))
            .collect();
        let sql = format!(
            "COPY {} ({}) FROM STDIN (FORMAT binary)",
            quote(&table.name),
            columns.join(",")
        );
        self.with_unsent(async |this| this.log.run(&sql, this.copy(&sql, table, rows.as_ref(), range)).await)
            .await
    }

    async fn upsert(&mut self, table: &Table, rows: &Arc<dyn Rows>, range: Range<usize>) -> Result<(), DatabaseError> {
        let mut from = range.start;
        while from < range.end {
            let end = range.end.min(from + UPSERTED);
            let arrays = upsert::arrays(table, rows.as_ref(), from..end)?;
            let sql = upsert::statement(table, &arrays);
            let parameters = upsert::parameters(&arrays);
            self.with_unsent(async |this| {
                let outcome = this.connected.client.execute_typed(&sql, &parameters);
                this.log.run(&sql, outcome).await.map_err(failure::classify)
            })
            .await?;
            from = end;
        }
        Ok(())
    }

    async fn set_savepoint(&mut self) -> Result<(), DatabaseError> {
        let sql = match self.has_savepoint {
            true => "RELEASE SAVEPOINT r; SAVEPOINT r",
            false => "SAVEPOINT r",
        };
        self.defer(sql);
        self.has_savepoint = true;
        Ok(())
    }

    async fn roll_back_to_savepoint(&mut self) -> Result<(), DatabaseError> {
        self.with_unsent(async |this| this.run("ROLLBACK TO SAVEPOINT r").await)
            .await
    }

    async fn commit(mut self: Box<Self>) -> Result<(), DatabaseError> {
        self.with_unsent(async |this| this.run("COMMIT").await).await?;
        *self.idle.lock().await = Some(self.connected);
        Ok(())
    }
}
