#![allow(clippy::unwrap_used)]

use analytics::{ClaimId, Int, Zone, record::Builder};
use serde_json::{Value, json};

use super::*;
use crate::testkit::{
    self,
    http::{HttpServer, Reply},
    rows,
};

const ROW: RowId = RowId {
    claim: ClaimId(ulid::Ulid(1)),
    row: 7,
};

fn event(compat: bool, record: &Builder) -> String {
    let encoder = Encoder {
        pump: "SEGMENT".into(),
        time_of_writing: compat,
    };
    let mut out = Vec::new();
    encoder.write_event(&mut out, &mut Vec::new(), ROW, &record.view()).unwrap();
    String::from_utf8(out).unwrap()
}

fn record() -> Builder {
    let mut record = Builder::new();
    record.text(Text::ApiKey, "00ad1d5b").int(Int::ContentLength, (1 << 53) + 1).time(
        When::TimeStamp,
        Time {
            seconds: 1_704_164_645,
            nanos: 60_000_000,
            zone: Zone::UTC,
        },
    );
    record
}

#[test]
fn an_event_has_all_fields_in_order_of_their_names() {
    let text = event(false, &record());
    assert!(text.starts_with(r#"{"properties":{"alias":"","api_id":"","api_key":"00ad1d5b","api_name":"","#), "{text}");
    assert!(text.contains(r#""content_length":9007199254740992,"#), "numbers are floats: {text}");
    let end = format!(
        r#""year":0}},"anonymousId":"00ad1d5b","event":"Hit","type":"track","messageId":"{}","timestamp":"2024-01-02T03:04:05.06Z"}}"#,
        row_uuid("SEGMENT", ROW, "event")
    );
    assert!(text.ends_with(&end), "{text}");
}

#[test]
fn under_compat_an_event_has_the_time_of_writing() {
    let event: Value = serde_json::from_str(&event(true, &record())).unwrap();
    let time = event["timestamp"].as_str().unwrap();
    assert!(time.len() == 24 && !time.starts_with("2024-01-02"), "{time}");
}

#[test]
fn times_have_an_offset_without_a_colon() {
    let text = |zone: &str| {
        let mut out = b"before".to_vec();
        let zone = Zone::named(zone.as_bytes()).unwrap();
        let time = Time {
            seconds: 1_700_000_000,
            nanos: 5,
            zone,
        };
        write_time(&mut out, time);
        String::from_utf8(out).unwrap()
    };
    assert_eq!(text("UTC"), "before2023-11-14T22:13:20+0000");
    assert_eq!(text("Asia/Kathmandu"), "before2023-11-15T03:58:20+0545");
    assert_eq!(text("America/New_York"), "before2023-11-14T17:13:20-0500");
}

#[test]
fn a_call_without_a_key_has_another_identity() {
    let mut record = record();
    let user = |record: &Builder| event(false, record).split("\"anonymousId\":\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    record.text(Text::ApiKey, "");
    assert_eq!(user(&record), "anonymous");
    record.text(Text::OauthId, "client");
    assert_eq!(user(&record), "client");
    record.text(Text::Alias, "alice");
    assert_eq!(user(&record), "alice");
}

#[tokio::test]
async fn requests_have_250_events_and_half_a_megabyte_at_most() {
    let server = HttpServer::start(|_| Reply::new(200, "{}")).await.unwrap();
    let meta = json!({"segment_write_key": "WRITE-1", "endpoint": format!("{}/v1/batch", server.url())});
    let sink = Segment::new(&testkit::context(meta)).unwrap();
    sink.write(&rows::group(ROW.claim, 0..600)).await.unwrap();
    let seen = server.seen();
    let counts: Vec<usize> = seen
        .iter()
        .map(|request| {
            assert!(request.body.len() < 500_000);
            assert_eq!(request.header("authorization"), "Basic V1JJVEUtMTo=");
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            assert_eq!(body["context"]["library"]["name"], "analytics-go");
            assert!(body["messageId"].is_string() && body["sentAt"].is_string());
            body["batch"].as_array().unwrap().len()
        })
        .collect();
    assert_eq!(counts.iter().sum::<usize>(), 600);
    assert!(counts.iter().all(|&count| count <= 250), "{counts:?}");
}

#[tokio::test]
async fn a_row_that_comes_again_has_the_same_id() {
    let server = HttpServer::start(|_| Reply::new(200, "{}")).await.unwrap();
    let meta = json!({"segment_write_key": "key", "endpoint": server.url()});
    let ids = async || {
        let sink = Segment::new(&testkit::context(meta.clone())).unwrap();
        sink.write(&rows::group(ROW.claim, 0..3)).await.unwrap();
        let body: Value = serde_json::from_slice(&server.seen().last().unwrap().body).unwrap();
        let batch = body["batch"].as_array().unwrap().clone();
        batch.iter().map(|event| event["messageId"].clone()).collect::<Vec<_>>()
    };
    let first = ids().await;
    assert_eq!(first, ids().await);
    assert!(first[0] != first[1]);
}

#[test]
fn wrong_options_are_named() {
    for (meta, expected) in [
        (json!({"segment_write_key": 5}), "meta.segment_write_key is a number"),
        (json!({"endpoint": "api.segment.io"}), "meta.endpoint"),
    ] {
        let Err(error) = Segment::new(&testkit::context(meta.clone())) else {
            panic!("{meta} is accepted")
        };
        assert!(error.to_string().contains(expected), "{meta}: {error}");
    }
    assert!(Segment::new(&testkit::context(json!({}))).is_ok());
}
