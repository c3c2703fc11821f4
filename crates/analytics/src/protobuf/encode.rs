//! Encoding as the gateway does: fields in ascending order, zero scalars omitted, empty messages present.

use super::{LAST_NUMBER, REPEATED_FIELDS, TIME_ZONE, entry, record_row, row, timestamp};
use crate::{
    DecodeError, Field, Flag, RecordView, Time, When,
    field::{FieldInfo, Shape, Store, Width},
};

/// Wire types.
const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const BYTES: u64 = 2;

/// Appends a traffic record. Fails on text that is not UTF-8, which the format does not allow; `out` then ends in a
/// part of the record.
pub fn encode(out: &mut Vec<u8>, view: &RecordView<'_>) -> Result<(), DecodeError> {
    for number in 1..=LAST_NUMBER as u32 {
        if number == TIME_ZONE {
            string(
                out,
                number,
                view.time(When::TimeStamp).zone.name().as_bytes(),
                "TimeZone",
            )?;
        } else if let Some(row) = record_row(number) {
            field(out, view, row)?;
        }
    }
    Ok(())
}

fn field(out: &mut Vec<u8>, view: &RecordView<'_>, info: &FieldInfo) -> Result<(), DecodeError> {
    let number = info.protobuf;
    match info.store {
        Store::Text(text) => string(out, number, &view.text(text), info.go)?,
        Store::Int(int, width) => {
            let value = view.int(int);
            let value = match width {
                Width::Long => value as u64,
                Width::Unsigned => u64::from(value as u32),
                // An operation that has no number of its own.
                Width::Int if info.field == Field::GraphQlStats && !(0..=3).contains(&value) => 0,
                Width::Int => i64::from(value as i32) as u64,
            };
            scalar(out, number, value);
        }
        Store::Float(float) => {
            let bits = view.float(float).to_bits();
            if bits != 0 {
                tag(out, number, FIXED64);
                out.extend_from_slice(&bits.to_le_bytes());
            }
        }
        Store::Time(when) => message(out, number, |out| {
            instant(out, view.time(when));
            Ok(())
        })?,
        Store::Flag(flag) => scalar(out, number, view.flag(flag).into()),
        Store::Tags => {
            for tag in view.tags().into_iter().flatten() {
                item(out, number, tag, info.go)?;
            }
        }
        Store::RootFields => {
            for field in view.root_fields().into_iter().flatten() {
                item(out, number, field, info.go)?;
            }
        }
        Store::CityNames => {
            for (language, name) in view.city_names().into_iter().flatten() {
                message(out, number, |out| {
                    item(out, entry::KEY, language, info.go)?;
                    item(out, entry::VALUE, name, info.go)
                })?;
            }
        }
        Store::Types => {
            for (name, fields) in view.types().into_iter().flatten() {
                message(out, number, |out| {
                    item(out, entry::KEY, name, info.go)?;
                    message(out, entry::VALUE, |out| {
                        let mut fields = fields.into_iter().flatten();
                        fields.try_for_each(|field| item(out, REPEATED_FIELDS, field, info.go))
                    })
                })?;
            }
        }
        Store::Errors => {
            for error in view.errors().into_iter().flatten() {
                item(out, number, error.message, info.go)?;
            }
        }
        Store::Struct(Shape::GraphQlStats) if !view.flag(Flag::IsGraphQl) => {}
        Store::Struct(Shape::McpStats) if !view.flag(Flag::IsMcp) => {}
        Store::Struct(shape) => message(out, number, |out| {
            let rows = shape.fields();
            let mut numbered = (1..=rows.len() as u32).filter_map(|number| row(rows, number));
            numbered.try_for_each(|row| field(out, view, row))
        })?,
        Store::Nothing => {}
    }
    Ok(())
}

fn instant(out: &mut Vec<u8>, time: Time) {
    scalar(out, timestamp::SECONDS, time.seconds as u64);
    scalar(out, timestamp::NANOS, time.nanos.into());
}

fn tag(out: &mut Vec<u8>, number: u32, wire_type: u64) {
    varint(out, u64::from(number) << 3 | wire_type);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number, unless it is zero.
fn scalar(out: &mut Vec<u8>, number: u32, value: u64) {
    if value != 0 {
        tag(out, number, VARINT);
        varint(out, value);
    }
}

/// A string, unless it is empty.
fn string(out: &mut Vec<u8>, number: u32, text: &[u8], what: &'static str) -> Result<(), DecodeError> {
    if text.is_empty() {
        return Ok(());
    }
    item(out, number, text, what)
}

/// A string, even an empty one.
fn item(out: &mut Vec<u8>, number: u32, text: &[u8], what: &'static str) -> Result<(), DecodeError> {
    if simdutf8::basic::from_utf8(text).is_err() {
        return Err(DecodeError::InvalidUtf8(what));
    }
    tag(out, number, BYTES);
    varint(out, text.len() as u64);
    out.extend_from_slice(text);
    Ok(())
}

/// A message, even an empty one.
fn message(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), DecodeError>,
) -> Result<(), DecodeError> {
    tag(out, number, BYTES);
    let start = out.len();
    // Room for the length, which nearly always fits into one byte.
    out.push(0);
    write(out)?;
    let len = out.len() - start - 1;
    if len < 0x80 {
        out[start] = len as u8;
        return Ok(());
    }
    let mut bytes = Vec::new();
    varint(&mut bytes, len as u64);
    out.splice(start..=start, bytes);
    Ok(())
}
