//! Forms of keys.

use std::borrow::Cow;

use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};

/// What stands for a dot in keys, which MongoDB would take for the end of a path component.
const DOT: &[u8] = br"\u2e";
/// What stands for a dollar sign at the beginning of a key, which MongoDB takes for an operator.
const DOLLAR: &[u8] = br"\u0024";

/// `text` with every dot as the six characters `\u2e`... written out: the form of [`Dimension::Endpoints`] keys in every
/// store.
///
/// [`Dimension::Endpoints`]: super::Dimension::Endpoints
pub fn escape_dots(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.contains(&b'.') {
        return Cow::Borrowed(text);
    }
    let mut escaped = Vec::with_capacity(text.len() + 16);
    for &byte in text {
        match byte {
            b'.' => escaped.extend_from_slice(DOT),
            _ => escaped.push(byte),
        }
    }
    Cow::Owned(escaped)
}

/// `text` as one component of a path of MongoDB: dots escaped, a dollar sign at the beginning too, NUL bytes gone.
pub fn escape_component(text: &[u8]) -> Cow<'_, [u8]> {
    if !text.starts_with(b"$") && !text.iter().any(|byte| matches!(byte, b'.' | 0)) {
        return Cow::Borrowed(text);
    }
    let mut escaped = Vec::with_capacity(text.len() + 16);
    for &byte in text {
        match byte {
            b'.' => escaped.extend_from_slice(DOT),
            b'$' if escaped.is_empty() => escaped.extend_from_slice(DOLLAR),
            0 => {}
            _ => escaped.push(byte),
        }
    }
    Cow::Owned(escaped)
}

/// A tag as it is counted: without white space around it and without dots.
pub(super) fn clean_tag(tag: &[u8]) -> Cow<'_, [u8]> {
    let tag = trim(tag);
    if !tag.contains(&b'.') {
        return Cow::Borrowed(tag);
    }
    Cow::Owned(tag.iter().copied().filter(|&byte| byte != b'.').collect())
}

/// Without Unicode white space at both ends; bytes that are not UTF-8 are none.
fn trim(text: &[u8]) -> &[u8] {
    let is_plain = |byte: Option<&u8>| byte.is_none_or(|byte| (b'!'..0x80).contains(byte));
    if is_plain(text.first()) && is_plain(text.last()) {
        return text;
    }
    let start = text
        .utf8_chunks()
        .next()
        .map_or(0, |chunk| chunk.valid().len() - chunk.valid().trim_start().len());
    let text = text.get(start..).unwrap_or_default();
    let end = text.utf8_chunks().last().map_or(0, |chunk| {
        if chunk.invalid().is_empty() {
            chunk.valid().len() - chunk.valid().trim_end().len()
        } else {
            0
        }
    });
    text.get(..text.len() - end).unwrap_or_default()
}

/// Standard alphabet, without padding.
pub(super) fn base64(text: &[u8]) -> Box<[u8]> {
    BASE64_STANDARD_NO_PAD.encode(text).into_bytes().into()
}

/// Lower case.
pub fn hex(text: &[u8]) -> Box<[u8]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |value: u8| DIGITS.get(usize::from(value)).copied().unwrap_or_default();
    text.iter()
        .flat_map(|byte| [digit(byte >> 4), digit(byte & 15)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_forms_of_stored_rows() {
        assert_eq!(*base64(b"api1:v1"), *b"YXBpMTp2MQ");
        assert_eq!(*base64(b"api1:Default"), *b"YXBpMTpEZWZhdWx0");
        assert_eq!(*base64(b"api2:/users"), *b"YXBpMjovdXNlcnM");
        assert_eq!(*base64(b"???>>>:/"), *b"Pz8/Pj4+Oi8");
        assert_eq!(*hex(b"api2::/users"), *b"617069323a3a2f7573657273");
        assert_eq!(*escape_dots(b"/orders/list.json"), *br"/orders/list\u2ejson");
        assert_eq!(*escape_dots(b".."), *br"\u2e\u2e");
    }

    #[test]
    fn components_of_paths_have_no_meaning_of_their_own() {
        assert_eq!(*escape_component(b"api1"), *b"api1");
        assert_eq!(*escape_component(b"$inc.a$\0"), *br"\u0024inc\u2ea$");
        assert_eq!(*escape_component(b"\0$a"), *br"\u0024a");
        assert_eq!(*escape_component(br"/a\u2ejson"), *br"/a\u2ejson");
    }

    #[test]
    fn tags_lose_dots_and_outer_blanks() {
        for (tag, clean) in [
            ("...", ""),
            (".hello.world..", "helloworld"),
            (" hello world ", "hello world"),
            ("\u{a0}\u{2003}x\u{3000}\x0b", "x"),
            (" \t\r\n", ""),
            ("", ""),
            (" .a. ", "a"),
        ] {
            assert_eq!(*clean_tag(tag.as_bytes()), *clean.as_bytes(), "{tag:?}");
        }
        assert_eq!(*clean_tag(b" \xff "), *b"\xff");
        assert_eq!(*clean_tag(b"\xff \xff"), *b"\xff \xff");
        assert_eq!(*clean_tag(b" a \xff\xc3\xa9 "), *b"a \xff\xc3\xa9");
    }
}
