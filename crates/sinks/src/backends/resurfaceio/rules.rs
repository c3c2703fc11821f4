//! The rules that decide what of a message is kept: one a line, as the logger libraries of Resurface have them.

use std::{iter::Peekable, str::Chars};

use regex::Regex;

/// Rules for development: everything is kept, plain http is allowed.
const DEBUG: &str = "allow_http_url\ncopy_session_field /.*/\n";
/// Rules that mask what looks like an e-mail address or a long number.
const STANDARD: &str = "/request_header:cookie|response_header:set-cookie/ remove\n\
    /(request|response)_body|request_param/ replace /[a-zA-Z0-9.!#$%&’*+\\/=?^_`{|}~-]+@[a-zA-Z0-9-]+(?:\\.[a-zA-Z0-9-]+)/, /x@y.com/\n\
    /request_body|request_param|response_body/ replace /[0-9\\.\\-\\/]{9,}/, /xyxy/\n";
/// Rules that keep metadata alone; they count when there are none.
const STRICT: &str = "/request_url/ replace /([^\\?;]+).*/, /$1/\n\
    /request_body|response_body|request_param:.*|request_header:(user-agent).*|response_header:((content-length)|(content-type)).*/ remove\n";

/// A key and its value.
pub(super) type Pair = (String, String);

/// What a rule does to the pairs whose key matches its scope.
#[derive(Debug)]
enum Verb {
    Remove,
    RemoveIf(Regex),
    RemoveUnless(Regex),
    RemoveIfFound(Regex),
    RemoveUnlessFound(Regex),
    Replace(Regex, String),
    Stop,
    StopIf(Regex),
    StopUnless(Regex),
    StopIfFound(Regex),
    StopUnlessFound(Regex),
}

/// All rules of a sink.
#[derive(Debug, Default)]
pub(super) struct Rules {
    /// Whether messages may go to an `http:` URL.
    pub(super) allow_http_url: bool,
    /// Messages are sent as they are.
    pub(super) skip_compression: bool,
    /// Messages are not sent.
    pub(super) skip_submission: bool,
    /// Percentage of the messages that is kept.
    sample: Option<u64>,
    /// Names of the cookies that are copied.
    copied: Vec<Regex>,
    scoped: Vec<(Regex, Verb)>,
}

impl Rules {
    /// Reads rules; without any the strict set counts. Unless `keeps_url`, including it loses what its rule for the URL says
    /// to keep, as with upstream. The error names the line.
    pub(super) fn parse(text: &str, keeps_url: bool) -> Result<Rules, String> {
        let mut rules = Rules::default();
        let mut lines = vec![text.to_owned()];
        if text.trim().is_empty() {
            lines = vec![STRICT.to_owned()];
        }
        let included = match keeps_url {
            true => STRICT.to_owned(),
            false => STRICT.replace("$1", ""),
        };
        let expanded = lines
            .concat()
            .replace("include debug", DEBUG)
            .replace("include standard", STANDARD)
            .replace("include strict", &included)
            .replace("include default", &included);
        for line in expanded.lines() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            rules.add(line).map_err(|why| format!("the rule \"{line}\" {why}"))?;
        }
        Ok(rules)
    }

    fn add(&mut self, line: &str) -> Result<(), String> {
        let word_end = line.find(char::is_whitespace).unwrap_or(line.len());
        let (word, rest) = line.split_at(word_end);
        let mut rest = rest.trim_start();
        match word {
            "allow_http_url" => self.allow_http_url = true,
            "skip_compression" => self.skip_compression = true,
            "skip_submission" => self.skip_submission = true,
            "sample" => {
                let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                let (number, after) = rest.split_at(end);
                let percentage = number.parse().ok().filter(|percentage| (1..=99).contains(percentage));
                let percentage = percentage.ok_or("has no percentage from 1 to 99")?;
                if self.sample.replace(percentage).is_some() {
                    return Err("is the second one of its kind – keep one of them".to_owned());
                }
                rest = after;
            }
            "copy_session_field" => self.copied.push(anchored(&expression(&mut rest)?)?),
            _ => {
                rest = line;
                let scope = anchored(&expression(&mut rest)?)?;
                let verb = verb(&mut rest)?;
                self.scoped.push((scope, verb));
            }
        }
        let rest = rest.trim_start();
        if rest.is_empty() || rest.starts_with('#') {
            Ok(())
        } else {
            Err(format!("goes on with \"{rest}\", which is not understood"))
        }
    }

    /// The cookies that are copied, rule by rule; names are in lower case.
    pub(super) fn copied(&self, cookies: &[Pair]) -> Vec<Pair> {
        let mut copied = Vec::new();
        for wanted in &self.copied {
            copied.extend(cookies.iter().filter(|(name, _)| wanted.is_match(name)).cloned());
        }
        copied
    }

    /// What is left of a message; `None`: it is not sent. `draw` decides about samples, the same number the same way.
    pub(super) fn apply(&self, mut pairs: Vec<Pair>, draw: u64) -> Option<Vec<Pair>> {
        if self.stops(&pairs) || self.sample.is_some_and(|percentage| draw % 100 >= percentage) {
            return None;
        }
        type Drops = fn(&Verb, &str) -> bool;
        let order: [Drops; 5] = [
            |verb, _| matches!(verb, Verb::Remove),
            |verb, value| matches!(verb, Verb::RemoveUnlessFound(wanted) if !wanted.is_match(value)),
            |verb, value| matches!(verb, Verb::RemoveIfFound(found) if found.is_match(value)),
            |verb, value| matches!(verb, Verb::RemoveUnless(wanted) if !wanted.is_match(value)),
            |verb, value| matches!(verb, Verb::RemoveIf(found) if found.is_match(value)),
        ];
        for drops in order {
            let dropped = |(key, value): &Pair| {
                self.scoped
                    .iter()
                    .any(|(scope, verb)| drops(verb, value) && scope.is_match(key))
            };
            pairs.retain(|pair| !dropped(pair));
        }
        for (scope, verb) in &self.scoped {
            let Verb::Replace(found, text) = verb else { continue };
            for (_, value) in pairs.iter_mut().filter(|(key, _)| scope.is_match(key)) {
                *value = found.replace_all(value, text.as_str()).into_owned();
            }
        }
        pairs.retain(|(_, value)| !value.is_empty());
        (!pairs.is_empty()).then_some(pairs)
    }

    fn stops(&self, pairs: &[Pair]) -> bool {
        let any = |test: fn(&Verb, &str) -> bool| {
            let mut scoped = self.scoped.iter();
            scoped.any(|(scope, verb)| {
                pairs
                    .iter()
                    .any(|(key, value)| test(verb, value) && scope.is_match(key))
            })
        };
        if any(|verb, _| matches!(verb, Verb::Stop))
            || any(|verb, value| matches!(verb, Verb::StopIfFound(found) if found.is_match(value)))
            || any(|verb, value| matches!(verb, Verb::StopIf(found) if found.is_match(value)))
        {
            return true;
        }
        // Upstream counts the pairs that match any rule of the kind and compares with the number of rules.
        let unmet = |wanted: fn(&Verb) -> Option<&Regex>| {
            let rules: Vec<_> = self
                .scoped
                .iter()
                .filter_map(|(scope, verb)| Some((scope, wanted(verb)?)))
                .collect();
            let met = rules.iter().flat_map(|(scope, wanted)| {
                pairs
                    .iter()
                    .filter(|(key, value)| scope.is_match(key) && wanted.is_match(value))
            });
            met.count() != rules.len()
        };
        unmet(|verb| match verb {
            Verb::StopUnlessFound(wanted) => Some(wanted),
            _ => None,
        }) || unmet(|verb| match verb {
            Verb::StopUnless(wanted) => Some(wanted),
            _ => None,
        })
    }
}

fn verb(rest: &mut &str) -> Result<Verb, String> {
    let text = rest.trim_start();
    let end = text
        .find(|c: char| !c.is_ascii_lowercase() && c != '_')
        .unwrap_or(text.len());
    let (name, after) = text.split_at(end);
    *rest = after.trim_start();
    Ok(match name {
        "remove" => Verb::Remove,
        "remove_if" => Verb::RemoveIf(anchored(&expression(rest)?)?),
        "remove_unless" => Verb::RemoveUnless(anchored(&expression(rest)?)?),
        "remove_if_found" => Verb::RemoveIfFound(compile(&expression(rest)?)?),
        "remove_unless_found" => Verb::RemoveUnlessFound(compile(&expression(rest)?)?),
        "stop" => Verb::Stop,
        "stop_if" => Verb::StopIf(anchored(&expression(rest)?)?),
        "stop_unless" => Verb::StopUnless(anchored(&expression(rest)?)?),
        "stop_if_found" => Verb::StopIfFound(compile(&expression(rest)?)?),
        "stop_unless_found" => Verb::StopUnlessFound(compile(&expression(rest)?)?),
        "replace" => {
            let found = compile(&expression(rest)?)?;
            let after = rest.strip_prefix(',').unwrap_or_default();
            *rest = after.trim_start();
            if after.len() == rest.len() {
                return Err("needs a comma and a blank between its two expressions".to_owned());
            }
            Verb::Replace(found, delimited(rest)?)
        }
        _ => return Err(format!("has the unknown verb \"{name}\"")),
    })
}

/// The text between the next two delimiters, which must not be empty.
fn expression(rest: &mut &str) -> Result<String, String> {
    match delimited(rest)? {
        text if text.is_empty() => Err("has an empty expression".to_owned()),
        text => Ok(text),
    }
}

fn delimited(rest: &mut &str) -> Result<String, String> {
    let delimiter = rest.chars().next().filter(|delimiter| "~!%|/".contains(*delimiter));
    let Some(delimiter) = delimiter else {
        return Err("is not understood: expressions stand between two of ~ ! % | /".to_owned());
    };
    let mut text = String::new();
    let mut characters = rest.char_indices().skip(1);
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some((_, escaped)) if escaped == delimiter => text.push(escaped),
                Some((_, other)) => text.extend(['\\', other]),
                None => break,
            },
            _ if character == delimiter => {
                *rest = rest.get(at + character.len_utf8()..).unwrap_or_default();
                return Ok(text);
            }
            _ => text.push(character),
        }
    }
    Err(format!("has an expression that does not end with {delimiter}"))
}

/// For whole values. As in upstream the anchors stand beside alternatives, not around them.
fn anchored(expression: &str) -> Result<Regex, String> {
    let before = if expression.starts_with('^') { "" } else { "^" };
    let after = if expression.ends_with('$') { "" } else { "$" };
    compile(&format!("{before}{expression}{after}"))
}

fn compile(expression: &str) -> Result<Regex, String> {
    Regex::new(&translate(expression)).map_err(|error| {
        let text = error.to_string();
        let last = text.lines().last().unwrap_or_default();
        format!("has an expression that is none: {last}")
    })
}

/// Upstream's classes know ASCII alone, and brackets and doubled signs mean nothing inside of them. A brace that
/// begins no repetition stands for itself, and so does everything between `\Q` and `\E`.
fn translate(expression: &str) -> String {
    let mut out = String::with_capacity(expression.len() + 16);
    let mut characters = expression.chars().peekable();
    let mut in_class = false;
    while let Some(character) = characters.next() {
        match character {
            '\\' => match characters.next() {
                Some('d') => out.push_str("[0-9]"),
                Some('D') => out.push_str("[^0-9]"),
                Some('w') => out.push_str("[0-9A-Za-z_]"),
                Some('W') => out.push_str("[^0-9A-Za-z_]"),
                Some('s') => out.push_str("[\\t\\n\\f\\r ]"),
                Some('S') => out.push_str("[^\\t\\n\\f\\r ]"),
                Some('b') if !in_class => out.push_str("(?-u:\\b)"),
                Some('Q') if !in_class => copy_literally(&mut out, &mut characters),
                Some(kind @ ('p' | 'P' | 'x')) => {
                    out.extend(['\\', kind]);
                    if characters.next_if_eq(&'{').is_some() {
                        out.push('{');
                    }
                }
                Some(other) => out.extend(['\\', other]),
                None => out.push('\\'),
            },
            '{' if !in_class && !is_repetition(&characters.clone().collect::<String>()) => out.push_str("\\{"),
            '[' if !in_class => {
                in_class = true;
                out.push('[');
                if characters.next_if_eq(&'^').is_some() {
                    out.push('^');
                }
                // A bracket that closes nothing.
                if characters.next_if_eq(&']').is_some() {
                    out.push_str("\\]");
                }
            }
            '[' if characters.peek() != Some(&':') => out.push_str("\\["),
            ':' if in_class && characters.peek() == Some(&']') => {
                // The end of a named class such as [:alpha:].
                characters.next();
                out.push_str(":]");
            }
            '&' | '~' if in_class => out.extend(['\\', character]),
            ']' => {
                in_class = false;
                out.push(']');
            }
            _ => out.push(character),
        }
    }
    out
}

/// Everything up to `\E`, or to the end.
fn copy_literally(out: &mut String, characters: &mut Peekable<Chars<'_>>) {
    while let Some(character) = characters.next() {
        if character == '\\' && characters.next_if_eq(&'E').is_some() {
            return;
        }
        out.push_str(&regex::escape(character.encode_utf8(&mut [0; 4])));
    }
}

/// Whether what stands behind a brace is `n}`, `n,}` or `n,m}`.
fn is_repetition(behind: &str) -> bool {
    let Some((inside, _)) = behind.split_once('}') else {
        return false;
    };
    let is_number = |text: &str| {
        let has_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        has_digits && (text.len() == 1 || !text.starts_with('0'))
    };
    match inside.split_once(',') {
        Some((least, "")) => is_number(least),
        Some((least, most)) => is_number(least) && is_number(most),
        None => is_number(inside),
    }
}

#[cfg(test)]
mod tests;
