//! What an error from Redis means for us: try again, look for the server again, or give up.

use anyhow::anyhow;
use redis::{RedisError, Value};

use super::wire::WireError;
use crate::source::SourceError;

/// An error, and whether connections and the map of servers are to be made anew.
pub(super) struct Failure {
    pub(super) error: SourceError,
    pub(super) drop_connections: bool,
}

/// Answers of a server that is the wrong one by now, or not ready.
const ELSEWHERE: [&str; 7] = [
    "MOVED",
    "ASK",
    "READONLY",
    "LOADING",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "UNBLOCKED",
];
/// Answers of a server that cannot just now.
const LATER: [&str; 6] = ["TRYAGAIN", "OOM", "BUSY", "MISCONF", "NOREPLICAS", "EXECABORT"];

/// Judges an error reply. Older servers wrap the code of an error inside a script: `... -OOM command not allowed`.
pub(super) fn of_reply(text: &str) -> Failure {
    let says = |codes: &[&str]| {
        let first = text.split(' ').next().unwrap_or_default();
        let wrapped = |code: &&str| text.contains(&format!(" -{code} "));
        codes.contains(&first) || text.contains("script") && codes.iter().any(wrapped)
    };
    let drop_connections = says(&ELSEWHERE);
    let error = anyhow!("{text}");
    let error = if drop_connections || says(&LATER) || text.contains("max number of clients reached") {
        SourceError::Unavailable(error)
    } else {
        SourceError::Refused(error)
    };
    Failure {
        error,
        drop_connections,
    }
}

/// Whether an answer says that this user may not do that, or not with that key.
pub(super) fn is_forbidden(error: &anyhow::Error) -> bool {
    error.to_string().contains("NOPERM")
}

/// The same, with the set-up that it comes from and what to change. `sharded`: a cluster is configured; `followed`: its
/// master is looked up with sentinels.
pub(super) fn explain(failure: Failure, node: &str, sharded: bool, followed: bool) -> Failure {
    let text = match &failure.error {
        SourceError::Unavailable(error) => error.to_string(),
        _ => return failure,
    };
    let first = text.split(' ').next().unwrap_or_default();
    let advice = match first {
        "MOVED" | "ASK" if !sharded => {
            "is a node of a Redis Cluster, and keys lie on other nodes: set analytics_storage_config.enable_cluster"
        }
        "READONLY" if !sharded && !followed => {
            "is a read-only replica: name the master in analytics_storage_config, or its sentinels with master_name"
        }
        _ => return failure,
    };
    Failure {
        error: SourceError::Unavailable(anyhow!("Redis at {node} {advice} ({text})")),
        ..failure
    }
}

/// Whether Redis refused a write because its memory is full.
pub(super) fn is_full(error: &SourceError) -> bool {
    matches!(error, SourceError::Unavailable(error) if error.to_string().starts_with("OOM"))
}

pub(super) fn of_wire(error: &WireError) -> Failure {
    match error {
        WireError::Server(text) => of_reply(text),
        other => Failure {
            error: SourceError::Unavailable(anyhow!("{other}")),
            drop_connections: true,
        },
    }
}

pub(super) fn of_client(error: &RedisError) -> Failure {
    match error.code() {
        Some(code) => of_reply(&format!("{code} {}", error.detail().unwrap_or_default())),
        None => Failure {
            error: SourceError::Unavailable(anyhow!("{error}")),
            drop_connections: true,
        },
    }
}

/// The text of an error among the values of a pipeline.
pub(super) fn text(value: &Value) -> Option<String> {
    let Value::ServerError(error) = value else { return None };
    Some(format!("{} {}", error.code(), error.details().unwrap_or_default()))
}

/// A value that says that the whole pipeline went to the wrong server.
pub(super) fn elsewhere(value: &Value) -> Option<Failure> {
    let failure = of_reply(&text(value)?);
    failure.drop_connections.then_some(failure)
}

impl SourceError {
    /// Puts where it happened in front.
    pub(super) fn context(self, place: std::fmt::Arguments<'_>) -> SourceError {
        match self {
            SourceError::Unavailable(error) => SourceError::Unavailable(anyhow!("{place}: {error}")),
            SourceError::Refused(error) => SourceError::Refused(anyhow!("{place}: {error}")),
            other => other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_judged_by_their_code() {
        for (text, unavailable, drop) in [
            ("MOVED 609 127.0.0.1:7001", true, true),
            ("READONLY You can't write against a read only replica.", true, true),
            ("OOM command not allowed when used memory > 'maxmemory'.", true, false),
            (
                "ERR Error running script (call to f_1): @user_script:1: -OOM command not allowed",
                true,
                false,
            ),
            ("ERR max number of clients reached", true, false),
            ("NOPERM this user has no permissions", false, false),
            ("WRONGPASS invalid username-password pair", false, false),
            ("ERR unknown command 'EVALSHA'", false, false),
        ] {
            let failure = of_reply(text);
            let is_unavailable = matches!(failure.error, SourceError::Unavailable(_));
            assert_eq!(
                (is_unavailable, failure.drop_connections),
                (unavailable, drop),
                "{text}"
            );
        }
    }
}
