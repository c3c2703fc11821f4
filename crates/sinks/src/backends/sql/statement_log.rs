//! The log of statements that `log_level` asks for.

use std::{future::Future, time::Duration};

/// Statements that take longer are slow.
const SLOW: Duration = Duration::from_millis(200);

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
pub(crate) struct StatementLog {
    wanted: Wanted,
    prefix: &'static str,
}

impl StatementLog {
    pub(crate) fn new(level: &str, prefix: &'static str) -> StatementLog {
        let wanted = match level {
            "debug" => Wanted::All,
            "info" => Wanted::Slow,
            "warning" | "error" => Wanted::Failing,
            _ => Wanted::None,
        };
        StatementLog { wanted, prefix }
    }

    /// Awaits the outcome of `sql` and logs it.
    pub(crate) async fn run<T, E: std::fmt::Display>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failing_statements_are_logged_from_error_on() {
        let wanted = |level| StatementLog::new(level, "x").wanted;
        assert_eq!((wanted("error"), wanted("warning")), (Wanted::Failing, Wanted::Failing));
        assert_eq!((wanted("info"), wanted("debug")), (Wanted::Slow, Wanted::All));
        assert_eq!((wanted(""), wanted("warn")), (Wanted::None, Wanted::None));
    }
}
