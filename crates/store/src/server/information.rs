//! What people ask by hand: INFO, KEYS, SCAN, COMMAND, CONFIG, CLIENT.

use bytes::Bytes;

use super::{
    commands::{COMMANDS, SYNTAX, integer, upper},
    glob,
    reply::{Names, Replies},
    session::{REDIS_VERSION, Session},
};
use crate::{Fsync, log::Locked, now_ms};

/// Longest pattern: matching takes time in proportion to it.
const MOST_PATTERN: usize = 1024;

/// Names of all keys of a kind.
fn all(locked: &Locked<'_>, kind: &str) -> Vec<String> {
    let state = locked.state();
    let now = now_ms();
    let lists = state.lists.keys().filter(|_| matches!(kind, "" | "list"));
    let strings = state
        .strings
        .iter()
        .filter(|(_, text)| matches!(kind, "" | "string") && text.counts(now));
    lists.chain(strings.map(|(name, _)| name)).cloned().collect()
}

fn fits(pattern: &[u8], replies: &mut Replies) -> bool {
    let fits = pattern.len() <= MOST_PATTERN;
    if !fits {
        replies.error("ERR the embedded store takes patterns of at most 1024 bytes");
    }
    fits
}

pub(super) fn keys(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let pattern = arguments.get(1).cloned().unwrap_or_default();
    if fits(&pattern, replies) {
        let names = all(locked, "");
        replies.names(Names { names, pattern });
    }
}

/// Gives everything at once, which Redis' rules for it allow.
pub(super) fn scan(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let cursor = arguments
        .get(1)
        .and_then(|text| std::str::from_utf8(text).ok()?.parse::<u64>().ok());
    let Some(cursor) = cursor else {
        return replies.error("ERR invalid cursor");
    };
    let (mut pattern, mut kind) = (Bytes::from_static(b"*"), String::new());
    let options = arguments.get(2..).unwrap_or_default();
    for option in options.chunks(2) {
        match (upper(option.first()).as_str(), option.get(1)) {
            ("MATCH", Some(value)) => pattern = value.clone(),
            ("TYPE", Some(value)) => kind = String::from_utf8_lossy(value).to_lowercase(),
            ("COUNT", count @ Some(_)) => match integer(count, replies) {
                None => return,
                Some(count) if count < 1 => return replies.error(SYNTAX),
                Some(_) => {}
            },
            _ => return replies.error(SYNTAX),
        }
    }
    if !fits(&pattern, replies) {
        return;
    }
    let names = if cursor == 0 { all(locked, &kind) } else { Vec::new() };
    replies.array(2);
    replies.bulk(b"0");
    replies.names(Names { names, pattern });
}

pub(super) fn command(_: &mut Session, _: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    match upper(arguments.get(1)).as_str() {
        "" => {
            replies.array(COMMANDS.len());
            for spec in COMMANDS {
                let keys = i64::from(spec.flags.contains(&"readonly") || spec.flags.contains(&"write"));
                replies.array(10);
                replies.bulk(spec.name.as_bytes());
                replies.integer(spec.arity);
                replies.set(spec.flags.len());
                spec.flags.iter().for_each(|flag| replies.simple(flag));
                for _ in 0..3 {
                    replies.integer(keys);
                }
                for _ in 0..4 {
                    replies.array(0);
                }
            }
        }
        "COUNT" => replies.integer(COMMANDS.len() as i64),
        "DOCS" => replies.map(0),
        _ => subcommand("COMMAND", arguments, replies),
    }
}

fn subcommand(name: &str, arguments: &[Bytes], replies: &mut Replies) {
    let given = arguments
        .get(1)
        .map(|given| String::from_utf8_lossy(given).into_owned())
        .unwrap_or_default();
    replies.error(&format!("ERR unknown subcommand '{given}'. Try {name} HELP."));
}

pub(super) fn config(session: &mut Session, _: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    match upper(arguments.get(1)).as_str() {
        "GET" if arguments.len() < 3 => {
            replies.error("ERR wrong number of arguments for 'config|get' command");
        }
        "GET" => {
            let settings = &session.settings;
            let known = [
                ("appendonly", "yes".to_owned()),
                (
                    "appendfsync",
                    if settings.fsync == Fsync::Never { "no" } else { "always" }.to_owned(),
                ),
                ("databases", "16".to_owned()),
                ("maxclients", settings.max_clients.to_string()),
                ("maxmemory", "0".to_owned()),
                ("maxmemory-policy", "noeviction".to_owned()),
                ("proto-max-bulk-len", settings.max_command.to_string()),
                ("save", String::new()),
                ("timeout", settings.idle_timeout.as_secs().to_string()),
            ];
            let patterns = arguments.get(2..).unwrap_or_default();
            let wanted = |name: &str| {
                let any = |pattern: &Bytes| glob::matches(&pattern.to_ascii_lowercase(), name.as_bytes());
                patterns.iter().any(any)
            };
            let found: Vec<_> = known.iter().filter(|(name, _)| wanted(name)).collect();
            replies.map(found.len());
            for (name, value) in found {
                replies.bulk(name.as_bytes());
                replies.bulk(value.as_bytes());
            }
        }
        _ => subcommand("CONFIG", arguments, replies),
    }
}

pub(super) fn client(session: &mut Session, _: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let wrong = |name: &str, replies: &mut Replies| {
        replies.error(&format!("ERR wrong number of arguments for 'client|{name}' command"));
    };
    match (upper(arguments.get(1)).as_str(), arguments) {
        ("ID", [_, _]) => replies.integer(session.id as i64),
        ("ID", _) => wrong("id", replies),
        ("GETNAME", [_, _]) if session.name.is_empty() => replies.null(),
        ("GETNAME", [_, _]) => replies.bulk(session.name.as_bytes()),
        ("GETNAME", _) => wrong("getname", replies),
        ("SETNAME", [_, _, name]) if name.iter().all(|byte| (b'!'..=b'~').contains(byte)) && name.len() <= 1024 => {
            session.name = String::from_utf8_lossy(name).into_owned();
            replies.ok();
        }
        ("SETNAME", [_, _, _]) => {
            replies.error("ERR Client names cannot contain spaces, newlines or special characters.");
        }
        ("SETNAME", _) => wrong("setname", replies),
        ("INFO", [_, _]) => replies.verbatim(&format!(
            "id={} name={} resp={}\n",
            session.id,
            session.name,
            if session.resp3 { 3 } else { 2 }
        )),
        _ => subcommand("CLIENT", arguments, replies),
    }
}

pub(super) fn info(session: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let state = locked.state();
    let now = now_ms();
    let strings = state.strings.values().filter(|text| text.counts(now));
    let (expiring, texts) = strings.fold((0, 0), |(expiring, all), text| {
        (expiring + u64::from(text.until_ms.is_some()), all + 1)
    });
    let waiting: u64 = state.lists.keys().map(|list| state.len(list)).sum();
    let claimed: u64 = state.claims.values().map(|claim| claim.len - claim.base).sum();
    let sections = [
        (
            "server",
            format!(
                "redis_version:{REDIS_VERSION}\r\nredis_mode:standalone\r\nprocess_id:{}\r\ntcp_port:{}\r\nembedded_store:tyk-pump {}\r\n",
                std::process::id(),
                session.settings.listen.port(),
                env!("CARGO_PKG_VERSION")
            ),
        ),
        ("clients", format!("maxclients:{}\r\n", session.settings.max_clients)),
        (
            "memory",
            "used_memory:0\r\nmaxmemory:0\r\nmaxmemory_policy:noeviction\r\n".to_owned(),
        ),
        (
            "persistence",
            format!(
                "loading:0\r\naof_enabled:1\r\naof_last_write_status:{}\r\nembedded_dir:{}\r\nembedded_bytes:{}\r\nembedded_max_bytes:{}\r\nembedded_segments:{}\r\nembedded_damaged:{}\r\nembedded_torn_tails:{}\r\n",
                if locked.trouble().is_none() { "ok" } else { "err" },
                session.settings.dir.display(),
                locked.used(),
                session.settings.max_bytes,
                locked.segments(),
                state.damaged,
                state.torn
            ),
        ),
        (
            "stats",
            format!("embedded_unclaimed_records:{waiting}\r\nembedded_claimed_records:{claimed}\r\n"),
        ),
        ("replication", "role:master\r\nconnected_slaves:0\r\n".to_owned()),
        ("cluster", "cluster_enabled:0\r\n".to_owned()),
        (
            "keyspace",
            match state.lists.len() as u64 + texts {
                0 => String::new(),
                keys => format!("db0:keys={keys},expires={expiring},avg_ttl=0\r\n"),
            },
        ),
    ];
    let wanted: Vec<String> = arguments
        .iter()
        .skip(1)
        .map(|name| String::from_utf8_lossy(name).to_lowercase())
        .collect();
    let everything = wanted
        .iter()
        .any(|name| matches!(name.as_str(), "all" | "default" | "everything"));
    let mut text = String::new();
    for (name, lines) in sections {
        if wanted.is_empty() || everything || wanted.iter().any(|wanted| wanted == name) {
            if !text.is_empty() {
                text.push_str("\r\n");
            }
            let (first, rest) = name.split_at(1);
            text.push_str(&format!("# {}{rest}\r\n{lines}", first.to_uppercase()));
        }
    }
    replies.verbatim(&text);
}
