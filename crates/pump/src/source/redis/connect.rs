//! Where the servers are and connections to them: one server, a master behind sentinels, or a cluster.
//!
//! Control commands share one multiplexed connection a node. Windows, and transactions with WATCH, have connections of
//! their own: a large reply must not delay the renewal of a lease, and WATCH is a property of a connection.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context, anyhow};
use redis::{
    AsyncConnectionConfig, Cmd, Pipeline, RedisConnectionInfo, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::TlsConnector;

use super::{
    failure::{self, Failure},
    keys::slot,
    tls,
    wire::{Connection, Reply, WireError},
};
use crate::{
    config::{RedisSettings, RedisTopology},
    source::SourceError,
};

/// Idle connections for windows and transactions that are kept, each.
const IDLE: usize = 8;

/// How long a server is asked whether it speaks TLS.
const PROBE: Duration = Duration::from_secs(2);

/// Where a hash slot is served, as far as is known.
#[derive(Default)]
enum Map {
    #[default]
    Unknown,
    /// One server has everything.
    One(Arc<str>),
    /// First slot, last slot, address.
    Slots(Vec<(u16, u16, Arc<str>)>),
}

#[derive(Default)]
struct Pools {
    map: Map,
    control: HashMap<Arc<str>, MultiplexedConnection>,
    windows: HashMap<Arc<str>, Vec<Connection>>,
    transactions: HashMap<Arc<str>, Vec<MultiplexedConnection>>,
}

/// Access to Redis.
pub(super) struct Link {
    settings: RedisSettings,
    tls: Option<TlsConnector>,
    pools: Mutex<Pools>,
    /// Commands sent since the start.
    commands: AtomicU64,
}

/// A connection taken out of a pool. Dropped without [`Link::give_back`] it is closed, as half a reply may be in it.
pub(super) struct Taken<T> {
    pub(super) connection: T,
    node: Arc<str>,
}

impl Link {
    /// Fails on certificate files that cannot be used.
    pub(super) fn new(settings: RedisSettings) -> anyhow::Result<Link> {
        let tls = settings.tls.as_ref().map(tls::connector).transpose();
        Ok(Link {
            tls: tls.context("TLS towards Redis")?,
            settings,
            pools: Mutex::default(),
            commands: AtomicU64::new(0),
        })
    }

    /// Commands sent since the start, those for windows included.
    pub(super) fn commands(&self) -> u64 {
        self.commands.load(Ordering::Relaxed)
    }

    fn count(&self, commands: usize) {
        self.commands.fetch_add(commands as u64, Ordering::Relaxed);
    }

    /// The address that is configured first.
    pub(super) fn first_address(&self) -> &str {
        self.settings.addrs.first().map_or("Redis", String::as_str)
    }

    /// Whether several keys can lie on several servers.
    pub(super) fn is_cluster(&self) -> bool {
        self.settings.topology == RedisTopology::Cluster
    }

    /// Runs one command on the server that has `key`.
    pub(super) async fn run(&self, key: &str, command: &Cmd) -> Result<Value, SourceError> {
        let (node, mut connection) = self.control(key).await?;
        self.count(1);
        let value = connection.req_packed_command(command).await;
        let value = value.map_err(|error| self.failed(&node, failure::of_client(&error)))?;
        match failure::text(&value) {
            Some(text) => Err(self.failed(&node, failure::of_reply(&text))),
            None => Ok(value),
        }
    }

    /// Runs commands in one go on the server that has `key`; errors of single commands are among the values.
    pub(super) async fn run_all(&self, key: &str, commands: &Pipeline) -> Result<Vec<Value>, SourceError> {
        let (node, mut connection) = self.control(key).await?;
        self.count(commands.len());
        let values = connection.req_packed_commands(commands, 0, commands.len()).await;
        let values = values.map_err(|error| self.failed(&node, failure::of_client(&error)))?;
        if let Some(elsewhere) = values.iter().find_map(failure::elsewhere) {
            return Err(self.failed(&node, elsewhere));
        }
        Ok(values)
    }

    /// A connection of its own for WATCH.
    pub(super) async fn transaction(&self, key: &str) -> Result<Taken<MultiplexedConnection>, SourceError> {
        let node = self.node(key).await?;
        let idle = self.pools().transactions.get_mut(&node).and_then(Vec::pop);
        let connection = match idle {
            Some(connection) => connection,
            None => self.client(&node).await?,
        };
        Ok(Taken { connection, node })
    }

    /// Runs commands on a connection of its own; errors of single commands are among the values.
    pub(super) async fn run_on(
        &self,
        taken: &mut Taken<MultiplexedConnection>,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, SourceError> {
        self.count(commands.len());
        let values = taken.connection.req_packed_commands(commands, 0, commands.len()).await;
        let values = values.map_err(|error| self.failed(&taken.node, failure::of_client(&error)))?;
        if let Some(elsewhere) = values.iter().find_map(failure::elsewhere) {
            return Err(self.failed(&taken.node, elsewhere));
        }
        Ok(values)
    }

    /// Puts a transaction's connection back; nothing may be watched any more.
    pub(super) fn give_back_transaction(&self, taken: Taken<MultiplexedConnection>) {
        let mut pools = self.pools();
        let idle = pools.transactions.entry(taken.node).or_default();
        if idle.len() < IDLE {
            idle.push(taken.connection);
        }
    }

    /// A connection for windows of `key`, on which so many commands are going to be sent.
    pub(super) async fn window(&self, key: &str, commands: usize) -> Result<Taken<Connection>, SourceError> {
        let node = self.node(key).await?;
        self.count(commands);
        let idle = self.pools().windows.get_mut(&node).and_then(Vec::pop);
        let connection = match idle {
            Some(connection) => connection,
            None => self.dial(&node).await?,
        };
        Ok(Taken { connection, node })
    }

    /// Puts a connection back whose replies have all been read.
    pub(super) fn give_back(&self, mut taken: Taken<Connection>) {
        taken.connection.shed();
        let mut pools = self.pools();
        let idle = pools.windows.entry(taken.node).or_default();
        if idle.len() < IDLE {
            idle.push(taken.connection);
        }
    }

    /// Tells the link that a connection failed.
    pub(super) fn window_failed(&self, taken: Taken<Connection>, error: WireError) -> SourceError {
        self.failed(&taken.node, failure::of_wire(&error))
    }

    /// Names of the keys grouped by the server that has them, as indexes.
    pub(super) async fn by_node(&self, keys: &[&str]) -> Result<Vec<Vec<usize>>, SourceError> {
        let mut groups: Vec<(Arc<str>, Vec<usize>)> = Vec::new();
        for (index, key) in keys.iter().enumerate() {
            let node = self.node(key).await?;
            match groups.iter_mut().find(|(known, _)| *known == node) {
                Some((_, group)) => group.push(index),
                None => groups.push((node, vec![index])),
            }
        }
        Ok(groups.into_iter().map(|(_, group)| group).collect())
    }

    fn pools(&self) -> MutexGuard<'_, Pools> {
        self.pools.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn control(&self, key: &str) -> Result<(Arc<str>, MultiplexedConnection), SourceError> {
        let node = self.node(key).await?;
        if let Some(connection) = self.pools().control.get(&node) {
            return Ok((node, connection.clone()));
        }
        let connection = self.client(&node).await?;
        self.pools().control.insert(node.clone(), connection.clone());
        Ok((node, connection))
    }

    /// Notes a failure: what is broken is not used again, and what moved is looked up again.
    fn failed(&self, node: &str, failure: Failure) -> SourceError {
        let followed = matches!(self.settings.topology, RedisTopology::Sentinel { .. });
        let failure = failure::explain(failure, node, self.is_cluster(), followed);
        if failure.drop_connections {
            let mut pools = self.pools();
            pools.map = Map::Unknown;
            pools.control.remove(node);
            pools.windows.remove(node);
            pools.transactions.remove(node);
        }
        failure.error
    }

    async fn node(&self, key: &str) -> Result<Arc<str>, SourceError> {
        if let Some(node) = self.pools().map.find(key) {
            return Ok(node);
        }
        let map = match &self.settings.topology {
            RedisTopology::Single => {
                let first = self.settings.addrs.first();
                Map::One(
                    first
                        .ok_or_else(|| SourceError::Refused(anyhow!("no address of Redis")))?
                        .as_str()
                        .into(),
                )
            }
            RedisTopology::Sentinel { master, password } => {
                Map::One(self.ask_sentinels(master, password.reveal()).await?)
            }
            RedisTopology::Cluster => self.ask_cluster().await?,
        };
        let found = map.find(key);
        self.pools().map = map;
        found.ok_or_else(|| SourceError::Unavailable(anyhow!("no node of the cluster serves slot {}", slot(key))))
    }

    async fn ask_sentinels(&self, master: &str, password: &str) -> Result<Arc<str>, SourceError> {
        let mut last = None;
        for sentinel in &self.settings.addrs {
            let answer = async {
                let mut connection = self.open(sentinel).await?;
                connection.greet("", password, 0).await?;
                connection
                    .call(&[b"SENTINEL", b"get-master-addr-by-name", master.as_bytes()])
                    .await
            };
            match answer.await {
                Ok(Reply::Array(parts)) => {
                    if let [host, port] = &parts[..]
                        && let (Some(host), Some(port)) = (host.text(), port.text())
                    {
                        return Ok(address(host, port).into());
                    }
                    last = Some(SourceError::Unavailable(anyhow!(
                        "sentinel {sentinel}: unexpected answer"
                    )));
                }
                Ok(_) => {
                    let unknown = anyhow!("sentinel {sentinel} knows no master named \"{master}\" (master_name)");
                    last = Some(SourceError::Unavailable(unknown));
                }
                Err(error) => {
                    let failure = failure::of_wire(&error).error;
                    last = Some(failure.context(format_args!("sentinel {sentinel}")));
                }
            }
        }
        Err(last.unwrap_or_else(|| SourceError::Refused(anyhow!("no address of a sentinel"))))
    }

    async fn ask_cluster(&self) -> Result<Map, SourceError> {
        let mut nodes: Vec<Arc<str>> = self.pools().control.keys().cloned().collect();
        nodes.extend(self.settings.addrs.iter().map(|seed| Arc::from(seed.as_str())));
        let mut last = None;
        for node in nodes {
            let answer = async {
                let mut connection = self.dial(&node).await?;
                let reply = connection.call(&[b"CLUSTER", b"SLOTS"]).await;
                reply.map_err(|error| failure::of_wire(&error).error)
            };
            match answer.await {
                Ok(reply) => match slots(&reply, &node) {
                    Some(slots) if !slots.is_empty() => return Ok(Map::Slots(slots)),
                    _ => last = Some(SourceError::Unavailable(anyhow!("cluster node {node} knows no slots"))),
                },
                Err(error) => last = Some(error.context(format_args!("cluster node {node}"))),
            }
        }
        Err(last.unwrap_or_else(|| SourceError::Refused(anyhow!("no address of a cluster node"))))
    }

    /// A client for commands over a connection of ours.
    async fn client(&self, node: &str) -> Result<MultiplexedConnection, SourceError> {
        let stream = self.dial(node).await?.into_stream();
        let config = AsyncConnectionConfig::new().set_response_timeout(Some(self.settings.timeout));
        let info = RedisConnectionInfo::default().set_skip_set_lib_name();
        let made = MultiplexedConnection::new_with_config(&info, stream, config).await;
        let (connection, driver) = made.map_err(|error| failure::of_client(&error).error)?;
        tokio::spawn(driver);
        Ok(connection)
    }

    /// A connection to a data node, ready for use.
    async fn dial(&self, node: &str) -> Result<Connection, SourceError> {
        let connected = async {
            let mut connection = self.open(node).await?;
            let settings = &self.settings;
            let database = if self.is_cluster() { 0 } else { settings.database };
            let greeted = connection.greet(&settings.username, settings.password.reveal(), database);
            greeted.await.map(|()| connection)
        };
        let error = match connected.await {
            Ok(connection) => return Ok(connection),
            Err(error) => error,
        };
        // The address may be that of a master that is no more.
        self.pools().map = Map::Unknown;
        let failure = failure::of_wire(&error).error;
        Err(match self.misunderstanding(node, &error).await {
            Some(text) => SourceError::Unavailable(anyhow!("Redis at {node} {text} ({failure})")),
            None => failure.context(format_args!("Redis at {node}")),
        })
    }

    /// Whether the other side speaks TLS where we do not, or the other way round. It is asked once more, unless it was
    /// understood, or nobody was there.
    async fn misunderstanding(&self, node: &str, error: &WireError) -> Option<&'static str> {
        use std::io::ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable};
        match error {
            WireError::Server(_) => return None,
            WireError::Io(error)
                if matches!(error.kind(), ConnectionRefused | HostUnreachable | NetworkUnreachable) =>
            {
                return None;
            }
            WireError::Io(_) | WireError::Protocol(_) => {}
        }
        match &self.tls {
            Some(_) => {
                let greets = timeout(PROBE, tls::greets_in_clear(node)).await;
                matches!(greets, Ok(true))
                    .then_some("does not speak TLS: clear analytics_storage_config.use_ssl, or name its TLS port")
            }
            None => {
                let shakes = timeout(PROBE, tls::shakes_hands(node)).await;
                matches!(shakes, Ok(true)).then_some("speaks TLS: set analytics_storage_config.use_ssl")
            }
        }
    }

    async fn open(&self, node: &str) -> Result<Connection, WireError> {
        let invalid = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "host:port is expected");
        let (host, port) = node.rsplit_once(':').ok_or_else(invalid)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let port: u16 = port.parse().map_err(|_| invalid())?;
        let dialled = async {
            let stream = TcpStream::connect((host, port)).await?;
            stream.set_nodelay(true)?;
            let Some(tls) = &self.tls else {
                return Ok(Connection::new(Box::new(stream), self.settings.timeout));
            };
            let name = ServerName::try_from(host.to_owned()).map_err(|_| invalid())?;
            let stream = tls.connect(name, stream).await?;
            Ok(Connection::new(Box::new(stream), self.settings.timeout))
        };
        let late = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "timed out connecting");
        timeout(self.settings.timeout, dialled).await.map_err(late)?
    }
}

impl Map {
    fn find(&self, key: &str) -> Option<Arc<str>> {
        match self {
            Map::Unknown => None,
            Map::One(node) => Some(node.clone()),
            Map::Slots(slots) => {
                let slot = slot(key);
                let range = slots.iter().find(|(first, last, _)| (*first..=*last).contains(&slot))?;
                Some(range.2.clone())
            }
        }
    }
}

fn address(host: &str, port: &str) -> String {
    if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    }
}

/// Masters by slot range out of the reply of CLUSTER SLOTS. A node that does not know its own host is the one asked.
fn slots(reply: &Reply, asked: &str) -> Option<Vec<(u16, u16, Arc<str>)>> {
    let Reply::Array(ranges) = reply else { return None };
    let mut slots = Vec::with_capacity(ranges.len());
    for range in ranges {
        let Reply::Array(parts) = range else { return None };
        let [Reply::Int(first), Reply::Int(last), Reply::Array(master), ..] = &parts[..] else {
            return None;
        };
        let [host, Reply::Int(port), ..] = &master[..] else {
            return None;
        };
        let own = || asked.rsplit_once(':').map(|(host, _)| host);
        let host = host
            .text()
            .filter(|host| !host.is_empty() && *host != "?")
            .or_else(own)?;
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let node = address(host, &port.to_string());
        slots.push((u16::try_from(*first).ok()?, u16::try_from(*last).ok()?, node.into()));
    }
    Some(slots)
}
