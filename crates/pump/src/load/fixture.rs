//! The records that are pushed: a realistic mix, encoded once, of which only time stamp and number are patched for each
//! push. That keeps the load generator an order of magnitude cheaper than what it measures.

use analytics::{DecodeError, Flag, Float, Int, Text, Time, When, Wire, Zone, msgpack, protobuf, record::Builder};
use base64::{Engine, prelude::BASE64_STANDARD};
use rand::{Rng, SeedableRng, rngs::StdRng};

use super::LoadOptions;

/// Distinct records, at most.
const TEMPLATES: u64 = 16_384;
/// Bytes that they may take together.
const TEMPLATE_BYTES: usize = 64 << 20;

const APIS: usize = 50;
const PATHS: usize = 200;
const API_KEYS: usize = 10_000;
const BACKENDS: usize = 8;

/// Stands for the number of a record until it is patched in.
const SERIAL: &[u8] = b"/serial/000000000000";
const SERIAL_DIGITS: usize = 12;

/// Nanoseconds of time stamps lie in this range: their encoded forms have the same length there.
const NANOS: std::ops::Range<u32> = 1 << 21..1 << 28;

/// 36,500 days: what a gateway sets without a retention time.
const LIFETIME_SECONDS: i64 = 36_500 * 86_400;

const METHODS: [&str; 10] = [
    "GET", "GET", "GET", "GET", "GET", "GET", "POST", "POST", "PUT", "DELETE",
];
const ERROR_CODES: [i64; 9] = [400, 401, 403, 404, 404, 429, 500, 502, 504];
const NOUNS: [&str; 16] = [
    "orders",
    "customers",
    "invoices",
    "products",
    "carts",
    "payments",
    "shipments",
    "users",
    "sessions",
    "reports",
    "prices",
    "stock",
    "events",
    "messages",
    "contracts",
    "accounts",
];
const USER_AGENTS: [&str; 5] = [
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36",
    "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Safari/605.1.15",
    "Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148",
    "okhttp/4.12.0",
    "python-requests/2.32.4",
];
/// Country, time zone, latitude, longitude, id of a city.
const PLACES: [(&str, &str, f64, f64, i64); 6] = [
    ("GB", "Europe/London", 51.5074, -0.1278, 2_643_743),
    ("US", "America/New_York", 40.7128, -74.006, 5_128_581),
    ("DE", "Europe/Berlin", 52.52, 13.405, 2_950_159),
    ("SG", "Asia/Singapore", 1.3521, 103.8198, 1_880_252),
    ("BR", "America/Sao_Paulo", -23.5505, -46.6333, 3_448_439),
    ("IN", "Asia/Kolkata", 19.076, 72.8777, 1_275_339),
];

/// An encoded record and where in it the time stamp and the number stand.
struct Template {
    element: Vec<u8>,
    time: usize,
    serials: Vec<usize>,
}

/// The mix of records of one hour: day and hour are part of a record.
pub(super) struct Fixture {
    wire: Wire,
    hour: i64,
    templates: Vec<Template>,
}

impl Fixture {
    /// Makes the records for the hour of `now` (seconds since 1970).
    ///
    /// # Errors
    /// The time of this machine is one whose encoded form has another length (before 1979).
    pub(super) fn build(options: &LoadOptions, wire: Wire, now: i64) -> anyhow::Result<Fixture> {
        let mut mix = Mix::new(options, now);
        let wanted = options.records.clamp(1, TEMPLATES) as usize;
        let mut templates = Vec::with_capacity(wanted);
        let mut bytes = 0;
        while templates.len() < wanted && bytes < TEMPLATE_BYTES {
            let template = mix.template(wire)?;
            bytes += template.element.len();
            templates.push(template);
        }
        Ok(Fixture {
            wire,
            hour: now.div_euclid(3600),
            templates,
        })
    }

    /// Whether these records are of the hour of `now`.
    pub(super) fn is_of(&self, now: i64) -> bool {
        self.hour == now.div_euclid(3600)
    }

    /// One of the records, at random, as it is pushed at `now`.
    pub(super) fn element(&self, serial: u64, now: i64, rng: &mut StdRng) -> Vec<u8> {
        let template = &self.templates[rng.random_range(0..self.templates.len())];
        let mut element = template.element.clone();
        patch(
            &mut element,
            template.time,
            &time_bytes(self.wire, now, rng.random_range(NANOS)),
        );
        if !template.serials.is_empty() {
            let digits = format!("{serial:0SERIAL_DIGITS$}");
            for &at in &template.serials {
                patch(&mut element, at, digits.as_bytes());
            }
        }
        element
    }
}

fn utc(seconds: i64, nanos: u32) -> Time {
    Time {
        seconds,
        nanos,
        zone: Zone::UTC,
    }
}

fn encode(record: &Builder, wire: Wire) -> Result<Vec<u8>, DecodeError> {
    let mut element = Vec::with_capacity(2048);
    match wire {
        Wire::Msgpack => msgpack::encode(&mut element, &record.view()),
        Wire::Protobuf => protobuf::encode(&mut element, &record.view())?,
    }
    Ok(element)
}

fn patch(element: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(place) = element.get_mut(at..at + bytes.len()) {
        place.copy_from_slice(bytes);
    }
}

/// Where `pattern` occurs.
fn occurrences(element: &[u8], pattern: &[u8]) -> Vec<usize> {
    let found = element.windows(pattern.len()).enumerate();
    found
        .filter(|(_, window)| *window == pattern)
        .map(|(at, _)| at)
        .collect()
}

/// A time as it stands in an element. Always as long, for seconds of 29 to 32 bits and nanoseconds in [`NANOS`].
fn time_bytes(wire: Wire, seconds: i64, nanos: u32) -> [u8; 11] {
    let mut bytes = [0; 11];
    match wire {
        Wire::Msgpack => {
            bytes[..2].copy_from_slice(&[0x92, 0xce]);
            bytes[2..6].copy_from_slice(&(seconds as u32).to_be_bytes());
            bytes[6] = 0xce;
            bytes[7..].copy_from_slice(&nanos.to_be_bytes());
        }
        Wire::Protobuf => {
            bytes[0] = 0x08;
            varint(&mut bytes[1..6], seconds as u64);
            bytes[6] = 0x10;
            varint(&mut bytes[7..], nanos.into());
        }
    }
    bytes
}

/// A varint that fills `place`.
fn varint(place: &mut [u8], value: u64) {
    let last = place.len() - 1;
    for (i, byte) in place.iter_mut().enumerate() {
        *byte = (value >> (7 * i)) as u8 & 0x7f | if i < last { 0x80 } else { 0 };
    }
}

struct Mix<'a> {
    options: &'a LoadOptions,
    now: i64,
    rng: StdRng,
}

impl<'a> Mix<'a> {
    fn new(options: &'a LoadOptions, now: i64) -> Self {
        let rng = match options.seed {
            Some(seed) => StdRng::seed_from_u64(seed),
            None => StdRng::from_os_rng(),
        };
        Self { options, now, rng }
    }

    fn template(&mut self, wire: Wire) -> anyhow::Result<Template> {
        let mut record = self.record();
        let mut element = encode(&record, wire)?;
        let missing = self.options.size.unwrap_or(0).saturating_sub(element.len()) / 4;
        if missing > 0 {
            record.text(Text::RawRequest, "QUJD".repeat(missing));
            element = encode(&record, wire)?;
        }
        let [time] = occurrences(&element, &time_bytes(wire, self.now, NANOS.start))[..] else {
            anyhow::bail!(
                "the clock of this machine says {} s since 1970, which cannot be pushed",
                self.now
            );
        };
        let mut serials = Vec::new();
        if self.options.serials {
            let digits = SERIAL.len() - SERIAL_DIGITS;
            serials = occurrences(&element, SERIAL).iter().map(|at| at + digits).collect();
        }
        Ok(Template { element, time, serials })
    }

    /// A number below `n`; the k-th is about k times as rare as the first.
    fn rank(&mut self, n: usize) -> usize {
        let spread = (n as f64 + 1.0).powf(self.rng.random());
        (spread as usize - 1).min(n - 1)
    }

    fn pick<T: Copy, const N: usize>(&mut self, choices: &[T; N]) -> T {
        choices[self.rng.random_range(0..N)]
    }

    fn record(&mut self) -> Builder {
        let api = self.rank(APIS);
        let noun = NOUNS[api % NOUNS.len()];
        let path = self.path(noun);
        let listen_path = format!("/{noun}-{api}/");
        let original_path = format!("{}{path}", listen_path.trim_end_matches('/'));
        let api_id = format!("{:032x}", 0x5a1f_c3d2_9e47_u128 * (api as u128 + 1));
        let org = format!("{:024x}", 0x5e9d_9544_a1dc_d600_0195_aaaa_u128);
        let key = self.rank(API_KEYS) as u128 + 1;
        let key = format!("{:032x}", key.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834));
        let host = format!("{noun}-{}.backend.internal:8080", self.rng.random_range(0..BACKENDS));
        let method = self.pick(&METHODS);
        let user_agent = self.pick(&USER_AGENTS);
        let (country, zone, latitude, longitude, city) = self.pick(&PLACES);
        let address = format!(
            "198.51.{}.{}",
            self.rng.random_range(0..256),
            self.rng.random_range(1..255)
        );
        let failed = self.rng.random_bool(self.options.errors.clamp(0.0, 1.0));
        let code = if failed { self.pick(&ERROR_CODES) } else { 200 };
        let upstream = 2 + self.rank(2000) as i64;
        let gateway = self.rng.random_range(0..4);
        let mut record = Builder::new();
        record
            .text(Text::Method, method)
            .text(Text::Host, &host)
            .text(Text::Path, &path)
            .text(Text::RawPath, &path)
            .text(Text::OriginalPath, &original_path)
            .text(Text::ListenPath, &listen_path)
            .text(Text::UserAgent, user_agent)
            .text(Text::ApiKey, &key)
            .text(Text::ApiVersion, "Non Versioned")
            .text(Text::ApiName, format!("{noun} API {api}"))
            .text(Text::ApiId, &api_id)
            .text(Text::OrgId, &org)
            .text(Text::IpAddress, &address)
            .text(Text::GeoCountryIsoCode, country)
            .text(Text::GeoLocationTimeZone, zone)
            .float(Float::Latitude, latitude)
            .float(Float::Longitude, longitude)
            .int(Int::GeoNameId, city)
            .int(Int::ContentLength, self.rng.random_range(0..4096))
            .int(Int::ResponseCode, code)
            .int(Int::RequestTime, upstream + gateway)
            .int(Int::LatencyTotal, upstream + gateway)
            .int(Int::LatencyUpstream, upstream)
            .int(Int::LatencyGateway, gateway)
            .flag(Flag::TrackPath, api.is_multiple_of(4))
            .recorded_at(utc(self.now, NANOS.start))
            .time(When::ExpireAt, utc(self.now + LIFETIME_SECONDS, 0))
            .tags([format!("key-{key}"), format!("org-{org}"), format!("api-{api_id}")]);
        if self.options.bodies {
            let request = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: {user_agent}\r\n");
            let request = self.body(request, 600);
            let response = self.body(format!("HTTP/1.1 {code} \r\nContent-Type: application/json\r\n"), 1800);
            record
                .text(Text::RawRequest, &request)
                .text(Text::RawResponse, &response);
        }
        record
    }

    fn path(&mut self, noun: &str) -> String {
        if self.options.serials {
            return String::from_utf8_lossy(SERIAL).into_owned();
        }
        match self.rank(PATHS) {
            rank if rank % 3 == 0 => format!("/v1/{noun}/{rank}"),
            rank if rank % 3 == 1 => format!("/v1/{noun}/{rank}/items"),
            rank => format!("/v2/{noun}/search/{rank}"),
        }
    }

    /// A message of about `mean` bytes, from half of it to half as much again, in base64.
    fn body(&mut self, head: String, mean: usize) -> String {
        let length = self.rng.random_range(mean / 2..mean * 3 / 2);
        let mut message = head + "\r\n[";
        while message.len() < length {
            let (id, amount) = (self.rng.random::<u32>(), self.rng.random_range(0..100_000));
            message.push_str(&format!("{{\"id\":{id},\"amount\":{amount},\"currency\":\"EUR\"}},"));
        }
        message.push_str("{}]");
        BASE64_STANDARD.encode(message)
    }
}
