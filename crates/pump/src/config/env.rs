//! Environment variables: the syntax of their values, and settings that they override.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use sinks::options::{self, Shape};

use super::{
    finding::{Findings, Place, Severity},
    schema::{Kind, Section, Setting},
    values::{Data, Values},
};

/// Prefix of every variable of the configuration.
pub const PREFIX: &str = "TYK_PMP_";

/// The process environment, and which of it was used.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: BTreeMap<String, String>,
    used: BTreeSet<String>,
    known: BTreeSet<String>,
}

impl Environment {
    /// Takes over variables.
    pub fn new(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        Self {
            variables: variables.into_iter().collect(),
            ..Self::default()
        }
    }

    /// The environment of this process; bytes that are no UTF-8 become U+FFFD.
    pub fn of_process() -> Self {
        let text = |os: std::ffi::OsString| os.to_string_lossy().into_owned();
        Self::new(std::env::vars_os().map(|(name, value)| (text(name), text(value))))
    }

    /// The value of a variable.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str)
    }

    /// `TYK_PMP_COMPAT`, if it is set to something that can be read.
    pub fn compat(&self) -> Option<bool> {
        self.get("TYK_PMP_COMPAT").and_then(|text| parse_bool(text).ok())
    }

    /// The value of a variable, which counts as used from now on.
    pub fn take(&mut self, name: &str) -> Option<String> {
        self.known.insert(name.to_owned());
        let value = self.variables.get(name)?;
        self.used.insert(name.to_owned());
        Some(value.clone())
    }

    /// Names that begin with `prefix`, sorted.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let names = self.variables.keys().filter(|name| name.starts_with(prefix));
        names.cloned().collect()
    }

    /// Whether a variable counts as used.
    pub fn is_used(&self, name: &str) -> bool {
        self.used.contains(name)
    }

    /// Takes every variable of this prefix away that was used.
    pub fn remove_used(&mut self, prefix: &str) {
        let used = &self.used;
        self.variables
            .retain(|name, _| !name.starts_with(prefix) || !used.contains(name));
    }

    /// Counts every variable of this prefix as used.
    pub fn pass_over(&mut self, prefix: &str) {
        self.used.extend(self.names(prefix));
    }

    /// Warns about variables of the configuration that nothing has used.
    pub fn report_unused(&self, findings: &mut Findings) {
        for name in self.names(PREFIX) {
            if self.used.contains(&name) {
                continue;
            }
            let near = near_variable(&name, self.known.iter().map(String::as_str));
            let hint = near.map(|near| format!(" – did you mean {near}?")).unwrap_or_default();
            findings.mistake(Place::Variable(name.clone()), format!("{name} is not read{hint}"));
        }
    }
}

/// The name that is nearly `wrong`. What long names have in common in front says nothing: what is behind it must differ by
/// no more than a slip of the pen.
fn near_variable<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.replace('_', "");
    let near = names.filter_map(|name| {
        let same = wrong
            .bytes()
            .zip(name.bytes())
            .take_while(|(one, other)| one == other)
            .count();
        let tail = wrong.get(..same)?.rfind('_').map_or(0, |at| at + 1);
        let (wrong, tail) = (plain(wrong.get(tail..)?), plain(name.get(tail..)?));
        let distance = strsim::damerau_levenshtein(&wrong, &tail);
        let slip = 1 + wrong.len().min(tail.len()) / 6;
        (distance <= slip.min(3)).then_some((distance, name))
    });
    near.min_by_key(|(distance, _)| *distance).map(|(_, name)| name)
}

/// Why a variable cannot be used: what to write instead.
type Problem = String;

/// Which variables override a section, and how strictly.
pub struct Override<'a> {
    /// Settings.
    pub section: &'static Section,
    /// Prefix with its underscore.
    pub prefix: &'a str,
    /// Only names that the reference reads.
    pub exact: bool,
    /// The reference reads no variable with this prefix.
    pub is_new: bool,
    /// What a bad value is.
    pub severity: Severity,
    /// What the text of such a finding begins with.
    pub lead: &'a str,
}

impl Override<'_> {
    /// Applies every variable; one that is bad is reported and hides no other.
    pub fn apply(&self, env: &mut Environment, values: &mut Values, findings: &mut Findings) {
        for setting in self.section.settings {
            let mut first: Option<String> = None;
            for suffix in self.section.env_names(setting, self.exact) {
                let name = format!("{}{suffix}", self.prefix);
                let Some(text) = env.take(&name) else { continue };
                if let Some(first) = &first {
                    let text = format!("{name} has no effect, because {first} is set too – remove one of them");
                    findings.mistake(Place::Variable(name), text);
                    continue;
                }
                self.set(setting, &name, &text, values, findings);
                if !self.section.ours && (self.is_new || suffix != setting.env) {
                    counts_now(&name, findings);
                }
                first = Some(name);
            }
        }
    }

    fn set(&self, setting: &'static Setting, name: &str, text: &str, values: &mut Values, findings: &mut Findings) {
        let place = Place::Variable(name.to_owned());
        let counts = !matches!(
            setting.kind,
            Kind::Bool | Kind::Int | Kind::Uint | Kind::Span | Kind::Bytes
        );
        if text.trim().is_empty() && !counts {
            return findings.warn(
                place,
                format!("{name} is empty – ignored; remove it or give it a value"),
            );
        }
        warn_quotes(name, text, setting.kind == Kind::Secret, findings);
        match parse(setting.kind, text) {
            Ok(data) => {
                if let Data::Texts(texts) = &data
                    && texts.iter().any(|item| item.trim() != item)
                {
                    let text = format!("{name} has blanks beside a comma: they belong to the items – remove them");
                    findings.mistake(place.clone(), text);
                }
                values.set(setting.key, data, place);
            }
            Err(remedy) => {
                values.set_unusable(setting.key);
                let text = format!("{}{name} is {text:?} – {remedy}", self.lead);
                // Without hosts there are still host and port.
                let severity = match setting.kind {
                    Kind::TextMap => Severity::Error,
                    _ => self.severity,
                };
                findings.add(severity, place, text);
            }
        }
    }
}

/// Says that a variable has an effect that it did not have before the swap.
pub fn counts_now(name: &str, findings: &mut Findings) {
    let text = format!("{name} counts – Tyk Pump ignores this name: remove it if it is a leftover");
    findings.warn(Place::Variable(name.to_owned()), text);
}

/// Quotes are part of a value in the files that container runtimes read.
pub fn warn_quotes(name: &str, text: &str, secret: bool, findings: &mut Findings) {
    for quote in ['"', '\''] {
        let inner = text.strip_prefix(quote).and_then(|rest| rest.strip_suffix(quote));
        let Some(inner) = inner else { continue };
        let shown = if secret {
            String::new()
        } else {
            format!(": write {name}={inner}")
        };
        let text = format!("{name} is in quotes – they are part of the value{shown}");
        findings.mistake(Place::Variable(name.to_owned()), text);
    }
}

/// The value of a setting from text.
pub fn parse(kind: Kind, text: &str) -> Result<Data, Problem> {
    match kind {
        Kind::Text | Kind::Secret => Ok(Data::Text(text.to_owned())),
        Kind::Span | Kind::Bytes => Ok(Data::Text(text.trim().to_owned())),
        Kind::Bool => parse_bool(text).map(Data::Bool),
        Kind::Int => parse_int(text).map(Data::Int),
        Kind::Uint => match parse_int(text)? {
            number if number < 0 => Err("write a number that is not negative".to_owned()),
            number => Ok(Data::Int(number)),
        },
        Kind::Texts => Ok(Data::Texts(items(text).map(str::to_owned).collect())),
        Kind::Ints => {
            let numbers = items(text).map(|item| parse_int(item.trim()));
            numbers.collect::<Result<_, _>>().map(Data::Ints)
        }
        Kind::TextMap => hosts(text).map(Data::Map),
    }
}

/// The value of a sink's option from text.
pub fn parse_shape(shape: &Shape, text: &str) -> Result<Value, Problem> {
    match shape {
        Shape::Any | Shape::Text => Ok(text.into()),
        Shape::Bool => parse_bool(text).map(Value::from),
        Shape::Int => parse_int(text).map(Value::from),
        Shape::Uint => match parse_int(text)? {
            number if number < 0 => Err("write a number that is not negative".to_owned()),
            number => Ok(number.into()),
        },
        Shape::Float => match text.parse::<f64>() {
            Ok(number) if number.is_finite() => Ok(number.into()),
            _ => Err("write a number such as 0.5".to_owned()),
        },
        // What has no form with commas is written as in the file.
        Shape::List(of) if matches!(**of, Shape::Object(_)) => match serde_json::from_str(text.trim()) {
            Ok(list @ (Value::Array(_) | Value::Null)) => Ok(list),
            _ if text.trim().is_empty() => Ok(Value::Null),
            _ => Err("write a JSON list of objects: [{…}]".to_owned()),
        },
        Shape::List(of) => {
            let number = matches!(**of, Shape::Int | Shape::Uint | Shape::Float);
            let parsed = items(text).map(|item| parse_shape(of, if number { item.trim() } else { item }));
            parsed.collect()
        }
        Shape::Map(of) => {
            let mut pairs = serde_json::Map::new();
            for item in items(text) {
                let mut parts = item.split(':');
                let (Some(key), Some(value), None) = (parts.next(), parts.next(), parts.next()) else {
                    return Err("write key:value,key:value".to_owned());
                };
                pairs.insert(key.to_owned(), parse_shape(of, value)?);
            }
            Ok(Value::Object(pairs))
        }
        Shape::Object(_) => Err("set its options one by one".to_owned()),
    }
}

/// Items between commas; a blank text is an empty list.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let blank = text.trim().is_empty();
    text.split(',').filter(move |_| !blank)
}

/// `host:port,host:port`; items without a colon are left out.
fn hosts(text: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut pairs = Vec::new();
    for item in items(text) {
        let mut parts = item.split(':');
        if let (Some(host), Some(port)) = (parts.next(), parts.next()) {
            pairs.push((host.to_owned(), port.to_owned()));
        }
    }
    if pairs.is_empty() && !text.trim().is_empty() {
        return Err("write host:port,host:port".to_owned());
    }
    Ok(pairs)
}

/// See [`options::parse_bool`].
pub fn parse_bool(text: &str) -> Result<bool, Problem> {
    options::parse_bool(text).ok_or_else(|| "write true or false".to_owned())
}

/// A Go integer literal: `31`, `0x1F`, `0b11`, `0o17`, `017` (octal), `1_000`, with or without a sign.
pub fn parse_int(text: &str) -> Result<i64, Problem> {
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (radix, body) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let remedy = || match leading_digits(text) {
        "" => "write a number".to_owned(),
        number => format!("write {number}"),
    };
    // An underscore stands between digits, or between the prefix and a digit.
    let prefixed = radix != 10;
    let misplaced = body.ends_with('_') || body.contains("__") || (body.starts_with('_') && !prefixed);
    let body = body.replace('_', "");
    let plain = !body.is_empty() && body.chars().all(|digit| digit.is_digit(radix));
    if misplaced || !plain {
        return Err(remedy());
    }
    let number = i128::from_str_radix(&body, radix).unwrap_or(i128::MAX);
    let number = if negative { -number } else { number };
    i64::try_from(number).map_err(|_| "it is too large".to_owned())
}

fn leading_digits(text: &str) -> &str {
    let text = text.trim().trim_matches(['"', '\'']);
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    &text[..end]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_objects_is_json_in_a_variable() {
        let rules = Shape::List(Box::new(Shape::Object(Vec::new())));
        assert_eq!(
            parse_shape(&rules, r#"[{"every_seconds": 60, "type": "expire"}]"#),
            Ok(json!([{"every_seconds": 60, "type": "expire"}]))
        );
        assert_eq!(parse_shape(&rules, " "), Ok(Value::Null));
        for text in ["a,b", "{}", "[{"] {
            let problem = parse_shape(&rules, text);
            assert_eq!(problem, Err("write a JSON list of objects: [{…}]".to_owned()), "{text}");
        }
    }
}
