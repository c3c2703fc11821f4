//! Ordinary records: all 35 keys, no bodies, about 1.1 kB each in msgpack; the same ones every time.

use std::{
    fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use analytics::{Flag, Float, Int, Span, Text, Time, When, Wire, Zone, msgpack, protobuf, record::Builder};
use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::Value;

const SEED: u64 = 20_261_120;
const EXPIRY_SECONDS: i64 = 365 * 86_400;

const METHODS: [&str; 6] = ["GET", "GET", "GET", "POST", "PUT", "DELETE"];
const CODES: [i64; 10] = [200, 200, 200, 200, 200, 201, 204, 401, 404, 500];
const NOUNS: [&str; 8] = [
    "orders",
    "customers",
    "invoices",
    "products",
    "carts",
    "payments",
    "shipments",
    "sessions",
];
const AGENTS: [&str; 4] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "okhttp/4.12.0",
    "python-requests/2.32.4",
];
const PLACES: [(&str, &str, &str, f64, f64, i64); 4] = [
    ("GB", "Europe/London", "London", 51.5074, -0.1278, 2_643_743),
    ("US", "America/New_York", "New York", 40.7128, -74.006, 5_128_581),
    ("DE", "Europe/Berlin", "Köln", 50.9375, 6.9603, 2_886_242),
    ("BR", "America/Sao_Paulo", "São Paulo", -23.5505, -46.6333, 3_448_439),
];

/// What begins the path of a record with a serial number.
pub(crate) const SERIAL_PATH: &str = "/serial/";

/// Encoded records, one behind the other.
pub(crate) struct Ordinary {
    pub(crate) wire: Wire,
    pub(crate) buffer: Vec<u8>,
    pub(crate) elements: Vec<Span>,
}

impl Ordinary {
    fn empty(wire: Wire) -> Ordinary {
        Ordinary {
            wire,
            buffer: Vec::new(),
            elements: Vec::new(),
        }
    }

    /// So many records in msgpack.
    pub(crate) fn msgpack(count: u64) -> Ordinary {
        let mut fixture = Fixture::new();
        Ordinary::msgpack_of(count, |serial| fixture.record(serial, None))
    }

    /// So many records of `make` in msgpack.
    pub(crate) fn msgpack_of(count: u64, mut make: impl FnMut(u64) -> Builder) -> Ordinary {
        let mut ordinary = Ordinary::empty(Wire::Msgpack);
        for serial in 0..count {
            ordinary.add(|out| msgpack::encode(out, &make(serial).view()));
        }
        ordinary
    }

    /// The same records in protobuf.
    ///
    /// # Errors
    /// A record has no protobuf form.
    pub(crate) fn protobuf(count: u64) -> anyhow::Result<Ordinary> {
        let (mut ordinary, mut fixture) = (Ordinary::empty(Wire::Protobuf), Fixture::new());
        for serial in 0..count {
            ordinary.add(|out| protobuf::encode(out, &fixture.record(serial, None).view()))?;
        }
        Ok(ordinary)
    }

    /// The elements of a file of lines `{"key": "<list>", "b64": "<element>"}`, if asked for over and over up to a number.
    ///
    /// # Errors
    /// The file cannot be read, holds no element, or elements of both encodings.
    pub(crate) fn from_file(path: &Path, count: Option<u64>) -> anyhow::Result<Ordinary> {
        let name = path.display();
        let text = fs::read_to_string(path).with_context(|| format!("fixture {name}"))?;
        let (mut elements, mut wires) = (Vec::new(), Vec::new());
        for (index, line) in text.lines().enumerate() {
            let place = || format!("{name}, line {}", index + 1);
            let line: Value = serde_json::from_str(line).with_context(place)?;
            let field = |key: &str| {
                line[key]
                    .as_str()
                    .with_context(|| format!("{}: no text `{key}`", place()))
            };
            elements.push(BASE64_STANDARD.decode(field("b64")?).with_context(place)?);
            wires.push(if field("key")?.ends_with("_protobuf") {
                Wire::Protobuf
            } else {
                Wire::Msgpack
            });
        }
        let Some(&wire) = wires.first() else {
            bail!("{name} holds no element");
        };
        if wires.iter().any(|&other| other != wire) {
            bail!("{name} holds both encodings: split it");
        }
        let mut ordinary = Ordinary::empty(wire);
        let count = count.map_or(elements.len(), |count| count as usize);
        for element in elements.iter().cycle().take(count) {
            ordinary.add(|out| out.extend_from_slice(element));
        }
        Ok(ordinary)
    }

    fn add<T>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let start = self.buffer.len();
        let result = write(&mut self.buffer);
        let len = self.buffer.len() - start;
        self.elements.push(Span {
            start: start as u32,
            len: len as u32,
        });
        result
    }

    /// The span of an element that stands alone.
    pub(crate) fn whole(element: &[u8]) -> Span {
        Span {
            start: 0,
            len: element.len() as u32,
        }
    }

    /// One element, counted from 0; empty if there are not so many.
    pub(crate) fn element(&self, index: usize) -> &[u8] {
        self.elements
            .get(index)
            .map(|span| span.of(&self.buffer))
            .unwrap_or_default()
    }

    pub(crate) fn average_bytes(&self) -> f64 {
        self.buffer.len() as f64 / self.elements.len().max(1) as f64
    }
}

/// Makes records.
pub(crate) struct Fixture {
    rng: StdRng,
    now: i64,
}

impl Fixture {
    pub(crate) fn new() -> Fixture {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Fixture {
            rng: StdRng::seed_from_u64(SEED),
            now: now.as_secs() as i64,
        }
    }

    /// Appends a record in msgpack whose path is `/serial/<serial>`.
    pub(crate) fn write_serial(&mut self, out: &mut Vec<u8>, serial: u64) {
        let path = format!("{SERIAL_PATH}{serial}");
        msgpack::encode(out, &self.record(serial, Some(path)).view());
    }

    /// A record; `path` replaces its own.
    pub(crate) fn record(&mut self, serial: u64, path: Option<String>) -> Builder {
        let api = self.rng.random_range(0..50_u32);
        let api_key = self.rng.random_range(0..10_000_u32);
        let path = path.unwrap_or_else(|| {
            let noun = self.one_of(&NOUNS);
            format!(
                "/v2/{noun}/{}/items/{}",
                self.rng.random_range(0..100_000),
                self.rng.random_range(0..100)
            )
        });
        let listen = format!("/api-{api:02}/");
        let key_hash = format!("{api_key:08x}a6d93fab835abd5de6e4d9dd");
        let raw_path = format!("/api-{api:02}{path}");

        let mut record = Builder::new();
        self.add_times(&mut record, serial);
        self.add_numbers(&mut record);
        self.add_place(&mut record);
        record
            .text(Text::Method, self.one_of(&METHODS))
            .text(Text::Host, "gateway.prod.example.com")
            .text(Text::Path, &path)
            .text(Text::RawPath, &raw_path)
            .text(Text::UserAgent, self.one_of(&AGENTS))
            .text(Text::ApiKey, &key_hash)
            .text(Text::ApiVersion, "Non Versioned")
            .text(Text::ApiName, format!("Shop API {api:02}"))
            .text(Text::ApiId, format!("{api:08x}dde34d1657a6d93fab835abd"))
            .text(Text::OrgId, "5e9d9544a1dcd60001d0ed20")
            .text(Text::IpAddress, format!("203.0.113.{}", self.rng.random_range(1..255)))
            .text(Text::Alias, format!("partner-{api_key:05}"))
            .text(Text::OriginalPath, &raw_path)
            .text(Text::ListenPath, &listen)
            .tags([
                format!("key-{api_key:08x}"),
                "org-5e9d9544a1dcd60001d0ed20".to_owned(),
                format!("api-{api:02}"),
            ])
            .flag(Flag::TrackPath, serial.is_multiple_of(2));
        record
    }

    fn add_times(&mut self, record: &mut Builder, serial: u64) {
        let civil = analytics::gotime::Civil::of(self.time(0));
        record
            .time(
                When::TimeStamp,
                Time {
                    nanos: (serial % 1_000_000) as u32 * 1_000,
                    ..self.time(0)
                },
            )
            .time(When::ExpireAt, self.time(EXPIRY_SECONDS))
            .int(Int::Day, civil.day.into())
            .int(Int::Month, civil.month.into())
            .int(Int::Year, civil.year)
            .int(Int::Hour, civil.hour.into());
    }

    fn add_numbers(&mut self, record: &mut Builder) {
        let upstream = self.rng.random_range(2..400_i64);
        let gateway = self.rng.random_range(0..5_i64);
        record
            .int(Int::ContentLength, self.rng.random_range(0..20_000))
            .int(Int::ResponseCode, self.one_of(&CODES))
            .int(Int::RequestTime, upstream + gateway)
            .int(Int::LatencyTotal, upstream + gateway)
            .int(Int::LatencyUpstream, upstream)
            .int(Int::LatencyGateway, gateway)
            .int(Int::NetworkBytesIn, self.rng.random_range(200..2_000))
            .int(Int::NetworkBytesOut, self.rng.random_range(200..20_000));
    }

    fn add_place(&mut self, record: &mut Builder) {
        let (country, zone, city, latitude, longitude, id) = self.one_of(&PLACES);
        record
            .text(Text::GeoCountryIsoCode, country)
            .text(Text::GeoLocationTimeZone, zone)
            .float(Float::Latitude, latitude)
            .float(Float::Longitude, longitude)
            .int(Int::GeoNameId, id)
            .city_names([("en", city)]);
    }

    fn time(&self, after: i64) -> Time {
        Time {
            seconds: self.now + after,
            nanos: 0,
            zone: Zone::UTC,
        }
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.rng.random_range(0..choices.len())]
    }
}

/// The serial number in the first path of these bytes (a record in msgpack, a row of CSV), if there is one.
pub(crate) fn serial_in(bytes: &[u8]) -> Option<u64> {
    let marker = SERIAL_PATH.as_bytes();
    let found = bytes.windows(marker.len()).position(|window| window == marker)?;
    let digits = bytes.get(found + marker.len()..)?;
    let length = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&digits[..length]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_records_have_the_size_that_figures_are_stated_for() {
        let average = Ordinary::msgpack(2_000).average_bytes();
        assert!((1_050.0..=1_100.0).contains(&average), "{average}");
    }

    #[test]
    fn every_element_decodes_in_both_encodings() {
        let records = [Ordinary::msgpack(50), Ordinary::protobuf(50).unwrap()];
        for ordinary in records {
            for &element in &ordinary.elements {
                let record = match ordinary.wire {
                    Wire::Msgpack => msgpack::decode(&ordinary.buffer, element),
                    Wire::Protobuf => protobuf::decode(&ordinary.buffer, element),
                };
                let record = record.unwrap();
                assert!(record.text[Text::Path as usize].len > 0);
            }
        }
    }

    #[test]
    fn a_serial_number_is_found_in_the_element_and_in_its_csv_row() {
        let mut fixture = Fixture::new();
        let mut element = Vec::new();
        fixture.write_serial(&mut element, 40_017);
        assert_eq!(serial_in(&element), Some(40_017));
        let record = msgpack::decode(&element, Ordinary::whole(&element)).unwrap();
        let mut row = Vec::new();
        let view = analytics::RecordView::new(&element, &record, &analytics::Transform::NONE);
        analytics::csv::write_row(&mut row, &view);
        assert_eq!(serial_in(&row), Some(40_017));
        assert_eq!(serial_in(b"GET,example.com,/orders"), None);
    }
}
