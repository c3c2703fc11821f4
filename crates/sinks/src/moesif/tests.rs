#![allow(clippy::unwrap_used)]

use analytics::{ClaimId, Int, Text, Time, When, Zone, record::Builder};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::json;

use super::*;
use crate::testkit::{
    self,
    http::{Fault, HttpServer, Reply},
    rows,
};

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));
const ROW: RowId = RowId { claim: CLAIM, row: 7 };

const REQUEST: &str = "POST /orders?dry=1 HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\n\r\n{\"b\":2,\"a\":1}";
const RESPONSE: &str = "HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\n\r\nok";

fn record(request: &str, response: &str) -> Builder {
    let mut record = Builder::new();
    for (field, text) in [
        (Text::Method, "POST"),
        (Text::Path, "/orders"),
        (Text::ApiKey, "00ad1d5b"),
        (Text::ApiVersion, "Default"),
        (Text::ApiName, "Orders & Co"),
        (Text::Alias, "alice"),
        (Text::IpAddress, "203.0.113.9"),
    ] {
        record.text(field, text);
    }
    record
        .text(Text::RawRequest, STANDARD.encode(request))
        .text(Text::RawResponse, STANDARD.encode(response))
        .int(Int::ResponseCode, 201)
        .int(Int::RequestTime, 42)
        .tags(["key-00ad1d5b", "env-prod"])
        .time(
            When::TimeStamp,
            Time {
                seconds: 1_704_164_645,
                nanos: 60_000_000,
                zone: Zone::UTC,
            },
        );
    record
}

/// The event of a record under options.
fn event(meta: Value, compat: bool, record: &Builder) -> Value {
    let mut context = testkit::context(meta);
    context.compat = compat;
    let sink = Moesif::new(&context).unwrap();
    let mut out = Vec::new();
    assert!(sink.encoder.write(&mut out, ROW, &record.view(), &Sampling::new(compat)).unwrap());
    serde_json::from_slice(&out).unwrap()
}

#[test]
fn an_event_is_written_as_the_reference_writes_it() {
    let mut context = testkit::context(json!({}));
    context.compat = true;
    let sink = Moesif::new(&context).unwrap();
    let mut out = Vec::new();
    let record = record(REQUEST, RESPONSE);
    sink.encoder.write(&mut out, ROW, &record.view(), &Sampling::new(true)).unwrap();
    let expected = r#"{"request":{"time":"2024-01-02T03:04:05.06Z","uri":"/orders?dry=1","verb":"POST","headers":{"content-type":"application/json","host":"api.example.com"},"api_version":"Default","ip_address":"203.0.113.9","body":"eyJhIjoxLCJiIjoyfQ==","transfer_encoding":"base64"},"response":{"time":"2024-01-02T03:04:05.102Z","status":201,"headers":{"content-type":"text/plain"},"body":"b2s=","transfer_encoding":"base64"},"session_token":"00ad1d5b","user_id":"alice","company_id":"","metadata":{"tyk":{"api_name":"Orders \u0026 Co","tags":["key-00ad1d5b","env-prod"]}},"direction":"Incoming","weight":1}"#;
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn an_event_that_comes_again_is_known_by_its_id() {
    let first = event(json!({}), false, &record(REQUEST, RESPONSE));
    let id = first["request"]["headers"]["x-moesif-transaction-id"].as_str().unwrap();
    assert_eq!(first["response"]["headers"]["x-moesif-transaction-id"], id);
    assert_eq!(first, event(json!({}), false, &record(REQUEST, RESPONSE)));
    let given = record("GET / HTTP/1.1\r\nX-Moesif-Transaction-Id: theirs\r\n\r\n", RESPONSE);
    let given = event(json!({}), false, &given);
    assert_eq!(given["response"]["headers"]["x-moesif-transaction-id"], "theirs");
}

#[test]
fn headers_are_split_at_the_first_colon_and_hidden_in_any_case() {
    let long = "x".repeat(70_000);
    let request = format!(
        "GET / HTTP/1.1\r\nX-Time: 10:20:30\r\nno colon\r\nX-SECRET: a\nx-secret: b\r\nEmpty:\r\nX-Long: {long}\r\nAfter: c\r\n\r\n"
    );
    let event = event(json!({"request_header_masks": ["X-Secret"]}), true, &record(&request, RESPONSE));
    let expected = json!({"x-time": "10:20:30", "x-secret": "*****", "empty": ""});
    assert_eq!(event["request"]["headers"], expected);
    assert_eq!(event["request"]["body"], "");
}

#[test]
fn bodies_are_left_out_or_sent_as_they_are() {
    let with = |meta: Value, request: &str| event(meta, false, &record(request, RESPONSE));
    assert_eq!(with(json!({}), REQUEST)["request"]["body"], STANDARD.encode("{\"b\":2,\"a\":1}"));
    assert_eq!(with(json!({"request_body_masks": ["a"]}), REQUEST)["request"]["body"], STANDARD.encode("{\"a\":\"*****\",\"b\":2}"));
    let without = with(json!({"disable_capture_request_body": true}), REQUEST);
    assert_eq!((&without["request"]["body"], &without["response"]["body"]), (&Value::Null, &json!("b2s=")));
    assert_eq!(with(json!({}), "GET / HTTP/1.1\r\nA: b")["request"]["body"], Value::Null);
}

#[test]
fn raw_fields_that_are_no_base64_do_not_keep_an_event_back() {
    let mut record = record(REQUEST, RESPONSE);
    record.text(Text::RawRequest, REQUEST).text(Text::RawResponse, "!garbage!");
    let event = event(json!({}), true, &record);
    assert_eq!(event["request"]["uri"], "/orders?dry=1", "decoded before");
    assert_eq!(event["response"]["headers"], json!({}));
    assert_eq!(event["response"]["body"], Value::Null);
}

#[test]
fn the_uri_is_that_of_the_record_without_a_request_line() {
    for request in ["", "GET /x", "GET /x\r\n", "nonsense\r\n\r\n"] {
        assert_eq!(event(json!({}), true, &record(request, RESPONSE))["request"]["uri"], "/orders", "{request:?}");
    }
}

#[test]
fn users_and_companies_come_from_headers() {
    let record = record("GET / HTTP/1.1\r\nX-User: bob\r\nX-Company: acme\r\n\r\n", RESPONSE);
    let event = event(json!({"user_id_header": "X-User", "company_id_header": "x-COMPANY"}), true, &record);
    assert_eq!((&event["user_id"], &event["company_id"]), (&json!("bob"), &json!("acme")));
}

#[test]
fn wrong_options_are_named() {
    let bulk = |config: Value| json!({"enable_bulk": true, "bulk_config": config});
    for (meta, expected) in [
        (bulk(json!({"batch_size": "many"})), "meta.bulk_config.batch_size is \"many\", expected a whole number"),
        (bulk(json!({"event_queue_size": -1})), "meta.bulk_config.event_queue_size is -1"),
        (bulk(json!({"api_endpoint": 5})), "meta.bulk_config.api_endpoint is 5"),
        (bulk(json!({"api_endpoint": "moesif"})), "meta.bulk_config.api_endpoint"),
        (json!({"request_header_masks": "Authorization"}), "meta.request_header_masks is the text"),
    ] {
        let Err(error) = Moesif::new(&testkit::context(meta.clone())) else {
            panic!("{meta} is accepted")
        };
        assert!(error.to_string().contains(expected), "{meta}: {error}");
    }
    let sink = Moesif::new(&testkit::context(bulk(json!({"Batch_Size": "2", "timer_wake_up_seconds": 1, "new": 1})))).unwrap();
    assert_eq!(sink.packing.rows, 2, "a variable can only give texts");
    let sink = Moesif::new(&testkit::context(json!({"bulk_config": {"batch_size": -5}}))).unwrap();
    assert_eq!(sink.packing.rows, 200, "it does not count without enable_bulk");
}

async fn stand(meta: Value, settings: &'static str) -> (HttpServer, Moesif) {
    let server = HttpServer::start(move |request| match request.path.as_str() {
        "/v1/config" => Reply {
            headers: vec![("x-moesif-config-etag", "one".to_owned())],
            ..Reply::new(200, settings)
        },
        _ => Reply {
            headers: vec![("x-moesif-config-etag", "two".to_owned())],
            ..Reply::new(201, "{}")
        },
    });
    let server = server.await.unwrap();
    let mut meta = meta;
    meta["application_id"] = json!("APP-1");
    meta["enable_bulk"] = json!(true);
    meta["bulk_config"] = json!({"api_endpoint": server.url(), "batch_size": 5});
    let sink = Moesif::new(&testkit::context(meta)).unwrap();
    (server, sink)
}

#[tokio::test]
async fn settings_are_fetched_once_and_events_sent_in_batches() {
    let (server, sink) = stand(json!({}), "{}").await;
    sink.write(&rows::group(CLAIM, 0..12)).await.unwrap();
    sink.write(&rows::group(CLAIM, 12..13)).await.unwrap();
    let seen = server.seen();
    let paths: Vec<_> = seen.iter().map(|request| request.path.as_str()).collect();
    let batch = "/v1/events/batch";
    assert_eq!(paths, ["/v1/config", batch, batch, batch, batch], "settings are not fetched more than once a minute");
    let counts: Vec<_> = seen[1..]
        .iter()
        .map(|request| {
            assert_eq!(request.header("x-moesif-application-id"), "APP-1");
            assert_eq!(request.header("content-encoding"), "gzip");
            serde_json::from_slice::<Vec<Value>>(&request.body).unwrap().len()
        })
        .collect();
    assert_eq!(counts, [5, 5, 2, 1]);
    assert!(!sink.known().is_stale());
    if let Some(fetched) = &mut sink.known().fetched {
        *fetched -= Duration::from_secs(61);
    }
    assert!(sink.known().is_stale(), "the last answer named another version");
}

#[tokio::test]
async fn a_sample_is_the_same_when_a_group_comes_again() {
    let (server, sink) = stand(json!({}), r#"{"sample_rate": 30}"#).await;
    sink.write(&rows::group(CLAIM, 0..200)).await.unwrap();
    let count = |server: &HttpServer| -> usize {
        let seen = server.seen();
        let events = seen.iter().filter(|request| request.path.ends_with("batch"));
        events.map(|request| serde_json::from_slice::<Vec<Value>>(&request.body).unwrap().len()).sum()
    };
    let first = count(&server);
    assert!((30..90).contains(&first), "{first}");
    sink.forget(&[CLAIM]).await;
    sink.write(&rows::group(CLAIM, 0..200)).await.unwrap();
    assert_eq!(count(&server), 2 * first);
}

#[tokio::test]
async fn only_a_good_answer_changes_the_settings() {
    let (server, sink) = stand(json!({}), r#"{"sample_rate": 0}"#).await;
    server.set_fault(Some(Fault::Answers(Reply::new(500, r#"{"sample_rate": 1}"#))));
    assert!(matches!(sink.write(&rows::group(CLAIM, 0..3)).await, Err(WriteError::Retry { .. })));
    assert_eq!(sink.known().sampling.rate("", ""), 100);
}

#[tokio::test]
async fn every_fault_has_its_class() {
    let (server, sink) = stand(json!({}), "{}").await;
    for (fault, expected) in [
        (Fault::HangsUp, "retry"),
        (Fault::Answers(Reply::new(429, "")), "retry"),
        (Fault::Answers(Reply::new(401, "APP-1")), "config"),
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
        assert!(!error.to_string().contains("APP-1"), "{error}");
    }
}
