//! Types that configurations may name and this binary does not have.

/// A type without a sink.
#[derive(Debug)]
pub struct Absent {
    /// Value of `type` in a configuration.
    pub name: &'static str,
    /// Display name, upstream's own.
    pub title: &'static str,
    /// `prefix` of its log lines.
    pub log_prefix: &'static str,
    /// Default prefix of its environment variables; empty: no options.
    pub env_prefix: &'static str,
    /// What a binary with it has.
    pub missing: MissingFeature,
}

/// A feature that this binary was built without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MissingFeature(pub &'static str);

/// The end of a sentence that begins with the name of what needs it.
impl std::fmt::Display for MissingFeature {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "is not in this binary, which was built without the feature \"{}\" – `cargo build --release` builds one with \
             everything",
            self.0
        )
    }
}
