//! Connections to the Redis that is loaded.

use anyhow::{Context, bail};
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo, aio::MultiplexedConnection,
};

use crate::config::{RedisSettings, RedisTopology};

/// One connection of its own.
pub(super) async fn connect(settings: &RedisSettings) -> anyhow::Result<MultiplexedConnection> {
    if settings.topology != RedisTopology::Single || settings.tls.is_some() {
        bail!("load pushes to a single Redis without TLS; name it with --redis HOST:PORT");
    }
    let address = settings.addrs.first().map(String::as_str).unwrap_or_default();
    let (host, port) = address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host.trim_matches(['[', ']']), port.parse().ok()?)))
        .with_context(|| format!("address of Redis {address:?}: host:port is expected"))?;
    let mut session = RedisConnectionInfo::default().set_db(settings.database);
    if !settings.username.is_empty() {
        session = session.set_username(&settings.username);
    }
    if !settings.password.reveal().is_empty() {
        session = session.set_password(settings.password.reveal());
    }
    let info = ConnectionAddr::Tcp(host.to_owned(), port)
        .into_connection_info()?
        .set_redis_settings(session);
    let config = AsyncConnectionConfig::new()
        .set_connection_timeout(Some(settings.timeout))
        .set_response_timeout(Some(settings.timeout));
    let connected = Client::open(info)?
        .get_multiplexed_async_connection_with_config(&config)
        .await;
    connected.with_context(|| format!("cannot connect to Redis at {address}"))
}
