//! Values as MySQL takes them.

use std::borrow::Cow;

use analytics::{Time, Zone, gotime::Civil};
use mysql_async::Value;
use sha2::{Digest, Sha256};

use crate::backends::sql::table;

/// A parameter for `value`. The text is the reason why MySQL has no such value.
pub(super) fn encode(value: table::Value<'_>, zone: Zone) -> Result<Value, String> {
    Ok(match value {
        table::Value::Text(text) => Value::Bytes(valid(text).into_owned()),
        table::Value::Int(number) => Value::Int(number),
        table::Value::Uint(number) => Value::UInt(number),
        // What no column can hold is left out.
        table::Value::Float(number) if !number.is_finite() => Value::NULL,
        table::Value::Float(number) => Value::Double(number),
        table::Value::Bool(flag) => Value::Int(flag.into()),
        table::Value::Time(time) => datetime(time, zone)?,
    })
}

/// Bytes that are no UTF-8 become U+FFFD. Unlike Postgres MySQL takes NUL.
fn valid(text: &[u8]) -> Cow<'_, [u8]> {
    match String::from_utf8_lossy(text) {
        Cow::Borrowed(_) => Cow::Borrowed(text),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// The digits that a clock in `zone` shows; NULL for the zero time, which strict servers refuse.
fn datetime(time: Time, zone: Zone) -> Result<Value, String> {
    if (time.seconds, time.nanos) == (Time::ZERO.seconds, Time::ZERO.nanos) {
        return Ok(Value::NULL);
    }
    let civil = Civil::of(Time { zone, ..time });
    let year = match u16::try_from(civil.year) {
        Ok(year @ 1..=9999) => year,
        _ => return Err(format!("a time of the year {} does not fit into datetime", civil.year)),
    };
    Ok(Value::Date(
        year,
        civil.month,
        civil.day,
        civil.hour,
        civil.minute,
        civil.second,
        time.nanos / 1000,
    ))
}

/// Bytes of a parameter in a packet, at most.
pub(super) fn size(value: &Value) -> usize {
    // Type and NULL bit.
    let around = 3;
    match value {
        // The longest prefix of a length.
        Value::Bytes(bytes) => bytes.len() + 9 + around,
        _ => 12 + around,
    }
}

/// Replaces a key that is longer than its column by its beginning and the SHA-256 of all of it: rows with the same key
/// still merge, others do not.
pub(super) fn shorten_key(value: &mut Value, characters: u64) {
    let Value::Bytes(bytes) = value else {
        return;
    };
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    let most = characters as usize;
    if bytes.len() <= most || text.chars().count() <= most {
        return;
    }
    let digest = format!("{:x}", Sha256::digest(text.as_bytes()));
    let start: String = text.chars().take(most.saturating_sub(digest.len())).collect();
    let digest: String = digest.chars().take(most).collect();
    *bytes = (start + &digest).into_bytes();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(seconds: i64, nanos: u32) -> Time {
        Time {
            seconds,
            nanos,
            zone: Zone::named(b"America/New_York").unwrap(),
        }
    }

    #[test]
    fn instants_are_the_digits_of_the_connections_zone() {
        let instant = time(1_715_940_300, 123_456_789);
        assert_eq!(
            datetime(instant, Zone::UTC),
            Ok(Value::Date(2024, 5, 17, 10, 5, 0, 123_456))
        );
        let tokyo = Zone::named(b"Asia/Tokyo").unwrap();
        assert_eq!(
            datetime(instant, tokyo),
            Ok(Value::Date(2024, 5, 17, 19, 5, 0, 123_456))
        );
    }

    #[test]
    fn the_zero_time_is_null() {
        for zone in [Zone::UTC, Zone::named(b"Asia/Tokyo").unwrap()] {
            assert_eq!(datetime(Time::ZERO, zone), Ok(Value::NULL));
            assert_eq!(datetime(Time { zone, ..Time::ZERO }, zone), Ok(Value::NULL));
        }
    }

    #[test]
    fn years_that_datetime_has_not_are_refused() {
        assert_eq!(
            datetime(time(1_000_000_000_000, 0), Zone::UTC),
            Err("a time of the year 33658 does not fit into datetime".to_owned())
        );
        assert!(datetime(time(Time::ZERO.seconds - 1, 0), Zone::UTC).is_err());
    }

    #[test]
    fn text_keeps_nul_and_becomes_utf8() {
        assert_eq!(&*valid(b"a\0b"), b"a\0b");
        assert_eq!(&*valid(b"a\xffb"), "a\u{fffd}b".as_bytes());
    }

    #[test]
    fn long_keys_stay_apart() {
        let shortened = |text: &str, most: u64| {
            let mut value = Value::Bytes(text.as_bytes().to_vec());
            shorten_key(&mut value, most);
            match value {
                Value::Bytes(bytes) => String::from_utf8(bytes).unwrap(),
                _ => panic!("no text"),
            }
        };
        let (a, b) = ("a".repeat(192), "a".repeat(193));
        assert_eq!(shortened(&a[..191], 191), a[..191]);
        assert_eq!(shortened(&a, 191).len(), 191);
        assert!(shortened(&a, 191).starts_with(&a[..127]));
        assert_eq!(shortened(&a, 191), shortened(&a, 191));
        assert_ne!(shortened(&a, 191), shortened(&b, 191));
        assert_eq!(shortened(&"é".repeat(191), 191), "é".repeat(191));
        assert_eq!(shortened(&a, 20).len(), 20);
    }
}
