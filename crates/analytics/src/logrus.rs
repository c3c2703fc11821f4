//! The line form of upstream's log.

use std::borrow::Cow;

use crate::{Time, Zone, gotext, gotime, json};

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

impl LogLevel {
    /// The level as lines show it.
    pub fn name(self) -> &'static str {
        match self {
            LogLevel::Fatal => "fatal",
            LogLevel::Error => "error",
            LogLevel::Warning => "warning",
            LogLevel::Info => "info",
            LogLevel::Debug => "debug",
        }
    }
}

/// Form and level of the process log.
#[derive(Clone, Copy, Debug)]
pub struct LogForm {
    /// Form.
    pub format: LogFormat,
    /// Least severe level that is written.
    pub level: LogLevel,
}

/// Value of a field of a line.
#[derive(Clone, Copy, Debug)]
pub enum Value<'a> {
    /// Text of any bytes.
    Text(&'a [u8]),
    /// An integer.
    Int(i64),
    /// A boolean.
    Bool(bool),
    /// JSON that goes into a JSON line as it is; in the other forms it is a text.
    RawJson(&'a [u8]),
}

/// Writes one line, line end included. The fields come in any order; of two with the same name the later one counts.
/// `time` is shown in its own zone.
pub fn write_line(
    out: &mut Vec<u8>,
    format: LogFormat,
    level: LogLevel,
    time: Time,
    message: &[u8],
    fields: &[(&str, Value<'_>)],
) {
    match format {
        LogFormat::Json => write_json_line(out, "message", level, time, message, fields),
        LogFormat::Text => write_text_line(out, "message", gotime::write_rfc3339, level, time, message, fields),
        LogFormat::Legacy => write_text_line(out, "msg", gotime::write_stamp, level, time, message, fields),
    }
}

/// The line of the stdout pump for one record, whatever the form of the process log:
/// `{"level":"info","msg":"","time":"…","<name>":{…}}`.
pub fn write_record_line(out: &mut Vec<u8>, time: Time, name: &str, record_json: &[u8]) {
    let time = Time {
        zone: Zone::UTC,
        ..time
    };
    let fields = [(name, Value::RawJson(record_json))];
    write_json_line(out, "msg", LogLevel::Info, time, b"", &fields);
}

fn write_json_line(
    out: &mut Vec<u8>,
    message_key: &str,
    level: LogLevel,
    time: Time,
    message: &[u8],
    fields: &[(&str, Value<'_>)],
) {
    let mut stamp = Vec::with_capacity(32);
    gotime::write_rfc3339(&mut stamp, time);
    let mut entries = renamed(fields, message_key);
    entries.push((Cow::Borrowed("level"), Value::Text(level.name().as_bytes())));
    entries.push((Cow::Borrowed(message_key), Value::Text(message)));
    entries.push((Cow::Borrowed("time"), Value::Text(&stamp)));
    sort(&mut entries);
    for (position, (name, value)) in entries.iter().enumerate() {
        out.push(if position == 0 { b'{' } else { b',' });
        json::write_string(out, name.as_bytes());
        out.push(b':');
        match value {
            Value::Text(text) => json::write_string(out, text),
            Value::RawJson(json) => out.extend_from_slice(json),
            Value::Int(value) => json::write_int(out, *value),
            Value::Bool(value) => out.extend_from_slice(bool_text(*value)),
        }
    }
    out.extend_from_slice(b"}\n");
}

fn write_text_line(
    out: &mut Vec<u8>,
    message_key: &str,
    write_time: fn(&mut Vec<u8>, Time),
    level: LogLevel,
    time: Time,
    message: &[u8],
    fields: &[(&str, Value<'_>)],
) {
    let mut stamp = Vec::with_capacity(32);
    write_time(&mut stamp, time);
    out.extend_from_slice(b"time=");
    write_value(out, &stamp);
    out.extend_from_slice(b" level=");
    out.extend_from_slice(level.name().as_bytes());
    if !message.is_empty() {
        out.push(b' ');
        out.extend_from_slice(message_key.as_bytes());
        out.push(b'=');
        write_value(out, message);
    }
    let mut entries = renamed(fields, message_key);
    sort(&mut entries);
    for (name, value) in entries {
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
        match value {
            Value::Text(text) | Value::RawJson(text) => write_value(out, text),
            Value::Int(value) => json::write_int(out, value),
            Value::Bool(value) => out.extend_from_slice(bool_text(value)),
        }
    }
    out.push(b'\n');
}

/// The fields, those that would hide a part of the line itself under `fields.<name>`.
fn renamed<'a>(fields: &[(&'a str, Value<'a>)], message_key: &str) -> Vec<(Cow<'a, str>, Value<'a>)> {
    let is_reserved = |name: &str| matches!(name, "time" | "level" | "logrus_error") || name == message_key;
    let (reserved, free): (Vec<_>, Vec<_>) = fields.iter().partition(|(name, _)| is_reserved(name));
    let mut entries = Vec::with_capacity(fields.len() + 3);
    entries.extend(free.into_iter().map(|(name, value)| (Cow::Borrowed(name), value)));
    entries.extend(
        reserved
            .into_iter()
            .map(|(name, value)| (Cow::Owned(format!("fields.{name}")), value)),
    );
    entries
}

/// By name; of equal names only the last one stays.
fn sort(entries: &mut Vec<(Cow<'_, str>, Value<'_>)>) {
    entries.sort_by(|(one, _), (other, _)| one.cmp(other));
    entries.dedup_by(|later, earlier| {
        let same = later.0 == earlier.0;
        if same {
            earlier.1 = later.1;
        }
        same
    });
}

/// Quoted only where a reader could take it for more than one word.
fn write_value(out: &mut Vec<u8>, text: &[u8]) {
    let is_word = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._/@^+".contains(byte);
    if text.iter().all(is_word) {
        out.extend_from_slice(text);
    } else {
        gotext::write_quoted(out, text);
    }
}

fn bool_text(value: bool) -> &'static [u8] {
    if value { b"true" } else { b"false" }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME: Time = Time {
        seconds: 1_795_195_401,
        nanos: 7,
        zone: Zone::UTC,
    };

    fn line(format: LogFormat, level: LogLevel, message: &str, fields: &[(&str, Value<'_>)]) -> String {
        let mut out = Vec::new();
        write_line(&mut out, format, level, TIME, message.as_bytes(), fields);
        String::from_utf8(out).unwrap()
    }

    const START: &str = "## Tyk Pump, v1.12.0 ##";
    const MAIN: &[(&str, Value<'static>)] = &[("prefix", Value::Text(b"main"))];

    #[test]
    fn every_form_has_its_line() {
        assert_eq!(
            line(LogFormat::Text, LogLevel::Info, START, MAIN),
            "time=\"2026-11-20T17:23:21Z\" level=info message=\"## Tyk Pump, v1.12.0 ##\" prefix=main\n"
        );
        assert_eq!(
            line(LogFormat::Legacy, LogLevel::Info, START, MAIN),
            "time=\"Nov 20 17:23:21\" level=info msg=\"## Tyk Pump, v1.12.0 ##\" prefix=main\n"
        );
        assert_eq!(
            line(LogFormat::Json, LogLevel::Info, START, MAIN),
            "{\"level\":\"info\",\"message\":\"## Tyk Pump, v1.12.0 ##\",\"prefix\":\"main\",\"time\":\"2026-11-20T17:23:21Z\"}\n"
        );
    }

    #[test]
    fn values_are_quoted_only_when_needed() {
        let fields = [
            ("error", Value::Text(b"boom <x>")),
            ("empty", Value::Text(b"")),
            ("bytes", Value::Text(b"\xff")),
            ("count", Value::Int(-3)),
            ("done", Value::Bool(true)),
        ];
        assert_eq!(
            line(LogFormat::Text, LogLevel::Warning, "simple", &fields),
            "time=\"2026-11-20T17:23:21Z\" level=warning message=simple bytes=\"\\xff\" count=-3 done=true empty= error=\"boom <x>\"\n"
        );
        assert_eq!(
            line(LogFormat::Json, LogLevel::Fatal, "", &fields),
            "{\"bytes\":\"\\ufffd\",\"count\":-3,\"done\":true,\"empty\":\"\",\"error\":\"boom \\u003cx\\u003e\",\"level\":\"fatal\",\"message\":\"\",\"time\":\"2026-11-20T17:23:21Z\"}\n"
        );
    }

    #[test]
    fn a_text_line_without_message_has_no_message_pair() {
        assert_eq!(
            line(LogFormat::Text, LogLevel::Debug, "", MAIN),
            "time=\"2026-11-20T17:23:21Z\" level=debug prefix=main\n"
        );
    }

    #[test]
    fn fields_never_hide_parts_of_the_line() {
        let fields = [
            ("time", Value::Text(b"t")),
            ("level", Value::Text(b"l")),
            ("msg", Value::Text(b"m")),
            ("message", Value::Text(b"M")),
            ("fields.time", Value::Text(b"lost")),
        ];
        assert_eq!(
            line(LogFormat::Text, LogLevel::Info, "x", &fields),
            "time=\"2026-11-20T17:23:21Z\" level=info message=x fields.level=l fields.message=M fields.time=t msg=m\n"
        );
        assert_eq!(
            line(LogFormat::Legacy, LogLevel::Info, "x", &fields),
            "time=\"Nov 20 17:23:21\" level=info msg=x fields.level=l fields.msg=m fields.time=t message=M\n"
        );
    }

    #[test]
    fn record_lines_keep_their_form() {
        let record_line = |name: &str| {
            let mut out = Vec::new();
            let zone = Zone::named(b"Europe/Berlin").unwrap();
            write_record_line(&mut out, Time { zone, ..TIME }, name, b"{\"a\":1}");
            String::from_utf8(out).unwrap()
        };
        assert_eq!(
            record_line("tyk-analytics-record"),
            "{\"level\":\"info\",\"msg\":\"\",\"time\":\"2026-11-20T17:23:21Z\",\"tyk-analytics-record\":{\"a\":1}}\n"
        );
        assert_eq!(
            record_line("logrus_error"),
            "{\"fields.logrus_error\":{\"a\":1},\"level\":\"info\",\"msg\":\"\",\"time\":\"2026-11-20T17:23:21Z\"}\n"
        );
        assert_eq!(
            record_line("message"),
            "{\"level\":\"info\",\"message\":{\"a\":1},\"msg\":\"\",\"time\":\"2026-11-20T17:23:21Z\"}\n"
        );
    }
}
