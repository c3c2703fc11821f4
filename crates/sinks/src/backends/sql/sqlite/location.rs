//! Which file, and how: `connection_string` of SQLite.

use std::{fmt::Write, path::PathBuf};

use percent_encoding::percent_decode_str;

/// A connection string, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    /// File name or `file:` URI, as SQLite opens it.
    pub(super) target: String,
    /// The file; `None`: the database lives in memory.
    pub(super) file: Option<PathBuf>,
    /// Names and values, in the order of execution.
    pub(super) pragmas: Vec<(&'static str, String)>,
}

/// What is wrong with a connection string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("meta.connection_string: {0}")]
pub(super) struct LocationError(String);

fn wrong<T>(problem: impl Into<String>) -> Result<T, LocationError> {
    Err(LocationError(problem.into()))
}

/// What a parameter may be set to.
enum Values {
    Words(&'static [&'static str]),
    Flag,
    Number,
    /// Any: it makes no difference here.
    Ignored,
}

/// Parameters of the Go driver: two names each, and the pragma.
const PARAMETERS: &[(&str, &str, &str, Values)] = &[
    (
        "_auto_vacuum",
        "_vacuum",
        "auto_vacuum",
        Values::Words(&["0", "1", "2", "none", "full", "incremental"]),
    ),
    ("_busy_timeout", "_timeout", "busy_timeout", Values::Number),
    ("_cache_size", "_cache_size", "cache_size", Values::Number),
    ("_case_sensitive_like", "_cslike", "case_sensitive_like", Values::Flag),
    ("_defer_foreign_keys", "_defer_fk", "defer_foreign_keys", Values::Flag),
    ("_foreign_keys", "_fk", "foreign_keys", Values::Flag),
    (
        "_ignore_check_constraints",
        "_ignore_check_constraints",
        "ignore_check_constraints",
        Values::Flag,
    ),
    (
        "_journal_mode",
        "_journal",
        "journal_mode",
        Values::Words(&["delete", "truncate", "persist", "memory", "wal", "off"]),
    ),
    // One writer uses the connection, and a transaction begins with the lock for writing.
    ("_loc", "_loc", "", Values::Ignored),
    (
        "_locking_mode",
        "_locking",
        "locking_mode",
        Values::Words(&["normal", "exclusive"]),
    ),
    ("_mutex", "_mutex", "", Values::Ignored),
    ("_recursive_triggers", "_rt", "recursive_triggers", Values::Flag),
    (
        "_secure_delete",
        "_secure_delete",
        "secure_delete",
        Values::Words(&["0", "1", "no", "yes", "off", "on", "true", "false", "fast", "default"]),
    ),
    (
        "_synchronous",
        "_sync",
        "synchronous",
        Values::Words(&["0", "1", "2", "3", "off", "normal", "full", "extra"]),
    ),
    ("_txlock", "_txlock", "", Values::Ignored),
];

impl Location {
    /// The same for somebody who only looks: a file that is not there is an empty database, and stays away; one that is
    /// there keeps its format.
    pub(super) fn untouched(mut self) -> Location {
        if self.file.as_deref().is_some_and(|file| !file.exists()) {
            ":memory:".clone_into(&mut self.target);
        }
        self.pragmas
            .retain(|(name, _)| !["journal_mode", "auto_vacuum"].contains(name));
        self
    }

    /// Reads a file name, a `file:` URI or `:memory:`, each with `?name=value&…`.
    pub(super) fn parse(text: &str) -> Result<Location, LocationError> {
        let (name, query) = text.split_once('?').unwrap_or((text, ""));
        if name.is_empty() {
            return wrong("it is empty; write the name of a file, such as /var/lib/tyk-pump/analytics.db");
        }
        let mut set: Vec<(&'static str, String)> = Vec::new();
        let mut of_sqlite: Vec<&str> = Vec::new();
        for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
            if parameter.starts_with('_') {
                set.extend(pragma(parameter)?);
            } else {
                of_sqlite.push(parameter);
            }
        }
        let is_memory = [":memory:", "file::memory:"].contains(&name) || of_sqlite.contains(&"mode=memory");
        let file = match name.strip_prefix("file:") {
            _ if is_memory => None,
            Some(path) => Some(uri_path(path)?),
            None => Some(PathBuf::from(name)),
        };
        // What commits is acknowledged: it must be on the disk, and not wait for readers.
        let mut pragmas = vec![
            ("busy_timeout", "10000".to_owned()),
            ("journal_mode", "WAL".to_owned()),
            ("synchronous", "FULL".to_owned()),
        ];
        for (name, value) in set {
            match pragmas.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => *known = value,
                None => pragmas.push((name, value)),
            }
        }
        Ok(Location {
            target: target(name, &of_sqlite),
            file,
            pragmas,
        })
    }
}

fn target(name: &str, parameters: &[&str]) -> String {
    if parameters.is_empty() {
        return name.to_owned();
    }
    let mut target = String::new();
    if name.starts_with("file:") {
        target.push_str(name);
    } else {
        target.push_str("file:");
        for character in name.chars() {
            match character {
                '%' | '?' | '#' => {
                    let _ = write!(target, "%{:02X}", u32::from(character));
                }
                _ => target.push(character),
            }
        }
    }
    target + "?" + &parameters.join("&")
}

/// The file of a URI, without `file:`.
fn uri_path(rest: &str) -> Result<PathBuf, LocationError> {
    let rest = rest.split_once('#').map_or(rest, |(path, _)| path);
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => match rest.strip_prefix("localhost").unwrap_or(rest) {
            path if path.starts_with('/') => path,
            _ => return wrong("a file: URI names another machine; write file:/folder/name.db"),
        },
    };
    match percent_decode_str(path).decode_utf8() {
        Ok(path) => Ok(PathBuf::from(path.into_owned())),
        Err(_) => wrong("the file: URI is not UTF-8 after percent-decoding"),
    }
}

/// The pragma of a driver's parameter such as `_journal_mode=WAL`.
fn pragma(parameter: &str) -> Result<Option<(&'static str, String)>, LocationError> {
    let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
    let known = PARAMETERS
        .iter()
        .find(|(long, short, ..)| [*long, *short].contains(&name));
    let Some((_, _, pragma, values)) = known else {
        let names: Vec<&str> = PARAMETERS.iter().map(|(long, ..)| *long).collect();
        return wrong(format!("{name} is unknown; known are {}", names.join(", ")));
    };
    let lower = value.to_ascii_lowercase();
    const FLAGS: &[&str] = &["0", "1", "no", "yes", "off", "on", "false", "true"];
    let expected = match values {
        Values::Ignored => return Ok(None),
        Values::Number if value.parse::<i64>().is_ok() => None,
        Values::Number => Some("a whole number".to_owned()),
        Values::Flag if FLAGS.contains(&lower.as_str()) => None,
        Values::Flag => Some("true or false".to_owned()),
        Values::Words(words) if words.contains(&lower.as_str()) => None,
        Values::Words(words) => Some(format!("one of {}", words.join(", "))),
    };
    match expected {
        None => Ok(Some((pragma, value.to_owned()))),
        Some(expected) => wrong(format!("{name}={value}, expected {expected}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Location {
        Location::parse(text).unwrap()
    }

    fn pragma(location: &Location, name: &str) -> Option<String> {
        let mut pragmas = location.pragmas.iter();
        pragmas
            .find(|(known, _)| *known == name)
            .map(|(_, value)| value.clone())
    }

    #[test]
    fn a_file_is_written_ahead_and_synced() {
        let location = parse("/var/lib/pump.db");
        assert_eq!(location.target, "/var/lib/pump.db");
        assert_eq!(location.file, Some(PathBuf::from("/var/lib/pump.db")));
        for (name, value) in [
            ("busy_timeout", "10000"),
            ("journal_mode", "WAL"),
            ("synchronous", "FULL"),
        ] {
            assert_eq!(pragma(&location, name).as_deref(), Some(value));
        }
    }

    #[test]
    fn uris_name_files_too() {
        for (text, file) in [
            ("file:pump.db", "pump.db"),
            ("file:/a/b.db", "/a/b.db"),
            ("file:///a/b.db", "/a/b.db"),
            ("file://localhost/a/b.db", "/a/b.db"),
            ("file:/a%20b/c%3F.db?cache=shared", "/a b/c?.db"),
        ] {
            assert_eq!(parse(text).file, Some(PathBuf::from(file)), "{text}");
            assert_eq!(parse(text).target, text);
        }
        for text in [
            ":memory:",
            "file::memory:?cache=shared",
            "file:x?mode=memory&cache=shared",
        ] {
            assert_eq!(parse(text).file, None, "{text}");
        }
        assert_eq!(parse("a?b#c.db").target, "file:a?b#c.db");
        assert_eq!(parse("50%.db?mode=rwc").target, "file:50%25.db?mode=rwc");
    }

    #[test]
    fn driver_parameters_are_pragmas() {
        let location =
            parse("file:p.db?_busy_timeout=5&mode=rwc&_journal=delete&_fk=1&_sync=NORMAL&_loc=auto&_txlock=deferred");
        assert_eq!(location.target, "file:p.db?mode=rwc");
        for (name, value) in [
            ("busy_timeout", "5"),
            ("journal_mode", "delete"),
            ("foreign_keys", "1"),
            ("synchronous", "NORMAL"),
        ] {
            assert_eq!(pragma(&location, name).as_deref(), Some(value));
        }
        assert_eq!(location.pragmas.len(), 4);
        assert_eq!(parse("p.db?_timeout=1").target, "p.db");
    }

    #[test]
    fn errors_say_what_to_write() {
        for (text, part) in [
            ("", "it is empty; write the name of a file"),
            ("?_fk=1", "it is empty"),
            ("p.db?_jurnal=wal", "_jurnal is unknown; known are _auto_vacuum"),
            ("p.db?_journal=fast", "_journal=fast, expected one of delete, truncate"),
            ("p.db?_busy_timeout=5s", "_busy_timeout=5s, expected a whole number"),
            ("p.db?_fk=maybe", "_fk=maybe, expected true or false"),
            ("file://server/p.db", "another machine"),
        ] {
            let error = Location::parse(text).unwrap_err().to_string();
            assert!(
                error.starts_with("meta.connection_string: ") && error.contains(part),
                "{text}: {error}"
            );
        }
    }
}
