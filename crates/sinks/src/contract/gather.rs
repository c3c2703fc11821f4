//! How much is written at once.

use std::time::Duration;

/// How much a sink likes to receive at once. The lane hands over less when there is no more, or memory is short.
#[derive(Clone, Copy, Debug)]
pub struct Gather {
    /// Rows.
    pub rows: usize,
    /// Bytes of the elements.
    pub bytes: usize,
    /// How long the first row may wait for company.
    pub wait: Duration,
}

impl Gather {
    /// A few thousand rows, without waiting.
    pub const WINDOW: Gather = Gather {
        rows: 5_000,
        bytes: 4 << 20,
        wait: Duration::ZERO,
    };
}
