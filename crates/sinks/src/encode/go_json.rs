//! Texts and JSON values as Go writes them again after reading them.

use analytics::json;
use serde_json::{Map, Value};

/// Appends `value`: keys sorted, numbers as 64-bit floats, texts escaped for HTML.
pub(crate) fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Number(number) => {
            // What JSON can say is finite.
            if json::write_float(out, number.as_f64().unwrap_or_default()).is_err() {
                out.push(b'0');
            }
        }
        Value::String(text) => json::write_string(out, text.as_bytes()),
        Value::Array(items) => {
            out.push(b'[');
            for (position, item) in items.iter().enumerate() {
                if position > 0 {
                    out.push(b',');
                }
                write_value(out, item);
            }
            out.push(b']');
        }
        Value::Object(members) => write_object(out, members),
    }
}

/// Appends an object as [`write_value`] does.
pub(crate) fn write_object(out: &mut Vec<u8>, members: &Map<String, Value>) {
    let mut sorted: Vec<(&String, &Value)> = members.iter().collect();
    sorted.sort_by(|(one, _), (other, _)| one.as_bytes().cmp(other.as_bytes()));
    out.push(b'{');
    for (position, (key, value)) in sorted.into_iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        json::write_string(out, key.as_bytes());
        out.push(b':');
        write_value(out, value);
    }
    out.push(b'}');
}

/// Reads JSON as leniently as Go does: bytes that are no text and halves of surrogate pairs become U+FFFD. `None`: it is
/// no JSON, or has numbers or a depth that are beyond both.
pub(crate) fn read(json: &[u8]) -> Option<Value> {
    match serde_json::from_slice(json) {
        Ok(value) => Some(value),
        Err(_) => serde_json::from_str(&mended(json)).ok(),
    }
}

fn mended(json: &[u8]) -> String {
    let text = lossy(json);
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        let unit = |at: usize| -> Option<u32> {
            let digits = escape.get(at..)?.strip_prefix("\\u")?.get(..4)?;
            u32::from_str_radix(digits, 16).ok()
        };
        let taken = match (unit(0), unit(6)) {
            (Some(0xd800..=0xdbff), Some(0xdc00..=0xdfff)) => 12,
            (Some(0xd800..=0xdfff), _) => {
                out.push(char::REPLACEMENT_CHARACTER);
                rest = escape.get(6..).unwrap_or_default();
                continue;
            }
            (Some(_), _) => 6,
            // The escaped character may be a backslash, or have more than one byte where this is no JSON.
            (None, _) => 1 + escape.chars().nth(1).map_or(0, char::len_utf8),
        };
        out.push_str(escape.get(..taken).unwrap_or(escape));
        rest = escape.get(taken..).unwrap_or_default();
    }
    out + rest
}

/// Bytes as text; each one that is not UTF-8 becomes a replacement character.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        text.extend(chunk.invalid().iter().map(|_| char::REPLACEMENT_CHARACTER));
    }
    text
}

/// In lower case, each character by itself: none becomes two, and none depends on its neighbours.
pub(crate) fn lower(text: &str) -> String {
    text.chars().map(|c| c.to_lowercase().next().unwrap_or(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_are_lowered_one_by_one() {
        assert_eq!(lower("X-ÄΣ İ"), "x-äσ i");
    }

    fn again(json: &[u8]) -> Option<String> {
        let mut out = Vec::new();
        write_value(&mut out, &read(json)?);
        Some(String::from_utf8(out).unwrap())
    }

    #[test]
    fn values_are_written_as_go_writes_them_again() {
        #[rustfmt::skip]
        let rows: [(&[u8], Option<&str>); 13] = [
            (br#" {"b":2,"a":1} "#, Some(r#"{"a":1,"b":2}"#)),
            (br#"{"a":1,"a":[1.50,1e3,-0,12345678901234567890]}"#, Some(r#"{"a":[1.5,1000,-0,12345678901234567000]}"#)),
            (br#"{"a":9007199254740993}"#, Some(r#"{"a":9007199254740992}"#)),
            (b"[123456789.12345679,-127.52383254208577]", Some("[123456789.12345679,-127.52383254208577]")),
            (br#"{"<":"&\u2028"}"#, Some(r#"{"\u003c":"\u0026\u2028"}"#)),
            (br#"["\ud83d\ude80\ud800x\udc00\\ud800"]"#, Some("[\"🚀\u{fffd}x\u{fffd}\\\\ud800\"]")),
            (b"[\"a\xffb\"]", Some("[\"a\u{fffd}b\"]")),
            (b"null", Some("null")),
            (b"[true,false,null,{},[]]", Some("[true,false,null,{},[]]")),
            (b"", None),
            (b"{}{}", None),
            (b"{\"a\":1e400}", None),
            (b"\xff", None),
        ];
        for (json, expected) in rows {
            assert_eq!(again(json).as_deref(), expected, "{}", String::from_utf8_lossy(json));
        }
    }
}
