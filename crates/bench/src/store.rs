//! How fast the pump's own store takes records, beside a Redis that writes them to disk, and what a backlog costs in
//! memory.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use serde_json::json;
use tempfile::TempDir;

use crate::{
    process, redis,
    wire::{self, Client},
};

const START_LIMIT: Duration = Duration::from_secs(20);
/// No list that a pump reads: what is pushed stays.
const LIST: &[u8] = b"bench-store";

/// What to measure.
pub(crate) struct Plan {
    pub(crate) bin: PathBuf,
    pub(crate) records: u64,
    pub(crate) size: usize,
    pub(crate) clients: u64,
    pub(crate) pipeline: u64,
    pub(crate) runs: usize,
    pub(crate) fsync: String,
    pub(crate) only_store: bool,
}

/// A server that is being measured. Its folder lies where the command is run, which should be a disk.
struct Measured {
    name: &'static str,
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Drop for Measured {
    fn drop(&mut self) {
        // Nothing of it is wanted any more.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Measured {
    fn redis() -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(".")?;
        let port = redis::free_port()?;
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args([
                "--appendonly",
                "yes",
                "--appendfsync",
                "everysec",
                "--loglevel",
                "warning",
                "--dir",
            ])
            .arg(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server cannot be started: is it installed?")?;
        Self::wait("redis, appendfsync everysec", child, port, folder)
    }

    fn store(plan: &Plan) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir_in(".")?;
        let (port, health) = (redis::free_port()?, redis::free_port()?);
        let config = json!({
            "analytics_storage_type": "embedded",
            "embedded_storage": {
                "listen": format!("127.0.0.1:{port}"), "dir": folder.path().join("store"), "fsync": plan.fsync,
                "max_bytes": "100GiB",
            },
            "dont_purge_uptime_data": true,
            "health_check_endpoint_port": health,
            "pumps": {"bench": {"type": "dummy"}},
        });
        let conf = folder.path().join("pump.conf");
        fs::write(&conf, config.to_string())?;
        let bin = fs::canonicalize(&plan.bin).with_context(|| format!("binary {}", plan.bin.display()))?;
        let child = Command::new(bin)
            .arg("-c")
            .arg(&conf)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()
            .context("the pump cannot be started")?;
        Self::wait("embedded store", child, port, folder)
    }

    fn wait(name: &'static str, child: Child, port: u16, folder: TempDir) -> anyhow::Result<Self> {
        let mut measured = Measured {
            name,
            child,
            port,
            _folder: folder,
        };
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            if let Some(status) = measured.child.try_wait()? {
                bail!("{name} stopped at once: {status}");
            }
            if Client::connect(port)
                .and_then(|mut client| client.call(&[b"PING"]))
                .is_ok()
            {
                return Ok(measured);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("{name} does not answer on port {port}")
    }

    /// Pushes all records; the rate is that of replies.
    fn measure(&self, plan: &Plan) -> anyhow::Result<f64> {
        let share = plan.records / plan.clients;
        let begun = Instant::now();
        thread::scope(|scope| {
            let clients: Vec<_> = (0..plan.clients)
                .map(|_| scope.spawn(|| push(self.port, share, plan)))
                .collect();
            for client in clients {
                match client.join() {
                    Ok(result) => result?,
                    Err(_) => bail!("a client panicked"),
                }
            }
            Ok(())
        })?;
        Ok((share * plan.clients) as f64 / begun.elapsed().as_secs_f64())
    }
}

fn push(port: u16, records: u64, plan: &Plan) -> anyhow::Result<()> {
    let mut client = Client::connect(port)?;
    let mut commands = Vec::new();
    let record = vec![b'r'; plan.size];
    for _ in 0..plan.pipeline {
        wire::encode(&mut commands, &[b"RPUSH", LIST, &record]);
    }
    let mut left = records / plan.pipeline;
    while left > 0 {
        client.send(&commands)?;
        for _ in 0..plan.pipeline {
            client.read()?;
        }
        left -= 1;
    }
    Ok(())
}

/// Measures in turns, and prints.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<()> {
    println!(
        "{} records of {} bytes, {} clients, pipelines of {}, fsync {}",
        plan.records, plan.size, plan.clients, plan.pipeline, plan.fsync
    );
    for run in 1..=plan.runs {
        let starts: &[fn(&Plan) -> anyhow::Result<Measured>] = match plan.only_store {
            true => &[Measured::store],
            false => &[|_| Measured::redis(), Measured::store],
        };
        for start in starts {
            let measured = start(plan)?;
            let rate = measured.measure(plan)?;
            let peak = process::peak_memory(measured.child.id())? as f64 / 1e6;
            println!(
                "run {run}: {:<30} {rate:>10.0} RPUSH/s, at most {peak:.0} MB in memory",
                measured.name
            );
        }
    }
    Ok(())
}
