//! Requests in order for small groups, and side by side for large ones.

use analytics::Selection;

use crate::transport::outbox::{Outbox, Pace, Packing};

/// Rows of a group from which on requests go side by side: until then order is worth more than haste.
const MANY: usize = 100;

/// A sink's ways to send.
pub(crate) struct Outboxes {
    in_order: Outbox,
    side_by_side: Outbox,
}

impl Outboxes {
    /// `always_in_order`: also large groups, whose order means something.
    pub(crate) fn new(log_prefix: &'static str, packing: Packing, always_in_order: bool) -> Self {
        let parallel = match always_in_order {
            true => Pace::AtOnce(1),
            false => Pace::SERVICE,
        };
        Self {
            in_order: Outbox::new(log_prefix, packing, Pace::AtOnce(1)),
            side_by_side: Outbox::new(log_prefix, packing, parallel),
        }
    }

    /// The one for this group.
    pub(crate) fn of(&self, group: &[Selection]) -> &Outbox {
        let rows: usize = group.iter().map(Selection::len).sum();
        match rows > MANY {
            true => &self.side_by_side,
            false => &self.in_order,
        }
    }
}
