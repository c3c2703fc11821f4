//! Times of points. A point is known by its series and its time alone, so two requests that share both would become one.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicI64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use analytics::{ClaimId, RecordView, RowId, Time, When};

/// Nanoseconds that a point's time may lie behind its record's: one for each of so many rows of a claim.
const SLOTS: u64 = 1_000_000;
/// How far the next attempt is when another row has taken a time; no multiple of anything that records come in.
const STRIDE: i64 = 1_000_003;
/// Attempts before two points become one after all.
const ATTEMPTS: i64 = 10_000;
/// The times that every version of the database can hold, with room for what is added.
const EARLIEST: i64 = i64::MIN + 2;
const LATEST: i64 = i64::MAX - 1 - SLOTS as i64 - ATTEMPTS * STRIDE;
/// Points, and moments, that are remembered, in two halves: enough for records that arrive together. A half takes 2 MB.
const REMEMBERED: usize = 114_688;
/// Moments of several claims that are remembered; there are hardly any.
const SHARED: usize = 4_096;
/// Claims of one of them that are.
const LANES: usize = 1_000;

/// Where the times of points come from. A pump has one: boxing the larger kind would save nothing.
#[derive(Debug)]
#[allow(clippy::large_enum_variant)]
pub(super) enum Clock {
    /// From the records, and the rows that they came in: a row that comes again is the same point, and no two rows are.
    Record {
        taken: Mutex<Taken>,
        /// Differs from process to process, so that nobody can make records that collide in memory.
        seed: RandomState,
    },
    /// From the moment of writing, as upstream has it; no two are equal.
    Writing {
        /// The last one.
        last: AtomicI64,
        /// In nanoseconds.
        unit: i64,
    },
}

impl Clock {
    /// The records' clock, in nanoseconds.
    pub(super) fn of_records() -> Clock {
        Clock::Record {
            taken: Mutex::default(),
            seed: RandomState::new(),
        }
    }

    /// The clock on the wall, in units of so many nanoseconds.
    pub(super) fn of_writing(unit: i64) -> Clock {
        Clock::Writing {
            last: AtomicI64::new(i64::MIN),
            unit,
        }
    }

    /// Whether a row always gets the same time.
    pub(super) fn is_steady(&self) -> bool {
        matches!(self, Clock::Record { .. })
    }

    /// The time of a row's point in `series`.
    pub(super) fn time(&self, row: RowId, record: &RecordView<'_>, series: &[u8]) -> i64 {
        match self {
            Clock::Writing { last, unit } => {
                let now = since_1970(SystemTime::now()) / unit;
                let next = |last: i64| now.max(last.saturating_add(1));
                let before = last.fetch_update(Relaxed, Relaxed, |last| Some(next(last)));
                next(before.unwrap_or(now))
            }
            Clock::Record { taken, seed } => {
                let recorded = nanoseconds(record.time(When::TimeStamp)).unwrap_or_else(|| claimed_at(row.claim));
                let owner = seed.hash_one(row);
                let mut taken = taken.lock().unwrap_or_else(PoisonError::into_inner);
                let lane = taken.lane(seed.hash_one((series, recorded)), seed.hash_one(row.claim));
                let first = recorded + slot(row);
                (lane..ATTEMPTS)
                    .map(|attempt| first + attempt * STRIDE)
                    .find(|time| taken.points.take(seed.hash_one((series, time)), owner))
                    .unwrap_or(first)
            }
        }
    }
}

/// What the last rows have taken.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Points, by series and time, and the row of each.
    points: Owners,
    /// Times of records, by series, and the claim that had each first.
    moments: Owners,
    /// Times that several claims have, and which: each has its place behind the others there.
    shared: HashMap<u64, Vec<u64>>,
}

impl Taken {
    /// How many claims come before this one at a moment of a series: rows of one claim do not meet there.
    fn lane(&mut self, moment: u64, claim: u64) -> i64 {
        if let Some(claims) = self.shared.get_mut(&moment) {
            let lane = claims.iter().position(|&known| known == claim);
            return lane.unwrap_or_else(|| {
                // A gateway whose clock stands still shares one moment with itself for ever.
                if claims.len() >= LANES {
                    claims.clear();
                }
                claims.push(claim);
                claims.len() - 1
            }) as i64;
        }
        let Some(first) = self.moments.other_owner(moment, claim) else {
            return 0;
        };
        if self.shared.len() >= SHARED {
            self.shared.clear();
        }
        self.shared.insert(moment, vec![first, claim]);
        1
    }
}

/// Who has what, of the last rows.
#[derive(Debug, Default)]
struct Owners {
    now: HashMap<u64, u64>,
    before: HashMap<u64, u64>,
}

impl Owners {
    /// Gives `key` to `owner` unless it belongs to another, which is the answer.
    fn other_owner(&mut self, key: u64, owner: u64) -> Option<u64> {
        match self.now.get(&key).or_else(|| self.before.get(&key)) {
            Some(&other) if other != owner => return Some(other),
            _ if self.now.len() >= REMEMBERED => self.before = std::mem::take(&mut self.now),
            _ => {}
        }
        self.now.insert(key, owner);
        None
    }

    /// `false`: it belongs to another.
    fn take(&mut self, key: u64, owner: u64) -> bool {
        self.other_owner(key, owner).is_none()
    }
}

/// What tells the rows of a claim apart, and with great likelihood those of different claims.
fn slot(row: RowId) -> i64 {
    // Claims of the same millisecond have ids that follow each other, and about as many rows.
    let claim = (row.claim.0.0 as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
    (claim.wrapping_add(row.row) % SLOTS) as i64
}

/// `None`: the database cannot hold it.
fn nanoseconds(time: Time) -> Option<i64> {
    let nanoseconds = time
        .seconds
        .checked_mul(1_000_000_000)?
        .checked_add(i64::from(time.nanos))?;
    (EARLIEST..=LATEST).contains(&nanoseconds).then_some(nanoseconds)
}

/// When the list of a claim was taken: what a record without a usable time gets.
fn claimed_at(claim: ClaimId) -> i64 {
    let nanoseconds = i64::try_from(claim.0.timestamp_ms())
        .ok()
        .and_then(|ms| ms.checked_mul(1_000_000));
    nanoseconds.unwrap_or(LATEST).min(LATEST)
}

fn since_1970(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use analytics::{Zone, record::Builder};

    use super::*;

    fn row(claim: u128, row: u64) -> RowId {
        RowId {
            claim: ClaimId(ulid::Ulid(claim)),
            row,
        }
    }

    fn at(seconds: i64, nanos: u32) -> Builder {
        let mut record = Builder::new();
        record.recorded_at(Time {
            seconds,
            nanos,
            zone: Zone::UTC,
        });
        record
    }

    const NOON: i64 = 1_772_452_800;

    #[test]
    fn a_point_has_the_time_of_its_record_to_the_millisecond() {
        let clock = Clock::of_records();
        for number in 0..1000 {
            let second = NOON + number as i64;
            let time = clock.time(row(number << 80, number as u64), &at(second, 123).view(), b"s");
            let behind = time - second * 1_000_000_000 - 123;
            assert!((0..1_000_000).contains(&behind), "{behind}");
        }
    }

    #[test]
    fn requests_of_the_same_nanosecond_are_points_of_their_own() {
        let clock = Clock::of_records();
        let record = at(NOON, 0);
        let mut seen = HashSet::new();
        // Lists that were taken in the same millisecond, and as long as that their slots overlap.
        for claim in 0..20 {
            for number in 0..8_000 {
                let time = clock.time(row((7 << 80) + claim, number), &record.view(), b"analytics,path=/x");
                assert!(seen.insert(time), "claim {claim}, row {number}");
            }
        }
        let other_series = clock.time(row(7 << 80, 0), &record.view(), b"analytics,path=/y");
        assert!(seen.contains(&other_series), "series do not get in each other's way");
    }

    #[test]
    fn a_row_that_comes_again_is_the_same_point() {
        let record = at(NOON, 5);
        let times = |clock: &Clock| -> Vec<i64> {
            (0..5_000)
                .map(|number| clock.time(row(9, number), &record.view(), b"s"))
                .collect()
        };
        let clock = Clock::of_records();
        let first = times(&clock);
        assert_eq!(times(&clock), first);
        assert_eq!(times(&Clock::of_records()), first, "after a restart as well");
        // One that made way for another row does so again.
        let slots_meet = row(9, 1_000_000);
        let moved = clock.time(slots_meet, &record.view(), b"s");
        assert_eq!(moved, first[0] + STRIDE);
        assert_eq!(clock.time(slots_meet, &record.view(), b"s"), moved);
    }

    #[test]
    fn a_time_that_the_database_cannot_hold_becomes_that_of_the_claim() {
        let clock = Clock::of_records();
        let taken_at = 1_772_452_800_000;
        let id = row(taken_at << 80, 3);
        for record in [
            Builder::new(),
            at(253_402_300_799, 0),
            at(i64::MIN, 0),
            at(9_223_372_036, 854_775_806),
        ] {
            let time = clock.time(id, &record.view(), b"s");
            let behind = time - taken_at as i64 * 1_000_000;
            assert!((0..1_000_000).contains(&behind), "{behind}");
        }
        assert!(
            clock.time(id, &at(-1, 0).view(), b"s") < 0,
            "before 1970 is a time as well"
        );
    }

    #[test]
    fn lists_that_share_a_moment_keep_apart_however_long_they_are() {
        let clock = Clock::of_records();
        let (shared, mut seen) = (at(NOON, 0), HashSet::new());
        for claim in 0..12 {
            for number in 0..20_000 {
                let id = row((7 << 80) + u128::from(claim), number);
                let later = NOON + 60 + (claim * 20_000 + number) as i64;
                let time = match number % 10 {
                    0 => clock.time(id, &shared.view(), b"s"),
                    _ => clock.time(id, &at(later, 0).view(), b"s"),
                };
                assert!(seen.insert(time), "claim {claim}, row {number}");
            }
        }
    }

    #[test]
    fn what_is_remembered_has_an_end() {
        let mut points = Owners::default();
        for point in 0..3 * REMEMBERED as u64 {
            assert!(points.take(point, point));
        }
        assert!(points.now.len() + points.before.len() <= 2 * REMEMBERED);
        assert!(!points.take(3 * REMEMBERED as u64 - 1, 0), "the last ones are known");
        let mut taken = Taken::default();
        for moment in 0..2 * SHARED as u64 {
            let lanes = [1, 2, 1].map(|claim| taken.lane(moment, claim));
            assert_eq!(lanes, [0, 1, 0]);
        }
        assert!(taken.shared.len() <= SHARED);
        let lanes = (3..5_000).map(|claim| taken.lane(2 * SHARED as u64 - 1, claim));
        assert!(lanes.max() < Some(LANES as i64));
    }

    #[test]
    fn times_of_writing_never_stand_still() {
        let clock = Clock::of_writing(1_000);
        let record = at(NOON, 0);
        let mut last = 0;
        for number in 0..5_000 {
            let time = clock.time(row(1, number), &record.view(), b"s");
            assert!(time > last);
            last = time;
        }
        let now = since_1970(SystemTime::now()) / 1_000;
        assert!((last - now).abs() < 60_000_000, "{last} is not now");
        assert!(!clock.is_steady() && Clock::of_records().is_steady());
    }
}
