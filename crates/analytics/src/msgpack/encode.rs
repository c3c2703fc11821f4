//! Encoding exactly as the gateway's encoder does: every key in declaration order, the shortest form of every number,
//! strings always of the str family.

use crate::{
    FIELDS, RecordView, Time,
    field::{FieldInfo, Store, Width, graph_error},
    uptime::{UPTIME_FIELDS, UptimeStore, UptimeText, UptimeView},
    view::PathValue,
};

/// Appends a traffic record. Zones are not on the wire; the collection name is empty.
pub fn encode(out: &mut Vec<u8>, view: &RecordView<'_>) {
    fields(out, view, FIELDS);
}

/// Appends an uptime record, without the id that no gateway sends.
pub fn encode_uptime(out: &mut Vec<u8>, view: &UptimeView<'_>) {
    let sent = UPTIME_FIELDS
        .iter()
        .filter(|row| row.store != UptimeStore::Text(UptimeText::Id));
    map_header(out, sent.clone().count());
    for row in sent {
        string(out, row.go.as_bytes());
        match row.store {
            UptimeStore::Text(text) => string(out, view.text(text)),
            UptimeStore::Int(field, _) => int(out, view.int(field)),
            UptimeStore::Flag(flag) => boolean(out, view.flag(flag)),
            UptimeStore::Time(when) => time(out, view.time(when)),
        }
    }
}

fn fields(out: &mut Vec<u8>, view: &RecordView<'_>, rows: &[FieldInfo]) {
    map_header(out, rows.len());
    for row in rows {
        string(out, row.go.as_bytes());
        match row.store {
            Store::Text(text) => string(out, &view.text(text)),
            Store::Int(field, Width::Unsigned) => uint(out, view.int(field) as u64),
            Store::Int(field, _) => int(out, view.int(field)),
            Store::Float(field) => float(out, view.float(field)),
            Store::Time(when) => time(out, view.time(when)),
            Store::Flag(flag) => boolean(out, view.flag(flag)),
            Store::Tags => strings(out, view.tags()),
            Store::CityNames => city_names(out, view),
            Store::RootFields => strings(out, view.root_fields()),
            Store::Types => types(out, view),
            Store::Errors => errors(out, view),
            Store::Nothing => string(out, b""),
            Store::Struct(shape) => fields(out, view, shape.fields()),
        }
    }
}

fn city_names(out: &mut Vec<u8>, view: &RecordView<'_>) {
    let Some(names) = view.city_names() else {
        return nil(out);
    };
    map_header(out, names.len());
    for (language, name) in names {
        string(out, language);
        string(out, name);
    }
}

fn types(out: &mut Vec<u8>, view: &RecordView<'_>) {
    let Some(types) = view.types() else {
        return nil(out);
    };
    map_header(out, types.len());
    for (name, fields) in types {
        string(out, name);
        strings(out, fields);
    }
}

fn errors(out: &mut Vec<u8>, view: &RecordView<'_>) {
    let Some(errors) = view.errors() else {
        return nil(out);
    };
    array_header(out, errors.len());
    for error in errors {
        map_header(out, 2);
        string(out, graph_error::MESSAGE.as_bytes());
        string(out, error.message);
        string(out, graph_error::PATH.as_bytes());
        match error.path {
            Some(items) => list(out, items),
            None => nil(out),
        }
    }
}

fn list<'a>(out: &mut Vec<u8>, items: impl ExactSizeIterator<Item = PathValue<'a>>) {
    array_header(out, items.len());
    for item in items {
        path_value(out, item);
    }
}

fn path_value(out: &mut Vec<u8>, value: PathValue<'_>) {
    match value {
        PathValue::Null => nil(out),
        PathValue::Bool(value) => boolean(out, value),
        PathValue::Int(value) => int(out, value),
        PathValue::Uint(value) => uint(out, value),
        PathValue::Float(value) => float(out, value),
        PathValue::Text(text) => string(out, text),
        PathValue::Bytes(bytes) => binary(out, bytes),
        PathValue::List(items) => list(out, items),
        PathValue::Map(pairs) => {
            map_header(out, pairs.len());
            for (key, value) in pairs {
                path_value(out, key);
                path_value(out, value);
            }
        }
    }
}

fn strings<'a>(out: &mut Vec<u8>, items: Option<impl ExactSizeIterator<Item = &'a [u8]>>) {
    let Some(items) = items else {
        return nil(out);
    };
    array_header(out, items.len());
    for item in items {
        string(out, item);
    }
}

fn nil(out: &mut Vec<u8>) {
    out.push(0xc0);
}

fn boolean(out: &mut Vec<u8>, value: bool) {
    out.push(0xc2 + u8::from(value));
}

fn float(out: &mut Vec<u8>, value: f64) {
    out.push(0xcb);
    out.extend_from_slice(&value.to_be_bytes());
}

fn time(out: &mut Vec<u8>, time: Time) {
    out.push(0x92);
    int(out, time.seconds);
    uint(out, time.nanos.into());
}

fn int(out: &mut Vec<u8>, value: i64) {
    if let Ok(value) = u64::try_from(value) {
        return uint(out, value);
    }
    if value >= -32 {
        out.push(value as u8);
    } else if let Ok(value) = i8::try_from(value) {
        out.push(0xd0);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i16::try_from(value) {
        out.push(0xd1);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = i32::try_from(value) {
        out.push(0xd2);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(0xd3);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

fn uint(out: &mut Vec<u8>, value: u64) {
    if value < 0x80 {
        return out.push(value as u8);
    }
    sized(out, value, Some(0xcc), 0xcd, 0xce, 0xcf);
}

/// A code that tells the width of the number after it, and the number in the least width that has a code.
fn sized(out: &mut Vec<u8>, value: u64, code8: Option<u8>, code16: u8, code32: u8, code64: u8) {
    if let (Some(code), Ok(value)) = (code8, u8::try_from(value)) {
        out.extend_from_slice(&[code, value]);
    } else if let Ok(value) = u16::try_from(value) {
        out.push(code16);
        out.extend_from_slice(&value.to_be_bytes());
    } else if let Ok(value) = u32::try_from(value) {
        out.push(code32);
        out.extend_from_slice(&value.to_be_bytes());
    } else {
        out.push(code64);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

/// Lengths are those of spans and of lists of spans, which have 32 bits; the code for wider ones is never written.
const NO_CODE: u8 = 0xc1;

fn string(out: &mut Vec<u8>, text: &[u8]) {
    match text.len() {
        len @ 0..=31 => out.push(0xa0 + len as u8),
        len => sized(out, len as u64, Some(0xd9), 0xda, 0xdb, NO_CODE),
    }
    out.extend_from_slice(text);
}

fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    sized(out, bytes.len() as u64, Some(0xc4), 0xc5, 0xc6, NO_CODE);
    out.extend_from_slice(bytes);
}

fn array_header(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=15 => out.push(0x90 + len as u8),
        _ => sized(out, len as u64, None, 0xdc, 0xdd, NO_CODE),
    }
}

fn map_header(out: &mut Vec<u8>, len: usize) {
    match len {
        0..=15 => out.push(0x80 + len as u8),
        _ => sized(out, len as u64, None, 0xde, 0xdf, NO_CODE),
    }
}

#[cfg(test)]
mod tests {
    use super::{int, string};

    #[test]
    fn integers_take_their_shortest_form() {
        let forms: [(i64, &[u8]); 18] = [
            (0, b"\x00"),
            (127, b"\x7f"),
            (128, b"\xcc\x80"),
            (255, b"\xcc\xff"),
            (256, b"\xcd\x01\x00"),
            (65535, b"\xcd\xff\xff"),
            (65536, b"\xce\x00\x01\x00\x00"),
            (4294967295, b"\xce\xff\xff\xff\xff"),
            (4294967296, b"\xcf\x00\x00\x00\x01\x00\x00\x00\x00"),
            (-1, b"\xff"),
            (-32, b"\xe0"),
            (-33, b"\xd0\xdf"),
            (-128, b"\xd0\x80"),
            (-129, b"\xd1\xff\x7f"),
            (-32768, b"\xd1\x80\x00"),
            (-32769, b"\xd2\xff\xff\x7f\xff"),
            (-2147483648, b"\xd2\x80\x00\x00\x00"),
            (-2147483649, b"\xd3\xff\xff\xff\xff\x7f\xff\xff\xff"),
        ];
        for (value, want) in forms {
            let mut out = Vec::new();
            int(&mut out, value);
            assert_eq!(out, want, "{value}");
        }
    }

    #[test]
    fn lengths_of_strings_take_their_shortest_form() {
        let headers: [(usize, &[u8]); 7] = [
            (0, b"\xa0"),
            (31, b"\xbf"),
            (32, b"\xd9\x20"),
            (255, b"\xd9\xff"),
            (256, b"\xda\x01\x00"),
            (65535, b"\xda\xff\xff"),
            (65536, b"\xdb\x00\x01\x00\x00"),
        ];
        for (len, want) in headers {
            let mut out = Vec::new();
            string(&mut out, &vec![b'x'; len]);
            assert_eq!(&out[..want.len()], want, "{len}");
            assert_eq!(out.len(), want.len() + len);
        }
    }
}
