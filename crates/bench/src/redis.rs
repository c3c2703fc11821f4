//! A Redis of one's own: on a free port, in memory alone, gone with the value.

use std::{
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tempfile::TempDir;

use crate::{
    process,
    wire::{Client, Reply},
};

const START_LIMIT: Duration = Duration::from_secs(10);

/// A running redis-server.
pub(crate) struct Redis {
    child: Child,
    pub(crate) port: u16,
    _directory: TempDir,
}

impl Redis {
    pub(crate) fn start() -> anyhow::Result<Redis> {
        let directory = tempfile::tempdir()?;
        let port = free_port()?;
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", ""])
            .args(["--appendonly", "no", "--loglevel", "warning", "--dir"])
            .arg(directory.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("redis-server cannot be started: is it installed?")?;
        let mut redis = Redis {
            child,
            port,
            _directory: directory,
        };
        redis.wait()?;
        Ok(redis)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            if let Some(status) = self.child.try_wait()? {
                bail!("redis-server stopped at once: {status}");
            }
            if self.client().and_then(|mut client| client.call(&[b"PING"])).is_ok() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        bail!("redis-server does not answer on port {}", self.port)
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::connect(self.port)
    }

    /// Most memory that the server had, bytes.
    pub(crate) fn peak_memory(&self) -> anyhow::Result<u64> {
        process::peak_memory(self.child.id())
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        // Nothing can be done about a server that is gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that nobody uses now.
pub(crate) fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

/// Names of all keys that match a pattern.
pub(crate) fn keys(client: &mut Client, pattern: &str) -> anyhow::Result<Vec<String>> {
    let Reply::List(names) = client.call(&[b"KEYS", pattern.as_bytes()])? else {
        bail!("KEYS answered something else than a list");
    };
    let names = names.into_iter().filter_map(|name| match name {
        Reply::Text(name) => Some(String::from_utf8_lossy(&name).into_owned()),
        _ => None,
    });
    Ok(names.collect())
}

/// Version of the server.
pub(crate) fn version(client: &mut Client) -> anyhow::Result<String> {
    let Reply::Text(info) = client.call(&[b"INFO", b"server"])? else {
        bail!("INFO answered something else than a text");
    };
    let info = String::from_utf8_lossy(&info);
    let version = info.lines().find_map(|line| line.strip_prefix("redis_version:"));
    Ok(version.unwrap_or("unknown").to_owned())
}
