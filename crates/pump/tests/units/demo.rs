//! Demo records: what they hold, when they happened, and that a seed repeats them.

use std::collections::{BTreeMap, BTreeSet};

use analytics::{Flag, Int, Record, RecordView, Span, Text, Transform, When, msgpack};
use bytes::Bytes;
use jiff::{Timestamp, civil::date};
use tyk_pump::demo::{DemoOptions, Hour, hours_from};

/// 2026-03-01T00:00:00Z
const TODAY: i64 = 1_772_323_200;
const DAY: i64 = 86_400;

fn made(options: &DemoOptions) -> Vec<Hour> {
    let now = Timestamp::new(TODAY + 12 * 3600, 500).unwrap();
    hours_from(options, date(2026, 3, 1), now).collect()
}

fn options(days: i64, records_per_hour: i64) -> DemoOptions {
    DemoOptions {
        org: "org1".to_owned(),
        days,
        records_per_hour,
        seed: Some(1),
        ..DemoOptions::default()
    }
}

struct Decoded {
    buffer: Bytes,
    record: Record,
}

impl Decoded {
    fn of(element: &Bytes) -> Decoded {
        let span = Span {
            start: 0,
            len: element.len() as u32,
        };
        Decoded {
            buffer: element.clone(),
            record: msgpack::decode(element, span).unwrap(),
        }
    }

    fn text(&self, field: Text) -> String {
        let transform = Transform::default();
        let view = RecordView::new(&self.buffer, &self.record, &transform);
        String::from_utf8(view.text(field).into_owned()).unwrap()
    }

    fn int(&self, field: Int) -> i64 {
        self.record.int[field as usize]
    }

    fn seconds(&self, field: When) -> i64 {
        self.record.time[field as usize].seconds
    }

    fn tags(&self) -> Vec<String> {
        let tags = self.record.tags.iter().flatten();
        tags.map(|tag| String::from_utf8(tag.of(&self.buffer).to_vec()).unwrap())
            .collect()
    }
}

fn records(hours: &[Hour]) -> Vec<Decoded> {
    hours.iter().flat_map(|hour| &hour.elements).map(Decoded::of).collect()
}

#[test]
fn days_end_yesterday_or_begin_today_and_each_closes_with_its_number() {
    let past = made(&options(3, 1));
    let times: Vec<i64> = records(&past)
        .iter()
        .map(|record| record.seconds(When::TimeStamp))
        .collect();
    let want: Vec<i64> = (0..72).map(|hour| TODAY - 3 * DAY + hour * 3600).collect();
    assert_eq!(times, want);
    let closed: Vec<_> = past
        .iter()
        .enumerate()
        .filter_map(|(i, hour)| Some((i, hour.last_of_day?)))
        .collect();
    assert_eq!(closed, [(23, (1, 3)), (47, (2, 3)), (71, (3, 3))]);

    let future = DemoOptions {
        future: true,
        ..options(2, 1)
    };
    let times: Vec<i64> = records(&made(&future))
        .iter()
        .map(|record| record.seconds(When::TimeStamp))
        .collect();
    assert_eq!((times.len(), times[0], times[47]), (48, TODAY, TODAY + 2 * DAY - 3600));

    assert!(made(&options(0, 1)).is_empty() && made(&options(-5, 1)).is_empty());
}

#[test]
fn records_are_spread_over_the_hour_in_whole_seconds() {
    for (volume, spacing) in [(2, 1800), (7, 514), (3600, 1), (3601, 0)] {
        let hours = made(&options(1, volume));
        let first: Vec<i64> = records(&hours[..1])
            .iter()
            .map(|record| record.seconds(When::TimeStamp))
            .collect();
        let want: Vec<i64> = (0..volume).map(|index| TODAY - DAY + index * spacing).collect();
        assert_eq!(first, want, "{volume} an hour");
    }
}

#[test]
fn without_a_volume_every_hour_has_between_300_and_499_records() {
    let hours = made(&options(10, 0));
    let volumes: BTreeSet<usize> = hours.iter().map(|hour| hour.elements.len()).collect();
    assert!(volumes.iter().all(|volume| (300..500).contains(volume)), "{volumes:?}");
    assert!(volumes.len() > 50, "hours differ");
}

#[test]
fn fields_follow_their_distributions() {
    let all = records(&made(&options(1, 1000)));
    assert_eq!(all.len(), 24_000);
    let mut values: BTreeMap<&str, BTreeMap<String, usize>> = BTreeMap::new();
    for record in &all {
        let path = record.text(Text::Path);
        assert_eq!(path, record.text(Text::RawPath));
        let segments = path.split('/').count() - 1;
        for (name, value) in [
            ("method", record.text(Text::Method)),
            ("segments", segments.to_string()),
            ("agent", record.text(Text::UserAgent)),
            ("code", record.int(Int::ResponseCode).to_string()),
            ("key", record.text(Text::ApiKey)),
            (
                "api",
                format!("{} {}", record.text(Text::ApiId), record.text(Text::ApiName)),
            ),
            ("country", record.text(Text::GeoCountryIsoCode)),
            ("request time", record.int(Int::RequestTime).to_string()),
            ("length", record.int(Int::ContentLength).to_string()),
        ] {
            *values.entry(name).or_default().entry(value).or_default() += 1;
        }
        assert_eq!(record.text(Text::ApiVersion), "Default");
        assert_eq!(record.text(Text::OrgId), "org1");
        assert_eq!(record.text(Text::RawRequest), "Qk9EWSBEQVRB");
        assert_eq!(record.text(Text::RawResponse), "UkVTUE9OU0UgREFUQQ==");
        assert_eq!(record.text(Text::IpAddress), "118.93.55.103");
        assert_eq!(
            record.tags(),
            ["orgid-org1".to_owned(), format!("apiid-{}", record.text(Text::ApiId))]
        );
        assert_eq!(record.seconds(When::ExpireAt), TODAY + 12 * 3600 + 8760 * 3600);
        assert!(!record.record.flag[Flag::TrackPath as usize]);
        let hour = (record.seconds(When::TimeStamp) - (TODAY - DAY)) / 3600;
        let date = [Int::Day, Int::Month, Int::Year, Int::Hour].map(|field| record.int(field));
        assert_eq!(date, [28, 2, 2026, hour]);
    }
    let even = |name: &str, number: usize| {
        let counts = &values[name];
        assert_eq!(counts.len(), number, "{name}");
        let mean = 24_000.0 / number as f64;
        for (value, &count) in counts {
            // Six standard deviations.
            assert!(
                (count as f64 - mean).abs() < 6.0 * mean.sqrt(),
                "{name} {value}: {count} of about {mean}"
            );
        }
    };
    even("method", 6);
    even("segments", 2);
    even("agent", 8);
    even("key", 50);
    even("api", 3);
    even("country", 3);
    even("request time", 10);
    even("length", 999);
    let codes = &values["code"];
    assert_eq!(codes.keys().collect::<Vec<_>>(), ["200", "403", "500"]);
    assert!((18_800..19_600).contains(&codes["200"]), "{codes:?}");
    assert!(
        (2_100..2_700).contains(&codes["403"]) && (2_100..2_700).contains(&codes["500"]),
        "{codes:?}"
    );
    for key in values["key"].keys() {
        let uuid = key.strip_prefix("org1").unwrap();
        let (version, variant) = (&uuid[12..13], &uuid[16..17]);
        assert!(uuid.len() == 32 && version == "4" && "89ab".contains(variant), "{key}");
        assert!(
            uuid.bytes()
                .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)),
            "{key}"
        );
    }
}

#[test]
fn a_fixed_api_has_its_own_name_and_version() {
    let fixed = DemoOptions {
        api: Some("api1".to_owned()),
        api_version: "v7".to_owned(),
        track_path: true,
        ..options(1, 1)
    };
    for record in records(&made(&fixed)) {
        assert_eq!(record.text(Text::ApiId), "api1");
        assert_eq!(record.text(Text::ApiName), "Foo Bar");
        assert_eq!(record.text(Text::ApiVersion), "v7");
        assert_eq!(record.tags(), ["orgid-org1", "apiid-api1"]);
        assert!(record.record.flag[Flag::TrackPath as usize]);
    }
}

#[test]
fn a_seed_repeats_every_byte_and_no_seed_repeats_nothing() {
    let elements = |seed| {
        let seeded = DemoOptions { seed, ..options(1, 0) };
        made(&seeded)
            .into_iter()
            .flat_map(|hour| hour.elements)
            .collect::<Vec<_>>()
    };
    assert_eq!(elements(Some(7)), elements(Some(7)));
    assert_ne!(elements(Some(7)), elements(Some(8)));
    assert_ne!(elements(None), elements(None));
}
