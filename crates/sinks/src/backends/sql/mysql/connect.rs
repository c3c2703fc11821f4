//! Connections.

use std::{fmt::Write, time::Duration};

use mysql_async::{Conn, DriverError, Error, Opts, OptsBuilder, SslOpts, prelude::Queryable};
use rustls::RootCertStore;

use super::{
    dsn::{Address, Dsn, Tls},
    error::{classify, is_there_already},
    server::Server,
};
use crate::backends::sql::{database::DatabaseError, statement_log::StatementLog};

/// How long opening a connection may take when the connection string does not say.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);

/// How long an idle connection may take to answer before it counts as lost.
const PING_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a change waits until nobody uses the table, in seconds. By default it is a day or a year.
const TABLE_LOCK_SECONDS: u32 = 5;

/// How long a transaction may stand still, in seconds, until the server ends it: a process that is frozen within one would
/// hold the locks of rows that everybody adds to.
const SILENCE_SECONDS: u32 = 60;

/// Room for the packet's own fields.
const PACKET_OVERHEAD: usize = 1024;

/// A connection, and what is known about its server.
pub(super) struct Connection {
    pub(super) conn: Conn,
    pub(super) server: Server,
    answer_timeout: Option<Duration>,
    log: StatementLog,
}

impl Connection {
    /// Connects, asks for version and limits, and sets the session's variables.
    pub(super) async fn open(dsn: &Dsn, log: &StatementLog) -> Result<Connection, DatabaseError> {
        let limit = dsn.connect_timeout.unwrap_or(CONNECT_TIMEOUT);
        match tokio::time::timeout(limit, Self::open_unlimited(dsn, log)).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => Err(match classify(error) {
                DatabaseError::Retry(source) => DatabaseError::retry(format!("failed to connect to {dsn}: {source}")),
                error => error,
            }),
            Err(_) => Err(DatabaseError::retry(format!(
                "failed to connect to {dsn}: no answer within {} s",
                limit.as_secs_f32()
            ))),
        }
    }

    async fn open_unlimited(dsn: &Dsn, log: &StatementLog) -> Result<Connection, Error> {
        let mut conn = match (dsn.tls, Conn::new(opts(dsn, dsn.tls)).await) {
            (Tls::Preferred, Err(Error::Driver(DriverError::NoClientSslFlagFromServer))) => {
                Conn::new(opts(dsn, Tls::Off)).await?
            }
            (_, connected) => connected?,
        };
        let facts: Option<(String, u64)> = conn.query_first("SELECT VERSION(), @@max_allowed_packet").await?;
        let (version, max_packet) = facts.unwrap_or_default();
        let max_packet = usize::try_from(max_packet).unwrap_or(usize::MAX);
        let max_packet = dsn.max_packet.map_or(max_packet, |wanted| wanted.min(max_packet));
        let server = Server::new(&version, max_packet.saturating_sub(PACKET_OVERHEAD));
        let mut variables = format!("SET {}={SILENCE_SECONDS}", server.silence_variable());
        for (name, value) in &dsn.variables {
            let _ = write!(variables, ",{name}={value}");
        }
        conn.query_drop(variables).await?;
        Ok(Connection {
            conn,
            server,
            answer_timeout: dsn.answer_timeout,
            log: log.clone(),
        })
    }

    /// Whether the server still answers.
    pub(super) async fn is_alive(&mut self) -> bool {
        matches!(tokio::time::timeout(PING_TIMEOUT, self.conn.ping()).await, Ok(Ok(())))
    }

    /// Executes a statement with parameters.
    pub(super) async fn exec(
        &mut self,
        statement: &str,
        parameters: Vec<mysql_async::Value>,
    ) -> Result<(), DatabaseError> {
        let answer = limited(self.answer_timeout, self.conn.exec_drop(statement, parameters));
        self.log.run(shown(statement), answer).await
    }

    /// Executes a statement without parameters.
    pub(super) async fn query(&mut self, statement: &str) -> Result<(), DatabaseError> {
        let answer = limited(self.answer_timeout, self.conn.query_drop(statement));
        self.log.run(statement, answer).await
    }

    /// Executes a statement that changes tables, however long it takes. That what it makes is there already is no error.
    ///
    /// It waits only shortly for the table: whoever wants to read it meanwhile has to wait behind.
    pub(super) async fn change(&mut self, statement: &str) -> Result<(), DatabaseError> {
        let conn = &mut self.conn;
        let change = async {
            conn.query_drop(format!("SET SESSION lock_wait_timeout = {TABLE_LOCK_SECONDS}"))
                .await
                .map_err(classify)?;
            let changed = conn.query_drop(statement).await;
            conn.query_drop("SET SESSION lock_wait_timeout = DEFAULT")
                .await
                .map_err(classify)?;
            match changed {
                Err(error) if !is_there_already(&error) => Err(classify(error).of_a_change()),
                _ => Ok(()),
            }
        };
        self.log.run(statement, change).await
    }

    /// All rows of a query.
    pub(super) async fn select<T>(
        &mut self,
        statement: &str,
        parameters: Vec<mysql_async::Value>,
    ) -> Result<Vec<T>, DatabaseError>
    where
        T: mysql_async::prelude::FromRow + Send + 'static,
    {
        let answer = limited(self.answer_timeout, self.conn.exec(statement, parameters));
        self.log.run(shown(statement), answer).await
    }
}

/// A statement without the placeholders of all its rows.
fn shown(statement: &str) -> &str {
    statement.get(..2000).unwrap_or(statement)
}

async fn limited<T>(
    limit: Option<Duration>,
    answer: impl Future<Output = Result<T, Error>>,
) -> Result<T, DatabaseError> {
    let Some(limit) = limit else {
        return answer.await.map_err(classify);
    };
    match tokio::time::timeout(limit, answer).await {
        Ok(answer) => answer.map_err(classify),
        Err(_) => Err(DatabaseError::retry(format!(
            "the server did not answer within {} s (readTimeout, writeTimeout in connection_string)",
            limit.as_secs_f32()
        ))),
    }
}

fn opts(dsn: &Dsn, tls: Tls) -> Opts {
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let builder = OptsBuilder::default()
        .user(some(&dsn.user))
        .pass(some(&dsn.password))
        .db_name(some(&dsn.database))
        // The connection string says where; a socket next to the port may be another server.
        .prefer_socket(false)
        .secure_auth(!dsn.old_passwords)
        .enable_cleartext_plugin(dsn.cleartext_passwords)
        .tcp_keepalive(Some(Duration::from_secs(30)))
        // Answers of a pipeline would wait for acknowledgements otherwise.
        .tcp_nodelay(true)
        .ssl_opts(ssl(tls));
    match &dsn.address {
        Address::Tcp { host, port } => builder.ip_or_hostname(host).tcp_port(*port).into(),
        Address::Unix(path) => builder.socket(Some(path)).into(),
    }
}

fn ssl(tls: Tls) -> Option<SslOpts> {
    match tls {
        Tls::Off => None,
        Tls::Unverified | Tls::Preferred => Some(
            SslOpts::default()
                .with_danger_accept_invalid_certs(true)
                .with_danger_skip_domain_validation(true),
        ),
        Tls::Verified => {
            let roots = system_roots();
            let built_in = roots.is_empty();
            Some(
                SslOpts::default()
                    .with_root_certs(roots.into_iter().map(Into::into).collect())
                    .with_disable_built_in_roots(!built_in),
            )
        }
    }
}

/// The certificates that this machine trusts (`SSL_CERT_FILE` and `SSL_CERT_DIR` count), but for those that cannot be read:
/// one of them would make the driver refuse all.
fn system_roots() -> Vec<Vec<u8>> {
    let mut store = RootCertStore::empty();
    let mut roots = Vec::new();
    for certificate in rustls_native_certs::load_native_certs().certs {
        if store.add(certificate.clone()).is_ok() {
            roots.push(certificate.to_vec());
        }
    }
    roots
}
