//! Hiding members of bodies and values of headers.

use analytics::flatten;
use serde_json::Value;

use crate::encode::go_json;

/// What stands in place of a hidden value.
pub(super) const HIDDEN: &str = "*****";

/// Names of members whose values are hidden, at any depth.
#[derive(Debug, Default)]
pub(super) struct BodyMasks {
    /// As the configuration has them.
    pub(super) names: Vec<String>,
    /// Whether bodies are written again, as upstream does, even where that rounds a number.
    pub(super) rounds: bool,
}

impl BodyMasks {
    /// The body as it is sent; `None`: it is not sent, because nobody can say what it hides. `rewrites`: an object is written
    /// again even when nothing in it is hidden, as upstream does.
    pub(super) fn apply(&self, body: &[u8], rewrites: bool) -> Option<Vec<u8>> {
        let starts = |bytes: &[u8]| {
            body.trim_ascii_start()
                .first()
                .is_some_and(|first| bytes.contains(first))
        };
        let worth_reading = match (self.names.is_empty(), rewrites) {
            (true, false) => false,
            (true, true) => starts(b"{n"),
            (false, _) => starts(b"{[n"),
        };
        if !worth_reading {
            return Some(body.to_vec());
        }
        let Some(mut value) = go_json::read(body) else {
            // Numbers or a depth that only others can read: it may hold what is to be hidden.
            let readable = !self.names.is_empty() && flatten::compact(body).is_some();
            return (!readable).then(|| body.to_vec());
        };
        let hit = self.hide(&mut value);
        let again = rewrites && matches!(value, Value::Object(_) | Value::Null) && (self.rounds || keeps_numbers(body));
        if !hit && !again {
            return Some(body.to_vec());
        }
        let mut out = Vec::with_capacity(body.len());
        go_json::write_value(&mut out, &value);
        Some(out)
    }

    fn hide(&self, value: &mut Value) -> bool {
        let mut hit = false;
        match value {
            Value::Object(members) => {
                for (name, member) in members.iter_mut() {
                    if self.names.contains(name) {
                        *member = HIDDEN.into();
                        hit = true;
                    } else {
                        hit |= self.hide(member);
                    }
                }
            }
            Value::Array(items) => {
                for item in items {
                    hit |= self.hide(item);
                }
            }
            _ => {}
        }
        hit
    }
}

/// Whether every number of a JSON text is the same as a 64-bit float.
fn keeps_numbers(json: &[u8]) -> bool {
    let (mut is_text, mut is_escaped) = (false, false);
    let outside = json.split(|&byte| {
        let was_text = is_text;
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if is_text => is_escaped = true,
            b'"' => is_text = !is_text,
            _ => {}
        }
        was_text || is_text || !(byte.is_ascii_digit() || b"+-.eE".contains(&byte))
    });
    let mut numbers = outside.filter(|token| token.iter().any(u8::is_ascii_digit));
    numbers.all(|token| {
        let Ok(text) = std::str::from_utf8(token) else {
            return false;
        };
        let again = text.parse::<f64>().map(|number| format!("{number:e}"));
        again.is_ok_and(|again| digits(&again) == digits(text))
    })
}

/// Significant digits of a number, and the power of ten of the first one.
fn digits(number: &str) -> (String, i64) {
    let (mantissa, exponent) = number.split_once(['e', 'E']).unwrap_or((number, "0"));
    let mantissa = mantissa.trim_start_matches(['-', '+']);
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let all = format!("{whole}{fraction}");
    let significant = all.trim_start_matches('0');
    if significant.is_empty() {
        return (String::new(), 0);
    }
    let zeros = (all.len() - significant.len()) as i64;
    let exponent = exponent.parse::<i64>().unwrap_or(i64::MAX / 2);
    let first = exponent.saturating_add(whole.len() as i64 - 1 - zeros);
    (significant.trim_end_matches('0').to_owned(), first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_a_float_cannot_hold_are_found() {
        for kept in [
            "{\"a\":[1,-2.50,1e3,0,0.1,9007199254740992,-0.0]}",
            "{\"12345678901234567890\":\"1.00000000000000000001 \\\" 9007199254740993\"}",
            "null",
        ] {
            assert!(keeps_numbers(kept.as_bytes()), "{kept}");
        }
        for rounded in [
            "{\"a\":9007199254740993}",
            "[12345678901234567890]",
            "[1.00000000000000000001]",
        ] {
            assert!(!keeps_numbers(rounded.as_bytes()), "{rounded}");
        }
    }

    #[test]
    fn a_body_is_not_written_again_where_that_would_round_a_number() {
        let masks = BodyMasks::default();
        let apply = |body: &str| String::from_utf8(masks.apply(body.as_bytes(), true).unwrap()).unwrap();
        assert_eq!(apply("{\"b\": 2.50,\"a\":1}"), r#"{"a":1,"b":2.5}"#);
        let large = "{\"b\": 9007199254740993,\"a\":1}";
        assert_eq!(apply(large), large);
    }

    fn masked(names: &[&str], rewrite: bool, body: &str) -> Option<String> {
        let masks = BodyMasks {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            rounds: rewrite,
        };
        masks
            .apply(body.as_bytes(), rewrite)
            .map(|body| String::from_utf8(body).unwrap())
    }

    #[test]
    fn members_are_hidden_at_any_depth() {
        let body = r#"{"z":{"password":{"a":1},"list":[{"password":"x"},3]},"Password":1}"#;
        let expected = r#"{"Password":1,"z":{"list":[{"password":"*****"},3],"password":"*****"}}"#;
        assert_eq!(masked(&["password"], false, body).unwrap(), expected);
        assert_eq!(masked(&["a"], false, r#" [{"a":null}]"#).unwrap(), r#"[{"a":"*****"}]"#);
    }

    #[test]
    fn a_body_in_which_nothing_is_hidden_stays_as_it_is() {
        for body in [
            "{\"b\": 12345678901234567890,\"a\":1}",
            "",
            "text",
            "[1, 2]",
            "{broken",
            " null ",
            "nothing",
        ] {
            assert_eq!(masked(&["password"], false, body).unwrap(), body);
            assert_eq!(masked(&[], false, body).unwrap(), body);
        }
    }

    #[test]
    fn the_reference_writes_objects_again() {
        assert_eq!(masked(&[], true, "{\"b\": 2,\"a\":1}").unwrap(), r#"{"a":1,"b":2}"#);
        assert_eq!(masked(&[], true, " null ").unwrap(), "null");
        for body in ["[1, 2]", "\"a\" ", "1.0", "{broken", "{\"a\": 1e400}"] {
            assert_eq!(masked(&[], true, body).unwrap(), body);
        }
    }

    #[test]
    fn a_body_that_cannot_be_searched_is_not_sent() {
        let deep = format!("{}{}{}", "{\"a\":".repeat(200), "1", "}".repeat(200));
        assert_eq!(masked(&["password"], false, &deep), None);
        assert_eq!(masked(&["password"], false, "{\"password\":1,\"b\":1e400}"), None);
        assert_eq!(masked(&[], false, &deep).unwrap(), deep);
    }
}
