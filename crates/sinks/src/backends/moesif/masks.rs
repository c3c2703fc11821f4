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
    /// Whether bodies are written again even when nothing is hidden, as upstream does.
    pub(super) rewrite: bool,
}

impl BodyMasks {
    /// The body as it is sent; `None`: it is not sent, because nobody can say what it hides.
    pub(super) fn apply(&self, body: &[u8]) -> Option<Vec<u8>> {
        let starts = |bytes: &[u8]| {
            body.trim_ascii_start()
                .first()
                .is_some_and(|first| bytes.contains(first))
        };
        let worth_reading = match (self.names.is_empty(), self.rewrite) {
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
        let again = self.rewrite && matches!(value, Value::Object(_) | Value::Null);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(names: &[&str], rewrite: bool, body: &str) -> Option<String> {
        let masks = BodyMasks {
            names: names.iter().map(|&name| name.to_owned()).collect(),
            rewrite,
        };
        masks
            .apply(body.as_bytes())
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
