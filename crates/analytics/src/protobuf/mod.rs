//! Protobuf message `AnalyticsRecord` (proto3), as gateways write it to lists whose name ends in `_protobuf`.

mod decode;
mod encode;
mod read;

pub use decode::decode;
pub use encode::encode;

use crate::{FIELDS, field::FieldInfo};

/// Name of the zone of the record's times, a field that only this format has.
const TIME_ZONE: u32 = 30;
/// Highest field number of the record.
const LAST_NUMBER: usize = 35;

/// Field numbers of `google.protobuf.Timestamp`.
mod timestamp {
    pub(super) const SECONDS: u32 = 1;
    pub(super) const NANOS: u32 = 2;
}

/// Field numbers of an entry of a map.
mod entry {
    pub(super) const KEY: u32 = 1;
    pub(super) const VALUE: u32 = 2;
}

/// Field number of the strings of `RepeatedFields`, the values of `GraphQLStats.Types`.
const REPEATED_FIELDS: u32 = 1;

/// The record's rows by field number; 255: none.
const BY_NUMBER: [u8; LAST_NUMBER + 1] = {
    let mut rows = [u8::MAX; LAST_NUMBER + 1];
    let mut at = 0;
    while at < FIELDS.len() {
        if FIELDS[at].protobuf != 0 {
            rows[FIELDS[at].protobuf as usize] = at as u8;
        }
        at += 1;
    }
    rows
};

/// The record's row with this field number.
fn record_row(number: u32) -> Option<&'static FieldInfo> {
    FIELDS.get(usize::from(*BY_NUMBER.get(number as usize)?))
}

/// The row with this field number among those of a structure.
fn row(rows: &'static [FieldInfo], number: u32) -> Option<&'static FieldInfo> {
    rows.iter().find(|row| row.protobuf == number)
}
