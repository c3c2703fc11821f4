//! A database of a test's own, reached by the pump through a proxy with faults and by the test directly.

use std::sync::atomic::{AtomicU32, Ordering};

use fakes::{
    postgres,
    proxy::{Cut, Proxy},
    server,
};
use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use tokio::runtime::Runtime;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::support::kills::Watched;

/// What a client of MySQL says at the end of a transaction.
const MYSQL_COMMIT: &[u8] = b"\x07\0\0\0\x03COMMIT";

static COUNT: AtomicU32 = AtomicU32::new(0);

enum Client {
    Postgres(tokio_postgres::Client),
    Mysql(mysql_async::Conn),
}

/// The database; removed with the value.
pub(crate) struct Database {
    runtime: Runtime,
    proxy: Proxy,
    client: Client,
    name: String,
    user: String,
    commit: &'static [u8],
}

impl Database {
    /// On the server `kind` ("postgres", "mariadb"); `None`: it was not started, the test is skipped by name.
    pub(crate) fn create(kind: &str) -> Option<Database> {
        let address = server::address(kind)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let (user, server) = address.split_once("://").unwrap().1.split_once('@').unwrap();
        let (server, _) = server.split_once('/').unwrap();
        let name = format!("pump_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let proxy = runtime.block_on(Proxy::start(server.to_owned())).unwrap();
        let create = format!("CREATE DATABASE {name}");
        let (client, commit) = runtime.block_on(async {
            match kind {
                "postgres" => {
                    let admin = postgres(&address).await;
                    admin.batch_execute(&create).await.unwrap();
                    let client = postgres(&format!("postgres://{user}@{server}/{name}")).await;
                    (Client::Postgres(client), postgres::COMMIT)
                }
                _ => {
                    let mut client = mysql_async::Conn::from_url(&address).await.unwrap();
                    client.query_drop(&create).await.unwrap();
                    let select = format!("USE {name}; SET sql_mode = 'ANSI_QUOTES'");
                    client.query_drop(select).await.unwrap();
                    (Client::Mysql(client), MYSQL_COMMIT)
                }
            }
        });
        Some(Database {
            user: user.to_owned(),
            runtime,
            proxy,
            client,
            name,
            commit,
        })
    }

    /// Options of a pump that writes here; `more` is added to them.
    pub(crate) fn meta(&self, more: Value) -> Value {
        let (user, password) = self.user.split_once(':').unwrap();
        let (name, port) = (&self.name, self.proxy.address().port());
        let mut meta = match &self.client {
            Client::Postgres(_) => json!({
                "type": "postgres",
                "connection_string":
                    format!("host=127.0.0.1 port={port} user={user} password={password} dbname={name} sslmode=disable"),
            }),
            Client::Mysql(_) => json!({
                "type": "mysql",
                "connection_string": format!("{user}:{password}@tcp(127.0.0.1:{port})/{name}?parseTime=true"),
            }),
        };
        meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        meta
    }

    /// Rows of a query, every value as text; NULL is empty.
    #[track_caller]
    pub(crate) fn query(&mut self, sql: &str) -> Vec<Vec<String>> {
        let client = &mut self.client;
        self.runtime.block_on(async {
            match client {
                Client::Postgres(client) => {
                    let messages = client.simple_query(sql).await;
                    let messages = messages.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
                    let rows = messages.iter().filter_map(|message| match message {
                        SimpleQueryMessage::Row(row) => Some(row),
                        _ => None,
                    });
                    rows.map(|row| {
                        (0..row.len())
                            .map(|at| row.get(at).unwrap_or_default().to_owned())
                            .collect()
                    })
                    .collect()
                }
                Client::Mysql(client) => {
                    let rows: Vec<mysql_async::Row> = client.query(sql).await.unwrap();
                    let text = |value| match value {
                        mysql_async::Value::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
                        mysql_async::Value::NULL => String::new(),
                        other => panic!("{other:?} came as no text"),
                    };
                    rows.into_iter()
                        .map(|row| row.unwrap().into_iter().map(text).collect())
                        .collect()
                }
            }
        })
    }

    /// The only value of a query, a whole number.
    #[track_caller]
    pub(crate) fn number(&mut self, sql: &str) -> i64 {
        self.query(sql)[0][0].parse().unwrap()
    }
}

impl Watched for Database {
    fn cut_commits(&self, every: u32) {
        self.proxy.cut_one_in(
            every,
            Cut {
                when: self.commit,
                delivered: true,
            },
        );
    }

    fn commits(&self) -> u32 {
        self.proxy.moments()
    }
}

async fn postgres(address: &str) -> tokio_postgres::Client {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

impl Drop for Database {
    fn drop(&mut self) {
        let (name, client) = (&self.name, &mut self.client);
        self.runtime.block_on(async {
            match client {
                Client::Postgres(_) => {
                    if let Some(address) = server::address("postgres") {
                        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
                        let _ = postgres(&address).await.batch_execute(&drop).await;
                    }
                }
                Client::Mysql(client) => {
                    let _ = client.query_drop(format!("DROP DATABASE {name}")).await;
                }
            }
        });
    }
}
