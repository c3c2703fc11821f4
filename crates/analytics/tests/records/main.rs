//! What every input that gateways and others are known to send decodes to, and what must be refused.

// Helpers panic as tests do.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod encoding;
mod messages;
mod properties;
mod uptime;
mod vectors;
mod view;

use analytics::{DecodeError, Record, RecordView, Span, Transform, Zone, json, msgpack, protobuf};
use serde_json::Value;

const ZERO: &str = r#"{"method":"","host":"","path":"","raw_path":"","content_length":0,"user_agent":"","day":0,"month":0,"year":0,
    "hour":0,"response_code":0,"api_key":"","timestamp":"0001-01-01T00:00:00Z","api_version":"","api_name":"","api_id":"",
    "org_id":"","oauth_id":"","request_time":0,"raw_request":"","raw_response":"","ip_address":"","geo":{"country":{"iso_code":""},
    "city":{"geoname_id":0,"names":null},"location":{"latitude":0,"longitude":0,"time_zone":""}},
    "network":{"open_connections":0,"closed_connections":0,"bytes_in":0,"bytes_out":0},
    "latency":{"total":0,"upstream":0,"gateway":0},"tags":null,"alias":"","track_path":false,"expireAt":"0001-01-01T00:00:00Z",
    "api_schema":"","original_path":"","listen_path":"","graphql_stats":{"Variables":"","RootFields":null,"Types":null,
    "Errors":null,"OperationType":0,"HasErrors":false,"IsGraphQL":false},"mcp_stats":{"is_mcp":false,"jsonrpc_method":"",
    "primitive_type":"","primitive_name":""}}"#;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.chars().map(|digit| digit.to_digit(16).unwrap() as u8).collect();
    digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
}

/// Puts `input` between other bytes, as it stands in a batch.
fn framed(input: &[u8]) -> (Vec<u8>, Span) {
    let span = Span {
        start: 3,
        len: input.len() as u32,
    };
    ([b"$7\n", input, b"\xc3\xc3\xc3"].concat(), span)
}

type Decode = fn(&[u8], Span) -> Result<Record, DecodeError>;

fn decode(decode: Decode, input: &[u8]) -> Result<(Vec<u8>, Record), DecodeError> {
    let (buffer, element) = framed(input);
    decode(&buffer, element).map(|record| (buffer, record))
}

/// JSON of a record, with local times shown in UTC so that it does not depend on where the test runs.
fn rendered(buffer: &[u8], mut record: Record) -> String {
    for time in &mut record.time {
        if time.zone == Zone::LOCAL {
            time.zone = Zone::UTC;
        }
    }
    let mut out = Vec::new();
    json::write_record(&mut out, &RecordView::new(buffer, &record, &Transform::NONE)).unwrap();
    String::from_utf8(out).unwrap()
}

/// Puts the fields of `change` into `base`; only objects that `base` has are merged.
fn merge(base: &mut Value, change: Value) {
    match (base, change) {
        (Value::Object(base), Value::Object(change)) => {
            for (key, value) in change {
                merge(base.get_mut(&key).unwrap(), value);
            }
        }
        (base, change) => *base = change,
    }
}

fn assert_results(decoder: Decode, cases: &[(&str, &str, &str)]) {
    for (title, input, result) in cases {
        let mut want: Value = serde_json::from_str(ZERO).unwrap();
        merge(&mut want, serde_json::from_str(result).unwrap());
        let (buffer, record) = decode(decoder, &hex(input)).unwrap_or_else(|error| panic!("{title}: {error}"));
        let got: Value = serde_json::from_str(&rendered(&buffer, record)).unwrap();
        assert_eq!(got.to_string(), want.to_string(), "{title}");
    }
}

fn assert_rejected(decoder: Decode, cases: &[(&str, &str, &str)]) {
    for (title, input, reason) in cases {
        let error = decode(decoder, &hex(input)).expect_err(title).to_string();
        assert!(error.starts_with(reason), "{title}: {error}");
    }
}

#[test]
fn msgpack_inputs_have_the_results_of_the_reference() {
    assert_results(msgpack::decode, vectors::ACCEPTED);
}

#[test]
fn what_is_no_msgpack_record_is_refused_with_the_reason() {
    assert_rejected(msgpack::decode, vectors::REJECTED);
}

#[test]
fn protobuf_inputs_have_the_results_of_the_reference() {
    assert_results(protobuf::decode, messages::ACCEPTED);
}

#[test]
fn what_is_no_protobuf_record_is_refused_with_the_reason() {
    assert_rejected(protobuf::decode, messages::REJECTED);
}

#[test]
fn every_cut_of_a_record_is_refused() {
    let (_, full, _) = vectors::ACCEPTED[1];
    let full = hex(full);
    for len in 0..full.len() {
        let error = decode(msgpack::decode, &full[..len]).expect_err("a prefix").to_string();
        let want = match len {
            0 | 1 | 3 | 10 | 871 => "EOF",
            2 | 100 | 500 => "unexpected EOF",
            _ => continue,
        };
        assert_eq!(error, want, "{len} bytes");
    }
}

#[test]
fn a_huge_body_is_kept_whole() {
    let mut input = hex("81ab526177526573706f6e7365db00011170");
    input.resize(input.len() + 70_000, b'A');
    let (buffer, record) = decode(msgpack::decode, &input).unwrap();
    let view = RecordView::new(&buffer, &record, &Transform::NONE);
    assert_eq!(view.text(analytics::Text::RawResponse), vec![b'A'; 70_000]);
}

#[test]
fn a_missing_time_is_year_one_in_utc_and_a_present_one_local() {
    let (_, record) = decode(msgpack::decode, &hex("80")).unwrap();
    assert_eq!(record.time.map(|time| time.zone), [Zone::UTC; 2]);
    let (_, record) = decode(msgpack::decode, &hex(vectors::ACCEPTED[0].1)).unwrap();
    assert_eq!(record.time.map(|time| time.zone), [Zone::LOCAL; 2]);
}

#[test]
fn an_element_outside_of_its_buffer_is_refused() {
    for (start, len) in [(0, 2), (1, 1), (2, 1), (u32::MAX, u32::MAX)] {
        let error = msgpack::decode(b"\x80", Span { start, len });
        assert_eq!(error, Err(DecodeError::Eof), "{start} {len}");
    }
}
