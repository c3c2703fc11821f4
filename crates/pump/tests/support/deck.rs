//! Numbered records that spread over organisations, APIs, keys, codes, countries, tags and hours; and what a store of aggregates
//! must hold of them, counted here without the product's own aggregation.

use std::collections::BTreeMap;

use analytics::{Flag, Int, Text, Time, When, Zone, msgpack, record::Builder};
use base64::{Engine, prelude::BASE64_STANDARD_NO_PAD};

use super::Server;

const KEY: &str = "analytics-tyk-system-analytics";
const CODES: [i64; 8] = [200, 201, 200, 301, 404, 405, 500, 200];
/// Elements of one RPUSH.
const ELEMENTS: u64 = 100;

/// The records `0..records`, whose times are spread over `seconds` from `start` on, in no order.
#[derive(Clone, Copy, Debug)]
pub struct Deck {
    pub records: u64,
    /// Unix seconds.
    pub start: i64,
    pub seconds: u64,
}

/// One record, before any encoding.
struct Facts {
    serial: u64,
    at: i64,
    org: String,
    api: String,
    version: String,
    key: String,
    oauth: Option<String>,
    code: i64,
    country: &'static str,
    tags: [String; 2],
    /// The path, if it is tracked.
    tracked: Option<String>,
    total: i64,
    upstream: i64,
}

/// Counters of one row of aggregates.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    pub hits: i64,
    pub success: i64,
    pub error: i64,
    pub request_time: i64,
    pub total_latency: i64,
    pub total_upstream: i64,
    pub max_latency: i64,
    pub max_upstream: i64,
    pub code_404: i64,
    /// Client errors that SQL has no column for.
    pub code_4x: i64,
    pub code_500: i64,
}

/// Bucket, organisation, dimension, value.
pub type Name = (i64, String, String, String);

impl Deck {
    /// A backlog of hours that are over.
    pub fn ordinary(records: u64) -> Deck {
        Deck {
            records,
            start: 1_780_000_123,
            seconds: 3 * 3600,
        }
    }

    /// The time of a record, Unix seconds.
    fn at(self, serial: u64) -> i64 {
        self.start + (serial * 7919 % self.records * self.seconds / self.records) as i64
    }

    fn facts(self, serial: u64) -> Facts {
        let total = 5 + (serial % 50) as i64;
        Facts {
            serial,
            at: self.at(serial),
            org: format!("org{}", serial % 2),
            api: format!("api{}", serial % 5),
            version: format!("v{}", 1 + serial % 2),
            key: format!("k{}", serial % 11),
            oauth: serial.is_multiple_of(4).then(|| format!("client{}", serial % 3)),
            code: CODES[(serial / 3 % 8) as usize],
            country: ["GB", "US", ""][(serial % 3) as usize],
            tags: [format!("team{}", serial % 3), format!("key-{serial}")],
            tracked: serial.is_multiple_of(2).then(|| format!("/orders/{}", serial % 13)),
            total,
            upstream: total - (serial % 5) as i64,
        }
    }

    /// The calendar dates (of clocks that are `offset(time)` seconds ahead of UTC) with how many records each has.
    pub fn days(self, offset: fn(i64) -> i64) -> BTreeMap<String, u64> {
        let mut days = BTreeMap::new();
        for serial in 0..self.records {
            let at = self.at(serial);
            *days.entry(date((at + offset(at)).div_euclid(86_400))).or_default() += 1;
        }
        days
    }

    /// Pushes them, as a gateway does that spreads them over `keys` lists.
    pub fn push(self, redis: &Server, keys: usize) {
        self.push_over(redis, keys, std::time::Duration::ZERO);
    }

    /// The same, spread over a time.
    pub fn push_over(self, redis: &Server, keys: usize, over: std::time::Duration) {
        let mut client = redis.client(0, "");
        let started = std::time::Instant::now();
        let (mut next, mut round) = (0, 0);
        while next < self.records {
            let mut push = redis::cmd("RPUSH");
            match keys {
                1 => push.arg(KEY),
                _ => push.arg(format!("{KEY}_{}", round % keys)),
            };
            for serial in next..self.records.min(next + ELEMENTS) {
                push.arg(self.facts(serial).element());
            }
            push.exec(&mut client).unwrap();
            next += ELEMENTS;
            round += 1;
            let due = over.mul_f64(next as f64 / self.records as f64);
            std::thread::sleep(due.saturating_sub(started.elapsed()));
        }
    }

    /// What the table of aggregates must hold; an hour begins where clocks that are `offset(time)` seconds ahead of UTC
    /// show minute 0.
    pub fn expected(self, offset: fn(i64) -> i64) -> BTreeMap<Name, Cell> {
        let mut cells: BTreeMap<Name, Cell> = BTreeMap::new();
        for serial in 0..self.records {
            let facts = self.facts(serial);
            let bucket = facts.at - (facts.at + offset(facts.at)).rem_euclid(3600);
            for (dimension, value) in facts.dimensions() {
                let name = (bucket, facts.org.clone(), dimension.to_owned(), value);
                cells.entry(name).or_default().add(&facts);
            }
        }
        cells
    }
}

/// `20260517` for the day so many days after 1 January 1970.
fn date(mut day: i64) -> String {
    let leap = |year: i64| (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    let mut year = 1970;
    while day >= 365 + i64::from(leap(year)) {
        day -= 365 + i64::from(leap(year));
        year += 1;
    }
    let february = 28 + i64::from(leap(year));
    for (month, len) in (1..).zip([31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]) {
        if day < len {
            return format!("{year:04}{month:02}{:02}", day + 1);
        }
        day -= len;
    }
    unreachable!("a year has ended")
}

impl Facts {
    fn element(&self) -> Vec<u8> {
        let time = |seconds| Time {
            seconds,
            nanos: 0,
            zone: Zone::UTC,
        };
        let path = self
            .tracked
            .clone()
            .unwrap_or_else(|| format!("/serial/{}", self.serial));
        let mut record = Builder::new();
        record
            .recorded_at(time(self.at))
            // As without retention: servers remove what has expired, while a test looks at it.
            .time(When::ExpireAt, time(self.at + 36_500 * 86_400))
            .text(Text::Method, "GET")
            .text(Text::Path, &path)
            .text(Text::RawPath, &path)
            .text(Text::OrgId, &self.org)
            .text(Text::ApiId, &self.api)
            .text(Text::ApiName, format!("{} by name", self.api))
            .text(Text::ApiVersion, &self.version)
            .text(Text::ApiKey, &self.key)
            .text(Text::OauthId, self.oauth.as_deref().unwrap_or_default())
            .text(Text::GeoCountryIsoCode, self.country)
            .tags(&self.tags)
            .flag(Flag::TrackPath, self.tracked.is_some())
            .int(Int::ContentLength, self.serial as i64)
            .int(Int::ResponseCode, self.code)
            .int(Int::RequestTime, self.total)
            .int(Int::LatencyTotal, self.total)
            .int(Int::LatencyUpstream, self.upstream);
        let mut element = Vec::new();
        msgpack::encode(&mut element, &record.view());
        element
    }

    fn dimensions(&self) -> Vec<(&'static str, String)> {
        let base64 = |text: String| BASE64_STANDARD_NO_PAD.encode(text);
        let mut all = vec![
            ("", "total".to_owned()),
            ("apiid", self.api.clone()),
            ("versions", base64(format!("{}:{}", self.api, self.version))),
            ("apikeys", self.key.clone()),
            // Tags that begin with `key-` are never counted.
            ("tags", self.tags[0].clone()),
        ];
        if self.code >= 400 {
            all.push(("errors", self.code.to_string()));
        }
        if !self.country.is_empty() {
            all.push(("geo", self.country.to_owned()));
        }
        all.extend(self.oauth.iter().map(|client| ("oauthids", client.clone())));
        if let Some(path) = &self.tracked {
            let endpoint = base64(format!("{}:{path}", self.api));
            all.push(("endpoints", path.clone()));
            all.push(("keyendpoints", format!("{}.{endpoint}", self.key)));
            all.push(("apiendpoints", hex(&format!("{}:{}:{path}", self.api, self.version))));
            all.extend(
                self.oauth
                    .iter()
                    .map(|client| ("oauthendpoints", format!("{client}.{endpoint}"))),
            );
        }
        all
    }
}

/// The bytes of a text, two digits each.
pub fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}

impl Cell {
    fn add(&mut self, facts: &Facts) {
        self.hits += 1;
        self.success += i64::from((200..300).contains(&facts.code));
        self.error += i64::from(facts.code >= 400);
        self.request_time += facts.total;
        self.total_latency += facts.total;
        self.total_upstream += facts.upstream;
        self.max_latency = self.max_latency.max(facts.total);
        self.max_upstream = self.max_upstream.max(facts.upstream);
        self.code_404 += i64::from(facts.code == 404);
        // Client errors without a column of their own.
        self.code_4x += i64::from(facts.code == 405);
        self.code_500 += i64::from(facts.code == 500);
    }
}

/// Fails unless these are the aggregates that are expected. `wrong`: what else is not as it should be.
#[track_caller]
pub fn compare(found: &BTreeMap<Name, Cell>, expected: &BTreeMap<Name, Cell>, mut wrong: Vec<String>) {
    for (name, cell) in expected {
        match found.get(name) {
            Some(there) if there == cell => {}
            other => wrong.push(format!("{name:?}: {other:?}, not {cell:?}")),
        }
    }
    for name in found.keys().filter(|name| !expected.contains_key(name)) {
        wrong.push(format!("{name:?} is too much"));
    }
    println!("aggregates {}, wrong {}", found.len(), wrong.len());
    assert!(
        wrong.is_empty(),
        "{} differences: {:#?}",
        wrong.len(),
        &wrong[..wrong.len().min(8)]
    );
}

/// Fails unless these are the serial numbers of all records, each once.
#[track_caller]
pub fn compare_serials(found: impl Iterator<Item = u64>, records: u64) {
    let mut seen = std::collections::HashSet::new();
    let (mut rows, mut foreign) = (0u64, 0);
    for serial in found {
        rows += 1;
        foreign += u64::from(serial >= records);
        seen.insert(serial);
    }
    let (lost, doubled) = (records - seen.len() as u64, rows - seen.len() as u64);
    println!("rows {rows}, lost {lost}, doubled {doubled}, foreign {foreign}");
    assert_eq!((rows, lost, doubled, foreign), (records, 0, 0, 0));
}
