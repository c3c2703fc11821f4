//! Encoders write what gateways write.

use analytics::{Flag, Int, RecordView, Span, Text, Time, Transform, When, Zone, msgpack, protobuf, record::Builder};

use super::{decode, hex, messages, rendered, vectors};

fn at(seconds: i64, nanos: u32, zone: Zone) -> Time {
    Time { seconds, nanos, zone }
}

fn message(builder: &Builder) -> Vec<u8> {
    let mut out = Vec::new();
    protobuf::encode(&mut out, &builder.view()).unwrap();
    out
}

fn input(cases: &[(&str, &str, &str)], title: &str) -> Vec<u8> {
    let (_, input, _) = cases.iter().find(|(name, ..)| name.starts_with(title)).unwrap();
    hex(input)
}

#[test]
fn full_msgpack_records_come_back_byte_for_byte() {
    for title in ["R01", "R02"] {
        let want = input(vectors::ACCEPTED, title);
        let (buffer, record) = decode(msgpack::decode, &want).unwrap();
        let mut out = Vec::new();
        msgpack::encode(&mut out, &RecordView::new(&buffer, &record, &Transform::NONE));
        assert_eq!(out, want, "{title}");
    }
}

#[test]
fn sparse_msgpack_records_keep_their_values() {
    for (title, input, _) in vectors::ACCEPTED {
        let (buffer, record) = decode(msgpack::decode, &hex(input)).unwrap();
        let mut out = Vec::new();
        msgpack::encode(&mut out, &RecordView::new(&buffer, &record, &Transform::NONE));
        let (again, second) = decode(msgpack::decode, &out).unwrap();
        assert_eq!(rendered(&again, second), rendered(&buffer, record), "{title}");
    }
}

#[test]
fn protobuf_messages_come_back_byte_for_byte() {
    for title in ["P01", "P05", "P06"] {
        let want = input(messages::ACCEPTED, title);
        let (buffer, record) = decode(protobuf::decode, &want).unwrap();
        let mut out = Vec::new();
        protobuf::encode(&mut out, &RecordView::new(&buffer, &record, &Transform::NONE)).unwrap();
        assert_eq!(out, want, "{title}");
    }
}

#[test]
fn a_zero_record_has_its_messages_and_its_zone() {
    assert_eq!(message(&Builder::new()), input(messages::ACCEPTED, "P01"));
}

#[test]
fn a_message_has_its_fields_in_the_order_of_their_numbers() {
    let mut builder = Builder::new();
    builder
        .text(Text::Method, "GET")
        .text(Text::Path, "/x")
        .text(Text::ApiId, "a1")
        .text(Text::OrgId, "o1")
        .int(Int::Day, 14)
        .int(Int::Month, 11)
        .int(Int::Year, 2023)
        .int(Int::Hour, 22)
        .int(Int::ResponseCode, 200)
        .int(Int::LatencyTotal, 12)
        .int(Int::LatencyUpstream, 9)
        .int(Int::LatencyGateway, 3)
        .int(Int::GeoNameId, 7)
        .int(Int::NetworkClosedConnections, 2)
        .city_names([("en", "L")])
        .tags(["x", "y"])
        .time(When::TimeStamp, at(1_700_000_000, 500_000_000, Zone::UTC))
        .time(When::ExpireAt, at(1_700_600_000, 0, Zone::UTC));
    assert_eq!(message(&builder), input(messages::ACCEPTED, "P02"));
    builder.time(
        When::TimeStamp,
        at(1_690_000_000, 0, Zone::named(b"Europe/London").unwrap()),
    );
    assert_eq!(message(&builder), input(messages::ACCEPTED, "P03"));
}

#[test]
fn integers_beyond_32_bits_are_cut() {
    let mut builder = Builder::new();
    builder
        .int(Int::Day, -1)
        .int(Int::ResponseCode, 1 << 40)
        .int(Int::GeoNameId, (1 << 33) + 5);
    assert_eq!(message(&builder), input(messages::ACCEPTED, "P12"));
}

#[test]
fn text_that_is_not_utf8_has_no_message() {
    let mut builder = Builder::new();
    builder.text(Text::Host, b"\xff");
    let error = protobuf::encode(&mut Vec::new(), &builder.view()).unwrap_err();
    assert_eq!(error.to_string(), "proto: field Host contains invalid UTF-8");
    assert!(!builder.view().is_utf8());
}

#[test]
fn options_show_in_what_is_encoded() {
    let mut builder = Builder::new();
    builder
        .text(Text::ApiKey, "secret")
        .text(Text::RawRequest, "R0VU")
        .flag(Flag::TrackPath, true);
    let (buffer, record) = builder.build();
    let (ignored, _) = Transform::parse_ignore_fields(&["api_key", "track_path"]);
    let transform = Transform {
        ignored,
        decode_request: true,
        ..Transform::NONE
    };
    let mut out = Vec::new();
    msgpack::encode(&mut out, &RecordView::new(&buffer, &record, &transform));
    let element = Span {
        start: 0,
        len: out.len() as u32,
    };
    let record = msgpack::decode(&out, element).unwrap();
    let view = RecordView::new(&out, &record, &Transform::NONE);
    assert_eq!(
        (view.text(Text::ApiKey), view.flag(Flag::TrackPath)),
        (b"".into(), false)
    );
    assert_eq!(view.text(Text::RawRequest), b"GET".as_slice());
}
