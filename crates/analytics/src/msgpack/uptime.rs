//! Uptime records.

use super::{
    decode::{Target, by_name, by_position},
    read::{Head, Reader},
};
use crate::{
    DecodeError, Span, UptimeRecord,
    uptime::{UPTIME_FIELDS, UptimeField, UptimeStore},
};

/// Decodes one uptime record. Its spans are positions in `buffer`, as `element` is.
pub fn decode_uptime(buffer: &[u8], element: Span) -> Result<UptimeRecord, DecodeError> {
    let mut record = UptimeRecord::default();
    let reader = &mut Reader::new(buffer, element);
    match reader.head()? {
        Head::Nil => {}
        Head::Map(pairs) => by_name(reader, &mut record, UPTIME_FIELDS, pairs)?,
        Head::Array(items) => by_position(reader, &mut record, UPTIME_FIELDS, items)?,
    }
    Ok(record)
}

impl Target for UptimeRecord {
    type Row = UptimeField;

    fn key(row: &UptimeField) -> &'static str {
        row.go
    }

    fn read(&mut self, reader: &mut Reader<'_>, row: &UptimeField) -> Result<(), DecodeError> {
        match row.store {
            UptimeStore::Text(text) => self.text[text as usize] = reader.string()?,
            UptimeStore::Int(int, _) => self.int[int as usize] = reader.int()?,
            UptimeStore::Flag(flag) => self.flag[flag as usize] = reader.bool()?,
            UptimeStore::Time(when) => self.time[when as usize] = reader.time()?,
        }
        Ok(())
    }
}
