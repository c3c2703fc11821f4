//! Decoded bodies on one line, as the stdout pump shows them.

use std::borrow::Cow;

use crate::scan;

/// Deeper JSON is no JSON for Go's decoder.
const MAX_DEPTH: usize = 10_000;

/// A raw request or response on one line: line feeds become blanks, carriage returns and tabs go; a JSON payload behind
/// the first empty line is compacted and follows the head after one blank.
pub fn flatten(body: &[u8]) -> Cow<'_, [u8]> {
    const BREAK: &[u8] = b"\r\n\r\n";
    if !scan::contains(body, is_changed) {
        return Cow::Borrowed(body);
    }
    let found = body.windows(BREAK.len()).position(|window| window == BREAK);
    if let Some((head, rest)) = found.and_then(|at| body.split_at_checked(at))
        && let Some(payload) = compact(rest.get(BREAK.len()..).unwrap_or_default())
    {
        let mut line = one_line(head);
        line.push(b' ');
        line.extend_from_slice(&payload);
        return Cow::Owned(line);
    }
    Cow::Owned(one_line(body))
}

fn is_changed(byte: u8) -> bool {
    (byte == b'\n') | (byte == b'\r') | (byte == b'\t')
}

fn one_line(text: &[u8]) -> Vec<u8> {
    let mut line = Vec::with_capacity(text.len());
    for &byte in text {
        match byte {
            b'\n' => line.push(b' '),
            b'\r' | b'\t' => {}
            _ => line.push(byte),
        }
    }
    line
}

/// `json` without the white space outside its strings and nothing else changed; `None` if it is not one JSON value.
/// Judges as Go does: strings may hold bytes that are not UTF-8 and lone surrogates.
pub fn compact(json: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader {
        rest: json,
        out: Vec::with_capacity(json.len()),
    };
    let mut open: Vec<u8> = Vec::new();
    loop {
        reader.skip_space();
        match reader.rest.first()? {
            bracket @ (b'{' | b'[') => {
                open.push(*bracket);
                if open.len() > MAX_DEPTH {
                    return None;
                }
                reader.take(1);
                reader.skip_space();
                if !reader.closes(*bracket) {
                    if *bracket == b'{' {
                        reader.key()?;
                    }
                    continue;
                }
                open.pop();
            }
            b'"' => reader.string()?,
            b'-' | b'0'..=b'9' => reader.number()?,
            _ => reader.literal()?,
        }
        // A value has ended, and with it perhaps the lists and objects around it.
        loop {
            reader.skip_space();
            let Some(&bracket) = open.last() else {
                return reader.rest.is_empty().then_some(reader.out);
            };
            if reader.eat(b',') {
                if bracket == b'{' {
                    reader.skip_space();
                    reader.key()?;
                }
                break;
            }
            if !reader.closes(bracket) {
                return None;
            }
            open.pop();
        }
    }
}

/// Moves what it has checked from `rest` to `out`.
struct Reader<'a> {
    rest: &'a [u8],
    out: Vec<u8>,
}

impl Reader<'_> {
    fn take(&mut self, len: usize) {
        let (taken, rest) = self.rest.split_at_checked(len).unwrap_or((self.rest, &[]));
        self.out.extend_from_slice(taken);
        self.rest = rest;
    }

    fn eat(&mut self, byte: u8) -> bool {
        let found = self.rest.first() == Some(&byte);
        if found {
            self.take(1);
        }
        found
    }

    fn closes(&mut self, bracket: u8) -> bool {
        self.eat(if bracket == b'{' { b'}' } else { b']' })
    }

    fn skip_space(&mut self) {
        let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
        let space = self.rest.iter().take_while(is_space).count();
        self.rest = self.rest.get(space..).unwrap_or_default();
    }

    fn key(&mut self) -> Option<()> {
        self.string()?;
        self.skip_space();
        self.eat(b':').then_some(())
    }

    fn string(&mut self) -> Option<()> {
        if self.rest.first() != Some(&b'"') {
            return None;
        }
        let mut at = 1;
        loop {
            match self.rest.get(at)? {
                b'"' => break,
                b'\\' => at += escape_len(self.rest.get(at + 1..)?)?,
                0..0x20 => return None,
                _ => at += 1,
            }
        }
        self.take(at + 1);
        Some(())
    }

    fn number(&mut self) -> Option<()> {
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _signed = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        Some(())
    }

    fn digits(&mut self) -> Option<()> {
        let count = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        self.take(count);
        (count > 0).then_some(())
    }

    fn literal(&mut self) -> Option<()> {
        let word = [b"true".as_slice(), b"false", b"null"]
            .into_iter()
            .find(|word| self.rest.starts_with(word))?;
        self.take(word.len());
        Some(())
    }
}

/// Length of an escape sequence, backslash included; `after` begins behind the backslash.
fn escape_len(after: &[u8]) -> Option<usize> {
    match after.first()? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(2),
        b'u' => after.get(1..5)?.iter().all(u8::is_ascii_hexdigit).then_some(6),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::{prelude::*, sample::select};

    use super::*;

    const TOKENS: &[&str] = &[
        "[",
        "]",
        "{",
        "}",
        ":",
        ",",
        "\"a\":",
        "\n",
        "\"é\\u0101\"",
        "1",
        "-",
        "0.5e1",
        "true",
        "null",
    ];

    proptest! {
        #[test]
        fn json_is_what_any_parser_takes(tokens in proptest::collection::vec(select(TOKENS), 0..9)) {
            let text = tokens.concat();
            let parsed = serde_json::from_str::<serde_json::Value>(&text);
            let compacted = compact(text.as_bytes());
            prop_assert_eq!(compacted.is_some(), parsed.is_ok());
            if let Some(compacted) = compacted {
                prop_assert_eq!(compacted, text.replace('\n', "").into_bytes());
            }
        }
    }

    #[test]
    fn bodies_fit_on_one_line() {
        let rows: [(&[u8], &[u8]); 8] = [
            (b"", b""),
            (
                b"POST /x HTTP/1.1\r\nHost: h\r\n\r\n{ \"a\" : \"<b>\" }",
                b"POST /x HTTP/1.1 Host: h {\"a\":\"<b>\"}",
            ),
            (
                b"HTTP/1.1 200 OK\r\nX: y\tz\r\n\r\nnot json\n",
                b"HTTP/1.1 200 OK X: yz  not json ",
            ),
            (b"GET / HTTP/1.1\r\nHost: e", b"GET / HTTP/1.1 Host: e"),
            (b"P\r\n\r\n\r\n{\"k\":1}", b"P {\"k\":1}"),
            (b"P\r\n\r\n", b"P  "),
            (b"R1VU", b"R1VU"),
            (b"\xff\n\xfe", b"\xff \xfe"),
        ];
        for (body, line) in rows {
            assert_eq!(flatten(body), line, "{}", body.escape_ascii());
        }
    }

    #[test]
    fn json_loses_only_white_space_outside_strings() {
        let rows: [(&[u8], &[u8]); 6] = [
            (
                b" { \"a b\" : [ 1 , -0.5e+3 , { } , [ ] ] ,\n\"c\":null}\t",
                b"{\"a b\":[1,-0.5e+3,{},[]],\"c\":null}",
            ),
            (
                b"\"\\u00e9\\ud800 \\\" \\\\ \\/ \xff\"",
                b"\"\\u00e9\\ud800 \\\" \\\\ \\/ \xff\"",
            ),
            (b"0", b"0"),
            (b"-0E-1", b"-0E-1"),
            (b"true", b"true"),
            (b"{\"a\":1,\"a\":2}", b"{\"a\":1,\"a\":2}"),
        ];
        for (json, expected) in rows {
            assert_eq!(compact(json).as_deref(), Some(expected), "{}", json.escape_ascii());
        }
    }

    #[test]
    fn what_go_refuses_is_no_json() {
        let rows: [&[u8]; 26] = [
            b"",
            b" ",
            b"{",
            b"[1,]",
            b"{\"a\":1,}",
            b"{,}",
            b"{\"a\" 1}",
            b"{1:2}",
            b"01",
            b"1.",
            b".5",
            b"+1",
            b"1e",
            b"-",
            b"tru",
            b"truex",
            b"nul",
            b"1 2",
            b"{} x",
            b"\"a",
            b"\"\n\"",
            b"\"\\x\"",
            b"\"\\u12g4\"",
            b"[}",
            b"\xef\xbb\xbf{}",
            b"]",
        ];
        for json in rows {
            assert_eq!(compact(json), None, "{}", json.escape_ascii());
        }
    }

    #[test]
    fn nesting_ends_where_go_ends_it() {
        let nested = |depth| [vec![b'['; depth], vec![b']'; depth]].concat();
        assert!(compact(&nested(10_000)).is_some());
        assert!(compact(&nested(10_001)).is_none());
    }
}
