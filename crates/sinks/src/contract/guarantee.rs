//! What a sink promises.

/// What a sink promises about a row that was claimed. `Display` says it in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Guarantee {
    /// May be lost on the way: acknowledged when sent.
    BestEffort,
    /// Arrives, after a crash possibly twice.
    AtLeastOnce,
    /// Arrives once.
    ExactlyOnce,
}

impl std::fmt::Display for Guarantee {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Guarantee::BestEffort => "best effort",
            Guarantee::AtLeastOnce => "at least once",
            Guarantee::ExactlyOnce => "exactly once",
        })
    }
}
