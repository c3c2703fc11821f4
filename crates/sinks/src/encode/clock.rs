//! The time of writing.

use std::time::{SystemTime, UNIX_EPOCH};

use analytics::{Time, Zone};

/// Now, in the zone of this process.
pub(crate) fn local_time() -> Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Time {
        seconds: now.as_secs() as i64,
        nanos: now.subsec_nanos(),
        zone: Zone::LOCAL,
    }
}
