//! Connections: which host, plain or TLS, and whether the server is of the wanted kind.

use std::{path::PathBuf, time::Duration};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::AbortHandle,
};
use tokio_postgres::{
    Client, Config, NoTls,
    config::{SslMode, SslNegotiation},
    tls::{MakeTlsConnect, TlsConnect},
};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{
    super::database::DatabaseError,
    failure,
    settings::{Address, HostSettings, Protection, Settings, Surroundings, Target},
    texts,
};
use crate::{BuildError, transport::tls};

/// Idle time after which the kernel looks whether the peer is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// A connection and the task that serves it. Dropped, it closes.
pub(super) struct Connected {
    pub client: Client,
    task: AbortHandle,
}

impl Drop for Connected {
    fn drop(&mut self) {
        // A transaction that is under way must not get any further.
        self.task.abort();
    }
}

/// Knows how to connect.
pub(super) struct Connector {
    settings: Settings,
    tls: MakeRustlsConnect,
}

impl Connector {
    pub(super) fn new(connection_string: &str) -> Result<Connector, BuildError> {
        let wrong = |error: String| BuildError::Options(format!("meta.connection_string: {error}"));
        let settings = Settings::read(connection_string, &Process).map_err(wrong)?;
        let mut tls = tls::client_config(&settings.tls).map_err(|error| wrong(error.to_string()))?;
        tls.enable_sni = settings.sends_server_name;
        if settings.negotiates_directly {
            tls.alpn_protocols = vec![b"postgresql".to_vec()];
        }
        Ok(Connector {
            settings,
            tls: MakeRustlsConnect::new(tls),
        })
    }

    /// The first host that answers and is of the wanted kind.
    pub(super) async fn connect(&self) -> Result<Connected, DatabaseError> {
        let mut last = match self.settings.target {
            Target::PreferStandby => match self.connect_to(Target::Standby).await {
                Ok(connected) => return Ok(connected),
                Err(_) => self.connect_to(Target::Any).await,
            },
            target => self.connect_to(target).await,
        };
        let Settings { user, database, .. } = &self.settings;
        let database = database.as_deref().unwrap_or(user);
        if let Err(DatabaseError::Retry(source) | DatabaseError::Config(source)) = &mut last {
            *source = format!("failed to connect to `user={user} database={database}`: {source}").into();
        }
        last
    }

    async fn connect_to(&self, target: Target) -> Result<Connected, DatabaseError> {
        let mut last = DatabaseError::retry("no host is named");
        for host in &self.settings.hosts {
            // A Unix socket needs no TLS, whatever the mode says.
            let protections = match host.address {
                Address::Socket(_) => &[Protection::Plain],
                Address::Tcp(..) => self.settings.protections,
            };
            for &protection in protections {
                let attempt = self.attempt(host, protection, target);
                match tokio::time::timeout(self.settings.timeout, attempt).await {
                    Ok(Ok(connected)) => return Ok(connected),
                    Ok(Err(error)) => last = named(host, error),
                    Err(_) => last = named(host, DatabaseError::retry("no answer in time")),
                }
                if is_final(&last) {
                    break;
                }
            }
        }
        Err(last)
    }

    async fn attempt(
        &self,
        host: &HostSettings,
        protection: Protection,
        target: Target,
    ) -> Result<Connected, DatabaseError> {
        let mut config = Config::new();
        config
            .user(&self.settings.user)
            .application_name(&self.settings.application_name)
            .channel_binding(self.settings.channel_binding);
        if let Some(database) = &self.settings.database {
            config.dbname(database);
        }
        if let Some(password) = &host.password {
            config.password(password);
        }
        if !self.settings.options.is_empty() {
            config.options(&self.settings.options);
        }
        let connected = match (&host.address, protection) {
            (Address::Socket(path), _) => {
                config.ssl_mode(SslMode::Disable);
                let stream = UnixStream::connect(path).await.map_err(DatabaseError::retry)?;
                log_in(config, stream, NoTls).await?
            }
            (Address::Tcp(name, port), Protection::Plain) => {
                config.ssl_mode(SslMode::Disable);
                log_in(config, connect_tcp(name, *port).await?, NoTls).await?
            }
            (Address::Tcp(name, port), Protection::Tls) => {
                config.ssl_mode(SslMode::Require);
                if self.settings.negotiates_directly {
                    config.ssl_negotiation(SslNegotiation::Direct);
                }
                if let Err(error) = ServerName::try_from(name.as_str()) {
                    return Err(DatabaseError::Config(format!("host {name:?}: {error}").into()));
                }
                let Ok(tls) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut self.tls.clone(), name);
                log_in(config, connect_tcp(name, *port).await?, tls).await?
            }
        };
        check_kind(&connected.client, target).await?;
        Ok(connected)
    }
}

async fn connect_tcp(name: &str, port: u16) -> Result<TcpStream, DatabaseError> {
    let stream = TcpStream::connect((name, port)).await.map_err(DatabaseError::retry)?;
    // Neither is needed for being right.
    let _ = stream.set_nodelay(true);
    let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
    let _ = rustix::net::sockopt::set_tcp_keepidle(&stream, KEEPALIVE);
    Ok(stream)
}

async fn log_in<S, T>(config: Config, stream: S, tls: T) -> Result<Connected, DatabaseError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect_raw(stream, tls).await.map_err(failure::classify)?;
    let task = tokio::spawn(async move {
        // Its errors reach whoever waits for an answer.
        let _ = connection.await;
    });
    Ok(Connected {
        client,
        task: task.abort_handle(),
    })
}

fn named(host: &HostSettings, error: DatabaseError) -> DatabaseError {
    let text = |source: &dyn std::fmt::Display| format!("{}: {source}", host.address).into();
    match error {
        DatabaseError::Retry(source) => DatabaseError::Retry(text(&source)),
        DatabaseError::Config(source) => DatabaseError::Config(text(&source)),
        DatabaseError::Row(reason) => DatabaseError::Config(text(&reason)),
    }
}

/// A wrong password or database is not tried again without TLS: `28000` (no such entry in `pg_hba.conf`) is.
fn is_final(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Config(source) => {
            let text = source.to_string();
            text.contains("SQLSTATE 28P01") || text.contains("SQLSTATE 3D000")
        }
        _ => false,
    }
}

async fn check_kind(client: &Client, target: Target) -> Result<(), DatabaseError> {
    let (query, wanted) = match target {
        Target::Any | Target::PreferStandby => return Ok(()),
        Target::ReadWrite => ("SHOW transaction_read_only", "off"),
        Target::ReadOnly => ("SHOW transaction_read_only", "on"),
        Target::Primary => ("SELECT pg_is_in_recovery()", "f"),
        Target::Standby => ("SELECT pg_is_in_recovery()", "t"),
    };
    let rows = texts(client.simple_query(query).await.map_err(failure::classify)?);
    match rows.first().and_then(|row| row.first()) {
        Some(Some(value)) if value == wanted => Ok(()),
        _ => Err(DatabaseError::retry(format!(
            "the server is not what target_session_attrs asks for ({target:?})"
        ))),
    }
}

/// The process that this is.
struct Process;

impl Surroundings for Process {
    fn variable(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn user(&self) -> Option<String> {
        let id = rustix::process::getuid().as_raw().to_string();
        let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        let mut lines = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
        let line = lines.find(|line| line.get(2) == Some(&id.as_str()));
        let name = line.and_then(|line| line.first().map(|name| (*name).to_owned()));
        name.or_else(|| std::env::var("USER").ok())
    }

    fn home(&self) -> Option<PathBuf> {
        std::env::home_dir()
    }
}
