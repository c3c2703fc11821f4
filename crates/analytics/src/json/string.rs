//! Strings as Go's JSON encoder escapes them.

use crate::{gotext::first_char, scan};

/// Bytes that do not go through as they are: controls and everything beyond ASCII, `"` and `&`, `<` and `>`, `\`.
#[inline]
const fn is_special(byte: u8) -> bool {
    ((byte as i8) < 0x20) | (byte & !0x04 == b'"') | (byte & !0x02 == b'<') | (byte == b'\\')
}

/// Appends `text` in quotes. Any bytes are allowed: each one that is not UTF-8 becomes `\ufffd`.
pub fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    out.reserve(text.len() + 2);
    out.push(b'"');
    let mut rest = text;
    loop {
        let (plain, special) = rest
            .split_at_checked(scan::plain_len(rest, is_special))
            .unwrap_or((rest, &[]));
        out.extend_from_slice(plain);
        let Some(&byte) = special.first() else { break };
        let len = match first_char(special) {
            _ if byte < 0x80 => {
                write_ascii(out, byte);
                1
            }
            None => {
                out.extend_from_slice(b"\\ufffd");
                1
            }
            Some('\u{2028}') => {
                out.extend_from_slice(b"\\u2028");
                3
            }
            Some('\u{2029}') => {
                out.extend_from_slice(b"\\u2029");
                3
            }
            Some(character) => {
                let len = character.len_utf8();
                out.extend_from_slice(special.get(..len).unwrap_or_default());
                len
            }
        };
        rest = special.get(len..).unwrap_or_default();
    }
    out.push(b'"');
}

fn write_ascii(out: &mut Vec<u8>, byte: u8) {
    let short = match byte {
        b'"' | b'\\' => byte,
        b'\n' => b'n',
        b'\r' => b'r',
        b'\t' => b't',
        0x08 => b'b',
        0x0c => b'f',
        _ => {
            let digit = |nibble: u8| b"0123456789abcdef"[usize::from(nibble & 0xf)];
            out.extend_from_slice(b"\\u00");
            out.extend_from_slice(&[digit(byte >> 4), digit(byte)]);
            return;
        }
    };
    out.extend_from_slice(&[b'\\', short]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn string(text: &[u8]) -> String {
        let mut out = Vec::new();
        write_string(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn strings_escape_what_go_escapes() {
        assert_eq!(string(b""), r#""""#);
        assert_eq!(string(b"a<b>&'c'/\x7f"), "\"a\\u003cb\\u003e\\u0026'c'/\x7f\"");
        assert_eq!(
            string(b"\"\\\x08\x0c\n\r\t\x00\x0b\x1f"),
            r#""\"\\\b\f\n\r\t\u0000\u000b\u001f""#
        );
        assert_eq!(
            string("é\u{2028}\u{2029}\u{2030}😀\u{fffd}".as_bytes()),
            "\"é\\u2028\\u2029\u{2030}😀\u{fffd}\""
        );
        assert_eq!(string(b"a\xffb\xe2\x82"), r#""a\ufffdb\ufffd\ufffd""#);
        assert_eq!(string(b"\xed\xa0\x80"), r#""\ufffd\ufffd\ufffd""#);
    }

    proptest! {
        #[test]
        fn texts_survive(text in ".{0,80}") {
            prop_assert_eq!(serde_json::from_str::<String>(&string(text.as_bytes())).unwrap(), text);
        }

        #[test]
        fn any_bytes_become_a_json_string(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let parsed: String = serde_json::from_str(&string(&bytes)).unwrap();
            if let Ok(text) = str::from_utf8(&bytes) {
                prop_assert_eq!(parsed, text);
            }
        }
    }
}
