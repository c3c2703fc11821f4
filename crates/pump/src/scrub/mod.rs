//! What others say, before anybody reads it. Back-ends repeat what they were sent: their errors may hold the pump's own
//! passwords and the contents of records. Every text from outside goes through here on its way to the log, to `/status`,
//! `/readyz` and the metrics, and into the causes of dead letters.
//!
//! Two things are taken out: the secrets of the configuration in every encoding in which they travel ([`secrets`]), and,
//! where the records are known that an error is about, what repeats them ([`words`]).

mod contents;
mod credentials;

use std::{
    borrow::Cow,
    sync::{Arc, PoisonError, RwLock},
};

use aho_corasick::{AhoCorasick, MatchKind};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD},
};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

pub use contents::{Contents, Group, words};

use crate::config::Settings;

/// What stands in the place of a secret.
const MASK: &str = "***";
/// Shorter texts are no secrets, and would be found everywhere.
const SHORTEST: usize = 4;
/// Fewer characters of base64 are no evidence.
const SHORTEST_BASE64: usize = 6;

/// What may stand in a component of a URL as it is.
const COMPONENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

static KNOWN: RwLock<Option<Arc<Known>>> = RwLock::new(None);

/// The secrets of configurations, in all their encodings.
struct Known {
    finder: AhoCorasick,
}

/// The secrets of one configuration, for texts about it that nobody has begun to run.
pub struct Secrets(Option<Known>);

impl Secrets {
    /// Those of this configuration.
    pub fn of(settings: &Settings) -> Self {
        Self(Known::new(&credentials::of(settings)))
    }

    /// The text without them.
    pub fn masked<'a>(&self, text: &'a str) -> Cow<'a, str> {
        match &self.0 {
            Some(known) => known.mask(text),
            None => Cow::Borrowed(text),
        }
    }
}

/// From now on the secrets of this configuration, and those that back-ends' libraries take from the environment, are
/// taken out of every text.
pub fn know(settings: &Settings) {
    let found = credentials::of(settings);
    if let Some(known) = Known::new(&found) {
        *KNOWN.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(known));
    }
}

/// The text without secrets.
pub fn secrets(text: &str) -> Cow<'_, str> {
    let known = KNOWN.read().unwrap_or_else(PoisonError::into_inner).clone();
    match known {
        Some(known) => known.mask(text),
        None => Cow::Borrowed(text),
    }
}

impl Known {
    /// `None`: there are none.
    fn new(secrets: &[String]) -> Option<Known> {
        let mut needles: Vec<String> = secrets
            .iter()
            .filter(|secret| secret.len() >= SHORTEST)
            .flat_map(|secret| encodings(secret))
            .collect();
        needles.sort_unstable();
        needles.dedup();
        if needles.is_empty() {
            return None;
        }
        let finder = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .build(&needles);
        // It fails for more needles than any configuration has.
        finder.ok().map(|finder| Known { finder })
    }

    fn mask<'a>(&self, text: &'a str) -> Cow<'a, str> {
        if !self.finder.is_match(text) {
            return Cow::Borrowed(text);
        }
        let mut masked = String::with_capacity(text.len());
        self.finder.replace_all_with(text, &mut masked, |_, _, out| {
            out.push_str(MASK);
            true
        });
        Cow::Owned(masked)
    }
}

/// A secret in every form in which servers and libraries repeat it.
fn encodings(secret: &str) -> Vec<String> {
    let mut forms = vec![secret.to_owned()];
    for set in [NON_ALPHANUMERIC, COMPONENT] {
        let encoded = utf8_percent_encode(secret, set).to_string();
        forms.push(lower_hex(&encoded));
        forms.push(encoded.replace("%20", "+"));
        forms.push(encoded);
    }
    let json = serde_json::to_string(secret).unwrap_or_default();
    let inner = json.strip_prefix('"').and_then(|json| json.strip_suffix('"'));
    let json = inner.unwrap_or(secret).to_owned();
    // As Go's encoder writes it, and as text in a text.
    forms.push(
        json.replace('&', "\\u0026")
            .replace('<', "\\u003c")
            .replace('>', "\\u003e"),
    );
    forms.push(json.replace('\\', "\\\\").replace('"', "\\\""));
    forms.push(json);
    let debug = format!("{secret:?}");
    forms.push(debug.trim_matches('"').to_owned());
    for before in 0..3 {
        for encode in [
            |bytes: &[u8]| STANDARD_NO_PAD.encode(bytes),
            |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes),
        ] {
            forms.extend(inside_base64(secret.as_bytes(), before, encode));
        }
    }
    forms.retain(|form| form.len() >= SHORTEST);
    forms
}

fn lower_hex(encoded: &str) -> String {
    let mut lower = String::with_capacity(encoded.len());
    let mut hex = 0;
    for c in encoded.chars() {
        lower.push(if hex > 0 { c.to_ascii_lowercase() } else { c });
        hex = if c == '%' { 2 } else { usize::saturating_sub(hex, 1) };
    }
    lower
}

/// The characters of base64 that a secret decides alone, when `before` bytes stand before it in their group of three: so
/// it is found behind any user name.
fn inside_base64(secret: &[u8], before: usize, encode: fn(&[u8]) -> String) -> Option<String> {
    let mut bytes = vec![0; before];
    bytes.extend_from_slice(secret);
    let encoded = encode(&bytes);
    let (first, end) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
    let inside = encoded.get(first..end)?;
    (inside.len() >= SHORTEST_BASE64).then(|| inside.to_owned())
}

#[cfg(test)]
mod tests {
    use base64::engine::general_purpose::STANDARD;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_secret_is_found_in_every_encoding() {
        let secret = "p@ss w\"rd<1>&/";
        let known = Known::new(&[secret.to_owned(), "abc".to_owned()]).unwrap();
        let said = [
            format!("password {secret} is wrong"),
            "https://tyk:p%40ss%20w%22rd%3C1%3E%26%2F@host/".to_owned(),
            "https://tyk:p%40ss%20w%22rd%3c1%3e%26%2f@host/".to_owned(),
            "password=p%40ss+w%22rd%3C1%3E%26%2F".to_owned(),
            serde_json::json!({"password": secret}).to_string(),
            serde_json::json!({"said": serde_json::json!({"password": secret}).to_string()}).to_string(),
            r#"{"password":"p@ss w\"rd\u003c1\u003e\u0026/"}"#.to_owned(),
            format!("{:?}", Some(secret)),
        ];
        for said in said {
            let masked = known.mask(&said).into_owned();
            assert!(
                masked.contains("***") && !masked.contains("ss") || masked.contains("pass"),
                "{said} became {masked}"
            );
            assert!(
                !masked.contains("rd<1") && !masked.contains("rd%3") && !masked.contains("w\\\"rd"),
                "{said} became {masked}"
            );
        }
        assert_eq!(known.mask("abc is too short to be one"), "abc is too short to be one");
    }

    proptest! {
        #[test]
        fn a_secret_is_found_behind_any_user_name(user in "[a-z0-9]{0,9}", secret in "[ -~]{6,20}", rest in "[ -~]{0,5}") {
            let known = Known::new(std::slice::from_ref(&secret)).unwrap();
            for encoded in [STANDARD.encode(format!("{user}:{secret}{rest}")), URL_SAFE_NO_PAD.encode(format!("{user}:{secret}"))] {
                let masked = known.mask(&encoded).into_owned();
                prop_assert!(masked.contains(MASK), "{} became {}", encoded, masked);
                // What is left of it decides no more than a byte at either end.
                let before = (user.len() + 1) * 8;
                prop_assert!(masked.find(MASK).unwrap() <= before.div_ceil(6) + 1);
            }
        }
    }
}
