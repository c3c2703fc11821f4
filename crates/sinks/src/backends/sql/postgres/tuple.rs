//! Values in the binary form of Postgres.

use analytics::Time;
use bytes::{BufMut, BytesMut};
use tokio_postgres::types::Type;

use super::{
    super::table::{Value, clean},
    numeric,
};

/// Seconds from 1970 to 2000, where Postgres counts from.
const EPOCH: i64 = 946_684_800;

/// Appends length and value as `kind` wants them. The text is the reason why the value does not fit.
pub(super) fn write(out: &mut BytesMut, value: Value<'_>, kind: Kind) -> Result<(), String> {
    match (value, kind) {
        (Value::Text(text), Kind::Text) => put(out, &clean(text)),
        (Value::Text(text), Kind::Jsonb) => {
            let text = clean(text);
            out.put_i32(text.len() as i32 + 1);
            out.put_u8(1);
            out.put_slice(&text);
        }
        (Value::Int(number), kind) => write_int(out, number, kind)?,
        (Value::Uint(number), Kind::Numeric | Kind::Float8) => write_float(out, number as f64, kind),
        (Value::Uint(number), kind) => {
            let number = i64::try_from(number).map_err(|_| format!("{number} is out of range for bigint"))?;
            write_int(out, number, kind)?;
        }
        (Value::Float(number), Kind::Numeric | Kind::Float8 | Kind::Float4) => write_float(out, number, kind),
        (Value::Bool(flag), Kind::Bool) => {
            out.put_i32(1);
            out.put_u8(flag.into());
        }
        (Value::Time(time), Kind::Timestamp) => {
            out.put_i32(8);
            out.put_i64(micros(time)?);
        }
        (value, kind) => return Err(format!("{value:?} does not go into a column of type {kind:?}")),
    }
    Ok(())
}

fn put(out: &mut BytesMut, bytes: &[u8]) {
    out.put_i32(bytes.len() as i32);
    out.put_slice(bytes);
}

fn write_int(out: &mut BytesMut, number: i64, kind: Kind) -> Result<(), String> {
    let too_large = || format!("{number} is out of range for {kind:?}");
    match kind {
        Kind::Int8 => {
            out.put_i32(8);
            out.put_i64(number);
        }
        Kind::Int4 => {
            out.put_i32(4);
            out.put_i32(i32::try_from(number).map_err(|_| too_large())?);
        }
        Kind::Int2 => {
            out.put_i32(2);
            out.put_i16(i16::try_from(number).map_err(|_| too_large())?);
        }
        Kind::Numeric | Kind::Float8 | Kind::Float4 => write_float(out, number as f64, kind),
        _ => return Err(format!("{number} does not go into a column of type {kind:?}")),
    }
    Ok(())
}

fn write_float(out: &mut BytesMut, number: f64, kind: Kind) {
    match kind {
        Kind::Float8 => {
            out.put_i32(8);
            out.put_f64(number);
        }
        Kind::Float4 => {
            out.put_i32(4);
            out.put_f32(number as f32);
        }
        _ => numeric::write(out, number),
    }
}

/// Microseconds since 2000; finer digits are cut off.
fn micros(time: Time) -> Result<i64, String> {
    let seconds = time.seconds.checked_sub(EPOCH);
    let micros = seconds.and_then(|seconds| seconds.checked_mul(1_000_000));
    micros
        .and_then(|micros| micros.checked_add(i64::from(time.nanos / 1000)))
        .ok_or_else(|| format!("{} seconds since 1970 are out of range for timestamptz", time.seconds))
}

/// The binary form of a column's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Jsonb,
    Int8,
    Int4,
    Int2,
    Numeric,
    Float8,
    Float4,
    Bool,
    Timestamp,
}

impl Kind {
    /// The form of the type with this object id; `None`: one that this pump does not write.
    pub(super) fn of(oid: u32) -> Option<Kind> {
        Some(match Type::from_oid(oid)? {
            Type::TEXT | Type::VARCHAR | Type::BPCHAR | Type::JSON => Kind::Text,
            Type::JSONB => Kind::Jsonb,
            Type::INT8 => Kind::Int8,
            Type::INT4 => Kind::Int4,
            Type::INT2 => Kind::Int2,
            Type::NUMERIC => Kind::Numeric,
            Type::FLOAT8 => Kind::Float8,
            Type::FLOAT4 => Kind::Float4,
            Type::BOOL => Kind::Bool,
            Type::TIMESTAMPTZ | Type::TIMESTAMP => Kind::Timestamp,
            _ => return None,
        })
    }
}
