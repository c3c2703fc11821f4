//! What an error of SQLite means for a write.

use rusqlite::{Error, ErrorCode};

use crate::backends::sql::database::DatabaseError;

/// Sorts an error of a statement.
pub(super) fn classify(error: Error) -> DatabaseError {
    let text = error.to_string();
    let Some(code) = error.sqlite_error_code() else {
        return DatabaseError::Config(text.into());
    };
    match code {
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked | ErrorCode::FileLockingProtocolFailed => {
            DatabaseError::retry(format!(
                "{text} – another program writes to the file; raise _busy_timeout (milliseconds)"
            ))
        }
        ErrorCode::DiskFull
        | ErrorCode::SystemIoFailure
        | ErrorCode::OutOfMemory
        | ErrorCode::OperationInterrupted
        | ErrorCode::SchemaChanged
        | ErrorCode::OperationAborted => DatabaseError::retry(text),
        ErrorCode::ConstraintViolation | ErrorCode::TooBig | ErrorCode::TypeMismatch => DatabaseError::Row(text),
        ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::CannotOpen => DatabaseError::Config(
            format!("{text} – the pump must be able to write to the file and to its folder").into(),
        ),
        // A table or column that went away is made again before the next attempt.
        ErrorCode::Unknown if is_missing(&text) => DatabaseError::retry(text),
        _ => DatabaseError::Config(text.into()),
    }
}

fn is_missing(text: &str) -> bool {
    text.contains("no such table") || text.contains("no column named") || text.contains("no such column")
}

/// Whether a table, column or index that a statement makes is there already.
pub(super) fn is_there_already(error: &Error) -> bool {
    let text = error.to_string();
    text.contains("already exists") || text.contains("duplicate column name")
}
