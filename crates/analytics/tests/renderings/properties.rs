//! What holds for any record.

use analytics::{
    Flag, Float, Int, Text, Time, When, Zone, csv, dump,
    field::{LEAVES, Store},
    gotime, json,
    record::PathItem,
};
use proptest::{collection::vec, prelude::*};

use crate::sample::Sample;

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..20),
        ".{0,20}".prop_map(String::into_bytes),
        r#"[ ,"\r\n\t;:\\.a<]{0,20}"#.prop_map(String::into_bytes),
        "[a-z/,]{10,60}".prop_map(String::into_bytes),
    ]
}

fn time() -> impl Strategy<Value = Time> {
    let zone = prop_oneof![
        Just(Zone::UTC),
        Just(Zone::named(b"Europe/London").unwrap()),
        Just(Zone::named(b"Australia/Lord_Howe").unwrap()),
    ];
    let seconds = prop_oneof![
        8 => -62_135_596_800..253_402_300_800i64,
        1 => any::<i64>(),
    ];
    (seconds, 0..1_000_000_000u32, zone).prop_map(|(seconds, nanos, zone)| Time { seconds, nanos, zone })
}

fn path_item() -> impl Strategy<Value = PathItem> {
    let leaf = prop_oneof![
        Just(PathItem::Null),
        any::<bool>().prop_map(PathItem::Bool),
        (i64::MIN..0).prop_map(PathItem::Int),
        any::<u64>().prop_map(PathItem::Uint),
        prop::num::f64::NORMAL.prop_map(PathItem::Float),
    ];
    leaf.prop_recursive(3, 12, 4, |item| {
        prop_oneof![
            4 => vec(item.clone(), 0..4).prop_map(PathItem::List),
            1 => vec((item.clone(), item), 0..3).prop_map(PathItem::Map),
        ]
    })
}

fn sample() -> impl Strategy<Value = Sample> {
    let float = prop_oneof![8 => prop::num::f64::NORMAL | prop::num::f64::ZERO, 1 => any::<f64>()];
    (
        vec(bytes(), Text::COUNT),
        vec(any::<i64>(), Int::COUNT),
        vec(float, Float::COUNT),
        vec(time(), When::COUNT),
        vec(any::<bool>(), Flag::COUNT),
        prop::option::of(vec(bytes(), 0..5)),
        prop::option::of(prop::collection::btree_map(bytes(), bytes(), 0..4)),
        prop::option::of(vec(path_item(), 0..4)),
    )
        .prop_map(|(texts, ints, floats, times, flags, tags, names, path)| {
            let mut sample = Sample::default();
            for (field, text) in Text::ALL.iter().zip(texts) {
                sample.text(*field, text);
            }
            sample.record.int.copy_from_slice(&ints);
            sample.record.float.copy_from_slice(&floats);
            sample.record.time.copy_from_slice(&times);
            sample.record.flag.copy_from_slice(&flags);
            if let Some(tags) = tags {
                sample.tags(&tags);
            }
            if let Some(names) = names {
                sample.city_names(&Vec::from_iter(names));
            }
            sample.error("broken", path);
            sample
        })
}

/// Reads one row as RFC 4180 has it, line breaks inside quotes as they are.
fn parse_row(row: &[u8]) -> Vec<Vec<u8>> {
    let (mut fields, mut field, mut rest) = (Vec::new(), Vec::new(), row);
    loop {
        let mut quoted = rest.first() == Some(&b'"');
        if quoted {
            rest = &rest[1..];
        }
        loop {
            match (quoted, rest) {
                (true, [b'"', b'"', after @ ..]) => {
                    field.push(b'"');
                    rest = after;
                }
                (true, [b'"', after @ ..]) => {
                    quoted = false;
                    rest = after;
                }
                (false, [b',' | b'\n', ..]) => break,
                (_, [byte, after @ ..]) => {
                    field.push(*byte);
                    rest = after;
                }
                (_, []) => panic!("the row ends inside a field"),
            }
        }
        fields.push(std::mem::take(&mut field));
        if rest == b"\n" {
            return fields;
        }
        assert_eq!(rest[0], b',');
        rest = &rest[1..];
    }
}

fn has_map(item: &PathItem) -> bool {
    match item {
        PathItem::Map(_) => true,
        PathItem::List(items) => items.iter().any(has_map),
        _ => false,
    }
}

proptest! {
    #[test]
    fn csv_rows_read_back_as_the_same_fields(sample in sample()) {
        let view = sample.view();
        let mut row = Vec::new();
        csv::write_row(&mut row, &view);
        let fields = parse_row(&row);
        let columns: Vec<_> = LEAVES.iter().filter(|info| info.csv.is_some()).collect();
        prop_assert_eq!(fields.len(), columns.len());
        for (column, field) in columns.into_iter().zip(fields) {
            let expected = match column.store {
                Store::Text(text) => view.text(text).into_owned(),
                Store::Tags => view.tags().map(|tags| tags.collect::<Vec<_>>().join(&b';')).unwrap_or_default(),
                Store::CityNames => {
                    let pairs = view.city_names().into_iter().flatten();
                    pairs.map(|(language, name)| [language, b":", name].concat()).collect::<Vec<_>>().join(&b';')
                }
                Store::Time(when) => {
                    let mut text = Vec::new();
                    gotime::write_text(&mut text, view.time(when));
                    text
                }
                _ => continue,
            };
            prop_assert_eq!(field, expected, "{}", column.go);
        }
    }

    #[test]
    fn json_is_valid_or_not_there(sample in sample()) {
        let view = sample.view();
        let mut out = b"before".to_vec();
        let written = json::write_record(&mut out, &view);
        let finite = sample.record.float.iter().all(|value| value.is_finite());
        let in_range = sample.record.time.iter().all(|&time| (0..=9999).contains(&gotime::Civil::of(time).year));
        let rare = sample.record.rare.as_deref().unwrap();
        let mut path = rare.errors.iter().flatten().flat_map(|error| error.path.iter().flatten());
        prop_assert_eq!(written.is_ok(), finite && in_range && !path.any(has_map));
        if written.is_err() {
            prop_assert_eq!(out, b"before");
            return Ok(());
        }
        let parsed: serde_json::Value = serde_json::from_slice(&out[6..]).unwrap();
        for info in analytics::FIELDS {
            let Some(key) = info.json else { continue };
            match info.store {
                Store::Text(text) => {
                    if let Ok(text) = str::from_utf8(&view.text(text)) {
                        prop_assert_eq!(parsed[key].as_str(), Some(text));
                    }
                }
                Store::Int(int, _) => prop_assert_eq!(parsed[key].as_i64(), Some(view.int(int))),
                _ => prop_assert!(parsed.get(key).is_some()),
            }
        }
        // The parser above may be wrong in the last digit of a float.
        let text = String::from_utf8(out).unwrap();
        let (_, latitude) = text.rsplit_once("\"latitude\":").unwrap();
        let latitude = latitude.split(',').next().unwrap();
        prop_assert_eq!(latitude.parse(), Ok(view.float(Float::Latitude)));
    }

    #[test]
    fn every_record_has_a_dump(sample in sample()) {
        let mut out = Vec::new();
        dump::write_record(&mut out, &sample.view());
        let is_whole = out.starts_with(b"{ ") && out.ends_with(b" }");
        prop_assert!(is_whole);
    }
}
