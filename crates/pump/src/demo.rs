//! Demo mode: made-up records of one organisation, hour by hour, as upstream makes them. They are encoded like those
//! of a gateway and go through the memory source, so that filters, trimming, retries and the final flush apply.

use std::ops::Range;

use analytics::{Flag, Int, Text, Time, When, Zone, gotime, msgpack, record::Builder};
use bytes::Bytes;
use jiff::{
    Timestamp, Zoned,
    civil::{Date, time},
    tz::TimeZone,
};
use rand::{Rng, SeedableRng, rngs::StdRng};

const METHODS: [&str; 6] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD"];
const ROOTS: [&str; 4] = ["/widget", "/foo", "/beep", "/boop"];
const SEGMENTS: [&str; 20] = [
    "unconvergent",
    "choragic",
    "umbellate",
    "redischarging",
    "quebrada",
    "contextured",
    "prerequest",
    "neckless",
    "billhook",
    "cobaltammine",
    "diaphototropism",
    "paraiba",
    "unsesquipedalian",
    "labyrinth",
    "interesterification",
    "dahlonega",
    "countryfiedness",
    "cayuga",
    "kernelled",
    "unprophesied",
];
const USER_AGENTS: [&str; 8] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/56.0.2924.87 Safari/537.36",
    "Mozilla/5.0 (Windows NT 6.1; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/56.0.2924.87 Safari/537.36",
    "Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/56.0.2924.87 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_12_3) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/56.0.2924.87 Safari/537.36",
    "Mozilla/5.0 (Windows NT 6.1; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/56.0.2924.87 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_12_3) AppleWebKit/602.4.8 (KHTML, like Gecko) Version/10.0.3 Safari/602.4.8",
    "Mozilla/5.0 (Windows NT 10.0; WOW64; rv:51.0) Gecko/20100101 Firefox/51.0",
    "Mozilla/5.0 (Windows NT 10.0; WOW64; Trident/7.0; rv:11.0) like Gecko",
];
const APIS: [(&str, &str); 3] = [
    ("de6e4d9ddde34d1657a6d93fab835abd", "Foo Bar Baz API"),
    ("de6e4d9ddde34d1657a6d92fab935aba", "Wibble Wobble API"),
    ("de6e4d9ddde34d1657a6d91fab836abb", "Wonky Ponky API"),
];
const COUNTRIES: [&str; 3] = ["RU", "US", "UK"];
const KEYS: usize = 50;
const SECONDS_PER_HOUR: i64 = 3600;
const HOURS_PER_DAY: i64 = 24;
/// `ExpireAt` lies this far ahead.
const LIFETIME_HOURS: i64 = 8760;
/// The date in the start line is this many days back, whatever `--demo-days` says.
const ANNOUNCED_DAYS: i64 = 30;

/// What `--demo…` says.
#[derive(Clone, Debug, Default)]
pub struct DemoOptions {
    /// `--demo` or `TYK_PMP_BUILDDEMODATA`: the organisation.
    pub org: String,
    /// `--demo-api`; `None` or empty: three APIs.
    pub api: Option<String>,
    /// `--demo-api-version`; empty: `Default`.
    pub api_version: String,
    /// `--demo-track-path`
    pub track_path: bool,
    /// `--demo-days`; below 1: nothing.
    pub days: i64,
    /// `--demo-records-per-hour`; below 1: 300 to 499, another number every hour.
    pub records_per_hour: i64,
    /// `--demo-future-data`: from today on instead of up to yesterday.
    pub future: bool,
    /// `--demo-seed` or `TYK_PMP_DEMO_SEED`: the same records for the same seed on the same day.
    pub seed: Option<u64>,
}

/// The records of one hour.
#[derive(Clone, Debug)]
pub struct Hour {
    /// List elements in msgpack.
    pub elements: Vec<Bytes>,
    /// After the last hour of a day: how many days are made, of how many.
    pub last_of_day: Option<(i64, i64)>,
}

/// Writes the lines that open a demo run.
pub fn announce() {
    tracing::info!("BUILDING DEMO DATA AND EXITING...");
    let now = Timestamp::now();
    let from = Time {
        seconds: now.as_second() - ANNOUNCED_DAYS * HOURS_PER_DAY * SECONDS_PER_HOUR,
        nanos: now.subsec_nanosecond().unsigned_abs(),
        zone: Zone::LOCAL,
    };
    let mut date = Vec::new();
    gotime::write_text(&mut date, from);
    tracing::warn!("Starting from date: {}", String::from_utf8_lossy(&date));
}

/// Writes the line that closes a day; the line break in it is upstream's.
pub fn finished((day, days): (i64, i64)) {
    tracing::info!("Finished {day} of {days}\n");
}

/// The hours of all days, oldest first; each is made when it is asked for.
pub fn hours(options: &DemoOptions) -> impl Iterator<Item = Hour> + use<> {
    hours_from(options, Zoned::now().date(), Timestamp::now())
}

/// As [`hours`], when today (in the calendar of this process) and now are given.
pub fn hours_from(options: &DemoOptions, today: Date, now: Timestamp) -> impl Iterator<Item = Hour> + use<> {
    let mut generator = Generator::new(options.clone(), now);
    let days = options.days.max(0);
    let hours = first_hours(options, days, today);
    hours.enumerate().map(move |(index, start)| {
        let done = index as i64 + 1;
        Hour {
            elements: generator.hour(start),
            last_of_day: (done % HOURS_PER_DAY == 0).then_some((done / HOURS_PER_DAY, days)),
        }
    })
}

/// Seconds since 1970 at which each hour begins. Days are those of the local calendar, but begin at midnight UTC.
fn first_hours(options: &DemoOptions, days: i64, today: Date) -> impl Iterator<Item = i64> + use<> {
    let midnight = today.to_datetime(time(0, 0, 0, 0)).to_zoned(TimeZone::UTC);
    let base = midnight.map(|zoned| zoned.timestamp().as_second()).unwrap_or_default();
    let hours: Range<i64> = if options.future {
        0..days.saturating_mul(HOURS_PER_DAY)
    } else {
        days.saturating_mul(-HOURS_PER_DAY)..0
    };
    hours.map(move |hour| base.saturating_add(hour.saturating_mul(SECONDS_PER_HOUR)))
}

struct Generator {
    options: DemoOptions,
    keys: Vec<String>,
    expire_at: Time,
    rng: StdRng,
}

impl Generator {
    fn new(options: DemoOptions, now: Timestamp) -> Self {
        let mut rng = match options.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_os_rng(),
        };
        let keys = (0..KEYS).map(|_| api_key(&options.org, &mut rng)).collect();
        let expire_at = Time {
            seconds: now.as_second() + LIFETIME_HOURS * SECONDS_PER_HOUR,
            nanos: now.subsec_nanosecond().unsigned_abs(),
            zone: Zone::UTC,
        };
        Self {
            options,
            keys,
            expire_at,
            rng,
        }
    }

    fn hour(&mut self, start: i64) -> Vec<Bytes> {
        let records = match self.options.records_per_hour {
            asked if asked > 0 => asked,
            _ => self.rng.random_range(300..500),
        };
        let spacing = SECONDS_PER_HOUR / records;
        (0..records)
            .map(|index| self.element(start + index * spacing))
            .collect()
    }

    fn element(&mut self, at: i64) -> Bytes {
        let mut element = Vec::with_capacity(1024);
        msgpack::encode(&mut element, &self.record(at).view());
        element.into()
    }

    fn record(&mut self, at: i64) -> Builder {
        let path = self.path();
        let options = &self.options;
        let rng = &mut self.rng;
        let (api, name) = match options.api.as_deref() {
            Some(api) if !api.is_empty() => (api, "Foo Bar"),
            _ => pick(&APIS, rng),
        };
        let version = match options.api_version.as_str() {
            "" => "Default",
            version => version,
        };
        let response_code = match rng.random_range(0..10) {
            0 => 403,
            1 => 500,
            _ => 200,
        };
        let mut record = Builder::new();
        record
            .text(Text::Method, pick(&METHODS, rng))
            .text(Text::Path, &path)
            .text(Text::RawPath, &path)
            .text(Text::UserAgent, pick(&USER_AGENTS, rng))
            .text(Text::ApiKey, &self.keys[rng.random_range(0..KEYS)])
            .text(Text::ApiVersion, version)
            .text(Text::ApiName, name)
            .text(Text::ApiId, api)
            .text(Text::OrgId, &options.org)
            .text(Text::RawRequest, "Qk9EWSBEQVRB")
            .text(Text::RawResponse, "UkVTUE9OU0UgREFUQQ==")
            .text(Text::IpAddress, "118.93.55.103")
            .text(Text::GeoCountryIsoCode, pick(&COUNTRIES, rng))
            .int(Int::ContentLength, rng.random_range(0..999))
            .int(Int::ResponseCode, response_code)
            .int(Int::RequestTime, rng.random_range(0..10))
            .flag(Flag::TrackPath, options.track_path)
            .recorded_at(Time {
                seconds: at,
                nanos: 0,
                zone: Zone::UTC,
            })
            .time(When::ExpireAt, self.expire_at)
            .tags([format!("orgid-{}", options.org), format!("apiid-{api}")]);
        record
    }

    fn path(&mut self) -> String {
        let mut path = pick(&ROOTS, &mut self.rng).to_owned();
        for _ in 0..self.rng.random_range(1..3) {
            path.push('/');
            path.push_str(pick(&SEGMENTS, &mut self.rng));
        }
        path
    }
}

fn pick<T: Copy, const N: usize>(choices: &[T; N], rng: &mut StdRng) -> T {
    choices[rng.random_range(0..N)]
}

/// The organisation and a random UUID (version 4) without dashes.
fn api_key(org: &str, rng: &mut StdRng) -> String {
    let random = rng.random::<u128>();
    let uuid = random & !(0xf << 76) & !(0x3 << 62) | (0x4 << 76) | (0x2 << 62);
    format!("{org}{uuid:032x}")
}
