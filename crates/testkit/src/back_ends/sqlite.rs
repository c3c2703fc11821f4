//! The back-end of `sql` on SQLite: a file, which another program can lock.

use std::sync::{Mutex, PoisonError};

use analytics::record::{GraphError, PathItem, Rare};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use rusqlite::Connection;
use serde_json::{Value, json};
use tempfile::TempDir;

use fakes::rows::{self, Alter};
use sinks::{BuildContext, BuildError, Sink, sql};

use crate::{BackEnd, Reason};

/// See [`crate::Harness`].
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async {
        Box::new(File {
            folder: TempDir::new().ok(),
            lock: Mutex::default(),
        }) as Box<dyn BackEnd>
    }
    .boxed()
}

struct File {
    folder: Option<TempDir>,
    /// Whoever writes to the file besides the pump.
    lock: Mutex<Option<Connection>>,
}

impl File {
    fn open(&self) -> Result<Connection, Reason> {
        let folder = self.folder.as_ref().ok_or("no folder for temporary files")?;
        Connection::open(folder.path().join("pump.db")).map_err(|_| "the file cannot be opened")
    }

    fn paths(&self) -> Result<Vec<String>, rusqlite::Error> {
        let connection = self.open().map_err(|_| rusqlite::Error::InvalidQuery)?;
        let mut statement = connection.prepare("SELECT path FROM tyk_analytics ORDER BY rowid")?;
        statement.query_map([], |row| row.get(0))?.collect()
    }
}

#[async_trait]
impl BackEnd for File {
    fn options(&self) -> Value {
        let path = self.folder.as_ref().map(|folder| folder.path().join("pump.db"));
        let path = path.as_deref().and_then(|path| path.to_str()).unwrap_or_default();
        json!({"type": "sqlite", "connection_string": format!("{path}?_busy_timeout=500")})
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (sql::SPEC.build)(context).await
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let paths = self.paths().map_err(|_| "the rows cannot be read")?;
        Ok(rows::serials(paths.join("\n").as_bytes()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        let connection = self.open()?;
        connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(|_| "the file cannot be locked")?;
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = Some(connection);
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        // For as long as the pump is patient.
        self.fail().await
    }

    async fn heal(&self) {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Err("a group is written as a whole or not at all")
    }

    fn poison(&self) -> Result<Alter, Reason> {
        // A map has no form in the path of an error.
        Ok(|record| {
            let error = GraphError {
                path: Some(vec![PathItem::Map(Vec::new())]),
                ..GraphError::default()
            };
            record.rare = Some(Box::new(Rare {
                errors: Some(vec![error]),
                ..Rare::default()
            }));
        })
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Err("its journal is SQLite's own; a transaction that is dropped is tested with the dialects")
    }
}
