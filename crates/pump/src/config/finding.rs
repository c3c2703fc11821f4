//! What is noticed about a configuration: each thing once, with its place, its value and what to do.

use std::fmt;

use super::json::Position;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Worth knowing.
    Warning,
    /// Surely a mistake, although the rest works: a warning at start, an error for `tyk-pump check`.
    Mistake,
    /// A value is not used: an error, the rest counts.
    Error,
    /// The pump cannot run with it.
    Fatal,
}

/// Where it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Nowhere in particular: something is missing.
    #[default]
    Missing,
    /// In the configuration file.
    File(Position),
    /// In an environment variable of this name.
    Variable(String),
}

/// One thing that was noticed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Where.
    pub place: Place,
    /// Text: key, value, remedy; never a secret.
    pub text: String,
    /// `prefix` of its log line.
    pub prefix: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)?;
        if let Place::File(at) = &self.place {
            write!(f, " (line {})", at.line)?;
        }
        Ok(())
    }
}

/// Everything that was noticed, in order.
#[derive(Debug, Default)]
pub struct Findings(Vec<Finding>);

impl Findings {
    /// Adds one thing; the same text is kept once.
    pub fn add(&mut self, severity: Severity, place: Place, text: impl Into<String>) {
        let finding = Finding {
            severity,
            place,
            text: text.into(),
            prefix: "main",
        };
        if !self.0.contains(&finding) {
            self.0.push(finding);
        }
    }

    /// Adds a warning.
    pub fn warn(&mut self, place: Place, text: impl Into<String>) {
        self.add(Severity::Warning, place, text);
    }

    /// Adds a mistake.
    pub fn mistake(&mut self, place: Place, text: impl Into<String>) {
        self.add(Severity::Mistake, place, text);
    }

    /// Adds an error.
    pub fn error(&mut self, place: Place, text: impl Into<String>) {
        self.add(Severity::Error, place, text);
    }

    /// Adds what ends the process.
    pub fn fatal(&mut self, place: Place, text: impl Into<String>) {
        self.add(Severity::Fatal, place, text);
    }

    /// All of them.
    pub fn as_slice(&self) -> &[Finding] {
        &self.0
    }

    /// Whether one of them ends the process.
    pub fn has_fatal(&self) -> bool {
        self.0.iter().any(|finding| finding.severity == Severity::Fatal)
    }
}

/// ` – did you mean "…"?`, or nothing when no name is near.
pub fn did_you_mean<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    match nearest(wrong, names) {
        Some(name) => format!(" – did you mean \"{name}\"?"),
        None => String::new(),
    }
}

/// The name that is most like a wrong one, if any is near: hyphens, blanks and case make no difference, then spelling, then
/// a common beginning.
pub fn nearest<'a>(wrong: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', ' ', '.'], "");
    let wrong = plain(wrong);
    let mut best: Option<(f64, &str)> = None;
    for name in names {
        let candidate = plain(name);
        let mut likeness = strsim::jaro_winkler(&wrong, &candidate);
        // Names that begin alike are alike for that measure, however they go on.
        if strsim::normalized_damerau_levenshtein(&wrong, &candidate) < 0.6 {
            likeness = 0.0;
        }
        if wrong.len() >= 4 && candidate.starts_with(&wrong) {
            likeness = likeness.max(0.9);
        }
        if likeness >= 0.85 && best.is_none_or(|(most, _)| likeness > most) {
            best = Some((likeness, name));
        }
    }
    best.map(|(_, name)| name)
}
