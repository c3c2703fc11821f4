//! Records of Timestream.

use std::borrow::Cow;

use analytics::{Float, Int, RecordView, Selection, Text, Time, When, json};

use super::Options;
use crate::{BuildError, transport::outbox::Parcels};

/// The longest text, and the size of the pieces of a response.
const LONGEST: usize = 2048;
/// Nanoseconds of a second.
const SECOND: i128 = 1_000_000_000;

#[rustfmt::skip]
const DIMENSIONS: &[(&str, Text)] = &[
    ("Method", Text::Method), ("Host", Text::Host), ("Path", Text::Path), ("RawPath", Text::RawPath),
    ("APIKey", Text::ApiKey), ("APIVersion", Text::ApiVersion), ("APIName", Text::ApiName), ("APIID", Text::ApiId),
    ("OrgID", Text::OrgId), ("OauthID", Text::OauthId),
];

/// Where a measure has its value from.
#[derive(Clone, Copy, PartialEq)]
enum Measure {
    Int(Int),
    /// An integer without a sign.
    Unsigned(Int),
    Float(Float),
    Text(Text),
    /// A header of the response.
    Limit(&'static str),
    Country,
    City,
    Response,
}

#[rustfmt::skip]
const MEASURES: &[(&str, Measure)] = &[
    ("ContentLength", Measure::Int(Int::ContentLength)),
    ("ResponseCode", Measure::Int(Int::ResponseCode)),
    ("RequestTime", Measure::Int(Int::RequestTime)),
    ("NetworkStats.OpenConnections", Measure::Int(Int::NetworkOpenConnections)),
    ("NetworkStats.ClosedConnection", Measure::Int(Int::NetworkClosedConnections)),
    ("NetworkStats.BytesIn", Measure::Int(Int::NetworkBytesIn)),
    ("NetworkStats.BytesOut", Measure::Int(Int::NetworkBytesOut)),
    ("Latency.Total", Measure::Int(Int::LatencyTotal)),
    ("Latency.Upstream", Measure::Int(Int::LatencyUpstream)),
    ("RateLimit.Limit", Measure::Limit("x-ratelimit-limit")),
    ("Ratelimit.Remaining", Measure::Limit("x-ratelimit-remaining")),
    ("Ratelimit.Reset", Measure::Limit("x-ratelimit-reset")),
    ("GeoData.City.GeoNameID", Measure::Unsigned(Int::GeoNameId)),
    ("GeoData.Location.Latitude", Measure::Float(Float::Latitude)),
    ("GeoData.Location.Longitude", Measure::Float(Float::Longitude)),
    ("UserAgent", Measure::Text(Text::UserAgent)),
    ("RawRequest", Measure::Text(Text::RawRequest)),
    ("IPAddress", Measure::Text(Text::IpAddress)),
    ("GeoData.Country.ISOCode", Measure::Country),
    ("GeoData.City.Names", Measure::City),
    ("GeoData.Location.TimeZone", Measure::Text(Text::GeoLocationTimeZone)),
    ("RawResponse", Measure::Response),
];

/// Makes records of records.
pub(super) struct Encoder {
    /// Name and source.
    dimensions: Vec<(String, Text)>,
    measures: Vec<(String, Measure)>,
    /// Names of the response's pieces, and of their number.
    response: Option<(String, String)>,
    reads_limits: bool,
    reads_geo: bool,
    writes_zeros: bool,
}

impl Encoder {
    /// `exact`: names in another case are unknown, as with upstream; `warn` hears of unknown ones.
    pub(super) fn new(options: &Options, exact: bool, warn: impl Fn(String)) -> Result<Encoder, BuildError> {
        for (key, names) in [("dimensions", &options.dimensions), ("measures", &options.measures)] {
            if names.is_empty() {
                return Err(BuildError::Options(format!(
                    "meta.{key} is missing – name at least one"
                )));
            }
        }
        let mapped = |name: &str| {
            options
                .field_name_mappings
                .get(name)
                .cloned()
                .unwrap_or_else(|| name.to_owned())
        };
        let mut measures = chosen("measures", &options.measures, MEASURES, exact, &warn);
        let before = measures.len();
        measures.retain(|(_, measure)| *measure != Measure::Response);
        let has_response = measures.len() < before;
        Ok(Encoder {
            dimensions: chosen("dimensions", &options.dimensions, DIMENSIONS, exact, &warn)
                .into_iter()
                .map(|(name, text)| (mapped(name), text))
                .collect(),
            measures: measures
                .into_iter()
                .map(|(name, measure)| (mapped(name), measure))
                .collect(),
            response: has_response.then(|| (mapped("RawResponse"), mapped("RawResponseSize"))),
            reads_limits: options.write_rate_limit,
            reads_geo: options.read_geo_from_request,
            writes_zeros: options.write_zero_values,
        })
    }

    pub(super) fn pack(&self, group: &[Selection], parcels: &mut Parcels) {
        for (row, record) in group.iter().flat_map(Selection::records) {
            parcels.write(row, |out| self.write(out, &record));
        }
    }

    /// `Ok(false)`: there is nothing to write.
    pub(super) fn write(&self, out: &mut Vec<u8>, record: &RecordView<'_>) -> Result<bool, String> {
        let time = nanoseconds(record.time(When::TimeStamp))?;
        let mut list = List::new(out, b"{\"Dimensions\":[");
        for (name, text) in &self.dimensions {
            let text = record.text(*text);
            if !text.is_empty() {
                list.add(name, DIMENSION, &text);
            }
        }
        let dimensions = list.items;
        list.out
            .extend_from_slice(b"],\"MeasureName\":\"request_metrics\",\"MeasureValueType\":\"MULTI\",");
        let mut list = List::new(out, b"\"MeasureValues\":[");
        let mut limits = None;
        for (name, measure) in &self.measures {
            match *measure {
                Measure::Int(int) => self.add_number(&mut list, name, record.int(int)),
                Measure::Unsigned(int) => match record.int(int) as u64 {
                    0 if !self.writes_zeros => {}
                    number => list.add(name, BIGINT, number.to_string().as_bytes()),
                },
                Measure::Float(float) => match record.float(float) {
                    number if (number == 0.0 && !self.writes_zeros) || !number.is_finite() => {}
                    number => list.add(name, DOUBLE, number.to_string().as_bytes()),
                },
                Measure::Text(text) => list.add_text(name, &record.text(text)),
                Measure::Limit(header) if self.reads_limits => {
                    let response = limits.get_or_insert_with(|| message(record, Text::RawResponse));
                    let number = self::header(response, header).and_then(|value| value.parse().ok());
                    if let Some(number) = number {
                        self.add_number(&mut list, name, number);
                    }
                }
                Measure::Limit(_) => {}
                Measure::Country => {
                    let country = record.text(Text::GeoCountryIsoCode);
                    self.add_place(&mut list, name, country, record, "cloudfront-viewer-country");
                }
                Measure::City => self.add_place(&mut list, name, cities(record), record, "cloudfront-viewer-city"),
                // Behind all others.
                Measure::Response => {}
            }
        }
        if let Some((name, size)) = &self.response {
            let response = record.text(Text::RawResponse);
            let pieces = pieces(&response);
            list.add(size, BIGINT, pieces.len().to_string().as_bytes());
            for (at, piece) in pieces.into_iter().enumerate() {
                list.add(&format!("{name}{at}"), VARCHAR, piece.as_bytes());
            }
        }
        let measures = list.items;
        list.out
            .extend_from_slice(format!("],\"Time\":\"{time}\",\"TimeUnit\":\"NANOSECONDS\"}}").as_bytes());
        Ok(dimensions > 0 && measures > 0)
    }

    fn add_number(&self, list: &mut List<'_>, name: &str, number: i64) {
        if number != 0 || self.writes_zeros {
            list.add(name, BIGINT, number.to_string().as_bytes());
        }
    }

    /// Country or city, of the record or of a header of its request.
    fn add_place(&self, list: &mut List<'_>, name: &str, own: Cow<'_, [u8]>, record: &RecordView<'_>, header: &str) {
        if !own.is_empty() || !self.reads_geo {
            return list.add_text(name, &own);
        }
        let request = message(record, Text::RawRequest);
        if let Some(value) = self::header(&request, header) {
            list.add_text(name, value.as_bytes());
        }
    }
}

/// The names of `given` that are known, each once, with what they mean.
fn chosen<T: Copy>(
    key: &str,
    given: &[String],
    known: &[(&'static str, T)],
    exact: bool,
    warn: impl Fn(String),
) -> Vec<(&'static str, T)> {
    let mut chosen: Vec<(&'static str, T)> = Vec::new();
    for name in given {
        let is_meant = |(known, _): &&(&'static str, T)| match exact {
            true => *known == name,
            false => known.eq_ignore_ascii_case(name),
        };
        match known.iter().find(is_meant) {
            None => warn(format!("meta.{key}: \"{name}\" is no name of one, and is left out")),
            Some((known, _)) if chosen.iter().any(|(name, _)| name == known) => {}
            Some(found) => chosen.push(*found),
        }
    }
    chosen
}

/// Member that says of which kind a value is.
const BIGINT: &[u8] = b",\"Type\":\"BIGINT\"";
const DOUBLE: &[u8] = b",\"Type\":\"DOUBLE\"";
const VARCHAR: &[u8] = b",\"Type\":\"VARCHAR\"";
/// The same, of a dimension.
const DIMENSION: &[u8] = b",\"DimensionValueType\":\"VARCHAR\"";

/// A list of names and values.
struct List<'a> {
    out: &'a mut Vec<u8>,
    items: usize,
}

impl<'a> List<'a> {
    fn new(out: &'a mut Vec<u8>, before: &[u8]) -> List<'a> {
        out.extend_from_slice(before);
        List { out, items: 0 }
    }

    fn add(&mut self, name: &str, kind: &[u8], value: &[u8]) {
        if self.items > 0 {
            self.out.push(b',');
        }
        self.items += 1;
        self.out.extend_from_slice(b"{\"Name\":");
        json::write_string(self.out, name.as_bytes());
        self.out.extend_from_slice(kind);
        self.out.extend_from_slice(b",\"Value\":");
        json::write_string(self.out, cut(value).as_bytes());
        self.out.push(b'}');
    }

    fn add_text(&mut self, name: &str, value: &[u8]) {
        if !value.is_empty() {
            self.add(name, VARCHAR, value);
        }
    }
}

/// As much of a text as the service takes, up to the end of a character.
fn cut(text: &[u8]) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(text);
    if text.len() <= LONGEST {
        return text;
    }
    text.get(..text.floor_char_boundary(LONGEST))
        .unwrap_or_default()
        .to_owned()
        .into()
}

/// A response in pieces that end with a character.
fn pieces(text: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(text);
    let (mut pieces, mut rest) = (Vec::new(), text.as_ref());
    while !rest.is_empty() {
        let (piece, after) = rest.split_at(rest.floor_char_boundary(LONGEST.min(rest.len())));
        pieces.push(piece.to_owned());
        rest = after;
    }
    pieces
}

/// Names of the client's city: `de:Wien;en:Vienna`.
fn cities<'a>(record: &RecordView<'a>) -> Cow<'a, [u8]> {
    let mut joined = Vec::new();
    for (language, name) in record.city_names().into_iter().flatten() {
        if !joined.is_empty() {
            joined.push(b';');
        }
        joined.extend_from_slice(language);
        joined.push(b':');
        joined.extend_from_slice(name);
    }
    joined.into()
}

/// A recorded request or response without its base64, if it has one.
fn message<'a>(record: &RecordView<'a>, text: Text) -> Cow<'a, [u8]> {
    match record.plain_body(text) {
        Ok(plain) | Err(plain) => plain,
    }
}

/// The first value of a header of a message whose head is whole; `name` in small letters.
fn header<'a>(message: &'a [u8], name: &str) -> Option<&'a str> {
    let ends = [&b"\r\n\r\n"[..], b"\n\n"];
    let end = ends
        .iter()
        .filter_map(|end| message.windows(end.len()).position(|window| window == *end))
        .min()?;
    let head = std::str::from_utf8(message.get(..end)?).ok()?;
    let mut lines = head.lines();
    if !lines.next()?.contains("HTTP/1.") {
        return None;
    }
    let mut headers = lines.filter_map(|line| line.split_once(':'));
    let found = headers.find(|(key, _)| key.eq_ignore_ascii_case(name));
    found.map(|(_, value)| value.trim())
}

fn nanoseconds(time: Time) -> Result<i64, String> {
    let wide = i128::from(time.seconds) * SECOND + i128::from(time.nanos);
    let small = i64::try_from(wide).ok().filter(|_| time != Time::ZERO);
    small.ok_or_else(|| "the record's time is beyond what Timestream can say".to_owned())
}
