//! A Postgres database of a run's own, on a server that is there already.

use std::{
    fs::File,
    io::{Read, Write},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use tokio::runtime::Runtime;
use tokio_postgres::{Client, NoTls};

/// Names the server: `postgres://user:password@host:port/database`, of a user who may create databases.
const VARIABLE: &str = "PUMP_TEST_POSTGRES";
/// Bytes that the bare client sends at once.
const CHUNK: usize = 256 << 10;

static COUNT: AtomicU32 = AtomicU32::new(0);

/// The database; dropped with the value.
pub(crate) struct Database {
    runtime: Runtime,
    client: Client,
    server: String,
    name: String,
}

impl Database {
    pub(crate) fn create() -> anyhow::Result<Database> {
        let address = std::env::var(VARIABLE).with_context(|| {
            format!("{VARIABLE} names no server; run: eval \"$(scripts/services.sh start postgres)\"")
        })?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let (server, _) = address
            .rsplit_once('/')
            .ok_or_else(|| anyhow!("{VARIABLE} is no URL with a database"))?;
        let name = format!("bench_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let client = runtime.block_on(async {
            let admin = connect(&address).await?;
            admin.batch_execute(&format!("CREATE DATABASE {name}")).await?;
            connect(&format!("{server}/{name}")).await
        })?;
        Ok(Database {
            runtime,
            client,
            server: server.to_owned(),
            name,
        })
    }

    /// Its URL.
    pub(crate) fn url(&self) -> String {
        format!("{}/{}?sslmode=disable", self.server, self.name)
    }

    /// Records that are there as rows; 0 without a table.
    pub(crate) fn rows(&self) -> anyhow::Result<u64> {
        self.number("tyk_analytics", "SELECT count(*) FROM tyk_analytics")
    }

    /// Records that are counted in aggregates; 0 without a table.
    pub(crate) fn hits(&self) -> anyhow::Result<u64> {
        let sum = "SELECT coalesce(sum(counter_hits), 0)::bigint FROM tyk_aggregated \
                   WHERE dimension = '' AND dimension_value = 'total'";
        self.number("tyk_aggregated", sum)
    }

    fn number(&self, table: &str, sql: &str) -> anyhow::Result<u64> {
        self.runtime.block_on(async {
            let exists = format!("SELECT to_regclass('{table}') IS NOT NULL");
            if !self.client.query_one(&exists, &[]).await?.get::<_, bool>(0) {
                return Ok(0);
            }
            let number: i64 = self.client.query_one(sql, &[]).await?.get(0);
            Ok(number as u64)
        })
    }

    /// Rows per second of a client that does nothing but COPY: the rows of `tyk_analytics`, encoded beforehand, into a table
    /// of the same shape, in one transaction.
    pub(crate) fn bare_copy_rate(&self) -> anyhow::Result<f64> {
        let rows = self.rows()?;
        let mut file = tempfile::tempfile()?;
        self.runtime.block_on(async {
            let shape = "CREATE TABLE bare AS SELECT * FROM tyk_analytics LIMIT 0";
            self.client.batch_execute(shape).await?;
            let copy = "COPY tyk_analytics TO STDOUT (FORMAT binary)";
            let mut stream = Box::pin(self.client.copy_out(copy).await?);
            while let Some(bytes) = stream.next().await {
                file.write_all(&bytes?)?;
            }
            let seconds = self.copy_in(&mut file).await?;
            Ok(rows as f64 / seconds)
        })
    }

    async fn copy_in(&self, file: &mut File) -> anyhow::Result<f64> {
        use std::io::Seek;
        file.rewind()?;
        let started = Instant::now();
        let sink = self
            .client
            .copy_in::<_, Bytes>("COPY bare FROM STDIN (FORMAT binary)")
            .await?;
        let mut sink = Box::pin(sink);
        loop {
            let mut chunk = vec![0; CHUNK];
            let read = file.read(&mut chunk)?;
            if read == 0 {
                break;
            }
            chunk.truncate(read);
            sink.send(chunk.into()).await?;
        }
        sink.as_mut().finish().await?;
        Ok(started.elapsed().as_secs_f64())
    }
}

async fn connect(address: &str) -> anyhow::Result<Client> {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.context("Postgres")?;
    tokio::spawn(connection);
    Ok(client)
}

impl Drop for Database {
    fn drop(&mut self) {
        let Ok(address) = std::env::var(VARIABLE) else { return };
        let drop = format!("DROP DATABASE {} WITH (FORCE)", self.name);
        self.runtime.block_on(async {
            // What is left behind says so by its name.
            if let Ok(admin) = connect(&address).await {
                let _ = admin.batch_execute(&drop).await;
            }
        });
    }
}
