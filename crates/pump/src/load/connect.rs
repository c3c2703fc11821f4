//! Connections to the Redis that is loaded, by the client library alone: what is measured must not measure itself.

use std::fs;

use anyhow::Context;
use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisFuture, TlsCertificates, TlsMode, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClientBuilder,
    cluster_async::ClusterConnection,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

use crate::config::{RedisSettings, RedisTopology, TlsSettings};

/// One connection of its own; clones share it.
#[derive(Clone)]
pub(super) enum Connection {
    /// To a server, or to the master that sentinels name.
    Server(MultiplexedConnection),
    /// To the nodes of a cluster. A pipeline must keep to one key.
    Cluster(ClusterConnection),
}

impl ConnectionLike for Connection {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Connection::Server(connection) => connection.req_packed_command(command),
            Connection::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        commands: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Connection::Server(connection) => connection.req_packed_commands(commands, offset, count),
            Connection::Cluster(connection) => connection.req_packed_commands(commands, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Connection::Server(connection) => connection.get_db(),
            Connection::Cluster(connection) => connection.get_db(),
        }
    }
}

/// Connects.
///
/// # Errors
/// An address or a certificate cannot be used, or nobody answers; the text names the address.
pub(super) async fn connect(settings: &RedisSettings) -> anyhow::Result<Connection> {
    let connected = match &settings.topology {
        RedisTopology::Single => single(settings).await.map(Connection::Server),
        RedisTopology::Sentinel { master, password } => {
            let connection = behind_sentinels(settings, master, password.reveal()).await;
            connection.map(Connection::Server)
        }
        RedisTopology::Cluster => cluster(settings).await.map(Connection::Cluster),
    };
    connected.with_context(|| format!("cannot connect to Redis at {}", settings.addrs.join(", ")))
}

async fn single(settings: &RedisSettings) -> anyhow::Result<MultiplexedConnection> {
    let first = addresses(settings)?.into_iter().next().context("no address of Redis")?;
    let mut session = RedisConnectionInfo::default().set_db(settings.database);
    if !settings.username.is_empty() {
        session = session.set_username(&settings.username);
    }
    if !settings.password.reveal().is_empty() {
        session = session.set_password(settings.password.reveal());
    }
    let info = first.into_connection_info()?.set_redis_settings(session);
    let client = match &settings.tls {
        Some(tls) => Client::build_with_tls(info, certificates(tls)?)?,
        None => Client::open(info)?,
    };
    Ok(client
        .get_multiplexed_async_connection_with_config(&limits(settings))
        .await?)
}

async fn behind_sentinels(
    settings: &RedisSettings,
    master: &str,
    sentinel_password: &str,
) -> anyhow::Result<MultiplexedConnection> {
    let mut builder = SentinelClientBuilder::new(addresses(settings)?, master, SentinelServerType::Master)?
        .set_client_to_redis_db(settings.database);
    if !settings.username.is_empty() {
        builder = builder.set_client_to_redis_username(&settings.username);
    }
    if !settings.password.reveal().is_empty() {
        builder = builder.set_client_to_redis_password(settings.password.reveal());
    }
    if !sentinel_password.is_empty() {
        builder = builder.set_client_to_sentinel_password(sentinel_password);
    }
    if let Some(tls) = &settings.tls {
        builder = builder
            .set_client_to_redis_tls_mode(mode(tls))
            .set_client_to_redis_certificates(certificates(tls)?)
            .set_client_to_sentinel_tls_mode(mode(tls))
            .set_client_to_sentinel_certificates(certificates(tls)?);
    }
    Ok(builder
        .build()?
        .get_async_connection_with_config(&limits(settings))
        .await?)
}

async fn cluster(settings: &RedisSettings) -> anyhow::Result<ClusterConnection> {
    let mut builder = ClusterClientBuilder::new(addresses(settings)?)
        .connection_timeout(settings.timeout)
        .response_timeout(settings.timeout);
    if !settings.username.is_empty() {
        builder = builder.username(&settings.username);
    }
    if !settings.password.reveal().is_empty() {
        builder = builder.password(settings.password.reveal());
    }
    if let Some(tls) = &settings.tls {
        builder = builder.tls(mode(tls)).certs(certificates(tls)?);
    }
    Ok(builder.build()?.get_async_connection().await?)
}

fn limits(settings: &RedisSettings) -> AsyncConnectionConfig {
    AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.timeout))
        .set_response_timeout(Some(settings.timeout))
}

fn addresses(settings: &RedisSettings) -> anyhow::Result<Vec<ConnectionAddr>> {
    let parse = |address: &String| {
        let (host, port) = address.rsplit_once(':')?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = port.parse().ok()?;
        Some(match &settings.tls {
            Some(tls) => ConnectionAddr::TcpTls {
                host,
                port,
                insecure: tls.skip_verify,
                tls_params: None,
            },
            None => ConnectionAddr::Tcp(host, port),
        })
    };
    let addresses = settings
        .addrs
        .iter()
        .map(|address| parse(address).with_context(|| format!("address of Redis {address:?}: host:port is expected")));
    addresses.collect()
}

fn mode(tls: &TlsSettings) -> TlsMode {
    if tls.skip_verify {
        TlsMode::Insecure
    } else {
        TlsMode::Secure
    }
}

fn certificates(tls: &TlsSettings) -> anyhow::Result<TlsCertificates> {
    // Fails when somebody has installed one before, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let read = |path: &std::path::PathBuf| fs::read(path).with_context(|| format!("cannot read {}", path.display()));
    let client_tls = match &tls.identity {
        Some((certificate, key)) => Some(ClientTlsConfig {
            client_cert: read(certificate)?,
            client_key: read(key)?,
        }),
        None => None,
    };
    Ok(TlsCertificates {
        client_tls,
        root_cert: tls.ca_file.as_ref().map(read).transpose()?,
    })
}
