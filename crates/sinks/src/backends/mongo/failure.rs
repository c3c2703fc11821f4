//! What an error of the server means for the rows that were being written.

use std::time::Duration;

use mongodb::error::{Error, ErrorKind, IndexedWriteError, WriteFailure};

use crate::{
    WriteError,
    transport::words::{self, plain},
};

/// An operation that did not succeed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{}", shown(error))]
    Refused { error: Box<Error> },
    #[error("no answer within {} s", .0.as_secs_f32())]
    TimedOut(Duration),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Refused { error: Box::new(error) }
    }
}

/// What a server says, without what may be contents of a document; otherwise what the driver says.
fn shown(error: &Error) -> String {
    match error.kind.as_ref() {
        ErrorKind::Command(error) => told(error.code, &error.code_name, &error.message),
        ErrorKind::Write(WriteFailure::WriteError(error)) => told(
            error.code,
            error.code_name.as_deref().unwrap_or_default(),
            &error.message,
        ),
        ErrorKind::Write(WriteFailure::WriteConcernError(error)) => told(error.code, &error.code_name, &error.message),
        ErrorKind::InsertMany(errors) => {
            let first = errors.write_errors.iter().flatten().next();
            match (first, &errors.write_concern_error) {
                (Some(error), _) => told_of_one(error),
                (None, Some(error)) => told(error.code, &error.code_name, &error.message),
                (None, None) => "documents are not inserted".to_owned(),
            }
        }
        kind => kind.to_string(),
    }
}

/// What a server says about one document of an insert.
pub(super) fn told_of_one(error: &IndexedWriteError) -> String {
    told(
        error.code,
        error.code_name.as_deref().unwrap_or_default(),
        &error.message,
    )
}

fn told(code: i32, name: &str, message: &str) -> String {
    // Those about log-in, rights and names hold none.
    let words = match CONFIGURE.contains(&code) && code != INVALID_NAMESPACE {
        true => message.to_owned(),
        false => plain(message),
    };
    let mut text = match words.as_str() {
        "" => format!("code {code}"),
        words => format!("{words} (code {code})"),
    };
    if !name.is_empty() {
        text = format!("{text}, {name}");
    }
    match index_in(message) {
        Some(index) => format!("{text}; index {index}"),
        None => text,
    }
}

/// The index that a duplicate key is about: `… index: path_1 dup key: …`.
fn index_in(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once(" index: ")?;
    words::name(rest.split(' ').next()?, "_.-", 100)
}

/// What is to be done about an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Remedy {
    /// Try again, after the time that the server asks for.
    Retry(Option<Duration>),
    /// Leave the offending document out.
    Refuse,
    /// Somebody must change something.
    Configure,
}

/// The code of a name that no collection can have.
pub(super) const INVALID_NAMESPACE: i32 = 73;
/// The code of a document that is there already.
pub(super) const DUPLICATE: i32 = 11000;

/// Login failed, not allowed, no such user, command or option unknown, bad name of a collection.
const CONFIGURE: &[i32] = &[11, 13, 18, 20, 59, 72, 73, 115, 303, 8000];
/// The document is at fault: bad or invalid value, failed to parse, wrong type, invalid BSON, field names, validation,
/// key of an index too long, document too large (also DocumentDB's and FerretDB's code), geo data that cannot be indexed.
const REFUSE: &[i32] = &[
    2,
    9,
    14,
    22,
    28,
    52,
    55,
    56,
    121,
    10334,
    16755,
    16756,
    16766,
    17280,
    17419,
    17420,
    285_999_133,
];
/// Trouble of the server that can also hit single documents.
const PASSING: &[i32] = &[
    6, 7, 24, 46, 50, 64, 89, 91, 112, 133, 189, 251, 262, 290, 317, 9001, 10107, 11600, 11602, 13388, 13435, 13436,
    14031, 16500,
];

impl Failure {
    /// The server's code, if it is a server that refuses.
    pub(super) fn code(&self) -> Option<i32> {
        let Failure::Refused { error } = self else {
            return None;
        };
        match error.kind.as_ref() {
            ErrorKind::Command(error) => Some(error.code),
            ErrorKind::Write(WriteFailure::WriteError(error)) => Some(error.code),
            _ => None,
        }
    }

    /// Everything that is said, for the program alone.
    fn raw(&self) -> String {
        match self {
            Failure::Refused { error } => error.kind.to_string(),
            Failure::TimedOut(_) => String::new(),
        }
    }

    /// Whether a document with this id is there already. FerretDB has no code for it in upserts.
    pub(super) fn is_duplicate(&self) -> bool {
        self.code() == Some(DUPLICATE) || self.raw().contains("duplicate key")
    }

    /// Whether a document has become too large, in the words and codes of MongoDB, DocumentDB, Cosmos DB and FerretDB.
    pub(super) fn is_about_size(&self) -> bool {
        const TEXTS: &[&str] = &[
            "Size must be between 0 and",
            "Request size is too large",
            "Resulting document after update is larger than",
        ];
        let text = self.raw();
        matches!(self.code(), Some(10334 | 17419 | 17420 | 285_999_133)) || TEXTS.iter().any(|part| text.contains(part))
    }

    pub(super) fn remedy(&self) -> Remedy {
        let Failure::Refused { error } = self else {
            return Remedy::Retry(None);
        };
        match error.kind.as_ref() {
            ErrorKind::Authentication { .. }
            | ErrorKind::InvalidTlsConfig { .. }
            | ErrorKind::IncompatibleServer { .. }
            | ErrorKind::SessionsNotSupported => Remedy::Configure,
            // The driver does not send what is too large for one message.
            ErrorKind::InvalidArgument { .. } | ErrorKind::BsonSerialization(_) | ErrorKind::Bson(_) => Remedy::Refuse,
            _ => match self.code() {
                Some(code) if CONFIGURE.contains(&code) => Remedy::Configure,
                Some(code) if REFUSE.contains(&code) => Remedy::Refuse,
                _ => Remedy::Retry(asked_for(&self.raw())),
            },
        }
    }

    /// For a write of rows of which none can be blamed.
    pub(super) fn into_write_error(self) -> WriteError {
        match self.remedy() {
            Remedy::Retry(after) => WriteError::Retry {
                after,
                source: Box::new(self),
            },
            Remedy::Refuse => WriteError::Reject {
                rows: Vec::new(),
                source: Box::new(self),
            },
            Remedy::Configure => WriteError::Config(Box::new(self)),
        }
    }
}

/// What to do about one document of an insert.
pub(super) fn remedy_of(error: &IndexedWriteError) -> Remedy {
    if CONFIGURE.contains(&error.code) {
        return Remedy::Configure;
    }
    if PASSING.contains(&error.code) {
        return Remedy::Retry(asked_for(&error.message));
    }
    Remedy::Refuse
}

/// Cosmos DB says `RetryAfterMs=34` in the text.
fn asked_for(text: &str) -> Option<Duration> {
    let (_, rest) = text.split_once("RetryAfterMs=")?;
    let digits = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok().map(Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_of_documents_are_not_shown() {
        let message = "E11000 duplicate key error collection: tyk.records index: path_1 dup key: { path: \"/s3cret\" }";
        let text = told(DUPLICATE, "DuplicateKey", message);
        assert_eq!(
            text,
            "… duplicate key error collection … index … key … (code 11000), DuplicateKey; index path_1"
        );
        let message = "Document failed validation: {alias: 'alice'}";
        assert_eq!(told(121, "", message), "Document failed validation … (code 121)");
    }

    #[test]
    fn throttling_says_how_long_to_wait() {
        let text = "Error=16500, RetryAfterMs=34, Details='Response status code does not indicate success";
        assert_eq!(asked_for(text), Some(Duration::from_millis(34)));
        assert_eq!(asked_for("no such thing"), None);
    }
}
