//! A record as Go prints it with `%v`: the values of all fields in order, for people.

use std::cmp::Ordering;

use crate::{
    FIELDS, Int, RecordView,
    field::{FieldInfo, Store, Width},
    gofloat, gotime,
    view::{ErrorView, PathValue, Texts},
};

/// Appends the dump of the record. Every record has one; no reader could parse it.
pub fn write_record(out: &mut Vec<u8>, view: &RecordView<'_>) {
    // The reference's record begins with an object id that is always empty.
    out.extend_from_slice(b"{ ");
    write_fields(out, view, FIELDS);
    out.push(b'}');
}

fn write_fields(out: &mut Vec<u8>, view: &RecordView<'_>, fields: &[FieldInfo]) {
    for (position, info) in fields.iter().enumerate() {
        if position > 0 {
            out.push(b' ');
        }
        write_field(out, view, info.store);
    }
}

fn write_field(out: &mut Vec<u8>, view: &RecordView<'_>, store: Store) {
    match store {
        Store::Text(text) => out.extend_from_slice(&view.text(text)),
        Store::Int(Int::Month, _) => gotime::write_month(out, view.int(Int::Month)),
        Store::Int(int, Width::Unsigned) => write_integer(out, view.int(int) as u64),
        Store::Int(int, _) => write_integer(out, view.int(int)),
        Store::Float(float) => gofloat::write_value(out, view.float(float)),
        Store::Time(when) => gotime::write_text(out, view.time(when)),
        Store::Flag(flag) => write_bool(out, view.flag(flag)),
        Store::Tags => write_texts(out, view.tags()),
        Store::RootFields => write_texts(out, view.root_fields()),
        Store::CityNames => write_map(out, view.city_names(), write_text, write_text),
        Store::Types => write_map(out, view.types(), write_text, write_texts),
        Store::Errors => write_list(out, view.errors(), write_error),
        Store::Nothing => {}
        Store::Struct(shape) => {
            out.push(b'{');
            write_fields(out, view, shape.fields());
            out.push(b'}');
        }
    }
}

fn write_integer(out: &mut Vec<u8>, value: impl itoa::Integer) {
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

fn write_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn write_text(out: &mut Vec<u8>, text: &[u8]) {
    out.extend_from_slice(text);
}

fn write_texts(out: &mut Vec<u8>, texts: Option<Texts<'_>>) {
    write_list(out, texts, write_text);
}

/// An absent list looks like an empty one.
fn write_list<T>(out: &mut Vec<u8>, items: Option<impl Iterator<Item = T>>, write_item: fn(&mut Vec<u8>, T)) {
    out.push(b'[');
    for (position, item) in items.into_iter().flatten().enumerate() {
        if position > 0 {
            out.push(b' ');
        }
        write_item(out, item);
    }
    out.push(b']');
}

fn write_map<K, V>(
    out: &mut Vec<u8>,
    pairs: Option<impl Iterator<Item = (K, V)>>,
    write_key: fn(&mut Vec<u8>, K),
    write_value: fn(&mut Vec<u8>, V),
) {
    out.extend_from_slice(b"map[");
    for (position, (key, value)) in pairs.into_iter().flatten().enumerate() {
        if position > 0 {
            out.push(b' ');
        }
        write_key(out, key);
        out.push(b':');
        write_value(out, value);
    }
    out.push(b']');
}

fn write_error(out: &mut Vec<u8>, error: ErrorView<'_>) {
    out.push(b'{');
    out.extend_from_slice(error.message);
    out.push(b' ');
    write_list(out, error.path, write_path_value);
    out.push(b'}');
}

fn write_path_value(out: &mut Vec<u8>, value: PathValue<'_>) {
    match value {
        PathValue::Null => out.extend_from_slice(b"<nil>"),
        PathValue::Bool(value) => write_bool(out, value),
        PathValue::Int(value) => write_integer(out, value),
        PathValue::Uint(value) => write_integer(out, value),
        PathValue::Float(value) => gofloat::write_value(out, value),
        PathValue::Text(text) => out.extend_from_slice(text),
        PathValue::Bytes(bytes) => write_list(out, Some(bytes.iter()), |out, byte| write_integer(out, *byte)),
        PathValue::List(items) => write_list(out, Some(items), write_path_value),
        PathValue::Map(pairs) => {
            let mut pairs = Vec::from_iter(pairs);
            pairs.sort_by(|(one, _), (other, _)| compare_keys(one, other));
            write_map(out, Some(pairs.into_iter()), write_path_value, write_path_value);
        }
    }
}

/// The order in which Go prints the keys of a map. Keys of different types have none there, here the types' order below.
fn compare_keys(one: &PathValue<'_>, other: &PathValue<'_>) -> Ordering {
    let by_value = match (one, other) {
        (PathValue::Bool(one), PathValue::Bool(other)) => one.cmp(other),
        (PathValue::Int(one), PathValue::Int(other)) => one.cmp(other),
        (PathValue::Uint(one), PathValue::Uint(other)) => one.cmp(other),
        (PathValue::Float(one), PathValue::Float(other)) => one.total_cmp(other),
        (PathValue::Text(one), PathValue::Text(other)) => one.cmp(other),
        _ => Ordering::Equal,
    };
    type_rank(one).cmp(&type_rank(other)).then(by_value)
}

fn type_rank(key: &PathValue<'_>) -> u8 {
    match key {
        PathValue::Null => 0,
        PathValue::Bool(_) => 1,
        PathValue::Int(_) => 2,
        PathValue::Uint(_) => 3,
        PathValue::Float(_) => 4,
        PathValue::Text(_) => 5,
        PathValue::Bytes(_) | PathValue::List(_) | PathValue::Map(_) => 6,
    }
}
