//! Which stretch of time a record is booked into.

use std::sync::{Arc, Mutex, PoisonError};

use crate::Time;

/// Length of a bucket: 1 to 60 minutes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window(u8);

impl Window {
    /// One hour.
    pub const HOUR: Window = Window(60);
    /// One minute.
    pub const MINUTE: Window = Window(1);

    /// So many minutes; `None` unless 1 to 60.
    pub fn minutes(minutes: i64) -> Option<Window> {
        u8::try_from(minutes)
            .ok()
            .filter(|minutes| (1..=60).contains(minutes))
            .map(Window)
    }

    /// Seconds.
    pub const fn seconds(self) -> i64 {
        self.0 as i64 * 60
    }

    /// Start of the bucket that holds `time`. Buckets follow the clock of the time's own zone and begin anew with each of
    /// its hours: with 15 minutes at :00, :15, :30 and :45, with 40 minutes at :00 and :40. An hour that a change to winter
    /// time repeats is two hours.
    pub fn start(self, time: Time) -> Time {
        let (offset, _) = time.zone.offset_at(time.seconds);
        let into_hour = time.seconds.wrapping_add(offset.into()).rem_euclid(3600);
        Time {
            seconds: time.seconds.saturating_sub(into_hour % self.seconds()),
            nanos: 0,
            zone: time.zone,
        }
    }
}

/// How records are put into buckets.
#[derive(Clone, Debug)]
pub enum Bucketing {
    /// Each into the bucket of its own time, see [`Window::start`]. The same row always lands in the same bucket,
    /// whatever it is written together with.
    OwnTime,
    /// All records of an owner that are aggregated together into the bucket of the first one: what the reference does
    /// where it needs no memory (SQL, whole hours). A window below an hour begins at the first record's minute.
    FirstRecord,
    /// As [`Bucketing::FirstRecord`], and a window below an hour is filled before a new one begins: what the reference
    /// does for MongoDB and hybrid.
    Filling(Arc<Filling>),
}

impl Bucketing {
    /// The bucket of a record, in the two cases where it is that of the first record if `time` is that one's.
    pub(super) fn start(&self, window: Window, time: Time) -> Time {
        match self {
            Bucketing::OwnTime => window.start(time),
            Bucketing::FirstRecord if window == Window::HOUR => window.start(time),
            Bucketing::FirstRecord => Window::MINUTE.start(time),
            Bucketing::Filling(filling) => filling.start(window, time),
        }
    }

    pub(super) fn is_own_time(&self) -> bool {
        matches!(self, Bucketing::OwnTime)
    }
}

/// The bucket that a store is filling at present: the state behind windows below an hour in [`Bucketing::Filling`].
/// Owned by a sink, or by several that are to share buckets.
#[derive(Debug, Default)]
pub struct Filling(Mutex<Option<Time>>);

impl Filling {
    /// Goes on with the bucket that began at `start`: the one of the document stored last.
    pub fn resume(&self, start: Time) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(start);
    }

    /// The bucket of a group whose first record has this time. A record that is older than the present bucket joins it;
    /// a new one begins at the record's minute once the window is over. Whole hours need no state.
    pub fn start(&self, window: Window, time: Time) -> Time {
        if window == Window::HOUR {
            return window.start(time);
        }
        let mut current = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |time: Time| (time.seconds, time.nanos);
        if let Some(start) = current.filter(|&start| {
            let end = start.seconds.saturating_add(window.seconds());
            at(start) != at(Time::ZERO) && (end, start.nanos) > at(time)
        }) {
            return start;
        }
        let start = Window::MINUTE.start(time);
        *current = Some(start);
        start
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Zone;

    /// 2024-05-14T00:00:00Z
    const DAY: i64 = 1_715_644_800;

    fn at(hour: i64, minute: i64, second: i64) -> Time {
        Time {
            seconds: DAY + hour * 3600 + minute * 60 + second,
            nanos: 0,
            zone: Zone::UTC,
        }
    }

    #[test]
    fn a_bucket_is_filled_until_its_window_is_over() {
        let (filling, window) = (Filling::default(), Window::minutes(15).unwrap());
        let late = Time {
            nanos: 900_000_000,
            ..at(10, 46, 59)
        };
        for (time, bucket) in [
            (at(10, 17, 33), at(10, 17, 0)),
            (at(10, 27, 33), at(10, 17, 0)),
            (at(10, 31, 59), at(10, 17, 0)),
            (at(10, 32, 0), at(10, 32, 0)),
            (at(10, 20, 0), at(10, 32, 0)),
            (late, at(10, 32, 0)),
            (at(10, 47, 0), at(10, 47, 0)),
        ] {
            assert_eq!(filling.start(window, time), bucket, "{time:?}");
        }
    }

    #[test]
    fn steps_of_a_window_make_a_bucket_each() {
        for minutes in [60, 30, 15, 7, 3, 1] {
            let (filling, window) = (Filling::default(), Window::minutes(minutes).unwrap());
            let steps = (0..10).map(|step| at(10, 5 + step * minutes, 30));
            let mut buckets: Vec<_> = steps.map(|time| filling.start(window, time).seconds).collect();
            buckets.dedup();
            assert_eq!(buckets.len(), 10, "{minutes}");
        }
    }

    #[test]
    fn a_bucket_of_an_earlier_run_is_resumed_until_it_is_over() {
        let filling = Filling::default();
        filling.resume(at(10, 0, 0));
        assert_eq!(filling.start(Window::minutes(40).unwrap(), at(10, 10, 5)), at(10, 0, 0));
        assert_eq!(filling.start(Window::minutes(7).unwrap(), at(10, 10, 5)), at(10, 10, 0));
        filling.resume(Time::ZERO);
        assert_eq!(filling.start(Window::minutes(60).unwrap(), at(10, 10, 5)), at(10, 0, 0));
        assert_eq!(
            filling.start(Window::minutes(40).unwrap(), at(10, 10, 5)),
            at(10, 10, 0)
        );
    }

    #[test]
    fn own_buckets_begin_anew_with_each_hour() {
        let start = |minutes, time| Window::minutes(minutes).unwrap().start(time);
        assert_eq!(start(15, at(10, 32, 1)), at(10, 30, 0));
        assert_eq!(start(40, at(10, 59, 59)), at(10, 40, 0));
        assert_eq!(start(40, at(11, 0, 0)), at(11, 0, 0));
        assert_eq!(start(60, at(11, 59, 59)), at(11, 0, 0));
        assert_eq!(start(1, at(11, 59, 59)), at(11, 59, 0));
        assert_eq!(Window::minutes(0), None);
        assert_eq!(Window::minutes(61), None);
    }

    #[test]
    fn hours_are_those_of_the_zone() {
        let zone = Zone::named(b"Asia/Kolkata").unwrap();
        let time = Time { zone, ..at(10, 17, 33) };
        assert_eq!(Window::HOUR.start(time), Time { zone, ..at(9, 30, 0) });
    }

    #[test]
    fn the_hour_that_winter_time_repeats_is_two() {
        let zone = Zone::named(b"America/New_York").unwrap();
        // 2024-11-03, 01:30 -04:00 and 01:30 -05:00.
        for (second, hour) in [(1_730_611_800, 1_730_610_000), (1_730_615_400, 1_730_613_600)] {
            let time = Time::normalised(second, 5, zone);
            assert_eq!(Window::HOUR.start(time), Time::normalised(hour, 0, zone));
        }
    }

    #[test]
    fn instants_at_the_end_of_time_have_buckets() {
        for seconds in [i64::MIN, i64::MAX, Time::ZERO.seconds] {
            Window::MINUTE.start(Time { seconds, ..Time::ZERO });
            Filling::default().start(Window::MINUTE, Time { seconds, ..Time::ZERO });
        }
    }
}
