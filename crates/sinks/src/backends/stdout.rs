//! Type `stdout`: records as JSON lines on stdout, or as lines of the log on stderr.

use std::{
    fs::File,
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    sync::Arc,
    time::Duration,
};

use analytics::{
    RecordView, RowId, Selection, dump, json,
    logrus::{self, LogForm, LogFormat, LogLevel, Value},
};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Applied, BuildContext, BuildError, Rejected, Sink, SinkSpec, WriteError, Written, encode::clock, options};

/// Bytes that are handed to the stream at once.
const CHUNK: usize = 256 << 10;
/// A buffer that an enormous record has blown up is let go of.
const KEPT_BUFFER: usize = 4 << 20;

/// Writes every record as a line: with format `json` one JSON object on stdout, otherwise an entry of the log on
/// stderr, in the form of the process log. In that text form nothing is written at log levels `warn` and `error`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"format": "json"}))]
pub struct Options {
    /// `json`, exactly so: JSON on stdout. Anything else: lines of the log on stderr.
    pub format: String,
    /// Key of the record in the line. `time`, `msg`, `level` and `logrus_error` become `fields.<name>`.
    pub log_field_name: String,
    /// Format `json`: leave decoded requests and responses as they are. Otherwise they are put on one line: line feeds
    /// become blanks, carriage returns and tabs go, a JSON payload is compacted.
    pub use_legacy_payload_format: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            format: String::new(),
            log_field_name: "tyk-analytics-record".to_owned(),
            use_legacy_payload_format: false,
        }
    }
}

/// The type `stdout`.
pub const SPEC: SinkSpec = SinkSpec {
    options: options::schema::<Options>,
    ..SinkSpec::new(
        "stdout",
        "Stdout Pump",
        "stdout-pump",
        "TYK_PMP_PUMPS_STDOUT_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Stdout::new(&context, None)?) as Box<dyn Sink>) }.boxed()
}

/// One pump's way to stdout or stderr.
pub struct Stdout {
    printer: Arc<tokio::sync::Mutex<Printer>>,
}

impl Stdout {
    /// `stream` replaces the stream that the options choose.
    pub fn new(context: &BuildContext, stream: Option<Box<dyn Write + Send>>) -> Result<Stdout, BuildError> {
        let options: Options = context.options()?;
        let is_json = options.format == "json";
        if !is_json && options.format.eq_ignore_ascii_case("json") {
            tracing::warn!(
                prefix = SPEC.log_prefix, pump = %context.pump,
                "meta.format is \"{}\", which means text – write \"json\" for JSON", options.format
            );
        }
        let log = context.log;
        let form = match (is_json, options.use_legacy_payload_format) {
            (true, false) => Form::Json {
                write: json::write_flattened_record,
            },
            (true, true) => Form::Json {
                write: json::write_record,
            },
            (false, _) if log.level < LogLevel::Info => Form::Silent,
            (false, _) => Form::Log(log),
        };
        let stream = match stream {
            Some(stream) => stream,
            None if is_json => duplicate(io::stdout().as_fd()).map_err(BuildError::Unavailable)?,
            None => duplicate(io::stderr().as_fd()).map_err(BuildError::Unavailable)?,
        };
        let name = match options.log_field_name.is_empty() {
            true => Options::default().log_field_name,
            false => options.log_field_name,
        };
        tracing::info!(prefix = SPEC.log_prefix, "Stdout Pump Initialized");
        Ok(Stdout {
            printer: Arc::new(tokio::sync::Mutex::new(Printer {
                form,
                name,
                stream,
                buffer: Vec::new(),
                record: Vec::new(),
                ends: Vec::new(),
                torn: false,
            })),
        })
    }
}

/// Past the buffer of the standard library, which would keep what a failed write leaves and print it later.
fn duplicate(stream: BorrowedFd<'_>) -> Result<Box<dyn Write + Send>, crate::BoxError> {
    Ok(Box::new(File::from(stream.try_clone_to_owned()?)))
}

#[async_trait]
impl Sink for Stdout {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        // The lock moves into the thread, so that a write whose future is dropped ends before the next one begins.
        let mut printer = self.printer.clone().lock_owned().await;
        let (group, applied) = (group.to_vec(), applied.clone());
        let task = tokio::task::spawn_blocking(move || printer.print(&group, &applied));
        task.await.map_err(WriteError::retry)?.map_err(|(stream, error)| {
            let error = io::Error::new(error.kind(), format!("cannot write to {stream}: {error}"));
            WriteError::retry(error)
        })
    }
}

type WriteRecord = fn(&mut Vec<u8>, &RecordView<'_>) -> Result<(), json::JsonError>;

/// What a record becomes.
enum Form {
    /// A JSON object on stdout, whatever the form and level of the log.
    Json { write: WriteRecord },
    /// A line of the log on stderr.
    Log(LogForm),
    /// Nothing: the log's level hides lines of level info.
    Silent,
}

struct Printer {
    form: Form,
    /// `log_field_name`
    name: String,
    stream: Box<dyn Write + Send>,
    /// Lines that are not written yet.
    buffer: Vec<u8>,
    /// The record of the line that is being made.
    record: Vec<u8>,
    /// Where the lines in `buffer` end.
    ends: Vec<(usize, RowId)>,
    /// The stream may end inside a line.
    torn: bool,
}

impl Printer {
    fn print(&mut self, group: &[Selection], applied: &Applied) -> Result<Written, (&'static str, io::Error)> {
        let mut written = Written::default();
        let stream = match self.form {
            Form::Silent => return Ok(written),
            Form::Json { .. } => "stdout",
            Form::Log(_) => "stderr",
        };
        self.buffer.clear();
        self.ends.clear();
        if self.torn {
            self.buffer.push(b'\n');
        }
        for (row, record) in applied.rest_of(group).iter().flat_map(Selection::records) {
            match self.add_line(&record) {
                Ok(()) => self.ends.push((self.buffer.len(), row)),
                Err(error) => written.rejected.push(Rejected {
                    row,
                    reason: error.to_string(),
                }),
            }
            if self.buffer.len() >= CHUNK {
                self.flush(applied).map_err(|error| (stream, error))?;
            }
        }
        self.flush(applied).map_err(|error| (stream, error))?;
        if self.buffer.capacity() > KEPT_BUFFER || self.record.capacity() > KEPT_BUFFER {
            (self.buffer, self.record) = (Vec::new(), Vec::new());
        }
        Ok(written)
    }

    fn add_line(&mut self, record: &RecordView<'_>) -> Result<(), json::JsonError> {
        self.record.clear();
        let time = clock::local_time();
        match self.form {
            Form::Json { write } => {
                write(&mut self.record, record)?;
                logrus::write_record_line(&mut self.buffer, time, &self.name, &self.record);
            }
            Form::Log(log) => {
                let value = if log.format == LogFormat::Json {
                    json::write_record(&mut self.record, record)?;
                    Value::RawJson(&self.record)
                } else {
                    dump::write_record(&mut self.record, record);
                    Value::Text(&self.record)
                };
                let fields = [("prefix", Value::Text(SPEC.log_prefix.as_bytes())), (&self.name, value)];
                logrus::write_line(&mut self.buffer, log.format, LogLevel::Info, time, b"", &fields);
            }
            Form::Silent => {}
        }
        Ok(())
    }

    /// Writes the buffer out and marks the rows that are complete, also when it fails on the way.
    fn flush(&mut self, applied: &Applied) -> io::Result<()> {
        let log_lock = matches!(self.form, Form::Log(_)).then(|| io::stderr().lock());
        let mut done = 0;
        let result = loop {
            let Some(rest) = self.buffer.get(done..).filter(|rest| !rest.is_empty()) else {
                break self.stream.flush();
            };
            match self.stream.write(rest) {
                Ok(0) => break Err(io::ErrorKind::WriteZero.into()),
                Ok(bytes) => done += bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Somebody made the stream non-blocking and its reader is slow.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => std::thread::sleep(Duration::from_millis(5)),
                Err(error) => break Err(error),
            }
        };
        drop(log_lock);
        let complete = self.ends.iter().take_while(|(end, _)| *end <= done);
        applied.mark(complete.map(|(_, row)| *row));
        if done > 0 {
            self.torn = self.buffer.get(done - 1) != Some(&b'\n');
        }
        self.buffer.clear();
        self.ends.clear();
        result
    }
}

#[cfg(test)]
mod tests;
