//! The pump that is measured: its configuration, its process, what it says about itself.

use std::{
    fs::{self, File},
    io::{Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::ValueEnum;
use rustix::process::Signal;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use crate::{process, redis};

const STOP_LIMIT: Duration = Duration::from_secs(20);
/// Lines of the log that an error shows.
const LOG_TAIL: usize = 15;

/// Where records go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    /// Nowhere.
    Dummy,
    /// Files in a directory.
    Csv,
    /// JSON lines to /dev/null.
    Stdout,
    /// Batches for a collector that only counts.
    Splunk,
    /// Documents for a node that only counts.
    Elasticsearch,
    /// Rows of a new database on the server that PUMP_TEST_POSTGRES names.
    Postgres,
    /// Aggregates, likewise.
    PostgresAggregate,
}

impl Kind {
    /// Whether its back-end is a server of the benchmark.
    pub(crate) fn is_http(self) -> bool {
        matches!(self, Kind::Splunk | Kind::Elasticsearch)
    }

    /// Whether its back-end is a database.
    pub(crate) fn is_database(self) -> bool {
        matches!(self, Kind::Postgres | Kind::PostgresAggregate)
    }
}

/// A configuration in a folder of its own, and the binary that runs with it.
pub(crate) struct Setup {
    bin: PathBuf,
    kind: Kind,
    health_port: u16,
    folder: TempDir,
}

impl Setup {
    /// Writes the configuration; `delivery` are options that the original pump does not know.
    pub(crate) fn new(bin: &Path, kind: Kind, redis_port: u16, delivery: Map<String, Value>) -> anyhow::Result<Setup> {
        Self::towards("", bin, kind, redis_port, delivery)
    }

    /// The same for a kind whose back-end listens at `url`.
    pub(crate) fn towards(
        url: &str,
        bin: &Path,
        kind: Kind,
        redis_port: u16,
        delivery: Map<String, Value>,
    ) -> anyhow::Result<Setup> {
        let setup = Setup {
            bin: fs::canonicalize(bin).with_context(|| format!("binary {}", bin.display()))?,
            kind,
            health_port: redis::free_port()?,
            folder: tempfile::tempdir()?,
        };
        let database = json!({"type": "postgres", "connection_string": url});
        let pump = match kind {
            Kind::Dummy => json!({"type": "dummy"}),
            Kind::Csv => json!({"type": "csv", "meta": {"csv_dir": setup.csv_dir()}}),
            Kind::Stdout => json!({"type": "stdout", "meta": {"format": "json"}}),
            Kind::Splunk => {
                json!({"type": "splunk", "meta": {"collector_token": "t", "collector_url": url, "enable_batch": true}})
            }
            Kind::Elasticsearch => json!({"type": "elasticsearch", "meta": {"elasticsearch_url": url, "version": "7"}}),
            Kind::Postgres => json!({"type": "sql", "meta": database}),
            Kind::PostgresAggregate => json!({"type": "sql_aggregate", "meta": database}),
        };
        let mut config = json!({
            "analytics_storage_type": "redis",
            "analytics_storage_config": {"type": "redis", "host": "127.0.0.1", "port": redis_port},
            "purge_delay": 1,
            "dont_purge_uptime_data": true,
            "health_check_endpoint_port": setup.health_port,
            "pumps": {"bench": pump},
        });
        if !delivery.is_empty() {
            config["delivery"] = Value::Object(delivery);
        }
        fs::write(setup.config(), serde_json::to_vec_pretty(&config)?)?;
        Ok(setup)
    }

    fn config(&self) -> PathBuf {
        self.folder.path().join("pump.conf")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("pump.log")
    }

    /// Where the CSV files go.
    pub(crate) fn csv_dir(&self) -> PathBuf {
        self.folder.path().join("csv")
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Starts the binary, without variables that would change its configuration.
    pub(crate) fn start(&self) -> anyhow::Result<Pump<'_>> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new(&self.bin);
        command.arg("-c").arg(self.config()).current_dir(self.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TYK_") {
                command.env_remove(name);
            }
        }
        let child = command.spawn().with_context(|| self.bin.display().to_string())?;
        Ok(Pump { child, setup: self })
    }

    /// The last lines that it logged.
    pub(crate) fn log_tail(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_TAIL)..].join("\n")
    }
}

/// A running pump; killed with the value.
pub(crate) struct Pump<'a> {
    child: Child,
    pub(crate) setup: &'a Setup,
}

impl Pump<'_> {
    pub(crate) fn cpu_seconds(&self) -> anyhow::Result<f64> {
        process::cpu_seconds(self.child.id())
    }

    pub(crate) fn peak_memory(&self) -> anyhow::Result<u64> {
        process::peak_memory(self.child.id())
    }

    /// Fails with its last words if it has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("the pump has ended ({status}); its log:\n{}", self.setup.log_tail()),
            None => Ok(()),
        }
    }

    /// Ends it without notice.
    pub(crate) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(crate) fn pause(&self) -> anyhow::Result<()> {
        process::signal(self.child.id(), Signal::STOP)
    }

    pub(crate) fn go_on(&self) -> anyhow::Result<()> {
        process::signal(self.child.id(), Signal::CONT)
    }

    /// Asks it to stop and waits until it has.
    pub(crate) fn stop(&mut self) -> anyhow::Result<()> {
        process::signal(self.child.id(), Signal::TERM)?;
        let asked = Instant::now();
        while asked.elapsed() < STOP_LIMIT {
            if self.child.try_wait()?.is_some() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("the pump does not stop; its log:\n{}", self.setup.log_tail())
    }

    /// Rows that its `/status` says are delivered; `None`: it has no such page.
    pub(crate) fn delivered(&self) -> anyhow::Result<Option<u64>> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.setup.health_port)).context("health port")?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /status HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let Some((_, body)) = answer.split_once("\r\n\r\n").filter(|(head, _)| head.contains(" 200 ")) else {
            return Ok(None);
        };
        let status: Value = serde_json::from_str(body).context("/status")?;
        Ok(status["pumps"][0]["delivered"].as_u64())
    }
}

impl Drop for Pump<'_> {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
