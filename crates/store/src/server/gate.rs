//! Finds the commands in the bytes of a client: one whole command within the limits, or a violation.
//!
//! Commands are arrays of bulk strings, or a line of words. Nothing else of the protocol may come from a client, so there
//! is no recursion, and memory follows what has arrived.

/// Longest line of lengths, and longest inline command, as in Redis.
const LINE: usize = 64 << 10;
/// Arguments of one command, as in Redis.
const ARGUMENTS: i64 = 1 << 20;
/// What a client may send before it has given its password, as in Redis.
const STRANGERS_ARGUMENTS: i64 = 10;
const STRANGERS_BYTES: i64 = 16 << 10;

/// What the first bytes of a connection's buffer are.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// Not a whole command yet.
    More,
    /// A command of so many bytes.
    Command(usize),
    /// So many bytes that mean nothing: an empty line, an empty array.
    Nothing(usize),
    /// No command, and never will be: the text of the error, after which the connection is closed.
    Violation(String),
}

/// Where an argument stands in the buffer: start and end.
pub type Place = (u32, u32);

/// How far a connection's buffer has been looked at, so that no byte is looked at twice.
#[derive(Debug, Default)]
pub struct Gate {
    /// Arguments that are still to come; `None`: the first line is.
    left: Option<i64>,
    /// Where the next length stands.
    at: usize,
    /// The arguments so far.
    arguments: Vec<Place>,
}

/// Memory for places that is kept from command to command.
const KEPT: usize = 1024;

impl Gate {
    /// Looks at the buffer. The same buffer, longer, must be given until it is a command.
    pub fn look(&mut self, buffer: &[u8], max_command: usize, stranger: bool) -> Step {
        if self.left.is_none() {
            self.arguments.clear();
            self.arguments.shrink_to(KEPT);
        }
        let step = self.advance(buffer, max_command, stranger);
        if step != Step::More {
            (self.left, self.at) = (None, 0);
        }
        step
    }

    /// Where the arguments of the command stand that has just been found.
    pub fn arguments(&self) -> &[Place] {
        &self.arguments
    }

    /// Bytes that are held for a command that has begun.
    pub fn held(&self) -> usize {
        self.arguments.capacity() * size_of::<Place>()
    }

    fn advance(&mut self, buffer: &[u8], max_command: usize, stranger: bool) -> Step {
        if self.left.is_none() {
            match buffer.first() {
                None => return Step::More,
                Some(b'*') => {}
                Some(_) => return self.inline(buffer),
            }
            let (count, next) = match number(buffer, 0) {
                Line::More => return Step::More,
                Line::TooLong => return violation("too big mbulk count string"),
                Line::Number(count, next) if count <= ARGUMENTS => (count, next),
                Line::Number(..) | Line::NoNumber => return violation("invalid multibulk length"),
            };
            if stranger && count > STRANGERS_ARGUMENTS {
                return violation("unauthenticated multibulk length");
            }
            if count <= 0 {
                return Step::Nothing(next);
            }
            self.left = Some(count);
            self.at = next;
        }
        while let Some(left) = self.left.filter(|left| *left > 0) {
            match buffer.get(self.at) {
                None => return Step::More,
                Some(b'$') => {}
                Some(byte) => {
                    let found = char::from(if byte.is_ascii_graphic() { *byte } else { b'?' });
                    return violation(&format!("expected '$', got '{found}'"));
                }
            }
            let (len, next) = match number(buffer, self.at) {
                Line::More => return Step::More,
                Line::TooLong => return violation("too big bulk count string"),
                Line::Number(len, next) if len >= 0 => (len, next),
                Line::Number(..) | Line::NoNumber => return violation("invalid bulk length"),
            };
            if stranger && len > STRANGERS_BYTES {
                return violation("unauthenticated bulk length");
            }
            let end = usize::try_from(len)
                .ok()
                .and_then(|len| next.checked_add(len)?.checked_add(2));
            let Some(end) = end.filter(|end| *end <= max_command) else {
                return violation("invalid bulk length");
            };
            match buffer.get(end - 2..end) {
                None => return Step::More,
                Some(b"\r\n") => {}
                Some(_) => return violation("expected line end behind an argument"),
            }
            self.arguments.push((next as u32, (end - 2) as u32));
            self.at = end;
            self.left = Some(left - 1);
        }
        Step::Command(self.at)
    }

    fn inline(&mut self, buffer: &[u8]) -> Step {
        match buffer.iter().take(LINE).position(|byte| *byte == b'\n') {
            Some(end) if buffer.iter().take(end).all(u8::is_ascii_whitespace) => Step::Nothing(end + 1),
            Some(end) => match words(buffer.get(..=end).unwrap_or_default(), &mut self.arguments) {
                Ok(()) => Step::Command(end + 1),
                Err(text) => violation(text),
            },
            None if buffer.len() >= LINE => violation("too big inline request"),
            None => Step::More,
        }
    }
}

fn violation(text: &str) -> Step {
    Step::Violation(format!("ERR Protocol error: {text}"))
}

enum Line {
    More,
    TooLong,
    NoNumber,
    /// The number, and where the next line begins.
    Number(i64, usize),
}

/// The number behind the sign at `at`.
fn number(buffer: &[u8], at: usize) -> Line {
    let rest = buffer.get(at + 1..).unwrap_or_default();
    let Some(end) = rest.iter().take(LINE).position(|byte| *byte == b'\r') else {
        return if rest.len() >= LINE { Line::TooLong } else { Line::More };
    };
    let digits = rest.get(..end).unwrap_or_default();
    // As in Redis: no blanks, no plus sign.
    let plain = digits.strip_prefix(b"-").unwrap_or(digits);
    let number = match plain.iter().all(u8::is_ascii_digit) {
        true => std::str::from_utf8(digits).ok().and_then(|text| text.parse().ok()),
        false => None,
    };
    let Some(number) = number else { return Line::NoNumber };
    match rest.get(end + 1) {
        None => Line::More,
        Some(b'\n') => Line::Number(number, at + 1 + end + 2),
        Some(_) => Line::NoNumber,
    }
}

/// Words of an inline command. Quotes are understood, escapes inside them are not.
fn words(line: &[u8], places: &mut Vec<Place>) -> Result<(), &'static str> {
    let mut at = 0;
    while let Some(byte) = line.get(at) {
        if byte.is_ascii_whitespace() {
            at += 1;
            continue;
        }
        let rest = line.get(at..).unwrap_or_default();
        if let Some(quote @ (b'"' | b'\'')) = rest.first() {
            let inside = rest.get(1..).unwrap_or_default();
            let Some(len) = inside.iter().position(|byte| byte == quote) else {
                return Err("unbalanced quotes in request");
            };
            places.push(((at + 1) as u32, (at + 1 + len) as u32));
            at += len + 2;
            continue;
        }
        let len = rest.iter().position(u8::is_ascii_whitespace).unwrap_or(rest.len());
        places.push((at as u32, (at + len) as u32));
        at += len;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: usize = 1 << 20;

    fn look(bytes: &[u8]) -> Step {
        Gate::default().look(bytes, MOST, false)
    }

    fn parts(bytes: &[u8]) -> Vec<String> {
        let mut gate = Gate::default();
        assert!(matches!(gate.look(bytes, MOST, false), Step::Command(_)));
        let text = |(from, to): &Place| String::from_utf8(bytes[*from as usize..*to as usize].to_vec()).unwrap();
        gate.arguments().iter().map(text).collect()
    }

    #[test]
    fn a_command_is_whole_or_not_however_it_is_cut() {
        let bytes = b"*3\r\n$5\r\nrpush\r\n$1\r\na\r\n$4\r\n\r\n$1\r\n";
        assert_eq!(look(bytes), Step::Command(bytes.len()));
        assert_eq!(parts(bytes), ["rpush", "a", "\r\n$1"]);
        let mut gate = Gate::default();
        for end in 0..bytes.len() {
            assert_eq!(gate.look(&bytes[..end], MOST, false), Step::More, "{end}");
        }
        assert_eq!(gate.look(bytes, MOST, false), Step::Command(bytes.len()));
    }

    #[test]
    fn what_is_no_plain_command_is_a_violation() {
        let deep = b"*1\r\n".repeat(1_000_000);
        for (bytes, error) in [
            (&deep[..], "expected '$', got '*'"),
            (b"*1\r\n$536870912\r\n", "invalid bulk length"),
            (b"*1\r\n$-1\r\n", "invalid bulk length"),
            (b"*1\r\n$9223372036854775807\r\n", "invalid bulk length"),
            (b"*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
            (b"*1048577\r\n", "invalid multibulk length"),
            (b"*x\r\n", "invalid multibulk length"),
            (b"*1\r\n$3\r\nabcd\r\n", "expected line end"),
            (b"*1\r\n:3\r\n", "expected '$', got ':'"),
            (b"*1\r\n$ 1\r\na\r\n", "invalid bulk length"),
        ] {
            match look(bytes) {
                Step::Violation(text) => assert!(text.contains(error), "{text}"),
                other => panic!("{other:?} for {error}"),
            }
        }
        assert!(matches!(look(&[b'1'; 70_000]), Step::Violation(_)));
        assert!(matches!(
            look(&[&b"*"[..], &[b'1'; 70_000]].concat()),
            Step::Violation(_)
        ));
    }

    #[test]
    fn a_stranger_may_only_say_who_it_is() {
        let mut gate = Gate::default();
        assert!(matches!(gate.look(b"*11\r\n", MOST, true), Step::Violation(_)));
        assert!(matches!(gate.look(b"*2\r\n$16385\r\n", MOST, true), Step::Violation(_)));
        let auth = b"*2\r\n$4\r\nauth\r\n$2\r\npw\r\n";
        assert_eq!(gate.look(auth, MOST, true), Step::Command(auth.len()));
    }

    #[test]
    fn lines_are_commands_too() {
        assert_eq!(look(b"PING\r\nPING"), Step::Command(6));
        assert_eq!(parts(b"set a 'b c' \"d\"\r\n"), ["set", "a", "b c", "d"]);
        assert_eq!(look(b"\r\n"), Step::Nothing(2));
        assert_eq!(look(b"*0\r\n"), Step::Nothing(4));
        assert_eq!(look(b"PING"), Step::More);
        assert!(matches!(look(b"set 'a\r\n"), Step::Violation(_)));
    }
}
