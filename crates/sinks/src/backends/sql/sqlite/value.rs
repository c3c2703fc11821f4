//! Values as SQLite keeps them.

use analytics::{Time, Zone, gotime::Civil};
use rusqlite::{
    ToSql,
    types::{ToSqlOutput, Value as Owned, ValueRef},
};

use crate::backends::sql::table::Value;

/// A parameter.
pub(super) struct Parameter<'a>(pub(super) Value<'a>);

impl ToSql for Parameter<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let owned = match self.0 {
            Value::Text(text) => match std::str::from_utf8(text) {
                Ok(_) => return Ok(ToSqlOutput::Borrowed(ValueRef::Text(text))),
                Err(_) => Owned::Text(String::from_utf8_lossy(text).into_owned()),
            },
            Value::Int(number) => Owned::Integer(number),
            Value::Uint(number) => match i64::try_from(number) {
                Ok(number) => Owned::Integer(number),
                // SQLite's integers have a sign; the column keeps what it is given.
                Err(_) => Owned::Text(number.to_string()),
            },
            Value::Float(number) => Owned::Real(number),
            Value::Bool(flag) => Owned::Integer(flag.into()),
            Value::Time(time) => Owned::Text(text(time)),
        };
        Ok(ToSqlOutput::Owned(owned))
    }
}

/// `2024-05-17 10:05:00.123+00:00`: always in UTC, so that the order of the texts is that of the instants.
fn text(time: Time) -> String {
    let civil = Civil::of(Time {
        zone: Zone::UTC,
        ..time
    });
    let (sign, year) = match civil.year < 0 {
        true => ("-", civil.year.unsigned_abs()),
        false => ("", civil.year.unsigned_abs()),
    };
    let fraction = match civil.nanos {
        0 => String::new(),
        nanos => format!(".{nanos:09}").trim_end_matches('0').to_owned(),
    };
    format!(
        "{sign}{year:04}-{:02}-{:02} {:02}:{:02}:{:02}{fraction}+00:00",
        civil.month, civil.day, civil.hour, civil.minute, civil.second
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64, nanos: u32) -> String {
        text(Time {
            seconds,
            nanos,
            zone: Zone::named(b"Asia/Tokyo").unwrap(),
        })
    }

    #[test]
    fn instants_are_text_in_utc() {
        assert_eq!(at(1_715_940_300, 0), "2024-05-17 10:05:00+00:00");
        assert_eq!(at(1_715_940_300, 123_000_000), "2024-05-17 10:05:00.123+00:00");
        assert_eq!(at(1_715_940_300, 1), "2024-05-17 10:05:00.000000001+00:00");
        assert_eq!(text(Time::ZERO), "0001-01-01 00:00:00+00:00");
    }

    #[test]
    fn texts_are_in_the_order_of_the_instants() {
        let mut texts = vec![];
        for nanos in [0, 1, 500_000_000, 510_000_000, 999_999_999] {
            texts.push(at(1_715_940_300, nanos));
        }
        texts.push(at(1_715_940_301, 0));
        assert!(texts.is_sorted(), "{texts:?}");
    }
}
