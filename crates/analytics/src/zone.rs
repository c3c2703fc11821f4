//! Time zones of records, interned.

/// A time zone; cheap to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zone(u16);

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone(0);
    /// The zone of this process (`TZ`, else the system's).
    pub const LOCAL: Zone = Zone(1);
}
