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
    /// Why there is no sink.
    pub why: Why,
}

/// Why this binary has no sink of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// No binary has it yet.
    Planned,
    /// Only binaries that are built with this feature have it.
    Feature(&'static str),
}

/// The end of a sentence that begins with the type's name.
impl std::fmt::Display for Why {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Why::Planned => f.write_str("is planned but not built yet"),
            Why::Feature(feature) => write!(
                f,
                "is not in this binary, which was built without the feature \"{feature}\" – `cargo build --release` \
                 builds one with everything"
            ),
        }
    }
}
