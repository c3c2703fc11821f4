#![allow(clippy::unwrap_used)]

use analytics::{Time, Zone, record::Builder};
use serde_json::json;

use super::*;
use crate::testkit::{
    self,
    http::{Fault, HttpServer, Reply},
    rows,
};

#[test]
fn a_line_is_written_as_the_reference_writes_it() {
    let mut record = Builder::new();
    for (field, text) in [
        (Text::Method, "POST"),
        (Text::Path, "/orders"),
        (Text::ApiKey, "00ad1d5b"),
        (Text::ApiVersion, "Default"),
        (Text::ApiName, "Orders & Co"),
        (Text::ApiId, "api-1"),
        (Text::OrgId, "org-1"),
        (Text::IpAddress, "203.0.113.9"),
        (Text::RawRequest, "RAWREQ"),
        (Text::RawResponse, "RAWRESP"),
    ] {
        record.text(field, text);
    }
    record.int(Int::RequestTime, 42).int(Int::ResponseCode, 201).time(
        When::TimeStamp,
        Time {
            seconds: 1_704_164_645,
            nanos: 60_000_000,
            zone: Zone::UTC,
        },
    );
    let mut line = Vec::new();
    write_line(&mut line, &record.view()).unwrap();
    let expected = r#"{"@timestamp":"2024-01-02T03:04:05.06Z","api_id":"api-1","api_key":"00ad1d5b","api_name":"Orders \u0026 Co","api_version":"Default","http_method":"POST","ip_address":"203.0.113.9","oauth_id":"","org_id":"org-1","raw_request":"RAWREQ","raw_response":"RAWRESP","request_time_ms":42,"request_uri":"/orders","response_code":201}"#;
    assert_eq!(String::from_utf8(line).unwrap(), format!("{expected}\n"));
}

#[test]
fn durations_are_those_of_go() {
    for text in ["3s", "700ms", "1h30m", "1.5s", "-2s", "0", "1µs", ".5s", "5ns"] {
        assert!(is_duration(text), "{text}");
    }
    for text in ["3", "", "s", "1.2.3s", "1 s", "5d", "3S", ".s"] {
        assert!(!is_duration(text), "{text}");
    }
}

#[test]
fn wrong_options_are_named() {
    for (meta, expected) in [
        (json!({}), "meta.token is missing"),
        (json!({"token": "t", "drain_duration": "3"}), "meta.drain_duration is \"3\", expected a duration with its unit"),
        (json!({"token": "t", "disk_threshold": 101}), "meta.disk_threshold is 101"),
        (json!({"token": "t", "url": "listener"}), "meta.url: not a URL"),
        (json!({"token": 5}), "meta.token is a number"),
    ] {
        let Err(error) = Logzio::new(&testkit::context(meta.clone())) else {
            panic!("{meta} is accepted")
        };
        assert!(error.to_string().contains(expected), "{meta}: {error}");
    }
}

const CLAIM: analytics::ClaimId = analytics::ClaimId(ulid::Ulid(1));

async fn stand() -> (HttpServer, Logzio) {
    let server = HttpServer::start(|_| Reply::new(200, "")).await.unwrap();
    let sink = Logzio::new(&testkit::context(json!({"token": "a+b&c", "url": server.url()}))).unwrap();
    (server, sink)
}

#[tokio::test]
async fn records_travel_in_one_request_with_the_token() {
    let (server, sink) = stand().await;
    sink.write(&rows::group(CLAIM, 0..3)).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 1);
    assert_eq!((seen[0].path.as_str(), seen[0].header("content-type")), ("/?token=a+b&c", "text/plain"));
    assert_eq!(seen[0].body.iter().filter(|&&byte| byte == b'\n').count(), 3);
}

#[tokio::test]
async fn every_fault_has_its_class_and_shows_no_token() {
    let (server, sink) = stand().await;
    let answers = |status| Fault::Answers(Reply::new(status, "token a+b&c"));
    for (fault, expected) in [
        (answers(500), "retry"),
        (answers(429), "retry"),
        (Fault::HangsUp, "retry"),
        (Fault::BreaksOff, "retry"),
        (answers(401), "config"),
        (answers(403), "config"),
        (answers(404), "config"),
        (answers(400), "reject"),
        (Fault::TooLarge(10), "reject"),
    ] {
        server.set_fault(Some(fault.clone()));
        let error = sink.write(&rows::group(CLAIM, 0..3)).await.unwrap_err();
        let class = match &error {
            WriteError::Retry { .. } => "retry",
            WriteError::Reject { .. } => "reject",
            WriteError::Config(_) => "config",
        };
        assert_eq!(class, expected, "{fault:?}: {error}");
        assert!(!error.to_string().contains("a+b&c"), "{error}");
    }
    server.set_fault(None);
    sink.write(&rows::group(CLAIM, 0..3)).await.unwrap();
}

#[tokio::test]
async fn what_was_accepted_is_not_sent_again_with_the_rest() {
    let server = HttpServer::start(|request| match request.body.windows(10).any(|part| part == b"/serial/5\"") {
        true => Reply::new(400, "no"),
        false => Reply::new(200, ""),
    });
    let server = server.await.unwrap();
    let sink = Logzio::new(&testkit::context(json!({"token": "t", "url": server.url()}))).unwrap();
    sink.write(&rows::group(CLAIM, 0..3)).await.unwrap();
    assert!(matches!(sink.write(&rows::group(CLAIM, 0..6)).await, Err(WriteError::Reject { .. })));
    sink.write(&rows::group(CLAIM, 0..5)).await.unwrap();
    let sent: Vec<_> = server.seen().iter().map(|request| rows::serials(&request.body)).collect();
    assert_eq!(sent, [vec![0, 1, 2], vec![3, 4, 5], vec![3, 4]]);
    sink.forget(&[CLAIM]).await;
    sink.write(&rows::group(CLAIM, 0..1)).await.unwrap();
    assert_eq!(server.seen().len(), 4);
}
