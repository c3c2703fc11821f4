//! Statements: quoting, and their log.

use std::{future::Future, time::Duration};

/// Statements that take longer are slow.
const SLOW: Duration = Duration::from_millis(200);

/// An identifier in quotes; `a.b` stays two.
pub(super) fn quote(name: &str) -> String {
    let part = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    match super::super::table::split_name(name) {
        (Some(schema), table) => format!("{}.{}", part(schema), part(table)),
        (None, table) => part(table),
    }
}

/// A column or index in quotes.
pub(super) fn quote_part(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal, whatever `standard_conforming_strings` is.
pub(super) fn literal(text: &str) -> String {
    let text = text.replace('\'', "''").replace('\0', "");
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\")),
        false => format!("'{text}'"),
    }
}

/// Which statements are logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    None,
    Failing,
    Slow,
    All,
}

/// The log of statements that `log_level` asks for. Values of records are never part of a statement's text.
#[derive(Clone, Debug)]
pub(super) struct StatementLog {
    wanted: Wanted,
    prefix: &'static str,
}

impl StatementLog {
    pub(super) fn new(level: &str, prefix: &'static str) -> StatementLog {
        let wanted = match level {
            "debug" => Wanted::All,
            "info" => Wanted::Slow,
            "warning" | "error" => Wanted::Failing,
            _ => Wanted::None,
        };
        StatementLog { wanted, prefix }
    }

    /// Awaits the outcome of `sql` and logs it.
    pub(super) async fn run<T, E: std::fmt::Display>(
        &self,
        sql: &str,
        outcome: impl Future<Output = Result<T, E>>,
    ) -> Result<T, E> {
        if self.wanted == Wanted::None {
            return outcome.await;
        }
        let start = std::time::Instant::now();
        let outcome = outcome.await;
        let took = start.elapsed();
        match &outcome {
            Err(error) => tracing::error!(prefix = self.prefix, "{sql} – failed after {took:.1?}: {error}"),
            Ok(_) if self.wanted == Wanted::All => tracing::info!(prefix = self.prefix, "{sql} – {took:.1?}"),
            Ok(_) if self.wanted == Wanted::Slow && took >= SLOW => {
                tracing::warn!(prefix = self.prefix, "slow: {sql} – {took:.1?}");
            }
            Ok(_) => {}
        }
        outcome
    }
}
