//! Decoding. Where the reference would crash on a missing message, its fields are zero; where it would lose both times
//! to a zone it does not know, the instants stay, in UTC.

use super::{
    REPEATED_FIELDS, TIME_ZONE, entry,
    read::{Reader, Value},
    record_row, row, timestamp,
};
use crate::{
    DecodeError, Field, Record, Span, Time, When, Zone,
    field::{FieldInfo, Shape, Store, Width},
    record::{GraphError, Rare},
    view::is_utf8,
};

/// Highest number of enum `GraphQLOperations`.
const LAST_OPERATION: i32 = 3;

/// Decodes one traffic record. Its spans are positions in `buffer`, as `element` is.
pub fn decode(buffer: &[u8], element: Span) -> Result<Record, DecodeError> {
    let mut decoder = Decoder {
        buffer,
        record: Record::default(),
        instants: [(0, 0); When::COUNT],
        zone: Zone::UTC,
    };
    let mut reader = Reader::new(buffer, element);
    while let Some((number, value)) = reader.field()? {
        if number == TIME_ZONE {
            decoder.zone(value)?;
        } else if let Some(row) = record_row(number) {
            decoder.value(row, value)?;
        }
    }
    Ok(decoder.finish())
}

struct Decoder<'a> {
    buffer: &'a [u8],
    record: Record,
    /// Seconds and nanoseconds of each time so far; the zone may come after them.
    instants: [(i64, i32); When::COUNT],
    zone: Zone,
}

impl Decoder<'_> {
    fn finish(mut self) -> Record {
        for (time, (seconds, nanos)) in self.record.time.iter_mut().zip(self.instants) {
            *time = Time::normalised(seconds, nanos.into(), self.zone);
        }
        if let Some(rare) = &mut self.record.rare {
            rare.sort(self.buffer);
        }
        self.record
    }

    /// A value of another wire type than its field has counts as an unknown field, so does everything else that the
    /// match below leaves out.
    fn value(&mut self, row: &'static FieldInfo, value: Value) -> Result<(), DecodeError> {
        let record = &mut self.record;
        match (row.store, value) {
            (Store::Text(text), Value::Bytes(span)) => record.text[text as usize] = utf8(self.buffer, span, row.go)?,
            (Store::Int(int, Width::Long), Value::Varint(bits)) => record.int[int as usize] = bits as i64,
            (Store::Int(int, Width::Unsigned), Value::Varint(bits)) => {
                record.int[int as usize] = i64::from(bits as u32)
            }
            (Store::Int(int, Width::Int), Value::Varint(bits)) => {
                let value = bits as i32;
                let unknown = row.field == Field::GraphQlStats && !(0..=LAST_OPERATION).contains(&value);
                record.int[int as usize] = if unknown { 0 } else { value.into() };
            }
            (Store::Float(float), Value::Fixed64(bits)) => record.float[float as usize] = f64::from_bits(bits),
            (Store::Flag(flag), Value::Varint(bits)) => record.flag[flag as usize] = bits != 0,
            (Store::Time(when), Value::Bytes(message)) => self.timestamp(when, message)?,
            (Store::Tags, Value::Bytes(span)) => {
                let tag = utf8(self.buffer, span, row.go)?;
                record.tags.get_or_insert_default().push(tag);
            }
            (Store::Struct(shape), Value::Bytes(message)) => self.structure(shape, message)?,
            (Store::CityNames, Value::Bytes(message)) => {
                // The reference does not restore the names, but refuses what is no text.
                self.entry(message, row.go, |_, value| utf8(self.buffer, value, row.go).map(drop))?;
            }
            (Store::RootFields, Value::Bytes(span)) => {
                let field = utf8(self.buffer, span, row.go)?;
                self.rare().root_fields.get_or_insert_default().push(field);
            }
            (Store::Types, Value::Bytes(message)) => self.type_fields(message, row.go)?,
            (Store::Errors, Value::Bytes(span)) => {
                let message = utf8(self.buffer, span, row.go)?;
                let error = GraphError { message, path: None };
                self.rare().errors.get_or_insert_default().push(error);
            }
            _ => {}
        }
        Ok(())
    }

    fn structure(&mut self, shape: Shape, message: Span) -> Result<(), DecodeError> {
        if shape == Shape::GraphQlStats {
            self.rare().types.get_or_insert_default();
            self.rare().errors.get_or_insert_default();
        }
        let mut reader = Reader::new(self.buffer, message);
        while let Some((number, value)) = reader.field()? {
            if let Some(row) = row(shape.fields(), number) {
                self.value(row, value)?;
            }
        }
        Ok(())
    }

    fn timestamp(&mut self, when: When, message: Span) -> Result<(), DecodeError> {
        let (seconds, nanos) = &mut self.instants[when as usize];
        let mut reader = Reader::new(self.buffer, message);
        while let Some((number, value)) = reader.field()? {
            match (number, value) {
                (timestamp::SECONDS, Value::Varint(bits)) => *seconds = bits as i64,
                (timestamp::NANOS, Value::Varint(bits)) => *nanos = bits as i32,
                _ => {}
            }
        }
        Ok(())
    }

    fn zone(&mut self, value: Value) -> Result<(), DecodeError> {
        if let Value::Bytes(span) = value {
            let name = utf8(self.buffer, span, "TimeZone")?.of(self.buffer);
            self.zone = Zone::named(name).unwrap_or(Zone::UTC);
        }
        Ok(())
    }

    fn type_fields(&mut self, message: Span, what: &'static str) -> Result<(), DecodeError> {
        let mut fields = Vec::new();
        let name = self.entry(message, what, |buffer, value| {
            let mut reader = Reader::new(buffer, value);
            while let Some((number, value)) = reader.field()? {
                if let (REPEATED_FIELDS, Value::Bytes(span)) = (number, value) {
                    fields.push(utf8(buffer, span, what)?);
                }
            }
            Ok(())
        })?;
        let fields = if fields.is_empty() { None } else { Some(fields) };
        self.rare().types.get_or_insert_default().push((name, fields));
        Ok(())
    }

    /// Walks through an entry of a map and returns its key.
    fn entry(
        &self,
        message: Span,
        what: &'static str,
        mut value_of: impl FnMut(&[u8], Span) -> Result<(), DecodeError>,
    ) -> Result<Span, DecodeError> {
        let mut key = Span::default();
        let mut reader = Reader::new(self.buffer, message);
        while let Some((number, value)) = reader.field()? {
            match (number, value) {
                (entry::KEY, Value::Bytes(span)) => key = utf8(self.buffer, span, what)?,
                (entry::VALUE, Value::Bytes(span)) => value_of(self.buffer, span)?,
                _ => {}
            }
        }
        Ok(key)
    }

    fn rare(&mut self) -> &mut Rare {
        self.record.rare.get_or_insert_default()
    }
}

#[inline]
fn utf8(buffer: &[u8], span: Span, what: &'static str) -> Result<Span, DecodeError> {
    if is_utf8(span.of(buffer)) {
        return Ok(span);
    }
    Err(DecodeError::InvalidUtf8(what))
}
