//! Databases of every dialect, each new and empty.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use mysql_async::prelude::Queryable;
use tempfile::TempDir;
use tokio_postgres::{NoTls, SimpleQueryMessage};

use crate::sql::{
    connect,
    database::{Access, Database},
    options::Connection,
    table::{Class, Table},
};
use fakes::server;

/// A database.
pub(super) struct Place {
    pub(super) name: &'static str,
    pub(super) options: Connection,
    server: Server,
}

enum Server {
    Postgres { address: String, database: String },
    Mysql { address: String, database: String },
    Sqlite { folder: TempDir },
}

static COUNT: AtomicU32 = AtomicU32::new(0);

impl Place {
    /// One of every dialect that can be had: servers that do not run are reported.
    pub(super) async fn all() -> Vec<Place> {
        let mut places = vec![Self::sqlite()];
        for name in ["postgres", "mariadb", "mysql56"] {
            if let Some(address) = server::address(name) {
                places.push(Self::on_server(name, address).await);
            }
        }
        places
    }

    pub(super) fn sqlite() -> Place {
        let folder = TempDir::new().unwrap();
        let options = Connection {
            kind: "sqlite".to_owned(),
            connection_string: folder.path().join("pump.db").to_str().unwrap().to_owned(),
            ..Connection::default()
        };
        Place {
            name: "sqlite",
            options,
            server: Server::Sqlite { folder },
        }
    }

    /// MariaDB, or MySQL by another name.
    pub(super) async fn mysql(name: &'static str) -> Option<Place> {
        Some(Self::on_server(name, server::address(name)?).await)
    }

    async fn on_server(name: &'static str, address: String) -> Place {
        let database = format!(
            "contract_{}_{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let (kind, connection_string, server) = match name {
            "postgres" => {
                postgres(&address, &format!("DROP DATABASE IF EXISTS {database}")).await;
                postgres(&address, &format!("CREATE DATABASE {database}")).await;
                let (server, _) = address.rsplit_once('/').unwrap();
                let url = format!("{server}/{database}");
                ("postgres", url, Server::Postgres { address, database })
            }
            _ => {
                let mut conn = mysql(&address).await;
                // As on servers of long ago: latin1 unless somebody says otherwise.
                let make = format!("DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database} CHARSET latin1");
                conn.query_drop(make).await.unwrap();
                let url = format!("{address}{database}");
                ("mysql", url, Server::Mysql { address, database })
            }
        };
        let options = Connection {
            kind: kind.to_owned(),
            connection_string,
            ..Connection::default()
        };
        Place { name, options, server }
    }

    /// As one pump uses it.
    pub(super) fn database(&self) -> Arc<dyn Database> {
        connect(&self.options, "test", Access::Full).unwrap()
    }

    pub(super) async fn remove(&self) {
        match &self.server {
            Server::Postgres { address, database } => {
                postgres(address, &format!("DROP DATABASE {database} WITH (FORCE)")).await;
            }
            Server::Mysql { address, database } => {
                let mut conn = mysql(address).await;
                conn.query_drop(format!("DROP DATABASE {database}")).await.unwrap();
            }
            Server::Sqlite { .. } => {}
        }
    }

    /// Executes statements, and returns the rows of the last one that has some, as text.
    pub(super) async fn query(&self, sql: &str) -> Vec<Vec<Option<String>>> {
        match &self.server {
            Server::Postgres { .. } => postgres(&self.options.connection_string, sql).await,
            Server::Mysql { .. } => {
                let mut conn = mysql(&self.options.connection_string).await;
                let rows: Vec<mysql_async::Row> = conn.query(sql.replace('"', "`")).await.unwrap();
                rows.into_iter()
                    .map(|row| row.unwrap().into_iter().map(mysql_text).collect())
                    .collect()
            }
            Server::Sqlite { folder } => {
                let connection = rusqlite::Connection::open(folder.path().join("pump.db")).unwrap();
                let mut statement = connection.prepare(sql).unwrap();
                let columns = statement.column_count();
                let rows = statement.query_map([], |row| {
                    (0..columns)
                        .map(|column| Ok(sqlite_text(row.get(column)?)))
                        .collect::<rusqlite::Result<Vec<_>>>()
                });
                rows.unwrap().map(Result::unwrap).collect()
            }
        }
    }

    /// Every row of a table in the order of `order`, in a form that all databases share.
    pub(super) async fn rows(&self, table: &Table, order: &str) -> Vec<HashMap<String, String>> {
        let columns = &table.layout.columns;
        let names: Vec<String> = columns.iter().map(|column| format!("\"{}\"", column.name)).collect();
        let sql = format!("SELECT {} FROM \"{}\" ORDER BY {order}", names.join(","), table.name);
        let rows = self.query(&sql).await.into_iter();
        rows.map(|row| {
            let values = row.into_iter().zip(columns);
            values
                .map(|(value, column)| (column.name.to_string(), shared_form(value, column.class)))
                .collect()
        })
        .collect()
    }
}

/// Booleans are 0 and 1, instants end with a digit, floats have 12 digits; NULL is the zero instant where it stands for it.
fn shared_form(value: Option<String>, class: Class) -> String {
    let Some(value) = value else {
        return match class {
            Class::Time => "0001-01-01 00:00:00".to_owned(),
            _ => "NULL".to_owned(),
        };
    };
    match class {
        Class::Bool => value.replace('t', "1").replace('f', "0"),
        Class::Time => {
            let value = value.split('+').next().unwrap();
            match value.contains('.') {
                true => value.trim_end_matches('0').trim_end_matches('.').to_owned(),
                false => value.to_owned(),
            }
        }
        Class::Float => format!("{:.12e}", value.parse::<f64>().unwrap()),
        _ => value,
    }
}

async fn postgres(address: &str, sql: &str) -> Vec<Vec<Option<String>>> {
    let (client, connection) = tokio_postgres::connect(address, NoTls).await.unwrap();
    tokio::spawn(connection);
    client.batch_execute("SET TimeZone = 'UTC'").await.unwrap();
    let messages = client.simple_query(sql).await.unwrap();
    let rows = messages.into_iter().filter_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
        _ => None,
    });
    rows.collect()
}

async fn mysql(address: &str) -> mysql_async::Conn {
    let opts = mysql_async::Opts::from_url(address).unwrap();
    mysql_async::Conn::new(mysql_async::OptsBuilder::from_opts(opts).prefer_socket(false))
        .await
        .unwrap()
}

fn mysql_text(value: mysql_async::Value) -> Option<String> {
    match value {
        mysql_async::Value::NULL => None,
        mysql_async::Value::Bytes(bytes) => Some(String::from_utf8(bytes).unwrap()),
        other => Some(other.as_sql(true)),
    }
}

fn sqlite_text(value: rusqlite::types::Value) -> Option<String> {
    use rusqlite::types::Value;
    match value {
        Value::Null => None,
        Value::Integer(number) => Some(number.to_string()),
        Value::Real(number) => Some(number.to_string()),
        Value::Text(text) => Some(text),
        Value::Blob(bytes) => Some(format!("{bytes:?}")),
    }
}
