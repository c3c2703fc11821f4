//! Whatever the bytes are: no panic, no endless recursion, and nothing lost on the way out and in again.

use analytics::{
    Flag, Float, Int, Text, Time, When, Zone, msgpack, protobuf,
    record::{Builder, GraphError, PathItem},
};
use proptest::{collection::vec, option, prelude::*};

use super::{RecordView, Transform, decode, framed, hex, vectors};

fn bytes() -> BoxedStrategy<Vec<u8>> {
    prop_oneof![vec(any::<u8>(), 0..40), Just(vec![b'x'; 300]), Just(Vec::new())].boxed()
}

fn text() -> BoxedStrategy<Vec<u8>> {
    any::<String>().prop_map(String::into_bytes).boxed()
}

#[derive(Debug, Clone)]
enum Item {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    List(Vec<Item>),
    Map(Vec<(Item, Item)>),
}

impl Item {
    fn keep(&self, builder: &mut Builder) -> PathItem {
        match self {
            Item::Null => PathItem::Null,
            Item::Bool(value) => PathItem::Bool(*value),
            Item::Int(value) if *value >= 0 => PathItem::Uint(*value as u64),
            Item::Int(value) => PathItem::Int(*value),
            Item::Float(value) => PathItem::Float(*value),
            Item::Text(text) => PathItem::Text(builder.keep(text)),
            Item::Bytes(bytes) => PathItem::Bytes(builder.keep(bytes)),
            Item::List(items) => PathItem::List(items.iter().map(|item| item.keep(builder)).collect()),
            Item::Map(pairs) => PathItem::Map(
                pairs
                    .iter()
                    .map(|(key, value)| (key.keep(builder), value.keep(builder)))
                    .collect(),
            ),
        }
    }
}

fn item() -> impl Strategy<Value = Item> {
    let leaf = prop_oneof![
        Just(Item::Null),
        any::<bool>().prop_map(Item::Bool),
        any::<i64>().prop_map(Item::Int),
        any::<f64>().prop_map(Item::Float),
        bytes().prop_map(Item::Text),
        bytes().prop_map(Item::Bytes),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Item::List),
            vec((inner.clone(), inner), 0..4).prop_map(Item::Map),
        ]
    })
}

fn time() -> impl Strategy<Value = Time> {
    (any::<i64>(), 0..1_000_000_000u32).prop_map(|(seconds, nanos)| Time {
        seconds,
        nanos,
        zone: Zone::LOCAL,
    })
}

/// Records whose texts come from `texts`, with everything that both formats carry.
fn records(texts: BoxedStrategy<Vec<u8>>) -> impl Strategy<Value = Builder> {
    let scalars = (
        vec(texts.clone(), Text::COUNT),
        vec(prop_oneof![any::<i32>().prop_map(i64::from), any::<i64>()], Int::COUNT),
        vec(any::<f64>(), Float::COUNT),
        vec(time(), When::COUNT),
        vec(any::<bool>(), Flag::COUNT),
    );
    let lists = (
        option::of(vec(texts.clone(), 0..7)),
        option::of(vec((texts.clone(), texts.clone()), 0..4)),
        option::of(vec(texts.clone(), 0..4)),
        option::of(vec((texts.clone(), option::of(vec(texts.clone(), 0..3))), 0..4)),
        option::of(vec((texts, option::of(vec(item(), 0..4))), 0..3)),
    );
    (scalars, lists).prop_map(
        |((texts, ints, floats, times, flags), (tags, names, roots, types, errors))| {
            let mut builder = Builder::new();
            for (&field, value) in Text::ALL.iter().zip(texts) {
                builder.text(field, value);
            }
            for (&field, value) in Int::ALL.iter().zip(ints) {
                builder.int(field, value);
            }
            for (&field, value) in Float::ALL.iter().zip(floats) {
                builder.float(field, value);
            }
            for (&field, value) in When::ALL.iter().zip(times) {
                builder.time(field, value);
            }
            for (&field, value) in Flag::ALL.iter().zip(flags) {
                builder.flag(field, value);
            }
            if let Some(tags) = tags {
                builder.tags(tags);
            }
            if let Some(names) = names {
                builder.city_names(names);
            }
            if let Some(roots) = roots {
                builder.root_fields(roots);
            }
            if let Some(types) = types {
                builder.types(types);
            }
            if let Some(errors) = errors {
                let errors = errors
                    .iter()
                    .map(|(message, path)| GraphError {
                        message: builder.keep(message),
                        path: path
                            .as_ref()
                            .map(|items| items.iter().map(|item| item.keep(&mut builder)).collect()),
                    })
                    .collect();
                builder.errors(errors);
            }
            builder
        },
    )
}

fn packed(builder: &Builder) -> Vec<u8> {
    let mut out = Vec::new();
    msgpack::encode(&mut out, &builder.view());
    out
}

proptest! {
    #[test]
    fn any_bytes_are_a_record_or_an_error(input in vec(any::<u8>(), 0..300)) {
        let (buffer, element) = framed(&input);
        let _ = msgpack::decode(&buffer, element);
        let _ = msgpack::decode_uptime(&buffer, element);
        let _ = protobuf::decode(&buffer, element);
    }

    #[test]
    fn any_change_of_a_record_is_a_record_or_an_error(at in 0..872usize, byte in any::<u8>()) {
        let mut input = hex(vectors::ACCEPTED[1].1);
        input[at] = byte;
        let (buffer, element) = framed(&input);
        if let Ok(record) = msgpack::decode(&buffer, element) {
            RecordView::new(&buffer, &record, &Transform::NONE).is_utf8();
        }
    }

    #[test]
    fn msgpack_loses_nothing(builder in records(bytes())) {
        let input = packed(&builder);
        let (buffer, record) = decode(msgpack::decode, &input).unwrap();
        let view = RecordView::new(&buffer, &record, &Transform::NONE);
        let mut again = Vec::new();
        msgpack::encode(&mut again, &view);
        prop_assert_eq!(again, input);
        for &field in Text::ALL {
            prop_assert_eq!(view.text(field), builder.view().text(field));
        }
        for &field in Int::ALL {
            prop_assert_eq!(view.int(field), builder.view().int(field));
        }
        for &field in When::ALL {
            prop_assert_eq!(view.time(field), builder.view().time(field));
        }
    }

    #[test]
    fn a_cut_msgpack_record_is_refused(builder in records(bytes()), cut in 0.0..1.0f64) {
        let input = packed(&builder);
        let len = (input.len() as f64 * cut) as usize;
        prop_assert!(decode(msgpack::decode, &input[..len]).is_err());
    }

    #[test]
    fn protobuf_loses_only_what_it_does_not_carry(builder in records(text())) {
        let mut input = Vec::new();
        protobuf::encode(&mut input, &builder.view()).unwrap();
        let (buffer, record) = decode(protobuf::decode, &input).unwrap();
        let view = RecordView::new(&buffer, &record, &Transform::NONE);
        let mut again = Vec::new();
        protobuf::encode(&mut again, &view).unwrap();
        let second = decode(protobuf::decode, &again).unwrap();
        let mut thrice = Vec::new();
        protobuf::encode(&mut thrice, &RecordView::new(&second.0, &second.1, &Transform::NONE)).unwrap();
        prop_assert_eq!(&thrice, &again);
        for text in [Text::Host, Text::Path, Text::RawResponse, Text::GeoLocationTimeZone, Text::ListenPath] {
            prop_assert_eq!(view.text(text), builder.view().text(text));
        }
        for int in [Int::ContentLength, Int::LatencyTotal, Int::NetworkBytesOut] {
            prop_assert_eq!(view.int(int), builder.view().int(int));
        }
        let tags: Option<Vec<_>> = builder.view().tags().map(Iterator::collect);
        prop_assert_eq!(view.tags().map(Iterator::collect), tags.filter(|tags: &Vec<_>| !tags.is_empty()));
        for &field in When::ALL {
            prop_assert_eq!(view.time(field), builder.view().time(field));
        }
    }

    #[test]
    fn a_cut_message_never_panics(builder in records(text()), cut in 0.0..1.0f64) {
        let mut input = Vec::new();
        protobuf::encode(&mut input, &builder.view()).unwrap();
        let len = (input.len() as f64 * cut) as usize;
        let _ = decode(protobuf::decode, &input[..len]);
    }
}

#[test]
fn deep_nesting_under_an_unknown_key_is_stepped_over() {
    for open in [b"\x91".as_slice(), b"\x81\xa0"] {
        let levels = 1_000_000;
        let mut input = b"\x82\xa1X".to_vec();
        input.extend(open.repeat(levels));
        input.extend(b"\xc0\xa6Method\xa3GET");
        let (buffer, record) = decode(msgpack::decode, &input).unwrap();
        let view = RecordView::new(&buffer, &record, &Transform::NONE);
        assert_eq!(view.text(Text::Method), b"GET".as_slice());
        assert!(decode(msgpack::decode, &input[..levels]).is_err());
    }
}

#[test]
fn deep_nesting_inside_an_error_path_is_refused() {
    let mut input = b"\x81\xacGraphQLStats\x81\xa6Errors\x91\x81\xa4Path".to_vec();
    input.extend(b"\x91".repeat(1_000_000));
    let error = decode(msgpack::decode, &input).unwrap_err().to_string();
    assert_eq!(error, "msgpack: nested deeper than 128 levels");
}

#[test]
fn deep_groups_of_unknown_fields_are_stepped_over() {
    let levels = 100_000;
    let input = [
        b"\xfb\x7f".repeat(levels),
        b"\xfc\x7f".repeat(levels),
        b"\x0a\x01a".to_vec(),
    ]
    .concat();
    let (buffer, record) = decode(protobuf::decode, &input).unwrap();
    let view = RecordView::new(&buffer, &record, &Transform::NONE);
    assert_eq!(view.text(Text::Host), b"a".as_slice());
}
