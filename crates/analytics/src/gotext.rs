//! Text of any bytes, taken apart and quoted as Go does it.

/// The character that `text` begins with; `None` at its end and before a byte that is not UTF-8.
pub(crate) fn first_char(text: &[u8]) -> Option<char> {
    let head = text.get(..4).unwrap_or(text);
    head.utf8_chunks().next()?.valid().chars().next()
}

/// Go's `strconv.Quote`: printable characters as they are, everything else escaped.
pub fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    let mut rest = text;
    loop {
        let plain = rest.iter().take_while(|&&byte| is_plain(byte)).count();
        let (copied, after) = rest.split_at(plain);
        out.extend_from_slice(copied);
        let Some(&byte) = after.first() else { break };
        rest = match first_char(after) {
            Some(character) => {
                write_escaped(out, character);
                after.get(character.len_utf8()..).unwrap_or_default()
            }
            None => {
                write_hex(out, b"\\x", u32::from(byte), 2);
                after.get(1..).unwrap_or_default()
            }
        };
    }
    out.push(b'"');
}

fn is_plain(byte: u8) -> bool {
    matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'
}

fn write_escaped(out: &mut Vec<u8>, character: char) {
    let short = match character {
        '"' => b'"',
        '\\' => b'\\',
        '\x07' => b'a',
        '\x08' => b'b',
        '\x0c' => b'f',
        '\n' => b'n',
        '\r' => b'r',
        '\t' => b't',
        '\x0b' => b'v',
        _ => return write_long_escape(out, character),
    };
    out.extend_from_slice(&[b'\\', short]);
}

fn write_long_escape(out: &mut Vec<u8>, character: char) {
    let code = character as u32;
    if code < 0x80 {
        write_hex(out, b"\\x", code, 2);
    } else if is_printable(character) {
        out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    } else if code < 0x1_0000 {
        write_hex(out, b"\\u", code, 4);
    } else {
        write_hex(out, b"\\U", code, 8);
    }
}

/// Letters, marks, numbers, punctuation and symbols. Only for characters beyond ASCII.
fn is_printable(character: char) -> bool {
    // Rust's debug form escapes the same characters, and a combining mark only at the very beginning.
    let mut text = [b'a'; 5];
    let (_, tail) = text.split_at_mut(1);
    let len = 1 + character.encode_utf8(tail).len();
    let text = text.get(..len).and_then(|text| str::from_utf8(text).ok());
    text.is_some_and(|text| text.escape_debug().nth(1) == Some(character))
}

fn write_hex(out: &mut Vec<u8>, prefix: &[u8], code: u32, digits: u32) {
    out.extend_from_slice(prefix);
    for digit in (0..digits).rev() {
        let digit = (code >> (4 * digit)) & 0xf;
        out.push(char::from_digit(digit, 16).map_or(b'0', |digit| digit as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quoted(text: &[u8]) -> String {
        let mut out = Vec::new();
        write_quoted(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn quotes_escape_what_go_escapes() {
        assert_eq!(quoted(b""), r#""""#);
        assert_eq!(quoted(br#"say "a\b" / <x> 'y'"#), r#""say \"a\\b\" / <x> 'y'""#);
        assert_eq!(
            quoted(b"\x07\x08\x0c\n\r\t\x0b\x00\x1f\x7f"),
            r#""\a\b\f\n\r\t\v\x00\x1f\x7f""#
        );
        assert_eq!(quoted(b"a\xff\xc3(\xe2\x82"), r#""a\xff\xc3(\xe2\x82""#);
        assert_eq!(quoted("伦敦 é 😀 \u{fffd}".as_bytes()), "\"伦敦 é 😀 \u{fffd}\"");
        assert_eq!(
            quoted("\u{a0}\u{ad}\u{2028}\u{feff}\u{e000}\u{85}".as_bytes()),
            r#""\u00a0\u00ad\u2028\ufeff\ue000\u0085""#
        );
        assert_eq!(quoted("\u{e0001}\u{10ffff}".as_bytes()), r#""\U000e0001\U0010ffff""#);
        assert_eq!(quoted("e\u{301} \u{301}".as_bytes()), "\"e\u{301} \u{301}\"");
    }

    #[test]
    fn a_broken_character_is_none() {
        assert_eq!(first_char("éx".as_bytes()), Some('é'));
        assert_eq!(first_char("😀".as_bytes()), Some('😀'));
        for broken in [b"".as_slice(), b"\x85 ", b"\xe2\x82", b"\xc0\x80", b"\xed\xa0\x80"] {
            assert_eq!(first_char(broken), None);
        }
    }
}
