//! Records of the gateway's host checker.

use crate::{Span, Time};

/// One check of one target.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UptimeRecord {
    /// Checked URL.
    pub url: Span,
    /// When.
    pub timestamp: Time,
}
