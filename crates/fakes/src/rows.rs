//! Batches of numbered records, and finding the numbers again in what a back-end holds.

use std::{borrow::Borrow, sync::Arc};

use analytics::{
    Batch, ClaimId, Key, Record, RecordKind, RecordView, Selection, Span, Text, Time, Transform, UptimeRecord,
    UptimeView, When, Wire, Zone, msgpack,
    record::Builder,
    uptime::{UptimeInt, UptimeText},
};
use bytes::Bytes;

/// Changes a record on its way into a batch.
pub type Alter = fn(&mut Record);

/// What a row is to be.
#[derive(Clone, Copy)]
pub enum Row {
    /// A record with a serial number.
    Good(u64),
    /// A record with a serial number and something odd. Uptime checks have nothing odd.
    Odd(u64, Alter),
    /// These bytes, whatever they are.
    Bytes(&'static [u8]),
}

impl Row {
    /// Bytes that are no record.
    pub const UNDECODABLE: Row = Row::Bytes(&[0xc1]);
    /// A record without any field.
    pub const ZERO: Row = Row::Bytes(&[0x80]);
}

/// When the row with the serial number 0 was recorded, in seconds since 1970; each further one is a second later.
pub const FIRST_SECOND: i64 = 1_700_000_000;

const MARK: &str = "/serial/";

/// A batch of traffic records that begins at `first_row` of `claim`.
pub fn batch(claim: ClaimId, first_row: u64, rows: impl IntoIterator<Item = Row>) -> Arc<Batch> {
    batch_of(RecordKind::Traffic, claim, first_row, rows)
}

/// A batch of records of this kind that begins at `first_row` of `claim`.
pub fn batch_of(
    records: RecordKind,
    claim: ClaimId,
    first_row: u64,
    rows: impl IntoIterator<Item = Row>,
) -> Arc<Batch> {
    let (mut buffer, mut elements) = (Vec::new(), Vec::new());
    for row in rows {
        let start = buffer.len();
        match (row, records) {
            (Row::Good(serial), RecordKind::Traffic) => encode(&mut buffer, serial, |_| {}),
            (Row::Odd(serial, alter), RecordKind::Traffic) => encode(&mut buffer, serial, alter),
            (Row::Good(serial) | Row::Odd(serial, _), RecordKind::Uptime) => encode_check(&mut buffer, serial),
            (Row::Bytes(bytes), _) => buffer.extend_from_slice(bytes),
        }
        elements.push(Span {
            start: start as u32,
            len: (buffer.len() - start) as u32,
        });
    }
    decoded(records, claim, first_row, buffer, elements)
}

/// A batch of these records that begins at `first_row` of `claim`.
pub fn batch_of_built(claim: ClaimId, first_row: u64, records: impl IntoIterator<Item: Borrow<Builder>>) -> Arc<Batch> {
    let (mut buffer, mut elements) = (Vec::new(), Vec::new());
    for record in records {
        let start = buffer.len();
        msgpack::encode(&mut buffer, &record.borrow().view());
        elements.push(Span {
            start: start as u32,
            len: (buffer.len() - start) as u32,
        });
    }
    decoded(RecordKind::Traffic, claim, first_row, buffer, elements)
}

fn decoded(records: RecordKind, claim: ClaimId, first_row: u64, buffer: Vec<u8>, elements: Vec<Span>) -> Arc<Batch> {
    let name = match records {
        RecordKind::Traffic => "tyk-system-analytics",
        RecordKind::Uptime => "tyk-uptime-analytics",
    };
    let key = Key {
        name: format!("analytics-{name}").into(),
        short: name.into(),
        wire: Wire::Msgpack,
        records,
    };
    Arc::new(Batch::decode(
        claim,
        Arc::new(key),
        first_row,
        Bytes::from(buffer),
        elements,
    ))
}

/// Every row of a batch.
pub fn all(batch: &Arc<Batch>) -> Selection {
    Selection::new(batch.clone(), 0..batch.len(), Arc::new(Transform::default()))
}

/// Rows `rows` of `claim`, whose serial numbers are their row numbers.
pub fn group(claim: ClaimId, rows: std::ops::Range<u64>) -> Vec<Selection> {
    vec![all(&batch(claim, rows.start, rows.map(Row::Good)))]
}

/// The serial numbers in what a back-end holds, in order.
pub fn serials(content: &[u8]) -> Vec<u64> {
    let content = String::from_utf8_lossy(content);
    let mut parts = content.split(MARK);
    parts.next();
    parts
        .filter_map(|part| part.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok())
        .collect()
}

/// When the row with this serial number was recorded.
fn time(serial: u64) -> Time {
    Time {
        seconds: FIRST_SECOND + serial as i64,
        nanos: 0,
        zone: Zone::UTC,
    }
}

/// A check of a target of its own, which is found by its address.
fn encode_check(out: &mut Vec<u8>, serial: u64) {
    let texts = [
        (UptimeText::Url, format!("http://svc.example.com{MARK}{serial}")),
        (UptimeText::ApiId, "a1".to_owned()),
        (UptimeText::OrgId, "o1".to_owned()),
    ];
    let mut record = UptimeRecord::default();
    let mut buffer = Vec::new();
    for (field, text) in texts {
        record.text[field as usize] = Span {
            start: buffer.len() as u32,
            len: text.len() as u32,
        };
        buffer.extend_from_slice(text.as_bytes());
    }
    record.int[UptimeInt::ResponseCode as usize] = 200;
    record.time[When::TimeStamp as usize] = time(serial);
    msgpack::encode_uptime(out, &UptimeView::new(&buffer, &record));
}

fn encode(out: &mut Vec<u8>, serial: u64, alter: impl Fn(&mut Record)) {
    let path = format!("{MARK}{serial}");
    let texts = [
        (Text::Method, "GET"),
        (Text::Host, "gw.example.com"),
        (Text::Path, path.as_str()),
        (Text::UserAgent, "curl/8.5.0, \"quoted\""),
        (Text::ApiName, "Orders"),
        (Text::OrgId, "o1"),
        (Text::RawRequest, "R0VUIC8gSFRUUC8xLjENCkhvc3Q6IGUNCg0K"),
    ];
    let mut record = Record::default();
    let mut buffer = Vec::new();
    for (field, text) in texts {
        record.text[field as usize] = Span {
            start: buffer.len() as u32,
            len: text.len() as u32,
        };
        buffer.extend_from_slice(text.as_bytes());
    }
    record.time[When::TimeStamp as usize] = time(serial);
    alter(&mut record);
    msgpack::encode(out, &RecordView::new(&buffer, &record, &Transform::default()));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_of_a_batch_are_found_in_its_encodings() {
        let claim = ClaimId(ulid::Ulid(1));
        let rows = [
            Row::Good(7),
            Row::UNDECODABLE,
            Row::Odd(1234, |record| record.int[0] = 5),
        ];
        let selection = all(&batch(claim, 3, rows));
        let (mut csv, mut dump) = (Vec::new(), Vec::new());
        for (_, record) in selection.records() {
            analytics::csv::write_row(&mut csv, &record);
            analytics::dump::write_record(&mut dump, &record);
        }
        assert_eq!(serials(&csv), [7, 1234]);
        assert_eq!(serials(&dump), [7, 1234]);
        let ids: Vec<_> = selection.records().map(|(id, _)| id.row).collect();
        assert_eq!(ids, [3, 5]);
    }
}
