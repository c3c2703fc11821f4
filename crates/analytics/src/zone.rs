//! Time zones of records, interned: a [`Zone`] is a number, its transitions are computed once per process.

use std::{
    cell::Cell,
    collections::{BTreeSet, HashMap},
    ffi::OsStr,
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::{Mutex, OnceLock, PoisonError},
};

use jiff::{Timestamp, tz::TimeZone, tz::TimeZoneDatabase};

/// A time zone; cheap to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Zone(u16);

/// More than any zone database has names, copies under `posix/` and `right/` included.
const CAPACITY: usize = 2048;

/// Start of 2100: from here on every zone follows yearly rules, which repeat with the calendar.
const HORIZON: i64 = 4_102_444_800;
/// 400 years, the period of the Gregorian calendar (a whole number of weeks).
const CYCLE: i64 = 146_097 * 86_400;

/// Indexed by zone. Entries 0 and 1 are UTC and LOCAL, the others are filled in the order in which names appear.
static TABLES: [OnceLock<Table>; CAPACITY] = [const { OnceLock::new() }; CAPACITY];
static NAMES: Mutex<Option<HashMap<Box<str>, Zone>>> = Mutex::new(None);
static ABBREVIATIONS: Mutex<BTreeSet<&'static str>> = Mutex::new(BTreeSet::new());

thread_local! {
    /// The span found last, for each of a few seasons: a record's two times mostly lie in different ones, and records of
    /// one batch nearly always in the same.
    static LAST: [Cell<Span>; 16] = const { [const { Cell::new(Span::ALWAYS_UTC) }; 16] };
    static LAST_NAMED: Cell<Option<(&'static str, Zone)>> = const { Cell::new(None) };
}

/// From `start` (inclusive) to `end` (exclusive) the local time of `zone` is UTC plus `offset` seconds.
#[derive(Clone, Copy)]
struct Span {
    zone: Zone,
    start: i64,
    end: i64,
    offset: i32,
    abbreviation: &'static str,
}

impl Span {
    const ALWAYS_UTC: Span = Span {
        zone: Zone::UTC,
        start: i64::MIN,
        end: i64::MAX,
        offset: 0,
        abbreviation: "UTC",
    };
}

struct Table {
    /// Full name, empty for UTC and LOCAL.
    name: &'static str,
    /// In order of time; the first one starts at `i64::MIN`.
    spans: Vec<Span>,
}

impl Zone {
    /// UTC.
    pub const UTC: Zone = Zone(0);
    /// The zone of this process (`TZ`, else the system's).
    pub const LOCAL: Zone = Zone(1);

    /// The zone that a record names: empty or `UTC` is UTC, `Local` the zone of this process, any other name must be
    /// one of the zone database in exactly this spelling. `None` for everything else.
    pub fn named(name: &[u8]) -> Option<Zone> {
        match name {
            b"" | b"UTC" => return Some(Zone::UTC),
            b"Local" => return Some(Zone::LOCAL),
            _ => {}
        }
        if let Some((last, zone)) = LAST_NAMED.get()
            && last.as_bytes() == name
        {
            return Some(zone);
        }
        let name = str::from_utf8(name).ok()?;
        let zone = intern(name)?;
        LAST_NAMED.set(TABLES.get(zone.0 as usize)?.get().map(|table| (table.name, zone)));
        Some(zone)
    }

    /// The name that [`Zone::named`] knows this zone by.
    pub fn name(self) -> &'static str {
        match self {
            Zone::UTC => "UTC",
            Zone::LOCAL => "Local",
            Zone(number) => {
                let table = TABLES.get(number as usize).and_then(OnceLock::get);
                table.map_or("UTC", |table| table.name)
            }
        }
    }

    /// Seconds east of UTC at `seconds` since 1970-01-01T00:00:00Z, and the zone's abbreviation then.
    pub fn offset_at(self, seconds: i64) -> (i32, &'static str) {
        if self == Zone::UTC {
            return (0, "UTC");
        }
        let within = if seconds < HORIZON + CYCLE {
            seconds
        } else {
            HORIZON + (seconds - HORIZON) % CYCLE
        };
        let span = LAST.with(|slots| {
            let [first, ..] = slots;
            // About 97 days a slot.
            let slot = slots.get((within >> 23) as usize % slots.len()).unwrap_or(first);
            let mut span = slot.get();
            if span.zone != self || within < span.start || span.end <= within {
                span = self.span_at(within);
                slot.set(span);
            }
            span
        });
        (span.offset, span.abbreviation)
    }

    fn span_at(self, seconds: i64) -> Span {
        let Some(slot) = TABLES.get(self.0 as usize) else {
            return Span::ALWAYS_UTC;
        };
        let table = slot.get_or_init(|| match self {
            Zone::LOCAL => Table::new(self, "", &local(std::env::var_os("TZ").as_deref())),
            _ => Table::new(self, "", &TimeZone::UTC),
        });
        let after = table.spans.partition_point(|span| span.start <= seconds);
        table
            .spans
            .get(after.wrapping_sub(1))
            .copied()
            .unwrap_or(Span::ALWAYS_UTC)
    }
}

impl Table {
    fn new(zone: Zone, name: &'static str, rules: &TimeZone) -> Table {
        let span = |start: i64, at: Timestamp| {
            let info = rules.to_offset_info(at);
            Span {
                zone,
                start,
                end: i64::MAX,
                offset: info.offset().seconds(),
                abbreviation: keep(info.abbreviation()),
            }
        };
        // Before the first transition every instant has the first offset (mostly local mean time), however early.
        let mut spans = vec![span(i64::MIN, Timestamp::MIN)];
        for transition in rules.following(Timestamp::MIN) {
            let start = transition.timestamp().as_second();
            if start >= HORIZON + CYCLE {
                break;
            }
            if let Some(previous) = spans.last_mut() {
                previous.end = start;
            }
            spans.push(span(start, transition.timestamp()));
        }
        Table { name, spans }
    }
}

/// Abbreviations live as long as the process: they come from the zone database alone, so there are few.
fn keep(abbreviation: &str) -> &'static str {
    let mut known = ABBREVIATIONS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = known.get(abbreviation) {
        return known;
    }
    let kept: &'static str = Box::leak(abbreviation.into());
    known.insert(kept);
    kept
}

fn intern(name: &str) -> Option<Zone> {
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    let names = names.get_or_insert_default();
    if let Some(zone) = names.get(name) {
        return Some(*zone);
    }
    let rules = find(name)?;
    let index = names.len() + 2;
    let zone = Zone(u16::try_from(index).ok()?);
    // A full registry makes further zones unknown; only names of the database get here, so it does not fill up.
    TABLES.get(index)?.get_or_init(|| Table::new(zone, keep(name), &rules));
    names.insert(name.into(), zone);
    Some(zone)
}

/// A zone by its exact name: from the system's database, else from the one in this binary.
fn find(name: &str) -> Option<TimeZone> {
    if name.contains("..") || name.starts_with(['/', '\\']) {
        return None;
    }
    // The databases ignore case, zone files do not.
    let exact = |zone: &TimeZone| zone.iana_name() == Some(name);
    let system = jiff::tz::db().get(name).ok().filter(exact);
    system.or_else(|| TimeZoneDatabase::bundled().get(name).ok().filter(exact))
}

/// The zone that `TZ` selects; whatever cannot be found is UTC.
fn local(tz: Option<&OsStr>) -> TimeZone {
    let Some(tz) = tz else {
        return zone_file(Path::new("/etc/localtime"));
    };
    let name = tz.as_bytes();
    let name = name.strip_prefix(b":").unwrap_or(name);
    if name.starts_with(b"/") {
        return zone_file(Path::new(OsStr::from_bytes(name)));
    }
    str::from_utf8(name).ok().and_then(find).unwrap_or(TimeZone::UTC)
}

fn zone_file(path: &Path) -> TimeZone {
    let zone = fs::read(path).ok().and_then(|data| TimeZone::tzif("Local", &data).ok());
    zone.unwrap_or(TimeZone::UTC)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str, seconds: i64) -> (i32, &'static str) {
        Zone::named(name.as_bytes()).unwrap().offset_at(seconds)
    }

    #[test]
    fn only_names_of_the_database_are_zones() {
        assert_eq!(Zone::named(b""), Some(Zone::UTC));
        assert_eq!(Zone::named(b"UTC"), Some(Zone::UTC));
        assert_eq!(Zone::named(b"Local"), Some(Zone::LOCAL));
        for known in [
            "Europe/London",
            "Etc/GMT-1",
            "CET",
            "EST5EDT",
            "US/Eastern",
            "Etc/UTC",
            "GMT",
        ] {
            let zone = Zone::named(known.as_bytes());
            assert!(zone.is_some(), "{known}");
            assert_eq!(zone, Zone::named(known.as_bytes()));
        }
        for unknown in [
            "CEST",
            "GMT+1",
            "utc",
            "europe/london",
            "Europe/../Europe/London",
            "/etc/localtime",
            "\\x",
            "Etc/Unknown",
            "EST5EDT,M3.2.0,M11.1.0",
            " ",
        ] {
            assert_eq!(Zone::named(unknown.as_bytes()), None, "{unknown}");
        }
        assert_eq!(Zone::named(b"Europe/Lond\xffn"), None);
    }

    #[test]
    fn offsets_have_seconds_before_standard_time() {
        assert_eq!(at("Europe/London", -62_135_596_800), (-75, "LMT"));
        assert_eq!(at("America/New_York", -62_135_596_800), (-17_762, "LMT"));
        assert_eq!(at("Asia/Kathmandu", i64::MIN), (20_476, "LMT"));
    }

    #[test]
    fn offsets_change_on_the_second() {
        assert_eq!(at("Europe/London", 0), (3600, "BST"));
        assert_eq!(at("Europe/London", 1_679_792_399), (0, "GMT"));
        assert_eq!(at("Europe/London", 1_679_792_400), (3600, "BST"));
        assert_eq!(at("Europe/London", 1_698_541_199), (3600, "BST"));
        assert_eq!(at("Europe/London", 1_698_541_200), (0, "GMT"));
        assert_eq!(at("America/Sao_Paulo", 1_700_000_000), (-10_800, "-03"));
        assert_eq!(at("Australia/Lord_Howe", 1_700_000_000), (39_600, "+11"));
        assert_eq!(at("Europe/Dublin", 1_690_000_000), (3600, "IST"));
    }

    #[test]
    fn yearly_rules_hold_for_ever() {
        for cycles in [0, 1, 2, 1000, 700_000_000] {
            let summer = HORIZON + 180 * 86_400 + cycles * CYCLE;
            assert_eq!(at("Europe/Berlin", summer), (7200, "CEST"), "{cycles}");
            assert_eq!(at("Europe/Berlin", summer - 180 * 86_400), (3600, "CET"), "{cycles}");
        }
        at("Europe/Berlin", i64::MAX);
    }

    #[test]
    fn the_table_agrees_with_the_database() {
        for name in ["Africa/Casablanca", "Europe/London", "Asia/Gaza", "America/Godthab"] {
            let rules = find(name).unwrap();
            for step in -400..1200 {
                let seconds = step * 9_876_543;
                let info = rules.to_offset_info(Timestamp::from_second(seconds).unwrap());
                assert_eq!(
                    at(name, seconds),
                    (info.offset().seconds(), info.abbreviation()),
                    "{name} {seconds}"
                );
            }
        }
    }

    #[test]
    fn tz_selects_the_local_zone() {
        let abbreviation = |tz: &str| {
            let zone = local(Some(OsStr::new(tz)));
            zone.to_offset_info(Timestamp::UNIX_EPOCH).abbreviation().to_owned()
        };
        assert_eq!(abbreviation("Europe/London"), "BST");
        assert_eq!(abbreviation(":Europe/London"), "BST");
        for utc in ["", ":", "UTC", "Nowhere/Town", "EST5EDT,M3.2.0,M11.1.0", "/nowhere"] {
            assert_eq!(abbreviation(utc), "UTC", "{utc:?}");
        }
    }
}
