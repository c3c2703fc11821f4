//! The line form of upstream's log.

/// Form of the process log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `time="…" level=info message="…" prefix=main`
    #[default]
    Text,
    /// One JSON object a line.
    Json,
    /// As text, with `msg` and another time form.
    Legacy,
}

/// Severity, most severe first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum LogLevel {
    Fatal,
    Error,
    Warning,
    Info,
    Debug,
}

/// Form and level of the process log.
#[derive(Clone, Copy, Debug)]
pub struct LogForm {
    /// Form.
    pub format: LogFormat,
    /// Least severe level that is written.
    pub level: LogLevel,
}
