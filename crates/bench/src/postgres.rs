//! A database of its own on a Postgres server, and a bare client's COPY of the same rows. Needs psql.

use std::{path::Path, process::Command, time::Instant};

use anyhow::{Context, bail};

/// Dropped with its tables at the end.
pub(crate) struct Database {
    server: String,
    name: String,
    url: String,
}

impl Database {
    /// `server` is a URL of a role that may create databases.
    pub(crate) fn create(server: &str) -> anyhow::Result<Database> {
        let (start, _) = server.rsplit_once('/').context("--server is no URL with a database")?;
        let name = format!("bench_{}", ulid::Ulid::new().to_string().to_lowercase());
        psql(server, &[&format!("CREATE DATABASE {name}")])?;
        Ok(Database {
            url: format!("{start}/{name}"),
            server: server.to_owned(),
            name,
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Rows of the pump's table.
    pub(crate) fn rows(&self) -> anyhow::Result<u64> {
        let count = psql(&self.url, &["SELECT count(*) FROM tyk_analytics"])?;
        count.trim().parse().context("count(*)")
    }

    /// Rows a second when psql copies the same rows, in binary, from a file into an empty table.
    pub(crate) fn bare_copy(&self, folder: &Path, rows: u64) -> anyhow::Result<f64> {
        let file = folder.join("rows.copy");
        let export = format!("\\copy tyk_analytics to '{}' (format binary)", file.display());
        psql(&self.url, &[&export, "CREATE TABLE bare (LIKE tyk_analytics)"])?;
        let import = format!("\\copy bare from '{}' (format binary)", file.display());
        let started = Instant::now();
        psql(&self.url, &[&import])?;
        let seconds = started.elapsed().as_secs_f64();
        std::fs::remove_file(&file)?;
        Ok(rows as f64 / seconds)
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = psql(&self.server, &[&format!("DROP DATABASE {} WITH (FORCE)", self.name)]);
    }
}

fn psql(url: &str, commands: &[&str]) -> anyhow::Result<String> {
    let mut psql = Command::new("psql");
    psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", url]);
    for command in commands {
        psql.args(["-c", command]);
    }
    let output = psql.output().context("psql")?;
    if !output.status.success() {
        bail!("psql: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?)
}
