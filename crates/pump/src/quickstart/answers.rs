//! What the records say, asked in SQL.

use std::{io::Write, path::Path};

use anyhow::Context;
use rusqlite::{Connection, OpenFlags};

const QUERY: &str = "SELECT api_name,
       count(*) AS requests,
       round(100.0 * sum(responsecode >= 400) / count(*), 1) AS errors,
       round(avg(requesttime), 1) AS ms
FROM tyk_analytics GROUP BY api_name ORDER BY requests DESC LIMIT 8";

struct Row {
    api: String,
    requests: i64,
    errors: f64,
    ms: f64,
}

/// How many records the database has; none when there is no table yet.
///
/// # Errors
/// The database cannot be read.
pub(super) fn rows(database: &Path) -> anyhow::Result<i64> {
    if !database.exists() {
        return Ok(0);
    }
    let connection = open(database)?;
    if !connection.table_exists(None, "tyk_analytics")? {
        return Ok(0);
    }
    Ok(connection.query_row("SELECT count(*) FROM tyk_analytics", [], |row| row.get(0))?)
}

fn open(database: &Path) -> anyhow::Result<Connection> {
    Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .with_context(|| database.display().to_string())
}

/// Shows the query and its answer.
///
/// # Errors
/// The database cannot be read.
pub(super) fn show(database: &Path, out: &mut dyn Write) -> anyhow::Result<()> {
    let connection = open(database)?;
    let mut statement = connection.prepare(QUERY)?;
    let rows = statement.query_map([], |row| {
        Ok(Row {
            api: row.get(0)?,
            requests: row.get(1)?,
            errors: row.get(2)?,
            ms: row.get(3)?,
        })
    })?;
    writeln!(out, "{QUERY}\n")?;
    writeln!(
        out,
        "  {:<32}{:>10}{:>10}{:>10}",
        "API", "requests", "errors", "mean ms"
    )?;
    for row in rows {
        let row = row?;
        writeln!(
            out,
            "  {:<32}{:>10}{:>9.1}%{:>10.1}",
            row.api, row.requests, row.errors, row.ms
        )?;
    }
    Ok(())
}
