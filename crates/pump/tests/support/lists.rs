//! Where records wait: a Redis, or the pump's own store. What operators meet must be the same over both.

use std::{net::TcpStream, path::Path};

use redis::Connection;
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;
use tyk_pump::{
    config::{EmbeddedSettings, Fsync, Secret},
    load::LoadOptions,
    source::embedded::EmbeddedSource,
};

use super::{
    Server,
    daemon::{Site, left},
    oracle::push_serials_to,
    redis,
};

/// Settings of a store in this folder, without limits that matter.
pub fn store_settings(dir: &Path, port: u16) -> EmbeddedSettings {
    EmbeddedSettings {
        listen: std::net::SocketAddr::from(([127, 0, 0, 1], port)),
        dir: dir.to_owned(),
        username: "default".to_owned(),
        password: Secret::default(),
        tls: None,
        max_bytes: 1 << 30,
        fsync: Fsync::Group,
        max_clients: 1000,
        max_command: 64 << 20,
        idle_timeout: std::time::Duration::from_secs(600),
    }
}

/// Every list that gateways push records to.
const RECORDS: &str = "analytics-tyk-system-analytics*";

/// What gateways push to.
pub enum Lists {
    /// A Redis of its own.
    Redis(Server),
    /// The pump itself.
    Pump,
}

impl Lists {
    /// An empty one of each kind; a Redis that is not installed is left out by name.
    pub fn both() -> impl Iterator<Item = Lists> {
        let makers: [fn() -> Option<Lists>; 2] = [|| redis("plain", &[]).map(Lists::Redis), || Some(Lists::Pump)];
        makers.into_iter().filter_map(|make| make())
    }

    /// A configuration that drains it into `pumps`; it is empty then.
    pub fn site(&self, pumps: Value) -> Site {
        match self {
            Lists::Redis(server) => {
                redis::cmd("FLUSHALL").exec(&mut server.client(0, "")).unwrap();
                Site::new(server, pumps)
            }
            // The store is in the site's folder: each has another.
            Lists::Pump => Site::embedded(serde_json::json!({}), pumps),
        }
    }
}

/// The store of a site whose pump does not run, open for pushing.
struct Opened {
    runtime: Runtime,
    source: EmbeddedSource,
    stop: CancellationToken,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.stop.cancel();
        self.runtime.block_on(self.source.close());
    }
}

/// A way to the lists of a site, for as long as it lives.
pub struct Way {
    address: String,
    _opened: Option<Opened>,
}

fn open_store(site: &Site, port: u16) -> Opened {
    let settings = store_settings(&site.path("store"), port);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    let source = EmbeddedSource::open(&settings, "analytics-", true).unwrap();
    let stop = CancellationToken::new();
    let server = runtime.block_on(source.listen(&settings)).unwrap();
    runtime.spawn(server.serve(stop.clone()));
    Opened { runtime, source, stop }
}

impl Site {
    /// Where a gateway would push to. A pump that has been started must have got as far as its port.
    ///
    /// The store of a pump that does not run is open until this is dropped; pushes in the meantime share it.
    pub fn way(&self) -> Way {
        if let Some(port) = self.redis_port() {
            let address = format!("127.0.0.1:{port}");
            return Way { address, _opened: None };
        }
        let port = self.store_port();
        let running = TcpStream::connect(("127.0.0.1", port)).is_ok();
        Way {
            address: format!("127.0.0.1:{port}"),
            _opened: (!running).then(|| open_store(self, port)),
        }
    }

    fn client(&self, way: &Way) -> Connection {
        let client = redis::Client::open(format!("redis://{}", way.address)).unwrap();
        let opened = way._opened.is_some();
        client
            .get_connection()
            .unwrap_or_else(|error| panic!("{} (opened for this: {opened}): {error}", way.address))
    }

    /// Pushes records with the serials `0..records`.
    pub fn push_serials(&self, options: LoadOptions) {
        push_serials_to(&self.way().address, options);
    }

    /// Pushes elements to a list, in order.
    pub fn push(&self, list: &str, elements: &[Vec<u8>]) {
        let way = self.way();
        let mut client = self.client(&way);
        for part in elements.chunks(500) {
            let mut pipe = redis::pipe();
            for element in part {
                pipe.cmd("RPUSH").arg(list).arg(element).ignore();
            }
            let () = pipe.query(&mut client).unwrap();
        }
    }

    /// How many elements wait unclaimed in a list.
    pub fn length(&self, list: &str) -> u64 {
        let way = self.way();
        redis::cmd("LLEN").arg(list).query(&mut self.client(&way)).unwrap()
    }

    /// Whether no list of records and no claim is left; `None` while nobody can say.
    pub fn is_empty(&self) -> Option<bool> {
        if self.redis_port().is_some() {
            let way = self.way();
            return Some(left(&mut self.client(&way)).is_empty());
        }
        let address = format!("127.0.0.1:{}", self.store_port());
        // Not `way`: the pump may not have opened its folder yet.
        TcpStream::connect(&address).ok()?;
        let client = redis::Client::open(format!("redis://{address}")).unwrap();
        let mut client = client.get_connection().ok()?;
        let lists: Vec<String> = redis::cmd("KEYS").arg(RECORDS).query(&mut client).ok()?;
        // In this order: records go from lists to claims.
        Some(lists.is_empty() && self.operate_json("claims list --json").is_empty())
    }

    /// Whether a pump that was started has claims, or nothing to claim. Claims in the pump's own store are seen by what it
    /// delivers.
    pub fn is_at_work(&self) -> bool {
        if self.redis_port().is_none() {
            let log = self.log();
            let run = log.rsplit("Starting purge loop").next().unwrap_or_default();
            return run.contains("Purged ") || self.is_empty() == Some(true);
        }
        let way = self.way();
        let left = left(&mut self.client(&way));
        left.is_empty() || left.iter().any(|key| key.starts_with("analytics-claim"))
    }

    /// Waits until the running pump has delivered everything.
    pub fn wait_until_empty(&self, seconds: u64) {
        self.wait("everything delivered", seconds, || {
            self.is_empty().filter(|empty| *empty)
        });
    }
}
