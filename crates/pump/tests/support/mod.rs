//! Real servers for tests, on free ports, stopped when the test ends.
#![allow(dead_code, unreachable_pub)] // every test binary uses another part

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

pub mod daemon;
pub mod deck;
pub mod kills;
pub mod lists;
pub mod oracle;
pub mod promises;

pub use fakes::ports::free_ports;
use tempfile::TempDir;
use tyk_pump::{
    config::{DeliverySettings, ModeChoice, RedisSettings, RedisTopology, Secret},
    source::redis::{ListSettings, RedisSource},
};

/// Folder of the scripts that start servers.
fn services() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/services")
}

/// A server, or a set of them, that a script started.
pub struct Server {
    script: PathBuf,
    arguments: Vec<String>,
    pub folder: TempDir,
    pub port: u16,
}

impl Server {
    /// `None`, with the reason printed, when what it needs is not installed.
    fn start(script: &str, port: u16, arguments: &[&str]) -> Option<Server> {
        for (program, package) in [
            ("redis-server", "redis-server"),
            ("redis-cli", "redis-tools"),
            ("openssl", "openssl"),
        ] {
            if Command::new(program).arg("--version").output().is_err() {
                fakes::server::skip(&format!("{program} is not installed (apt-get install {package})"));
                return None;
            }
        }
        let server = Server {
            script: services().join(script),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            folder: TempDir::new().unwrap(),
            port,
        };
        server.start_again();
        Some(server)
    }

    /// Starts it after `act("stop")`, as it was started first.
    pub fn start_again(&self) {
        let mut command = Command::new(&self.script);
        command
            .arg("start")
            .arg(self.folder.path())
            .arg(self.port.to_string())
            .args(&self.arguments);
        let output = command.output().unwrap();
        assert!(
            output.status.success(),
            "{:?}: {}",
            self.arguments,
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Runs another action of the script that started it.
    pub fn act(&self, action: &str) {
        let output = Command::new(&self.script)
            .arg(action)
            .arg(self.folder.path())
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{action}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// Ends it as a power cut would.
    pub fn crash(&self) {
        let mut command = Command::new(&self.script);
        command.arg("stop").arg(self.folder.path()).env("STOP_SIGNAL", "KILL");
        assert!(command.output().unwrap().status.success());
    }

    pub fn addr(&self, node: u16) -> String {
        format!("127.0.0.1:{}", self.port + node)
    }

    /// An independent client, to push and to look.
    pub fn client(&self, node: u16, password: &str) -> redis::Connection {
        self.try_client(node, password).unwrap()
    }

    /// The same while a server may be away.
    pub fn try_client(&self, node: u16, password: &str) -> redis::RedisResult<redis::Connection> {
        let login = if password.is_empty() {
            String::new()
        } else {
            format!(":{password}@")
        };
        let url = format!("redis://{login}{}", self.addr(node));
        redis::Client::open(url)?.get_connection()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(
            Command::new(&self.script)
                .arg("stop")
                .arg(self.folder.path())
                .env("STOP_SIGNAL", "KILL")
                .output(),
        );
    }
}

/// One Redis in a mode of `redis.sh`, with further arguments of redis-server.
pub fn redis(mode: &str, arguments: &[&str]) -> Option<Server> {
    let mut all = vec![mode];
    all.extend(arguments);
    Server::start("redis.sh", free_ports(1, &[]), &all)
}

/// A broker of Kafka with these settings, beside the one that tests share.
pub fn kafka(settings: &[&str]) -> Option<Server> {
    fakes::server::address("kafka")?;
    Server::start("kafka.sh", free_ports(5, &[9]), settings)
}

/// Redis Cluster of three masters.
pub fn redis_cluster() -> Option<Server> {
    Server::start("redis-cluster.sh", free_ports(3, &[10, 11, 12]), &[])
}

/// Master, replica and sentinels.
pub fn redis_sentinel() -> Option<Server> {
    Server::start("redis-sentinel.sh", free_ports(5, &[]), &[])
}

/// Settings of a plain Redis at an address.
pub fn redis_settings(addr: String) -> RedisSettings {
    RedisSettings {
        topology: RedisTopology::Single,
        addrs: vec![addr],
        username: String::new(),
        password: Secret::default(),
        database: 0,
        timeout: Duration::from_secs(5),
        key_prefix: "analytics-".to_owned(),
        tls: None,
    }
}

pub fn delivery_settings(instance: &str, mode: ModeChoice, lease: Duration) -> DeliverySettings {
    DeliverySettings {
        mode,
        lease,
        instance_id: instance.to_owned(),
        max_unacked: None,
        max_backlog: None,
        memory_budget: 64 << 20,
        spool_dir: None,
        stop_deadline: Duration::from_secs(10),
        write_stall: Duration::from_secs(60),
        dead_letter_max_count: 1000,
        dead_letter_max_bytes: 1 << 20,
    }
}

pub const LISTS: ListSettings = ListSettings {
    uptime: true,
    purge_chunk: 0,
    expiration: 60,
};

pub fn source(redis: &RedisSettings, instance: &str, mode: ModeChoice, lease: Duration) -> RedisSource {
    RedisSource::new(redis, &delivery_settings(instance, mode, lease), LISTS).unwrap()
}

/// Polls until the answer is there; fails after 20 s.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
