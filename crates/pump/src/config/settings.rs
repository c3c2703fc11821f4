//! The effective configuration, typed: file, environment and secrets applied.

use std::{net::SocketAddr, num::NonZeroU64, path::PathBuf, sync::Arc, time::Duration};

use analytics::{Filter, Transform, logrus::LogForm};
use serde_json::Value;

pub use store::{Fsync, ServerTls};

/// A text that cannot be printed by accident.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { "***" })
    }
}

/// How to reach Redis: `analytics_storage_config` after all overrides.
#[derive(Clone, Debug)]
pub struct RedisSettings {
    /// Where the servers are.
    pub topology: RedisTopology,
    /// `host:port` of servers, sentinels or cluster seeds; never empty.
    pub addrs: Vec<String>,
    /// ACL user; empty = default.
    pub username: String,
    /// Password; empty = none.
    pub password: Secret,
    /// Database of the single and sentinel topologies.
    pub database: i64,
    /// Dial, read and write timeout.
    pub timeout: Duration,
    /// `key_prefix`, normally `analytics-`.
    pub key_prefix: String,
    /// TLS, if wanted.
    pub tls: Option<TlsSettings>,
}

/// Kinds of Redis set-ups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RedisTopology {
    /// One server: the first address.
    Single,
    /// The master that sentinels know under this name.
    Sentinel {
        /// `master_name`
        master: String,
        /// `sentinel_password`
        password: Secret,
    },
    /// Redis Cluster.
    Cluster,
}

/// TLS towards Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// `ssl_insecure_skip_verify`
    pub skip_verify: bool,
    /// `ssl_ca_file`: replaces the system's roots.
    pub ca_file: Option<PathBuf>,
    /// `ssl_cert_file` and `ssl_key_file`.
    pub identity: Option<(PathBuf, PathBuf)>,
    /// `ssl_min_version`
    pub min_version: TlsVersion,
    /// `ssl_max_version`
    pub max_version: TlsVersion,
}

/// TLS versions that are spoken (1.0 and 1.1 are accepted in settings, and raised to 1.2 with a warning).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// The pump's own store: `embedded_storage`.
#[derive(Clone, Debug)]
pub struct EmbeddedSettings {
    /// `listen`
    pub listen: SocketAddr,
    /// `dir`
    pub dir: PathBuf,
    /// `username`, normally `default`.
    pub username: String,
    /// `password`; empty = none, which only loopback addresses may have.
    pub password: Secret,
    /// `tls`
    pub tls: Option<ServerTls>,
    /// `max_bytes` on disk.
    pub max_bytes: u64,
    /// `fsync`
    pub fsync: Fsync,
    /// `max_clients`
    pub max_clients: usize,
    /// `max_command_size` in bytes.
    pub max_command: usize,
    /// `idle_timeout`
    pub idle_timeout: Duration,
}

/// Where the admin pages are, and who may act there.
#[derive(Clone, Debug, Default)]
pub struct AdminAccess {
    /// `admin_listen`; `None`: on the port of the health endpoint.
    pub listen: Option<SocketAddr>,
    /// `admin_token`; empty: programs on this machine may act.
    pub token: Secret,
    /// `admin_hosts`: names of this machine beside `localhost`.
    pub hosts: Vec<String>,
}

/// `delivery.*`.
#[derive(Clone, Debug)]
pub struct DeliverySettings {
    /// `mode`
    pub mode: ModeChoice,
    /// `lease`, 30 s.
    pub lease: Duration,
    /// `instance_id`; default: host name and a hash of the configuration's path.
    pub instance_id: String,
    /// `max_unacked` in bytes; `None`: 256 MiB or 10 % of Redis' `maxmemory`, the smaller.
    pub max_unacked: Option<u64>,
    /// `max_backlog` in bytes; `None`: 8 × `max_unacked`.
    pub max_backlog: Option<u64>,
    /// `memory_budget` in bytes: windows that are held in memory.
    pub memory_budget: u64,
    /// `spool_dir`
    pub spool_dir: Option<PathBuf>,
    /// `write_stall`, 60 s.
    pub write_stall: Duration,
    /// `stop_deadline`, 10 s.
    pub stop_deadline: Duration,
    /// `dead_letter_max_count` per pump.
    pub dead_letter_max_count: u64,
    /// `dead_letter_max_bytes` per pump.
    pub dead_letter_max_bytes: u64,
}

/// `delivery.mode`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum ModeChoice {
    Auto,
    Claims,
    Peek,
    Legacy,
}

/// What to do for a failing pump when the budget is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFull {
    /// Move rows to disk.
    Spool,
    /// Skip the oldest rows, counted and logged.
    DropOldest,
    /// Stop claiming.
    Block,
}

/// One entry of `pumps`, resolved. `Debug` leaves `meta` out: it holds secrets.
#[derive(Clone)]
pub struct PumpSettings {
    /// Key in `pumps`, upper-cased.
    pub name: Arc<str>,
    /// Type as given (or the key), lower-cased; possibly unknown.
    pub kind: String,
    /// Filters.
    pub filter: Filter,
    /// What it changes about records. The global `max_record_size` is already applied.
    pub transform: Transform,
    /// Write timeout.
    pub timeout: Option<Duration>,
    /// `compat` of the pump or the whole configuration.
    pub compat: bool,
    /// `max_records_per_second`
    pub most_per_second: Option<NonZeroU64>,
    /// `on_full`
    pub on_full: OnFull,
    /// `meta` after environment and secrets, keys spelled as in the sink's schema.
    pub meta: Value,
    /// Why this pump must not start although the others may: its type is unknown or not in this binary, or a filter has a
    /// value of the wrong type. A finding of the same text says so when the configuration is loaded.
    pub refused: Option<String>,
}

impl std::fmt::Debug for PumpSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PumpSettings")
            .field("name", &self.name)
            .field("kind", &self.kind)
            .field("filter", &self.filter)
            .field("transform", &self.transform)
            .field("timeout", &self.timeout)
            .field("compat", &self.compat)
            .field("most_per_second", &self.most_per_second)
            .field("on_full", &self.on_full)
            .field("refused", &self.refused)
            .finish_non_exhaustive()
    }
}

/// Everything.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Redis.
    pub redis: RedisSettings,
    /// The pump's own store; `None`: records come from Redis.
    pub embedded: Option<EmbeddedSettings>,
    /// Delivery.
    pub delivery: DeliverySettings,
    /// Pumps in the order of the file, then those of the environment.
    pub pumps: Vec<PumpSettings>,
    /// The uptime pump (`uptime_pump_config`): type `mongo` or `sql` with its settings as `meta`; `None`: uptime data stays in Redis.
    pub uptime: Option<PumpSettings>,
    /// `compat` of the whole configuration.
    pub compat: bool,
    /// `purge_delay`, 1 s by default.
    pub purge_delay: Duration,
    /// `purge_chunk`, 0 = no limit: lowers the rows of a batch.
    pub purge_chunk: u64,
    /// `storage_expiration_time`
    pub storage_expiration_time: u64,
    /// Form and level of the log.
    pub log: LogForm,
    /// Health endpoint name, without slash.
    pub health_name: String,
    /// Its port.
    pub health_port: u16,
    /// The other pages.
    pub admin: AdminAccess,
    /// `enable_http_profiler`
    pub profiler: bool,
    /// StatsD address of the self-metrics; `None`: off.
    pub statsd: Option<StatsdSettings>,
}

impl Settings {
    /// Pumps that may start.
    pub fn usable_pumps(&self) -> impl Iterator<Item = &PumpSettings> {
        self.pumps.iter().filter(|pump| pump.refused.is_none())
    }
}

/// Self-metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatsdSettings {
    /// `host:port`
    pub address: String,
    /// Prefix without trailing dot.
    pub prefix: String,
}
