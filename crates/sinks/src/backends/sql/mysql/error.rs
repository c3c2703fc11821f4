//! What an error of MySQL means for a write.

use mysql_async::{Error, IoError, ServerError};

use crate::{
    backends::sql::database::DatabaseError,
    transport::words::{self, plain},
};

/// Sorts an error of a statement.
pub(super) fn classify(error: Error) -> DatabaseError {
    match error {
        Error::Server(error) => classify_server(&error),
        Error::Driver(mysql_async::DriverError::PacketTooLarge) => {
            DatabaseError::Row("the row is larger than the largest packet that the server takes".to_owned())
        }
        // Certificates do not get better by waiting, but a proxy or load balancer that starts says no, too.
        Error::Io(IoError::Tls(error)) => DatabaseError::retry(format!("TLS: {error}")),
        error => DatabaseError::retry(error),
    }
}

/// Messages about log-in, rights, names and servers, never about values.
const WITHOUT_VALUES: &[u16] = &[
    1040, 1044, 1045, 1046, 1049, 1050, 1054, 1060, 1061, 1114, 1142, 1143, 1146, 1205, 1213, 1226, 1227, 1290, 1698,
    1792, 1836,
];

/// What the server says, without what may be values of a row.
fn text(error: &ServerError) -> String {
    let ServerError { code, message, .. } = error;
    if WITHOUT_VALUES.contains(code) {
        return format!("Error {code}: {message}");
    }
    let mut text = format!("Error {code}");
    match plain(message).as_str() {
        "" => {}
        words => text = format!("{text}: {words}"),
    }
    let what = match code {
        1062 | 1586 => "key",
        _ => "column",
    };
    if let Some(name) = named(message, what) {
        text = format!("{text}; {what} {name}");
    }
    text
}

/// The name behind the last `column` or `key`: values stand before it.
fn named(message: &str, what: &str) -> Option<String> {
    let (_, rest) = message.rsplit_once(&format!("{what} "))?;
    let is_quote = |c: char| "'`".contains(c);
    let name = rest
        .split_whitespace()
        .next()
        .filter(|name| name.starts_with(is_quote))?;
    let name = name.replace(is_quote, "");
    words::name(&name, "_.$", 200).map(str::to_owned)
}

fn classify_server(error: &ServerError) -> DatabaseError {
    let text = text(error);
    match error.code {
        // Too many connections, out of memory, disk full, shutting down, lost packets, killed, lock timeout, lock table full,
        // deadlock, user's limits, read-only (a fail-over is going on), table full, table changed, row changed since it
        // was read, too many transactions, statement timeout, MariaDB: connection or statement killed, backup lock.
        1040
        | 1041
        | 1037
        | 1038
        | 1021
        | 1053
        | 1158..=1161
        | 1317
        | 1205
        | 1206
        | 1213
        | 1203
        | 1226
        | 1290
        | 1792
        | 1836
        | 1114
        | 1412
        | 1020
        | 1637
        | 3024
        | 1927
        | 1928
        | 1969
        | 1880 => DatabaseError::retry(text),
        // Too long, out of range, wrong for the column or its character set, NULL, duplicate, foreign key, check, packet,
        // row size, numbers that overflow when they are added.
        1406 | 1264 | 1366 | 1292 | 1265 | 1048 | 1062 | 1452 | 3819 | 4025 | 1153 | 1118 | 1690 | 1300 | 1411
        | 1441 | 3988 | 3854 => DatabaseError::Row(text),
        // A table or column that went away is made again before the next attempt.
        1146 | 1054 => DatabaseError::retry(text),
        1044 | 1045 | 1698 => DatabaseError::Config(
            format!("{text} – check user and password in connection_string, and what the user may do").into(),
        ),
        1142 | 1143 | 1227 => DatabaseError::Config(
            format!("{text} – the user needs CREATE, ALTER, INDEX, INSERT, SELECT, UPDATE and DELETE on the database")
                .into(),
        ),
        1049 => DatabaseError::Config(format!("{text} – create the database, tables are made by the pump").into()),
        1046 => DatabaseError::Config(format!("{text} – name a database after the slash of connection_string").into()),
        _ => DatabaseError::Config(text.into()),
    }
}

/// Whether a table, column or index that a statement makes is there already.
pub(super) fn is_there_already(error: &Error) -> bool {
    matches!(
        error,
        Error::Server(ServerError {
            code: 1050 | 1060 | 1061,
            ..
        })
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: u16) -> DatabaseError {
        classify(Error::Server(ServerError {
            code,
            message: "m".to_owned(),
            state: "HY000".to_owned(),
        }))
    }

    #[test]
    fn errors_are_sorted_by_what_helps() {
        for code in [1205, 1213, 1040, 1053, 1290, 1020, 1146, 1054] {
            assert!(matches!(of(code), DatabaseError::Retry(_)), "{code}");
        }
        for code in [1406, 1366, 1264, 1153] {
            assert!(matches!(of(code), DatabaseError::Row(_)), "{code}");
        }
        for code in [1045, 1049, 1142, 1064] {
            assert!(matches!(of(code), DatabaseError::Config(_)), "{code}");
        }
        assert_eq!(
            of(1049).to_string(),
            "Error 1049: m – create the database, tables are made by the pump"
        );
    }

    #[test]
    fn values_of_rows_are_not_shown() {
        for (code, message, want) in [
            (
                1062,
                "Duplicate entry 's3cret' for key 'tyk.ix_path'",
                "Error 1062: Duplicate entry … for key …; key tyk.ix_path",
            ),
            (
                1366,
                "Incorrect string value: '\\xF0s3cret' for column `db`.`t`.`path` at row 1",
                "Error 1366: Incorrect string value … for column … at row …; column db.t.path",
            ),
            (
                1406,
                "Data too long for column 'path' at row 1",
                "Error 1406: Data too long for column … at row …; column path",
            ),
        ] {
            let error = ServerError {
                code,
                message: message.to_owned(),
                state: "HY000".to_owned(),
            };
            assert_eq!(text(&error), want);
        }
    }

    #[test]
    fn what_somebody_else_made_first_is_no_error() {
        for (code, there) in [(1050, true), (1060, true), (1061, true), (1146, false)] {
            let error = Error::Server(ServerError {
                code,
                message: String::new(),
                state: String::new(),
            });
            assert_eq!(is_there_already(&error), there);
        }
    }
}
