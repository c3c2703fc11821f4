//! A record as Go's `encoding/json` writes it.

mod column;
mod string;

use std::{borrow::Cow, sync::LazyLock};

use base64::{Engine, engine::general_purpose::STANDARD};

pub use self::{column::write_column, string::write_string};
use crate::{
    FIELDS, Field, RecordView, Text,
    field::{FieldInfo, Store, Width, graph_error},
    flatten::flatten,
    gofloat,
    gotime::{self, YearOutOfRange},
    view::{ErrorView, PathValue},
};

/// Why a record has no JSON form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonError {
    /// A float is NaN or infinite.
    #[error("a number that is not finite has no JSON form")]
    NotFinite,
    /// A time whose local year RFC 3339 cannot say.
    #[error(transparent)]
    Year(#[from] YearOutOfRange),
    /// The path of a GraphQL error holds a map.
    #[error("a map inside the path of a GraphQL error has no JSON form")]
    MapInPath,
}

/// Appends the record as a JSON object. On failure `out` is as it was.
pub fn write_record(out: &mut Vec<u8>, view: &RecordView<'_>) -> Result<(), JsonError> {
    write(out, view, |_, text| text)
}

/// As [`write_record`], with the raw request and response on one line each.
pub fn write_flattened_record(out: &mut Vec<u8>, view: &RecordView<'_>) -> Result<(), JsonError> {
    write(out, view, |field, text| match field {
        Text::RawRequest | Text::RawResponse => match text {
            Cow::Borrowed(text) => flatten(text),
            Cow::Owned(text) => Cow::Owned(flatten(&text).into_owned()),
        },
        _ => text,
    })
}

/// What precedes each value: commas, keys, and the braces of the structures that begin or end there.
struct Layout {
    values: Vec<(Vec<u8>, Store)>,
    end: Vec<u8>,
}

static LAYOUT: LazyLock<Layout> = LazyLock::new(|| {
    let mut values = Vec::new();
    let mut before = Vec::new();
    lay_out(FIELDS, &mut before, &mut values);
    Layout { values, end: before }
});

fn lay_out(fields: &'static [FieldInfo], before: &mut Vec<u8>, values: &mut Vec<(Vec<u8>, Store)>) {
    before.push(b'{');
    let mut is_first = true;
    for info in fields {
        let Some(key) = info.json else { continue };
        if !is_first {
            before.push(b',');
        }
        is_first = false;
        write_string(before, key.as_bytes());
        before.push(b':');
        match info.store {
            Store::Struct(shape) => lay_out(shape.fields(), before, values),
            store => values.push((std::mem::take(before), store)),
        }
    }
    before.push(b'}');
}

fn write<'a>(
    out: &mut Vec<u8>,
    view: &RecordView<'a>,
    change: impl Fn(Text, Cow<'a, [u8]>) -> Cow<'a, [u8]>,
) -> Result<(), JsonError> {
    let start = out.len();
    for (before, store) in &LAYOUT.values {
        out.extend_from_slice(before);
        let written = match *store {
            Store::Text(text) => {
                write_string(out, &change(text, view.text(text)));
                Ok(())
            }
            store => write_value(out, view, store),
        };
        if let Err(error) = written {
            out.truncate(start);
            return Err(error);
        }
    }
    out.extend_from_slice(&LAYOUT.end);
    Ok(())
}

/// Appends the value of one of the record's own fields. On failure `out` may hold a part of it.
pub fn write_field(out: &mut Vec<u8>, view: &RecordView<'_>, field: Field) -> Result<(), JsonError> {
    write_store(out, view, field.info().store)
}

fn write_store(out: &mut Vec<u8>, view: &RecordView<'_>, store: Store) -> Result<(), JsonError> {
    let Store::Struct(shape) = store else {
        return write_value(out, view, store);
    };
    let mut before = b'{';
    for info in shape.fields() {
        let Some(key) = info.json else { continue };
        out.push(before);
        before = b',';
        write_string(out, key.as_bytes());
        out.push(b':');
        write_store(out, view, info.store)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_value(out: &mut Vec<u8>, view: &RecordView<'_>, store: Store) -> Result<(), JsonError> {
    match store {
        Store::Text(text) => write_string(out, &view.text(text)),
        Store::Int(int, Width::Unsigned) => write_unsigned(out, view.int(int) as u64),
        Store::Int(int, _) => write_int(out, view.int(int)),
        Store::Float(float) => write_float(out, view.float(float))?,
        Store::Time(when) => {
            out.push(b'"');
            gotime::write_rfc3339_nano(out, view.time(when))?;
            out.push(b'"');
        }
        Store::Flag(flag) => write_bool(out, view.flag(flag)),
        Store::Tags => write_strings(out, view.tags()),
        Store::RootFields => write_strings(out, view.root_fields()),
        Store::CityNames => write_map(out, view.city_names(), |out, name| {
            write_string(out, name);
            Ok(())
        })?,
        Store::Types => write_map(out, view.types(), |out, fields| {
            write_strings(out, fields);
            Ok(())
        })?,
        Store::Errors => write_list(out, view.errors(), write_error)?,
        Store::Nothing | Store::Struct(_) => out.extend_from_slice(b"null"),
    }
    Ok(())
}

/// Appends a number; on failure nothing is written.
pub fn write_float(out: &mut Vec<u8>, value: f64) -> Result<(), JsonError> {
    if gofloat::write_json(out, value) {
        Ok(())
    } else {
        Err(JsonError::NotFinite)
    }
}

/// Appends a number.
pub fn write_int(out: &mut Vec<u8>, value: i64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// `null` when absent.
fn write_list<T>(
    out: &mut Vec<u8>,
    items: Option<impl Iterator<Item = T>>,
    mut write_item: impl FnMut(&mut Vec<u8>, T) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    let Some(items) = items else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    out.push(b'[');
    for (position, item) in items.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_item(out, item)?;
    }
    out.push(b']');
    Ok(())
}

/// Appends a list of strings; `null` when absent.
pub fn write_strings<'a>(out: &mut Vec<u8>, texts: Option<impl Iterator<Item = &'a [u8]>>) {
    let Some(texts) = texts else {
        out.extend_from_slice(b"null");
        return;
    };
    out.push(b'[');
    for (position, text) in texts.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_string(out, text);
    }
    out.push(b']');
}

/// `null` when absent. The pairs come sorted.
fn write_map<'a, T>(
    out: &mut Vec<u8>,
    pairs: Option<impl Iterator<Item = (&'a [u8], T)>>,
    mut write_item: impl FnMut(&mut Vec<u8>, T) -> Result<(), JsonError>,
) -> Result<(), JsonError> {
    let Some(pairs) = pairs else {
        out.extend_from_slice(b"null");
        return Ok(());
    };
    out.push(b'{');
    for (position, (key, item)) in pairs.enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_string(out, key);
        out.push(b':');
        write_item(out, item)?;
    }
    out.push(b'}');
    Ok(())
}

fn write_error(out: &mut Vec<u8>, error: ErrorView<'_>) -> Result<(), JsonError> {
    out.push(b'{');
    write_string(out, graph_error::JSON_MESSAGE.as_bytes());
    out.push(b':');
    write_string(out, error.message);
    out.push(b',');
    write_string(out, graph_error::JSON_PATH.as_bytes());
    out.push(b':');
    write_list(out, error.path, write_path_value)?;
    out.push(b'}');
    Ok(())
}

fn write_path_value(out: &mut Vec<u8>, value: PathValue<'_>) -> Result<(), JsonError> {
    match value {
        PathValue::Null => out.extend_from_slice(b"null"),
        PathValue::Bool(value) => write_bool(out, value),
        PathValue::Int(value) => write_int(out, value),
        PathValue::Uint(value) => write_unsigned(out, value),
        PathValue::Float(value) => write_float(out, value)?,
        PathValue::Text(text) => write_string(out, text),
        PathValue::Bytes(bytes) => write_string(out, STANDARD.encode(bytes).as_bytes()),
        PathValue::List(items) => write_list(out, Some(items), write_path_value)?,
        PathValue::Map(_) => return Err(JsonError::MapInPath),
    }
    Ok(())
}
