//! What an error of Postgres means for the rows at hand.

use tokio_postgres::{Error, error::SqlState};

use super::super::database::DatabaseError;
use crate::transport::words::plain;

/// Classes whose messages are about the connection, rights, names and states, never about values: connections, transactions,
/// log-in, unknown databases, schemas, tables and columns, resources, locks, operator intervention, system errors.
const WITHOUT_VALUES: &[&str] = &["08", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58"];

/// What the server says, without what may be values of a row; without a code, what the connection says.
pub(super) fn text(error: &Error) -> String {
    let Some(server) = error.as_db_error() else {
        let mut text = error.to_string();
        let mut source = std::error::Error::source(error);
        while let Some(inner) = source {
            text = format!("{text}: {inner}");
            source = inner.source();
        }
        return text;
    };
    let code = server.code().code();
    let message = match WITHOUT_VALUES.iter().any(|class| code.starts_with(class)) {
        true => server.message().to_owned(),
        false => plain(server.message()),
    };
    let mut text = match message.as_str() {
        "" => format!("SQLSTATE {code}"),
        message => format!("{message} (SQLSTATE {code})"),
    };
    let named = [
        ("schema", server.schema()),
        ("table", server.table()),
        ("column", server.column()),
        ("type", server.datatype()),
        ("constraint", server.constraint()),
    ];
    for (what, name) in named {
        if let Some(name) = name {
            text = format!("{text}; {what} {name}");
        }
    }
    text
}

/// Sorts by SQLSTATE; an error without one is a lost connection.
pub(super) fn classify(error: Error) -> DatabaseError {
    let text = text(&error);
    let Some(server) = error.as_db_error() else {
        return DatabaseError::Retry(text.into());
    };
    let code = server.code().code();
    let class = code.get(..2).unwrap_or_default();
    match (class, code) {
        // Prepared statements of somebody else on the same connection of a pooler; the next name differs.
        (_, "42P05" | "26000") => DatabaseError::Retry(text.into()),
        // A table or column that went away is made again before the next attempt.
        (_, "42P01" | "42703") => DatabaseError::Retry(text.into()),
        // Data exceptions, integrity constraints, a row of an index or table that is too large.
        ("22" | "23", _) | (_, "54000") => DatabaseError::Row(text),
        // Connections, transactions, resources, operator intervention, system errors, locks.
        ("08" | "40" | "53" | "57" | "58" | "25" | "55" | "XX", _) => DatabaseError::Retry(text.into()),
        _ => DatabaseError::Config(text.into()),
    }
}

/// Whether somebody else has made the table, column, index or type at the same time.
pub(super) fn is_already_there(error: &Error) -> bool {
    let Some(code) = error.code() else { return false };
    [
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_COLUMN,
        SqlState::DUPLICATE_OBJECT,
        // Two processes create the same table: the row type collides in the catalogue.
        SqlState::UNIQUE_VIOLATION,
    ]
    .contains(code)
}
