//! Records made in place.

use analytics::{
    Flag, Int, Record, RecordView, Span, Text, Time, Transform, When, Zone,
    record::{GraphError, PathItem},
};

static TRANSFORM: std::sync::LazyLock<Transform> = std::sync::LazyLock::new(Transform::default);

/// A record and the bytes that its spans point to.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample {
    pub(crate) buffer: Vec<u8>,
    pub(crate) record: Record,
}

impl Sample {
    pub(crate) fn view(&self) -> RecordView<'_> {
        RecordView::new(&self.buffer, &self.record, &TRANSFORM)
    }

    pub(crate) fn span(&mut self, bytes: &[u8]) -> Span {
        let start = self.buffer.len() as u32;
        self.buffer.extend_from_slice(bytes);
        Span {
            start,
            len: bytes.len() as u32,
        }
    }

    pub(crate) fn text(&mut self, field: Text, text: impl AsRef<[u8]>) {
        self.record.text[field as usize] = self.span(text.as_ref());
    }

    pub(crate) fn tags(&mut self, tags: &[impl AsRef<[u8]>]) {
        self.record.tags = Some(tags.iter().map(|tag| self.span(tag.as_ref())).collect());
    }

    pub(crate) fn city_names(&mut self, names: &[(impl AsRef<[u8]>, impl AsRef<[u8]>)]) {
        let names = names
            .iter()
            .map(|(language, name)| (self.span(language.as_ref()), self.span(name.as_ref())))
            .collect();
        self.record.rare.get_or_insert_default().city_names = Some(names);
    }

    pub(crate) fn error(&mut self, message: &str, path: Option<Vec<PathItem>>) {
        let message = self.span(message.as_bytes());
        let rare = self.record.rare.get_or_insert_default();
        rare.errors.get_or_insert_default().push(GraphError { message, path });
    }
}

/// An ordinary record of a POST request.
pub(crate) fn order(raw_request: &str, raw_response: &str) -> Sample {
    let mut sample = Sample::default();
    for (field, text) in [
        (Text::Method, "POST"),
        (Text::Host, "up.example.com"),
        (Text::Path, "/orders/{id}"),
        (Text::RawPath, "/orders/7"),
        (Text::UserAgent, "curl/8.5.0"),
        (Text::ApiKey, "00000000"),
        (Text::ApiVersion, "Non Versioned"),
        (Text::ApiName, "Orders, \"EU\""),
        (Text::ApiId, "a1b2"),
        (Text::OrgId, "o1"),
        (Text::RawRequest, raw_request),
        (Text::RawResponse, raw_response),
        (Text::IpAddress, "203.0.113.9"),
        (Text::GeoCountryIsoCode, "GB"),
        (Text::GeoLocationTimeZone, "Europe/London"),
        (Text::Alias, "bob"),
        (Text::OriginalPath, "/eu/orders/7"),
        (Text::ListenPath, "/eu/"),
    ] {
        sample.text(field, text);
    }
    for (field, value) in [
        (Int::ContentLength, -1),
        (Int::Day, 14),
        (Int::Month, 11),
        (Int::Year, 2023),
        (Int::Hour, 22),
        (Int::ResponseCode, 201),
        (Int::RequestTime, 12),
        (Int::GeoNameId, 2_643_743),
        (Int::LatencyTotal, 12),
        (Int::LatencyUpstream, 9),
        (Int::LatencyGateway, 3),
    ] {
        sample.record.int[field as usize] = value;
    }
    for (field, seconds, nanos) in [
        (When::TimeStamp, 1_700_000_000, 123_000_000),
        (When::ExpireAt, 1_700_600_000, 0),
    ] {
        sample.record.time[field as usize] = Time {
            seconds,
            nanos,
            zone: Zone::UTC,
        };
    }
    sample.record.float = [51.5142, -0.0931];
    sample.record.flag[Flag::TrackPath as usize] = true;
    sample.tags(&["key-00000000", "org-o1", "api-a1b2"]);
    sample.city_names(&[("de", "London"), ("en", "London"), ("zh-CN", "伦敦")]);
    sample
}
