//! A schema of its own on a real Postgres server, behind a proxy with faults.

use tokio_postgres::{Client, NoTls, SimpleQueryMessage};

use crate::{proxy::Proxy, server};

/// Begins a transaction.
pub const BEGIN: &[u8] = b"BEGIN; SET LOCAL idle_in_transaction_session_timeout";
/// Ends one.
pub const COMMIT: &[u8] = b"Q\0\0\0\x0bCOMMIT\0";

/// A schema on the shared server, dropped with its tables at the end.
pub struct Place {
    /// In front of the server.
    pub proxy: Proxy,
    /// Straight to the server, in the schema.
    pub client: Client,
    /// Settings of a connection through the proxy.
    pub connection_string: String,
    schema: String,
}

impl Place {
    /// `None`: there is no server.
    pub async fn start() -> Option<Place> {
        let address = server::address("postgres")?;
        let config: tokio_postgres::Config = address.parse().ok()?;
        let (client, connection) = config.connect(NoTls).await.ok()?;
        tokio::spawn(connection);
        let schema = format!("s_{}", ulid::Ulid::new().to_string().to_lowercase());
        let create = format!("CREATE SCHEMA {schema}; SET search_path = {schema}");
        client.batch_execute(&create).await.ok()?;
        let (user, server) = address.split_once("://")?.1.split_once('@')?;
        let (user, password) = user.split_once(':')?;
        let (server, database) = server.split_once('/')?;
        let proxy = Proxy::start(server.to_owned()).await.ok()?;
        let connection_string = format!(
            "host=127.0.0.1 port={} user={user} password={password} dbname={database} sslmode=disable \
             search_path={schema}",
            proxy.address().port()
        );
        Some(Place {
            proxy,
            client,
            connection_string,
            schema,
        })
    }

    /// The first column of every row.
    pub async fn column(&self, query: &str) -> Vec<String> {
        let messages = self.client.simple_query(query).await.unwrap_or_default();
        let rows = messages.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row.get(0).unwrap_or("NULL").to_owned()),
            _ => None,
        });
        rows.collect()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let drop = format!("DROP SCHEMA IF EXISTS {} CASCADE", self.schema);
        let address = server::address("postgres").and_then(|address| address.parse().ok());
        let (Some(config), Ok(runtime)) = (address, tokio::runtime::Handle::try_current()) else {
            return;
        };
        let config: tokio_postgres::Config = config;
        runtime.spawn(async move {
            if let Ok((client, connection)) = config.connect(NoTls).await {
                tokio::spawn(connection);
                let _ = client.batch_execute(&drop).await;
            }
        });
    }
}
