//! Times as Go prints them.

use crate::Time;

/// English month names, January first.
pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// The local year is outside 0 to 9999, which RFC 3339 cannot say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("year {0} is outside 0..9999 and has no JSON form")]
pub struct YearOutOfRange(pub i64);

/// Calendar and clock of an instant in its zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Civil {
    /// Astronomical year: 0 is 1 BC.
    pub year: i64,
    /// 1 to 12.
    pub month: u8,
    /// 1 to 31.
    pub day: u8,
    /// 0 to 23.
    pub hour: u8,
    /// 0 to 59.
    pub minute: u8,
    /// 0 to 59.
    pub second: u8,
    /// 0 to 999,999,999.
    pub nanos: u32,
    /// Seconds east of UTC.
    pub offset: i32,
    /// The zone's abbreviation at this instant.
    pub abbreviation: &'static str,
}

impl Civil {
    /// Defined for every instant, however far away.
    pub fn of(time: Time) -> Civil {
        let (offset, abbreviation) = time.zone.offset_at(time.seconds);
        let clock = time.seconds.rem_euclid(86_400) + i64::from(offset);
        let days = time.seconds.div_euclid(86_400) + clock.div_euclid(86_400);
        let clock = clock.rem_euclid(86_400);
        let (year, month, day) = date_of_day(days);
        Civil {
            year,
            month,
            day,
            hour: (clock / 3600) as u8,
            minute: (clock / 60 % 60) as u8,
            second: (clock % 60) as u8,
            nanos: time.nanos,
            offset,
            abbreviation,
        }
    }
}

/// The date of a day counted from 1970-01-01. Years are counted from March, so that leap days come last.
fn date_of_day(days: i64) -> (i64, u8, u8) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month as u8, day as u8)
}

/// Go's `Time.String`: `2023-11-14 22:13:20.123 +0000 UTC`. Any year has a form.
pub fn write_text(out: &mut Vec<u8>, time: Time) {
    let civil = Civil::of(time);
    write_date_and_clock(out, &civil, b' ');
    write_fraction(out, civil.nanos);
    let (sign, [h1, h2], [m1, m2]) = offset_parts(civil.offset);
    out.extend_from_slice(&[b' ', sign, h1, h2, m1, m2, b' ']);
    out.extend_from_slice(civil.abbreviation.as_bytes());
}

/// RFC 3339 with as many fraction digits as needed, as Go's JSON encoder writes times (without quotes). Writes nothing
/// when the local year is outside 0 to 9999.
pub fn write_rfc3339_nano(out: &mut Vec<u8>, time: Time) -> Result<(), YearOutOfRange> {
    let civil = Civil::of(time);
    if !(0..=9999).contains(&civil.year) {
        return Err(YearOutOfRange(civil.year));
    }
    write_rfc3339_civil(out, &civil);
    Ok(())
}

/// RFC 3339 in whole seconds, as log lines have it.
pub fn write_rfc3339(out: &mut Vec<u8>, time: Time) {
    write_rfc3339_civil(out, &Civil::of(Time { nanos: 0, ..time }));
}

/// `Jan 02 15:04:05`, the time of legacy log lines.
pub fn write_stamp(out: &mut Vec<u8>, time: Time) {
    let civil = Civil::of(time);
    let month = MONTHS
        .get(usize::from(civil.month) - 1)
        .map_or("", |name| name.get(..3).unwrap_or(name));
    out.extend_from_slice(month.as_bytes());
    let [d1, d2] = two_digits(civil.day);
    out.extend_from_slice(&[b' ', d1, d2, b' ']);
    out.extend_from_slice(&clock(&civil));
}

/// Go's `Month.String`; numbers that are no month read like `%!Month(13)`.
pub fn write_month(out: &mut Vec<u8>, month: i64) {
    let name = usize::try_from(month)
        .ok()
        .and_then(|month| MONTHS.get(month.wrapping_sub(1)));
    match name {
        Some(name) => out.extend_from_slice(name.as_bytes()),
        None => {
            out.extend_from_slice(b"%!Month(");
            out.extend_from_slice(itoa::Buffer::new().format(month as u64).as_bytes());
            out.push(b')');
        }
    }
}

fn write_rfc3339_civil(out: &mut Vec<u8>, civil: &Civil) {
    write_date_and_clock(out, civil, b'T');
    write_fraction(out, civil.nanos);
    if civil.offset == 0 {
        out.push(b'Z');
        return;
    }
    let (sign, [h1, h2], [m1, m2]) = offset_parts(civil.offset);
    out.extend_from_slice(&[sign, h1, h2, b':', m1, m2]);
}

/// `2006-01-02 15:04:05` with any separator; the year has a sign if negative, and more digits if needed.
fn write_date_and_clock(out: &mut Vec<u8>, civil: &Civil, separator: u8) {
    if civil.year < 0 {
        out.push(b'-');
    }
    let year = civil.year.unsigned_abs();
    if year >= 10_000 {
        out.extend_from_slice(itoa::Buffer::new().format(year / 10_000).as_bytes());
    }
    let [y1, y2] = two_digits((year / 100 % 100) as u8);
    let [y3, y4] = two_digits((year % 100) as u8);
    let [m1, m2] = two_digits(civil.month);
    let [d1, d2] = two_digits(civil.day);
    out.extend_from_slice(&[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, separator]);
    out.extend_from_slice(&clock(civil));
}

fn clock(civil: &Civil) -> [u8; 8] {
    let [h1, h2] = two_digits(civil.hour);
    let [m1, m2] = two_digits(civil.minute);
    let [s1, s2] = two_digits(civil.second);
    [h1, h2, b':', m1, m2, b':', s1, s2]
}

/// Nothing for whole seconds; otherwise a point and the digits without trailing zeros.
fn write_fraction(out: &mut Vec<u8>, nanos: u32) {
    if nanos == 0 {
        return;
    }
    // One more digit in front keeps leading zeros.
    let mut buffer = itoa::Buffer::new();
    let digits = buffer.format(nanos.saturating_add(1_000_000_000)).as_bytes();
    let digits = digits.get(1..).unwrap_or_default();
    let len = digits
        .iter()
        .rposition(|&digit| digit != b'0')
        .map_or(0, |last| last + 1);
    out.push(b'.');
    out.extend_from_slice(digits.get(..len).unwrap_or(digits));
}

/// Sign, hours and minutes; seconds of the offset are dropped.
fn offset_parts(offset: i32) -> (u8, [u8; 2], [u8; 2]) {
    let minutes = offset / 60;
    let sign = if minutes < 0 { b'-' } else { b'+' };
    let minutes = minutes.unsigned_abs();
    (sign, two_digits((minutes / 60) as u8), two_digits((minutes % 60) as u8))
}

fn two_digits(value: u8) -> [u8; 2] {
    [b'0' + value / 10 % 10, b'0' + value % 10]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zone;

    fn time(seconds: i64, nanos: u32, zone: &str) -> Time {
        let zone = Zone::named(zone.as_bytes()).unwrap();
        Time { seconds, nanos, zone }
    }

    fn text(time: Time) -> String {
        let mut out = Vec::new();
        write_text(&mut out, time);
        String::from_utf8(out).unwrap()
    }

    fn json(time: Time) -> Result<String, YearOutOfRange> {
        let mut out = Vec::new();
        write_rfc3339_nano(&mut out, time)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn instants_read_as_the_reference_prints_them() {
        const YEAR_ONE: i64 = -62_135_596_800;
        const AUTUMN: i64 = 1_700_000_000;
        #[rustfmt::skip]
        let rows = [
            (time(YEAR_ONE, 0, "UTC"), "0001-01-01 00:00:00 +0000 UTC", "0001-01-01T00:00:00Z"),
            (time(YEAR_ONE, 0, "Europe/London"), "0000-12-31 23:58:45 -0001 LMT", "0000-12-31T23:58:45-00:01"),
            (time(YEAR_ONE, 0, "America/New_York"), "0000-12-31 19:03:58 -0456 LMT", "0000-12-31T19:03:58-04:56"),
            (time(YEAR_ONE, 0, "Asia/Kathmandu"), "0001-01-01 05:41:16 +0541 LMT", "0001-01-01T05:41:16+05:41"),
            (time(AUTUMN, 0, "UTC"), "2023-11-14 22:13:20 +0000 UTC", "2023-11-14T22:13:20Z"),
            (time(AUTUMN, 123_456_789, "UTC"), "2023-11-14 22:13:20.123456789 +0000 UTC", "2023-11-14T22:13:20.123456789Z"),
            (time(AUTUMN, 120_000_000, "Europe/London"), "2023-11-14 22:13:20.12 +0000 GMT", "2023-11-14T22:13:20.12Z"),
            (time(1_690_000_000, 500, "Europe/London"), "2023-07-22 05:26:40.0000005 +0100 BST", "2023-07-22T05:26:40.0000005+01:00"),
            (time(AUTUMN, 0, "America/New_York"), "2023-11-14 17:13:20 -0500 EST", "2023-11-14T17:13:20-05:00"),
            (time(AUTUMN, 0, "Asia/Kathmandu"), "2023-11-15 03:58:20 +0545 +0545", "2023-11-15T03:58:20+05:45"),
            (time(AUTUMN, 0, "America/Sao_Paulo"), "2023-11-14 19:13:20 -0300 -03", "2023-11-14T19:13:20-03:00"),
            (time(0, 0, "Europe/London"), "1970-01-01 01:00:00 +0100 BST", "1970-01-01T01:00:00+01:00"),
        ];
        for (time, expected_text, expected_json) in rows {
            assert_eq!(text(time), expected_text);
            assert_eq!(json(time).as_deref(), Ok(expected_json));
        }
    }

    #[test]
    fn years_outside_four_digits_have_text_but_no_json() {
        let far = time(253_402_300_800, 0, "UTC");
        assert_eq!(text(far), "10000-01-01 00:00:00 +0000 UTC");
        assert_eq!(json(far), Err(YearOutOfRange(10_000)));
        let early = time(-62_198_755_200, 0, "UTC");
        assert_eq!(text(early), "-0001-01-01 00:00:00 +0000 UTC");
        assert_eq!(json(early), Err(YearOutOfRange(-1)));
    }

    #[test]
    fn the_local_year_decides_whether_there_is_json() {
        assert!(json(time(253_402_300_800, 0, "America/New_York")).is_ok());
        assert!(json(time(253_402_300_799, 0, "Asia/Kathmandu")).is_err());
    }

    #[test]
    fn no_instant_is_too_far() {
        for seconds in [i64::MIN, i64::MIN + 1, i64::MAX] {
            for zone in ["UTC", "Europe/London", "Pacific/Kiritimati"] {
                assert!(text(time(seconds, 999_999_999, zone)).len() > 30);
            }
        }
    }

    #[test]
    fn dates_agree_with_the_calendar() {
        for days in (-700_000..2_900_000).step_by(13) {
            let (year, month, day) = date_of_day(days);
            let date = jiff::Timestamp::from_second(days * 86_400)
                .unwrap()
                .to_zoned(jiff::tz::TimeZone::UTC)
                .date();
            let expected = (i64::from(date.year()), date.month() as u8, date.day() as u8);
            assert_eq!((year, month, day), expected);
        }
    }

    #[test]
    fn log_times_have_whole_seconds() {
        let mut out = Vec::new();
        write_rfc3339(&mut out, time(1_690_000_000, 500, "Europe/London"));
        assert_eq!(out, b"2023-07-22T05:26:40+01:00");
        out.clear();
        write_stamp(&mut out, time(1_696_286_400, 5, "UTC"));
        assert_eq!(out, b"Oct 02 22:40:00");
    }

    #[test]
    fn months_without_a_name_show_their_number() {
        let month = |number| {
            let mut out = Vec::new();
            write_month(&mut out, number);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(month(1), "January");
        assert_eq!(month(12), "December");
        assert_eq!(month(0), "%!Month(0)");
        assert_eq!(month(13), "%!Month(13)");
        assert_eq!(month(-1), "%!Month(18446744073709551615)");
    }
}
