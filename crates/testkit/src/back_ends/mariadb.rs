//! The back-end of `sql` on MariaDB: a database of its own on the shared server, behind a proxy with faults.

use analytics::{Time, When};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use mysql_async::{Conn, OptsBuilder, prelude::Queryable};
use serde_json::{Value, json};

use fakes::{
    proxy::{Cut, Proxy},
    rows::{self, Alter},
    server,
};
use sinks::{BuildContext, BuildError, Sink, sql};

use super::sql::MOMENTS;
use crate::{BackEnd, Reason};

/// See [`crate::Harness`].
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async { Box::new(Server(Place::start().await)) as Box<dyn BackEnd> }.boxed()
}

struct Server(Option<Place>);

struct Place {
    /// Straight to the server, in the database.
    opts: OptsBuilder,
    database: String,
    proxy: Proxy,
    /// Through the proxy.
    connection_string: String,
}

impl Place {
    /// `None`: there is no server.
    async fn start() -> Option<Place> {
        let address = server::address("mariadb")?;
        let (credentials, host) = address
            .strip_prefix("mysql://")?
            .trim_end_matches('/')
            .split_once('@')?;
        let proxy = Proxy::start(host.to_owned()).await.ok()?;
        let database = format!("d_{}", ulid::Ulid::new().to_string().to_lowercase());
        let opts = mysql_async::Opts::from_url(&address).ok()?;
        let opts = OptsBuilder::from_opts(opts).prefer_socket(false);
        let mut conn = Conn::new(opts.clone()).await.ok()?;
        conn.query_drop(format!("CREATE DATABASE {database}")).await.ok()?;
        let connection_string = format!("{credentials}@tcp({})/{database}", proxy.address());
        Some(Place {
            opts: opts.db_name(Some(&database)),
            database,
            proxy,
            connection_string,
        })
    }

    async fn paths(&self) -> mysql_async::Result<Vec<String>> {
        let mut conn = Conn::new(self.opts.clone()).await?;
        conn.query("SELECT path FROM tyk_analytics").await
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let (opts, drop) = (self.opts.clone(), format!("DROP DATABASE {}", self.database));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Ok(mut conn) = Conn::new(opts).await {
                    let _ = conn.query_drop(drop).await;
                }
            });
        }
    }
}

/// By [`MOMENTS`].
const DEATHS: [Cut; MOMENTS.len()] = [
    Cut::new(b"\x03START TRANSACTION", false),
    Cut::new(b"\x03START TRANSACTION", true),
    Cut::new(b"INSERT INTO `tyk_analytics`", false),
    Cut::new(b"INSERT INTO `tyk_analytics`", true),
    Cut::new(b"\x03COMMIT", false),
    Cut::new(b"\x03COMMIT", true),
];

impl Server {
    fn place(&self) -> Result<&Place, Reason> {
        self.0.as_ref().ok_or("there is no MariaDB server")
    }
}

#[async_trait]
impl BackEnd for Server {
    fn options(&self) -> Value {
        let connection_string = self.0.as_ref().map(|place| place.connection_string.as_str());
        json!({"type": "mysql", "connection_string": connection_string.unwrap_or_default()})
    }

    fn present(&self) -> Result<(), Reason> {
        self.place().map(drop)
    }

    fn keeps_order(&self) -> bool {
        // Nothing that a query without an order could rely on.
        false
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (sql::SPEC.build)(context).await
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let paths = self.place()?.paths().await.map_err(|_| "the rows cannot be read")?;
        Ok(rows::serials(paths.join("\n").as_bytes()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.place()?.proxy.shut();
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.place()?.proxy.stall();
        Ok(())
    }

    async fn heal(&self) {
        if let Some(place) = &self.0 {
            place.proxy.open();
        }
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Err("a group is written as a whole or not at all")
    }

    fn poison(&self) -> Result<Alter, Reason> {
        // The year 33658 is beyond what `datetime` can hold.
        Ok(|record| {
            record.time[When::TimeStamp as usize] = Time {
                seconds: 1_000_000_000_000,
                ..Time::ZERO
            }
        })
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Ok(MOMENTS.to_vec())
    }

    async fn die_at(&self, death: usize) {
        if let (Some(place), Some(cut)) = (&self.0, DEATHS.get(death)) {
            place.proxy.cut_at(*cut);
        }
    }
}
