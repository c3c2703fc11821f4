//! Scripts in Redis: by their hash, with the text for a server that does not know them (any more).

use std::sync::LazyLock;

use redis::{Cmd, Value};

use super::connect::Link;
use crate::source::SourceError;

/// A script and its hash.
pub(super) struct Script {
    text: &'static str,
    hash: String,
}

impl Script {
    fn new(text: &'static str) -> Script {
        let hash = redis::Script::new(text).get_hash().to_owned();
        Script { text, hash }
    }

    fn command(name: &str, what: &str, keys: &[String], arguments: &[Vec<u8>]) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(what).arg(keys.len()).arg(keys).arg(arguments);
        command
    }

    /// Runs it on the server that has `keys`.
    pub(super) async fn run(&self, link: &Link, keys: &[String], arguments: &[Vec<u8>]) -> Result<Value, SourceError> {
        let home = keys.first().map(String::as_str).unwrap_or_default();
        let by_hash = Script::command("EVALSHA", &self.hash, keys, arguments);
        match link.run(home, &by_hash).await {
            Err(SourceError::Refused(error)) if error.to_string().starts_with("NOSCRIPT") => {
                link.run(home, &Script::command("EVAL", self.text, keys, arguments))
                    .await
            }
            other => other,
        }
    }
}

/// One argument of a script.
pub(super) fn argument(value: impl ToString) -> Vec<u8> {
    value.to_string().into_bytes()
}

macro_rules! scripts {
    ($($name:ident = $file:literal;)*) => {
        $(pub(super) static $name: LazyLock<Script> = LazyLock::new(|| Script::new(include_str!($file)));)*
    };
}

scripts! {
    ACK = "ack.lua";
    ADOPT = "adopt.lua";
    CLAIM = "claim.lua";
    DEAD = "dead.lua";
    DEAD_REMOVE = "dead_remove.lua";
    FLEET = "fleet.lua";
    PROBE = "probe.lua";
    RELEASE = "release.lua";
    RENEW = "renew.lua";
    RESTORE = "restore.lua";
    SPOOLED = "spooled.lua";
    TAKE = "take.lua";
}
