//! Shards: one table a day.

use analytics::{Time, gotime::Civil};

/// Calendar date of `time` in its own zone: `20240517`. Years outside of 0 to 9999 have more or fewer characters, as
/// upstream's names have.
pub(crate) fn date(time: Time) -> String {
    let civil = Civil::of(time);
    let sign = if civil.year < 0 { "-" } else { "" };
    format!(
        "{sign}{:04}{:02}{:02}",
        civil.year.unsigned_abs(),
        civil.month,
        civil.day
    )
}

/// `tyk_analytics_20240517`
pub(crate) fn name(base: &str, date: &str) -> String {
    format!("{base}_{date}")
}

/// The date in a shard's name; `None`: `table` is no shard of `base`.
pub(crate) fn date_of<'a>(base: &str, table: &'a str) -> Option<&'a str> {
    let date = table.strip_prefix(base)?.strip_prefix('_')?;
    if date.len() != 8 || !date.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: i16 = date.get(..4)?.parse().ok()?;
    let month: i8 = date.get(4..6)?.parse().ok()?;
    let day: i8 = date.get(6..)?.parse().ok()?;
    jiff::civil::Date::new(year, month, day).ok().map(|_| date)
}

#[cfg(test)]
mod tests {
    use analytics::Zone;

    use super::*;

    #[test]
    fn a_shard_is_named_after_the_date_in_the_zone_of_the_time() {
        let time = |zone| Time {
            seconds: 1_715_990_340,
            nanos: 0,
            zone,
        };
        assert_eq!(name("tyk_analytics", &date(time(Zone::UTC))), "tyk_analytics_20240517");
        let Some(tokyo) = Zone::named(b"Asia/Tokyo") else {
            panic!("no zone")
        };
        assert_eq!(date(time(tokyo)), "20240518");
        assert_eq!(date(Time::ZERO), "00010101");
    }

    #[test]
    fn only_valid_dates_make_a_shard() {
        assert_eq!(date_of("tyk_analytics", "tyk_analytics_20240101"), Some("20240101"));
        for table in [
            "tyk_analytics_20240230",
            "tyk_analytics_202401",
            "tyk_analytics_20240101_extra",
            "tyk_analytics_graph_20240101",
            "tyk_analytics_+2240101",
            "tyk_analytics",
        ] {
            assert_eq!(date_of("tyk_analytics", table), None, "{table}");
        }
    }
}
