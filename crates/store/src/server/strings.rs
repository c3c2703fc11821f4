//! Strings, and times to live. A list is never deleted because its time is over: what the pump has not claimed yet
//! would be lost.

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;

use super::{
    commands::{NO_INTEGER, SYNTAX, WRONGTYPE, change, integer, is_string, key, upper},
    reply::Replies,
    session::Session,
};
use crate::{
    log::{Change, Locked},
    now_ms,
};

/// Longest string.
const MOST_BYTES: usize = 64 << 10;

fn value(locked: &Locked<'_>, key: &str) -> Option<Vec<u8>> {
    let text = locked.state().strings.get(key).filter(|text| text.counts(now_ms()))?;
    STANDARD.decode(&text.value).ok()
}

pub(super) fn get(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let Some(key) = key(arguments.get(1), replies) else {
        return;
    };
    if locked.state().lists.contains_key(key) {
        replies.error(WRONGTYPE);
        return;
    }
    match value(locked, key) {
        Some(value) => replies.bulk(&value),
        None => replies.null(),
    }
}

#[derive(Default)]
struct Options {
    until_ms: Option<u64>,
    keep: bool,
    only_new: bool,
    only_known: bool,
    get: bool,
}

fn options(arguments: &[Bytes]) -> Result<Options, &'static str> {
    const EXPIRE: &str = "ERR invalid expire time in 'set' command";
    let mut options = Options::default();
    let mut rest = arguments;
    while let Some(option) = rest.first() {
        let name = upper(Some(option));
        let mut used = 1;
        match name.as_str() {
            "NX" if !options.only_known => options.only_new = true,
            "XX" if !options.only_new => options.only_known = true,
            "GET" => options.get = true,
            "KEEPTTL" if options.until_ms.is_none() => options.keep = true,
            "EX" | "PX" | "EXAT" | "PXAT" if options.until_ms.is_none() && !options.keep => {
                let given = rest.get(1).ok_or(SYNTAX)?;
                let given: i64 = std::str::from_utf8(given)
                    .ok()
                    .and_then(|text| text.parse().ok())
                    .ok_or(NO_INTEGER)?;
                let unit = if name.starts_with('E') { 1000 } else { 1 };
                let from = if name.ends_with("AT") { 0 } else { now_ms() };
                let span = u64::try_from(given)
                    .ok()
                    .filter(|given| *given > 0)
                    .and_then(|given| given.checked_mul(unit));
                options.until_ms = Some(span.and_then(|span| from.checked_add(span)).ok_or(EXPIRE)?);
                used = 2;
            }
            _ => return Err(SYNTAX),
        }
        rest = rest.get(used..).unwrap_or_default();
    }
    Ok(options)
}

pub(super) fn set(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let options = match options(arguments.get(3..).unwrap_or_default()) {
        Ok(options) => options,
        Err(text) => return replies.error(text),
    };
    let Some(key) = key(arguments.get(1), replies) else {
        return;
    };
    let fresh = arguments.get(2).map_or(&[][..], |value| value);
    if fresh.len() > MOST_BYTES {
        return replies.error("ERR the embedded store takes strings of at most 64 KiB");
    }
    if locked.state().lists.contains_key(key) {
        // Redis would throw the list away.
        return replies.error(WRONGTYPE);
    }
    let before = value(locked, key);
    let skipped = (options.only_new && before.is_some()) || (options.only_known && before.is_none());
    if !skipped {
        let kept = locked.state().strings.get(key).and_then(|text| text.until_ms);
        let set = Change::set(key, fresh, if options.keep { kept } else { options.until_ms });
        if !change(locked, set, replies) {
            return;
        }
    }
    match (options.get, before) {
        (true, Some(before)) => replies.bulk(&before),
        (true, None) => replies.null(),
        (false, _) if skipped => replies.null(),
        (false, _) => replies.ok(),
    }
}

/// TTL and PTTL. When the time of a list is over it has none any more.
pub(super) fn ttl(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let Some(key) = key(arguments.get(1), replies) else {
        return;
    };
    let now = now_ms();
    let state = locked.state();
    let left = match (state.lists.get(key), state.strings.get(key)) {
        (Some(list), _) => list.ttl_ms(now),
        (None, Some(text)) if text.counts(now) => text.until_ms.map(|until| until - now),
        (None, _) => return replies.integer(-2),
    };
    let in_ms = upper(arguments.first()) == "PTTL";
    replies.integer(match left {
        None => -1,
        Some(left) if in_ms => left as i64,
        Some(left) => ((left + 500) / 1000) as i64,
    });
}

/// EXPIRE and PEXPIRE.
pub(super) fn expire(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    if let Some(option) = arguments.get(3) {
        let option = String::from_utf8_lossy(option);
        return replies.error(&format!("ERR Unsupported option {option}"));
    }
    let Some(key) = key(arguments.get(1), replies) else {
        return;
    };
    let Some(given) = integer(arguments.get(2), replies) else {
        return;
    };
    let name = upper(arguments.first());
    let unit = if name == "EXPIRE" { 1000 } else { 1 };
    let span = given
        .checked_mul(unit)
        .and_then(|span| span.checked_add(now_ms() as i64));
    let Some(until) = span else {
        return replies.error(&format!("ERR invalid expire time in '{}' command", name.to_lowercase()));
    };
    let list = locked.state().lists.contains_key(key);
    if !list && !is_string(locked, key) {
        return replies.integer(0);
    }
    let key = key.to_owned();
    let done = if given > 0 {
        let until_ms = Some(until.max(0) as u64);
        change(locked, Change::Expire { key, until_ms }, replies)
    } else if list {
        true
    } else {
        change(locked, Change::Remove { key }, replies)
    };
    if done {
        replies.integer(1);
    }
}

pub(super) fn persist(_: &mut Session, locked: &mut Locked<'_>, arguments: &[Bytes], replies: &mut Replies) {
    let Some(key) = key(arguments.get(1), replies) else {
        return;
    };
    let now = now_ms();
    let state = locked.state();
    let list = state.lists.get(key).is_some_and(|list| list.ttl_ms(now).is_some());
    let text = state
        .strings
        .get(key)
        .is_some_and(|text| text.until_ms.is_some_and(|until| until > now));
    if !list && !text {
        return replies.integer(0);
    }
    let (key, until_ms) = (key.to_owned(), None);
    if change(locked, Change::Expire { key, until_ms }, replies) {
        replies.integer(1);
    }
}

/// Strings whose time is over, a few at a time.
pub(super) fn expired(locked: &Locked<'_>) -> Vec<String> {
    let now = now_ms();
    let over = locked.state().strings.iter().filter(|(_, text)| !text.counts(now));
    over.map(|(key, _)| key.clone()).take(1000).collect()
}
