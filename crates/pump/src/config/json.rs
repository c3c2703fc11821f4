//! A JSON reader for configuration files: it remembers where every key and value stands, accepts what the reference's
//! reader accepts (duplicate keys, lone surrogates, bytes that are no UTF-8), and says in plain words what is wrong.

use std::fmt;

/// Objects and lists inside each other, at most.
const MAX_DEPTH: usize = 200;

/// A place in a file; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// A value and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// Where.
    pub at: Position,
    /// What.
    pub json: Json,
}

/// A JSON value; numbers in their own spelling, objects with all their members in order.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Json {
    Null,
    Bool(bool),
    Number(String),
    Text(String),
    List(Vec<Node>),
    Object(Vec<Member>),
}

/// One member of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Where the key begins.
    pub at: Position,
    /// Key, as written.
    pub key: String,
    /// Value.
    pub value: Node,
}

impl Json {
    /// The kind of value, with its article.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "a switch",
            Json::Number(_) => "a number",
            Json::Text(_) => "a text",
            Json::List(_) => "a list",
            Json::Object(_) => "an object",
        }
    }
}

impl Node {
    /// The value without positions; of equal keys the last counts. Numbers become 64-bit integers where they fit,
    /// else double precision.
    pub fn to_value(&self) -> serde_json::Value {
        match &self.json {
            Json::Null => serde_json::Value::Null,
            Json::Bool(value) => serde_json::Value::Bool(*value),
            Json::Number(text) => number_value(text),
            Json::Text(text) => serde_json::Value::String(text.clone()),
            Json::List(items) => serde_json::Value::Array(items.iter().map(Node::to_value).collect()),
            Json::Object(members) => {
                let pairs = members
                    .iter()
                    .map(|member| (member.key.clone(), member.value.to_value()));
                serde_json::Value::Object(pairs.collect())
            }
        }
    }
}

fn number_value(text: &str) -> serde_json::Value {
    if let Ok(number) = text.parse::<i64>() {
        return number.into();
    }
    if let Ok(number) = text.parse::<u64>() {
        return number.into();
    }
    // Too large for a double: the largest one stands for it, so that the value stays a number.
    text.parse::<f64>()
        .map(|number| number.clamp(f64::MIN, f64::MAX))
        .unwrap_or_default()
        .into()
}

/// Why a text is no JSON.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}: {text}")]
pub struct SyntaxError {
    /// Where.
    pub at: Position,
    /// What is wrong and what to do.
    pub text: String,
}

/// Reads a whole document. A byte order mark is skipped; an empty document is `null`.
pub fn parse(bytes: &[u8]) -> Result<Node, SyntaxError> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut reader = Reader {
        bytes,
        index: 0,
        at: Position { line: 1, column: 1 },
        open: Vec::new(),
    };
    reader.skip_blanks();
    if reader.peek().is_none() {
        return Ok(Node {
            at: reader.at,
            json: Json::Null,
        });
    }
    let node = reader.value()?;
    reader.skip_blanks();
    match reader.peek() {
        None => Ok(node),
        Some(b'/' | b'#') => Err(reader.comment()),
        Some(_) => reader.fail(
            "there is something after the end of the document – remove it, or look for a bracket that closes too early",
        ),
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    index: usize,
    at: Position,
    /// Brackets that are open, and where.
    open: Vec<(u8, Position)>,
}

impl Reader<'_> {
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.index).copied()
    }

    fn advance(&mut self) {
        match self.peek() {
            Some(b'\n') => {
                self.at.line += 1;
                self.at.column = 1;
            }
            // The later bytes of a character do not count as columns.
            Some(0x80..=0xbf) => {}
            Some(_) => self.at.column += 1,
            None => return,
        }
        self.index += 1;
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\r' | b'\n')) {
            self.advance();
        }
    }

    fn fail<T>(&self, text: impl Into<String>) -> Result<T, SyntaxError> {
        Err(self.error_at(self.at, text))
    }

    fn error_at(&self, at: Position, text: impl Into<String>) -> SyntaxError {
        SyntaxError { at, text: text.into() }
    }

    fn value(&mut self) -> Result<Node, SyntaxError> {
        self.skip_blanks();
        let at = self.at;
        let json = match self.peek() {
            None => return Err(self.end_of_file()),
            Some(b'{') => self.object()?,
            Some(b'[') => self.list()?,
            Some(b'"') => Json::Text(self.text()?),
            Some(b'-' | b'0'..=b'9') => self.number()?,
            Some(b'/' | b'#') => return Err(self.comment()),
            Some(b'\'') => return self.fail("names and texts need double quotes"),
            Some(b',' | b'}' | b']' | b':') => return self.fail("a value is missing here"),
            Some(_) => self.word()?,
        };
        Ok(Node { at, json })
    }

    fn enter(&mut self) -> Result<(), SyntaxError> {
        if self.open.len() >= MAX_DEPTH {
            return self.fail(format!("more than {MAX_DEPTH} objects and lists inside each other"));
        }
        self.open.push((self.peek().unwrap_or_default(), self.at));
        self.advance();
        Ok(())
    }

    fn leave(&mut self) {
        self.open.pop();
        self.advance();
    }

    fn object(&mut self) -> Result<Json, SyntaxError> {
        self.enter()?;
        let mut members = Vec::new();
        let mut comma = None;
        loop {
            self.skip_blanks();
            match (self.peek(), comma) {
                (Some(b'}'), None) => {
                    self.leave();
                    return Ok(Json::Object(members));
                }
                (Some(b'}'), Some(at)) => return Err(self.error_at(at, "a comma before \"}\" – remove it")),
                (Some(b'"'), _) => {}
                _ => return Err(self.no_key()),
            }
            let at = self.at;
            let key = self.text()?;
            self.skip_blanks();
            match self.peek() {
                Some(b':') => self.advance(),
                None => return Err(self.end_of_file()),
                Some(_) => return self.fail(format!("a colon is missing after the name {key:?}")),
            }
            let value = self.value()?;
            members.push(Member { at, key, value });
            comma = self.separator(b'}')?;
        }
    }

    fn list(&mut self) -> Result<Json, SyntaxError> {
        self.enter()?;
        let mut items = Vec::new();
        let mut comma = None;
        loop {
            self.skip_blanks();
            match (self.peek(), comma) {
                (Some(b']'), None) => {
                    self.leave();
                    return Ok(Json::List(items));
                }
                (Some(b']'), Some(at)) => return Err(self.error_at(at, "a comma before \"]\" – remove it")),
                _ => {}
            }
            items.push(self.value()?);
            comma = self.separator(b']')?;
        }
    }

    /// What follows a member or an item: a comma (its place), or the closing bracket, which is left for the caller.
    fn separator(&mut self, close: u8) -> Result<Option<Position>, SyntaxError> {
        let end = self.at;
        self.skip_blanks();
        let at = self.at;
        match self.peek() {
            Some(b',') => {
                self.advance();
                Ok(Some(at))
            }
            Some(byte) if byte == close => Ok(None),
            None => Err(self.end_of_file()),
            Some(b'/' | b'#') => Err(self.comment()),
            Some(b'"' | b'{' | b'[' | b'-' | b'0'..=b'9' | b'a'..=b'z') => {
                Err(self.error_at(end, "a comma is missing here"))
            }
            Some(b'}' | b']') => {
                let opened = self.open.last().map(|(_, at)| at.line).unwrap_or_default();
                let close = char::from(close);
                self.fail(format!(
                    "a \"{close}\" is wanted here, for the bracket that opens in line {opened}"
                ))
            }
            Some(_) => self.fail("a comma or a closing bracket is wanted here"),
        }
    }

    fn no_key(&self) -> SyntaxError {
        match self.peek() {
            None => self.end_of_file(),
            Some(b'/' | b'#') => self.comment(),
            Some(b'\'') => self.error_at(self.at, "names and texts need double quotes"),
            Some(b',') => self.error_at(self.at, "one comma too many – remove it"),
            Some(b']') => self.error_at(self.at, "a \"}\" is wanted here, not \"]\""),
            Some(_) => self.error_at(self.at, "a name in double quotes is wanted here"),
        }
    }

    fn comment(&self) -> SyntaxError {
        let rest = self.bytes.get(self.index..).unwrap_or_default();
        let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let comment = String::from_utf8_lossy(line);
        let comment = comment.trim_end();
        // A setting that is commented out may hold a secret, which must not get into the log.
        if comment.len() > 60 || comment.contains(['"', ':', '=']) {
            return self.error_at(self.at, "JSON has no comments – remove this one");
        }
        self.error_at(self.at, format!("JSON has no comments – remove \"{comment}\""))
    }

    fn end_of_file(&self) -> SyntaxError {
        let Some((bracket, at)) = self.open.last() else {
            return self.error_at(self.at, "the file ends where a value is wanted");
        };
        let (what, close) = match bracket {
            b'{' => ("object", '}'),
            _ => ("list", ']'),
        };
        let line = at.line;
        let text = format!("the file ends inside the {what} that starts in line {line} – a \"{close}\" is missing");
        self.error_at(self.at, text)
    }

    fn word(&mut self) -> Result<Json, SyntaxError> {
        let at = self.at;
        let start = self.index;
        while matches!(
            self.peek(),
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'.' | b'+')
        ) {
            self.advance();
        }
        let word = self.bytes.get(start..self.index).unwrap_or_default();
        match word {
            b"true" => Ok(Json::Bool(true)),
            b"false" => Ok(Json::Bool(false)),
            b"null" => Ok(Json::Null),
            b"" => Err(self.error_at(at, "this is no value: texts need double quotes")),
            _ if word.eq_ignore_ascii_case(b"true") => Err(self.error_at(at, "write true in small letters")),
            _ if word.eq_ignore_ascii_case(b"false") => Err(self.error_at(at, "write false in small letters")),
            _ => Err(self.error_at(
                at,
                "texts need double quotes; without them only numbers, true, false and null are allowed",
            )),
        }
    }

    fn number(&mut self) -> Result<Json, SyntaxError> {
        let at = self.at;
        let start = self.index;
        while matches!(
            self.peek(),
            Some(b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z' | b'+' | b'-' | b'.' | b'_')
        ) {
            self.advance();
        }
        let text = self.bytes.get(start..self.index).unwrap_or_default();
        if !is_number(text) {
            let text = "this is no JSON number: write plain decimals, without unit, quotes for a text";
            return Err(self.error_at(at, text));
        }
        Ok(Json::Number(String::from_utf8_lossy(text).into_owned()))
    }

    fn text(&mut self) -> Result<String, SyntaxError> {
        let start = self.at;
        self.advance();
        let mut text = String::new();
        loop {
            let chunk = self.index;
            while matches!(self.peek(), Some(byte) if byte >= b' ' && byte != b'"' && byte != b'\\') {
                self.advance();
            }
            push_lossy(&mut text, self.bytes.get(chunk..self.index).unwrap_or_default());
            match self.peek() {
                Some(b'"') => {
                    self.advance();
                    return Ok(text);
                }
                Some(b'\\') => self.escape(&mut text)?,
                None | Some(b'\n' | b'\r') => {
                    return Err(self.error_at(start, "this text has no closing quote in its line"));
                }
                Some(_) => return self.fail("a control character inside a text – write it as \\t, \\n or \\u0001"),
            }
        }
    }

    fn escape(&mut self, text: &mut String) -> Result<(), SyntaxError> {
        let at = self.at;
        self.advance();
        let simple = match self.peek() {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => return self.unicode_escape(at, text),
            _ => return Err(self.error_at(at, "unknown escape – a backslash in a text is written twice")),
        };
        self.advance();
        text.push(simple);
        Ok(())
    }

    fn unicode_escape(&mut self, at: Position, text: &mut String) -> Result<(), SyntaxError> {
        let Some(unit) = self.hex_digits(self.index + 1) else {
            return Err(self.error_at(at, "\\u needs four hexadecimal digits"));
        };
        self.skip(5);
        if !(0xd800..0xe000).contains(&unit) {
            text.push(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER));
            return Ok(());
        }
        // Two halves of one character, or a lone half, which becomes U+FFFD.
        if unit < 0xdc00
            && self.bytes.get(self.index..self.index + 2) == Some(b"\\u")
            && let Some(low) = self.hex_digits(self.index + 2)
            && (0xdc00..0xe000).contains(&low)
        {
            self.skip(6);
            let code = 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00);
            text.push(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            return Ok(());
        }
        text.push(char::REPLACEMENT_CHARACTER);
        Ok(())
    }

    fn hex_digits(&self, start: usize) -> Option<u32> {
        let digits = self.bytes.get(start..start + 4)?;
        let mut code = 0;
        for digit in digits {
            code = code * 16 + char::from(*digit).to_digit(16)?;
        }
        Some(code)
    }

    fn skip(&mut self, bytes: usize) {
        for _ in 0..bytes {
            self.advance();
        }
    }
}

/// Every byte that belongs to no character becomes one U+FFFD.
fn push_lossy(text: &mut String, mut bytes: &[u8]) {
    loop {
        match std::str::from_utf8(bytes) {
            Ok(valid) => return text.push_str(valid),
            Err(error) => {
                let (valid, rest) = bytes.split_at(error.valid_up_to());
                text.push_str(&String::from_utf8_lossy(valid));
                text.push(char::REPLACEMENT_CHARACTER);
                bytes = rest.get(1..).unwrap_or_default();
            }
        }
    }
}

/// JSON's grammar of numbers.
fn is_number(text: &[u8]) -> bool {
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let (mantissa, exponent) = match text.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(at) => (&mantissa[..at], Some(&mantissa[at + 1..])),
        None => (mantissa, None),
    };
    let digits = |part: &[u8]| !part.is_empty() && part.iter().all(u8::is_ascii_digit);
    let unsigned = |part: &[u8]| digits(part.strip_prefix(b"+").or(part.strip_prefix(b"-")).unwrap_or(part));
    digits(whole)
        && (whole.len() == 1 || whole[0] != b'0')
        && fraction.is_none_or(digits)
        && exponent.is_none_or(unsigned)
}
