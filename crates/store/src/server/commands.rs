//! The commands, with Redis' answers to the byte; what is not here is an unknown command.

use bytes::Bytes;

use super::{information, reply::Replies, session::Session, strings};
use crate::{
    Refusal,
    log::{Change, ElementsFrame, Locked},
    now_ms,
};

/// Longest name of a key.
pub(super) const MOST_NAME: usize = 1024;

pub(super) const WRONGTYPE: &str = "WRONGTYPE Operation against a key holding the wrong kind of value";
pub(super) const SYNTAX: &str = "ERR syntax error";
pub(super) const NO_INTEGER: &str = "ERR value is not an integer or out of range";

/// What becomes of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Open,
    Close,
}

/// How a command is carried out.
pub(super) type Run = fn(&mut Session, &mut Locked<'_>, &[Bytes], &mut Replies);

/// A command.
pub(super) struct Spec {
    pub(super) name: &'static str,
    /// Arguments with its name; negative: at least.
    pub(super) arity: i64,
    pub(super) flags: &'static [&'static str],
    pub(super) run: Run,
}

const fn spec(name: &'static str, arity: i64, flags: &'static [&'static str], run: Run) -> Spec {
    Spec {
        name,
        arity,
        flags,
        run,
    }
}

const READ: &[&str] = &["readonly", "fast"];
const WRITE: &[&str] = &["write", "denyoom", "fast"];
const OTHER: &[&str] = &["loading", "stale", "fast"];

/// All of them.
pub(super) const COMMANDS: &[Spec] = &[
    spec("auth", -2, OTHER, |_, _, _, _| {}),
    spec("client", -2, OTHER, information::client),
    spec("cluster", -2, OTHER, |_, _, _, replies| {
        replies.error("ERR This instance has cluster support disabled");
    }),
    spec("command", -1, OTHER, information::command),
    spec("config", -2, OTHER, information::config),
    spec("dbsize", 1, READ, |_, locked, _, replies| {
        let now = now_ms();
        let strings = locked.state().strings.values().filter(|text| text.counts(now)).count();
        replies.integer((locked.state().lists.len() + strings) as i64);
    }),
    spec("del", -2, WRITE, remove),
    spec("discard", 1, OTHER, |_, _, _, _| {}),
    spec("echo", 2, OTHER, |_, _, arguments, replies| {
        replies.bulk(arguments.get(1).map_or(&[][..], |text| text));
    }),
    spec("exec", 1, OTHER, |_, _, _, _| {}),
    spec("exists", -2, READ, exists),
    spec("expire", -3, WRITE, strings::expire),
    spec("get", 2, READ, strings::get),
    spec("hello", -1, OTHER, |_, _, _, _| {}),
    spec("info", -1, OTHER, information::info),
    spec("keys", 2, READ, information::keys),
    spec("llen", 2, READ, length),
    spec("lpop", -2, WRITE, pop),
    spec("lrange", 4, READ, range),
    spec("ltrim", 4, WRITE, trim),
    spec("multi", 1, OTHER, |_, _, _, _| {}),
    spec("persist", 2, WRITE, strings::persist),
    spec("pexpire", -3, WRITE, strings::expire),
    spec("ping", -1, OTHER, ping),
    spec("pttl", 2, READ, strings::ttl),
    spec("quit", -1, OTHER, |_, _, _, _| {}),
    spec("reset", 1, OTHER, |_, _, _, _| {}),
    spec("rpush", -3, WRITE, push),
    spec("scan", -2, READ, information::scan),
    spec("select", 2, OTHER, select),
    spec("set", -3, WRITE, strings::set),
    spec("time", 1, OTHER, |_, _, _, replies| {
        let now = now_ms();
        replies.array(2);
        replies.bulk((now / 1000).to_string().as_bytes());
        replies.bulk((now % 1000 * 1000).to_string().as_bytes());
    }),
    spec("ttl", 2, READ, strings::ttl),
    spec("type", 2, READ, kind),
    spec("unlink", -2, WRITE, remove),
];

/// The first argument in capital letters.
pub(super) fn upper(argument: Option<&Bytes>) -> String {
    argument
        .map(|name| String::from_utf8_lossy(name).to_uppercase())
        .unwrap_or_default()
}

/// The command of this name, if the number of arguments is right.
pub(super) fn find(name: &str, arguments: &[Bytes]) -> Result<&'static Spec, String> {
    let Some(spec) = COMMANDS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name)) else {
        return Err(unknown(arguments));
    };
    let count = arguments.len() as i64;
    let fits = if spec.arity < 0 {
        count >= -spec.arity
    } else {
        count == spec.arity
    };
    match fits {
        true => Ok(spec),
        false => Err(format!("ERR wrong number of arguments for '{}' command", spec.name)),
    }
}

fn unknown(arguments: &[Bytes]) -> String {
    let shown = |argument: &Bytes, most: usize| {
        String::from_utf8_lossy(argument.get(..most.min(argument.len())).unwrap_or_default()).into_owned()
    };
    let mut text = String::new();
    for argument in arguments.iter().skip(1) {
        if text.len() >= 128 {
            break;
        }
        text.push_str(&format!("'{}' ", shown(argument, 128 - text.len())));
    }
    let name = arguments.first().map(|name| shown(name, 128)).unwrap_or_default();
    format!("ERR unknown command '{name}', with args beginning with: {text}")
}

/// The name of a key; the error is answered already otherwise.
pub(super) fn key<'a>(argument: Option<&'a Bytes>, replies: &mut Replies) -> Option<&'a str> {
    let name = argument.and_then(|name| std::str::from_utf8(name).ok());
    let name = name.filter(|name| name.len() <= MOST_NAME);
    if name.is_none() {
        replies.error("ERR the embedded store takes names of keys in UTF-8, of at most 1024 bytes");
    }
    name
}

/// A whole number; the error is answered already otherwise.
pub(super) fn integer(argument: Option<&Bytes>, replies: &mut Replies) -> Option<i64> {
    let number = argument.and_then(|text| std::str::from_utf8(text).ok()?.parse().ok());
    if number.is_none() {
        replies.error(NO_INTEGER);
    }
    number
}

/// What a client reads when the store does not take something.
pub(super) fn refusal(refusal: &Refusal) -> String {
    match refusal {
        Refusal::Full { .. } | Refusal::Keys | Refusal::Strings | Refusal::Large => {
            format!("OOM command not allowed: {refusal}")
        }
        Refusal::Disk(_) => format!("MISCONF {refusal}"),
    }
}

/// Makes a change; the error is answered already otherwise.
pub(super) fn change(locked: &mut Locked<'_>, change: Change, replies: &mut Replies) -> bool {
    match locked.change(change) {
        Ok(()) => true,
        Err(error) => {
            replies.error(&refusal(&error));
            false
        }
    }
}

/// Whether a string that has not expired stands under this name.
pub(super) fn is_string(locked: &Locked<'_>, key: &str) -> bool {
    locked
        .state()
        .strings
        .get(key)
        .is_some_and(|text| text.counts(now_ms()))
}

fn is_there(locked: &Locked<'_>, key: &str) -> bool {
    locked.state().lists.contains_key(key) || is_string(locked, key)
}

/// The list of this name may be used as one; the error is answered already otherwise.
fn list<'a>(locked: &Locked<'_>, argument: Option<&'a Bytes>, replies: &mut Replies) -> Option<&'a str> {
    let key = key(argument, replies)?;
    if is_string(locked, key) {
        replies.error(WRONGTYPE);
        return None;
    }
    Some(key)
}

fn ping(_: &mut Session, _: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    match arguments {
        [_] => replies.simple("PONG"),
        [_, text] => replies.bulk(text),
        _ => replies.error("ERR wrong number of arguments for 'ping' command"),
    }
}

/// All databases are one: every list is for the pump.
fn select(_: &mut Session, _: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    match integer(arguments.get(1), replies) {
        None => {}
        Some(0..=15) => replies.ok(),
        Some(_) => replies.error("ERR DB index is out of range"),
    }
}

fn kind(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let Some(key) = key(arguments.get(1), replies) else {
        return;
    };
    replies.simple(if locked.state().lists.contains_key(key) {
        "list"
    } else if is_string(locked, key) {
        "string"
    } else {
        "none"
    });
}

fn exists(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let mut found = 0;
    for argument in arguments.iter().skip(1) {
        let Some(key) = key(Some(argument), replies) else {
            return;
        };
        found += i64::from(is_there(locked, key));
    }
    replies.integer(found);
}

fn remove(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let mut removed = 0;
    for argument in arguments.iter().skip(1) {
        let Some(key) = key(Some(argument), replies) else {
            return;
        };
        if is_there(locked, key) {
            if !change(locked, Change::Remove { key: key.to_owned() }, replies) {
                return;
            }
            removed += 1;
        }
    }
    replies.integer(removed);
}

/// RPUSH inside a transaction; others are collected before.
fn push(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let Some(key) = list(locked, arguments.get(1), replies) else {
        return;
    };
    let elements = arguments.get(2..).unwrap_or_default();
    let mut frame = ElementsFrame::new(key, elements.iter().map(|element| element.len() + 4).sum());
    elements.iter().for_each(|element| frame.push(element));
    match locked.push(frame.finish()) {
        Ok(len) => replies.integer(len as i64),
        Err(error) => replies.error(&refusal(&error)),
    }
}

fn length(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    if let Some(key) = list(locked, arguments.get(1), replies) {
        replies.integer(locked.state().len(key) as i64);
    }
}

/// Redis' indexes, negative ones from the end, as a range from 0.
fn bounds(first: i64, last: i64, len: u64) -> (u64, u64) {
    let len = len as i64;
    let from_end = |index: i64| if index < 0 { len.saturating_add(index) } else { index };
    let first = from_end(first).max(0);
    let last = from_end(last).min(len - 1);
    match first <= last {
        true => (first as u64, last as u64 + 1),
        false => (0, 0),
    }
}

fn range(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let (Some(first), Some(last)) = (integer(arguments.get(2), replies), integer_again(arguments, replies)) else {
        return;
    };
    let Some(key) = list(locked, arguments.get(1), replies) else {
        return;
    };
    let (from, to) = bounds(first, last, locked.state().len(key));
    replies.rows(locked.rows(key, from, to));
}

/// The second index; only one error is answered when both are wrong.
fn integer_again(arguments: &[Bytes], replies: &mut Replies) -> Option<i64> {
    let first = arguments
        .get(2)
        .and_then(|text| std::str::from_utf8(text).ok()?.parse::<i64>().ok());
    first.and_then(|_| integer(arguments.get(3), replies))
}

fn trim(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let (Some(first), Some(last)) = (integer(arguments.get(2), replies), integer_again(arguments, replies)) else {
        return;
    };
    let Some(key) = list(locked, arguments.get(1), replies) else {
        return;
    };
    let len = locked.state().len(key);
    let (from, to) = bounds(first, last, len);
    if (from, to) != (0, len) {
        let list = key.to_owned();
        if !change(locked, Change::Keep { list, from, to }, replies) {
            return;
        }
    }
    replies.ok();
}

fn pop(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    if arguments.len() > 3 {
        replies.error("ERR wrong number of arguments for 'lpop' command");
        return;
    }
    let wanted = match arguments.get(2) {
        None => None,
        Some(count) => match std::str::from_utf8(count)
            .ok()
            .and_then(|text| text.parse::<u64>().ok())
        {
            Some(count) => Some(count),
            None => return replies.error("ERR value is out of range, must be positive"),
        },
    };
    let Some(key) = list(locked, arguments.get(1), replies) else {
        return;
    };
    let len = locked.state().len(key);
    if len == 0 {
        return match wanted {
            Some(_) => replies.null_array(),
            None => replies.null(),
        };
    }
    let count = wanted.unwrap_or(1).min(len);
    let rows = locked.rows(key, 0, count);
    if count > 0 {
        let keep = Change::Keep {
            list: key.to_owned(),
            from: count,
            to: len,
        };
        if !change(locked, keep, replies) {
            return;
        }
    }
    match wanted {
        Some(_) => replies.rows(rows),
        None => replies.bare_rows(rows),
    }
}
