//! The process log: one line an event on the error output, in the forms of the reference's log.
//!
//! It starts as text at the level of `TYK_LOGLEVEL`; [`switch`] changes form and level once the configuration is read.
//! Lines go through a bounded queue to a thread of their own; lines that find it full are counted, see [`left_out`].

mod writer;

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    sync::{
        OnceLock,
        atomic::{AtomicU8, Ordering},
    },
    time::{Duration, SystemTime},
};

use analytics::{
    Time, Zone,
    logrus::{self, LogForm, LogFormat, LogLevel, Value},
};
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    Layer,
    layer::{Context, SubscriberExt},
    util::{SubscriberInitExt, TryInitError},
};

use self::writer::{LogWriter, write_stderr};
use crate::{
    config::{Finding, Severity},
    scrub,
};

/// Crates whose events are ours; of all others only warnings and errors are written.
const OWN: [&str; 5] = ["tyk_pump", "sinks", "store", "analytics", "bench"];

/// How long the last lines of a process may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Findings that are written in one go.
const FINDINGS_AT_ONCE: usize = 1_000;

static WRITER: OnceLock<LogWriter> = OnceLock::new();

static FORM: Form = Form {
    format: AtomicU8::new(0),
    level: AtomicU8::new(LogLevel::Info as u8),
};

/// Form and level, changeable while the process runs.
struct Form {
    format: AtomicU8,
    level: AtomicU8,
}

impl Form {
    fn set(&self, form: LogForm) {
        let format = match form.format {
            LogFormat::Text => 0,
            LogFormat::Json => 1,
            LogFormat::Legacy => 2,
        };
        self.format.store(format, Ordering::Relaxed);
        self.level.store(form.level as u8, Ordering::Relaxed);
    }

    fn format(&self) -> LogFormat {
        match self.format.load(Ordering::Relaxed) {
            1 => LogFormat::Json,
            2 => LogFormat::Legacy,
            _ => LogFormat::Text,
        }
    }

    fn allows(&self, level: LogLevel) -> bool {
        level as u8 <= self.level.load(Ordering::Relaxed)
    }
}

/// Starts the log of this process: text, at `level`.
///
/// # Errors
/// When the process has a log already.
pub fn start(level: LogLevel) -> Result<(), TryInitError> {
    FORM.set(LogForm {
        format: LogFormat::Text,
        level,
    });
    let layer = LogLayer { form: &FORM, write };
    tracing_subscriber::registry().with(layer).try_init()?;
    // Without a thread lines are written where they are made.
    if let Ok(writer) = LogWriter::start(write_stderr, left_out_line) {
        WRITER.get_or_init(|| writer);
    }
    Ok(())
}

/// Waits until the lines so far are written: to be called before the process ends. `false`: nobody reads them.
pub fn flush() -> bool {
    WRITER.get().is_none_or(|writer| writer.flush(LAST_LINES))
}

/// Lines that were left out since the start, because the error output was not read fast enough.
pub fn left_out() -> u64 {
    WRITER.get().map_or(0, LogWriter::left_out)
}

fn write(line: Vec<u8>) {
    match WRITER.get() {
        Some(writer) => writer.write(line),
        None => write_stderr(&line),
    }
}

fn left_out_line(lines: u64) -> Vec<u8> {
    let text = format!("{lines} log lines were left out: the error output was not read fast enough");
    line(
        FORM.format(),
        LogLevel::Warning,
        text.as_bytes(),
        &[("prefix", Value::Text(b"main"))],
    )
}

fn line(format: LogFormat, level: LogLevel, message: &[u8], fields: &[(&str, Value<'_>)]) -> Vec<u8> {
    let mut line = Vec::with_capacity(256);
    logrus::write_line(&mut line, format, level, now(), message, fields);
    line
}

/// Changes form and level of every line from now on.
pub fn switch(form: LogForm) {
    FORM.set(form);
    tracing::callsite::rebuild_interest_cache();
}

/// Writes a line at level fatal, whatever the level of the log. The caller ends the process with exit code 1.
pub fn fatal(prefix: &str, text: &str) {
    let fields = [("prefix", Value::Text(prefix.as_bytes()))];
    let text = scrub::secrets(text);
    // A full queue must not swallow the reason why the process ends.
    flush();
    write(line(FORM.format(), LogLevel::Fatal, text.as_bytes(), &fields));
    flush();
}

/// Writes what was noticed about the configuration, fatal findings last. `false`: one of them ends the process.
pub fn report(findings: &[Finding]) -> bool {
    let mut read = true;
    for (number, finding) in findings.iter().enumerate() {
        // More of them than the queue takes must not be lost when somebody reads them.
        if number % FINDINGS_AT_ONCE == FINDINGS_AT_ONCE - 1 {
            read = read && flush();
        }
        let prefix = finding.prefix;
        match finding.severity {
            Severity::Warning | Severity::Mistake => tracing::warn!(prefix, "{finding}"),
            Severity::Error => tracing::error!(prefix, "{finding}"),
            Severity::Fatal => {}
        }
    }
    let mut usable = true;
    for finding in findings.iter().filter(|finding| finding.severity == Severity::Fatal) {
        usable = false;
        fatal(finding.prefix, &finding.text);
    }
    usable
}

fn now() -> Time {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    Time {
        seconds: i64::try_from(since.as_secs()).unwrap_or(i64::MAX),
        nanos: since.subsec_nanos(),
        zone: Zone::LOCAL,
    }
}

/// Turns events into lines.
struct LogLayer<W> {
    form: &'static Form,
    write: W,
}

fn log_level(level: &Level) -> Option<LogLevel> {
    match *level {
        Level::ERROR => Some(LogLevel::Error),
        Level::WARN => Some(LogLevel::Warning),
        Level::INFO => Some(LogLevel::Info),
        Level::DEBUG => Some(LogLevel::Debug),
        Level::TRACE => None,
    }
}

impl<S: Subscriber, W: Fn(Vec<u8>) + 'static> Layer<S> for LogLayer<W> {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let Some(level) = log_level(metadata.level()) else {
            return false;
        };
        let crate_name = metadata.target().split("::").next().unwrap_or_default();
        let own = OWN.contains(&crate_name);
        metadata.is_event() && self.form.allows(level) && (own || level <= LogLevel::Warning)
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let Some(level) = log_level(event.metadata().level()) else {
            return;
        };
        let mut entry = Entry::default();
        event.record(&mut entry);
        let fields: Vec<(&str, Value<'_>)> = entry
            .fields
            .iter()
            .map(|(name, value)| (*name, value.borrowed()))
            .collect();
        (self.write)(line(self.form.format(), level, entry.message.as_bytes(), &fields));
    }
}

#[derive(Default)]
struct Entry {
    message: String,
    fields: Vec<(&'static str, Owned)>,
}

enum Owned {
    Text(String),
    Int(i64),
    Bool(bool),
}

impl Owned {
    fn borrowed(&self) -> Value<'_> {
        match self {
            Owned::Text(text) => Value::Text(text.as_bytes()),
            Owned::Int(number) => Value::Int(*number),
            Owned::Bool(on) => Value::Bool(*on),
        }
    }
}

impl Entry {
    fn add_text(&mut self, field: &Field, text: Cow<'_, str>) {
        let text = match scrub::secrets(&text) {
            Cow::Owned(masked) => Cow::Owned(masked),
            Cow::Borrowed(_) => text,
        };
        match field.name() {
            "message" => self.message = text.into_owned(),
            name => self.fields.push((name, Owned::Text(text.into_owned()))),
        }
    }
}

impl Visit for Entry {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = String::new();
        // Writing to a text cannot fail.
        let _ = write!(text, "{value:?}");
        self.add_text(field, text.into());
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add_text(field, value.into());
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.push((field.name(), Owned::Int(value)));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        match i64::try_from(value) {
            Ok(number) => self.record_i64(field, number),
            Err(_) => self.add_text(field, value.to_string().into()),
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.push((field.name(), Owned::Bool(value)));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What `log` writes, without times.
    fn lines(form: LogForm, log: impl FnOnce()) -> Vec<String> {
        let own: &'static Form = Box::leak(Box::new(Form {
            format: AtomicU8::new(0),
            level: AtomicU8::new(0),
        }));
        own.set(form);
        let written = Arc::new(Mutex::new(Vec::new()));
        let sink = written.clone();
        let layer = LogLayer {
            form: own,
            write: move |line: Vec<u8>| sink.lock().unwrap().extend_from_slice(&line),
        };
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), log);
        let bytes = written.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        let without_time = |line: &str| match line.split_once(" level=") {
            Some((time, rest)) if time.starts_with("time=\"") => format!("level={rest}"),
            _ => line.split(",\"time\":").next().unwrap().to_owned(),
        };
        text.lines().map(without_time).collect()
    }

    fn form(format: LogFormat, level: LogLevel) -> LogForm {
        LogForm { format, level }
    }

    #[test]
    fn a_line_has_level_message_and_sorted_fields() {
        let log = || {
            let number: u64 = 7;
            tracing::info!(prefix = "main", "## Tyk Pump, {} ##", "1.2.3");
            tracing::warn!(prefix = "main", pump = %"CSV", b = 2, a = number, ok = true, none = None::<u64>, "simple");
            tracing::error!(prefix = "csv-pump", error = ?"x y", "a <b>");
        };
        assert_eq!(
            lines(form(LogFormat::Text, LogLevel::Info), log),
            [
                "level=info message=\"## Tyk Pump, 1.2.3 ##\" prefix=main",
                "level=warning message=simple a=7 b=2 ok=true prefix=main pump=CSV",
                "level=error message=\"a <b>\" error=\"\\\"x y\\\"\" prefix=csv-pump",
            ]
        );
        assert_eq!(
            lines(form(LogFormat::Legacy, LogLevel::Info), log)[0],
            "level=info msg=\"## Tyk Pump, 1.2.3 ##\" prefix=main"
        );
        assert_eq!(
            lines(form(LogFormat::Json, LogLevel::Info), log)[1],
            "{\"a\":7,\"b\":2,\"level\":\"warning\",\"message\":\"simple\",\"ok\":true,\"prefix\":\"main\",\"pump\":\"CSV\""
        );
    }

    #[test]
    fn lines_below_the_level_and_chatter_of_libraries_are_left_out() {
        let log = || {
            tracing::error!("e");
            tracing::warn!("w");
            tracing::info!("i");
            tracing::debug!("d");
            tracing::trace!("t");
            tracing::info!(target: "hyper::client", "foreign");
            tracing::warn!(target: "hyper::client", "foreign warning");
        };
        let messages = |level| -> Vec<String> {
            let lines = lines(form(LogFormat::Text, level), log);
            lines
                .iter()
                .map(|line| line.split_once("message=").unwrap().1.to_owned())
                .collect()
        };
        assert_eq!(messages(LogLevel::Error), ["e"]);
        assert_eq!(messages(LogLevel::Warning), ["e", "w", "\"foreign warning\""]);
        assert_eq!(messages(LogLevel::Info), ["e", "w", "i", "\"foreign warning\""]);
        assert_eq!(messages(LogLevel::Debug), ["e", "w", "i", "d", "\"foreign warning\""]);
    }
}
