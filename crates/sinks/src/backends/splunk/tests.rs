use std::sync::{Arc, atomic::Ordering::Relaxed};

use analytics::{ClaimId, Int, Text, When, record::Builder};
use serde_json::{Value, json};

use super::*;
use fakes::{
    certificates::Certificates,
    http::{Fault, HttpServer, Received, Reply},
    rows::{self, Row},
};

fn context(meta: Value) -> BuildContext {
    BuildContext::new("TEST", "fleet", meta)
}

fn with(server: &HttpServer, mut meta: Value) -> Splunk {
    meta["collector_token"] = "TOK".into();
    meta["collector_url"] = format!("{}/anything?channel=1", server.url()).into();
    Splunk::new(&context(meta)).unwrap()
}

async fn server() -> HttpServer {
    HttpServer::start(|_: &Received| Reply::new(200, r#"{"text":"Success","code":0}"#))
        .await
        .unwrap()
}

fn group(rows: std::ops::Range<u64>) -> Vec<Selection> {
    rows::group(ClaimId(ulid::Ulid(1)), rows)
}

fn event(meta: Value, alter: impl Fn(&mut Builder)) -> String {
    let mut builder = Builder::new();
    builder
        .text(Text::Path, "/orders")
        .text(Text::ApiKey, "00ad1d5b")
        .text(Text::ApiName, "Orders & Co")
        .time(
            When::TimeStamp,
            analytics::Time {
                seconds: 1_704_164_645,
                nanos: 60_000_000,
                zone: analytics::Zone::UTC,
            },
        )
        .int(Int::ResponseCode, 201)
        .tags(["key-1", "key-2", "env-prod"]);
    alter(&mut builder);
    let options: Options = options::decode(&meta).unwrap();
    let mut out = Vec::new();
    Template::new(&options, |_| {})
        .write(&mut out, &builder.view())
        .unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn an_event_has_the_bytes_of_the_reference() {
    let hidden = json!({"obfuscate_api_keys": true, "obfuscate_api_keys_length": 4});
    assert_eq!(
        event(hidden, |_| {}),
        "{\"time\":1704164645,\"event\":{\"api_id\":\"\",\"api_key\":\"****1d5b\",\"api_name\":\"Orders \\u0026 Co\",\
         \"api_version\":\"\",\"ip_address\":\"\",\"method\":\"\",\"oauth_id\":\"\",\"org_id\":\"\",\"path\":\"/orders\",\
         \"raw_request\":\"\",\"raw_response\":\"\",\"request_time\":0,\"response_code\":201,\
         \"time_stamp\":\"2024-01-02T03:04:05.06Z\"}}"
    );
    let chosen = json!({
        "fields": ["tags", "nonsense", "geo", "latency", "path"],
        "ignore_tag_prefix_list": ["key-", ""],
        "index": "main",
        "sourcetype": "tyk"
    });
    assert_eq!(
        event(chosen, |_| {}),
        "{\"time\":1704164645,\"sourcetype\":\"tyk\",\"index\":\"main\",\"event\":{\
         \"geo\":{\"country\":{\"iso_code\":\"\"},\"city\":{\"geoname_id\":0,\"names\":null},\
         \"location\":{\"latitude\":0,\"longitude\":0,\"time_zone\":\"\"}},\
         \"latency\":{\"total\":0,\"upstream\":0,\"gateway\":0},\"path\":\"/orders\",\"tags\":[\"env-prod\"]}}"
    );
}

#[test]
fn short_keys_are_hidden_whole_and_empty_ones_stay_empty() {
    let key = |key: &'static str, length: i64| {
        let meta = json!({"fields": ["api_key"], "obfuscate_api_keys": true, "obfuscate_api_keys_length": length});
        let event: Value = serde_json::from_str(&event(meta, |builder| {
            builder.text(Text::ApiKey, key);
        }))
        .unwrap();
        event["event"]["api_key"].as_str().unwrap().to_owned()
    };
    assert_eq!(key("abcd", 4), "****");
    assert_eq!(key("abcde", 4), "****bcde");
    assert_eq!(key("abcde", -1), "****");
    assert_eq!(key("", 4), "");
}

#[tokio::test]
async fn batches_stay_below_the_limit_and_none_is_empty() {
    let server = server().await;
    let one = with(&server, json!({"enable_batch": true}));
    one.write(&group(0..3), &Arc::default()).await.unwrap();
    let size = server.seen()[0].body.len() / 3;
    for (limit, want) in [(2 * size + size / 2, vec![2, 1]), (10, vec![1, 1, 1])] {
        let before = server.seen().len();
        let sink = with(&server, json!({"enable_batch": true, "max_content_length": limit}));
        sink.write(&group(0..3), &Arc::default()).await.unwrap();
        let events: Vec<_> = server.seen()[before..]
            .iter()
            .map(|request| rows::serials(&request.body).len())
            .collect();
        assert_eq!(events, want, "limit {limit}");
    }
    let sink = with(&server, json!({"enable_batch": true, "batch_max_content_length": -1}));
    let before = server.seen().len();
    sink.write(&group(0..3), &Arc::default()).await.unwrap();
    assert_eq!(
        server.seen().len(),
        before + 3,
        "every event is longer than a negative limit"
    );
    assert_eq!(server.seen()[0].path, "/services/collector/event/1.0?channel=1");
    assert_eq!(server.seen()[0].header("authorization"), "Splunk TOK");
}

#[tokio::test]
async fn a_collector_with_a_smaller_limit_gets_smaller_requests() {
    let server = server().await;
    let sink = with(&server, json!({"enable_batch": true, "gzip": true}));
    server.set_fault(Some(Fault::TooLarge(20_000)));
    sink.write(&group(0..300), &Arc::default()).await.unwrap();
    let taken: Vec<u64> = server
        .seen()
        .iter()
        .filter(|request| request.body.len() <= 20_000)
        .flat_map(|request| rows::serials(&request.body))
        .collect();
    assert_eq!(taken, (0..300).collect::<Vec<_>>());
}

#[tokio::test]
async fn one_event_that_is_too_large_costs_only_itself() {
    let server = server().await;
    let sink = with(&server, json!({}));
    server.set_fault(Some(Fault::TooLarge(10)));
    let written = sink.write(&group(0..2), &Arc::default()).await.unwrap();
    assert_eq!(written.rejected.len(), 2);
    assert!(written.rejected[0].reason.contains("413"));
}

#[tokio::test]
async fn without_batches_a_refused_event_costs_only_itself() {
    let server = HttpServer::start(|request: &Received| match rows::serials(&request.body)[..] {
        [1] => Reply::new(400, r#"{"text":"Event field cannot be blank","code":13}"#),
        _ => Reply::new(200, "{}"),
    })
    .await
    .unwrap();
    let written = with(&server, json!({}))
        .write(&group(0..3), &Arc::default())
        .await
        .unwrap();
    assert_eq!(written.rejected.len(), 1);
    assert_eq!(written.rejected[0].row.row, 1);
    assert!(written.rejected[0].reason.contains("cannot be blank"));
    assert_eq!(server.seen().len(), 3);
}

#[tokio::test]
async fn a_collector_that_names_the_bad_event_is_believed() {
    let server = HttpServer::start(|request: &Received| {
        match rows::serials(&request.body).iter().position(|&serial| serial == 7) {
            Some(at) => Reply::new(400, format!(r#"{{"text":"Bad","code":6,"invalid-event-number":{at}}}"#)),
            None => Reply::new(200, "{}"),
        }
    })
    .await
    .unwrap();
    let error = with(&server, json!({"enable_batch": true}))
        .write(&group(0..10), &Arc::default())
        .await
        .unwrap_err();
    let WriteError::Reject { rows, .. } = error else {
        panic!("{error}")
    };
    assert_eq!(rows.iter().map(|refused| refused.row.row).collect::<Vec<_>>(), [7]);
}

#[tokio::test]
async fn a_wrong_index_or_token_pauses_and_refuses_no_row() {
    let server = server().await;
    let sink = with(&server, json!({"enable_batch": true}));
    for (status, body) in [
        (400, r#"{"text":"Incorrect index","code":7}"#),
        (403, r#"{"text":"Invalid token","code":4}"#),
        (401, ""),
        (404, ""),
        (302, ""),
    ] {
        server.set_fault(Some(Fault::Answers(Reply::new(status, body))));
        let error = sink.write(&group(0..3), &Arc::default()).await.unwrap_err();
        assert!(matches!(error, WriteError::Config(_)), "{status}: {error}");
        assert!(!error.to_string().contains("TOK"));
    }
}

#[tokio::test]
async fn what_was_taken_before_a_failure_is_not_sent_again() {
    let server = HttpServer::start(|_: &Received| Reply::new(200, "{}")).await.unwrap();
    let sink = with(&server, json!({}));
    let applied = Arc::default();
    sink.write(&group(0..2), &applied).await.unwrap();
    server.set_fault(Some(Fault::HangsUp));
    assert!(sink.write(&group(0..4), &applied).await.is_err());
    server.set_fault(None);
    sink.write(&group(0..4), &applied).await.unwrap();
    let sent: Vec<u64> = server
        .seen()
        .iter()
        .flat_map(|request| rows::serials(&request.body))
        .collect();
    assert_eq!(sent, [0, 1, 2, 2, 3]);
}

#[tokio::test]
async fn with_acknowledgement_a_write_lasts_until_the_events_are_indexed() {
    let polls = std::sync::atomic::AtomicUsize::new(0);
    let server = HttpServer::start(move |request: &Received| {
        assert_eq!(request.header("x-splunk-request-channel").len(), 36);
        if request.path.starts_with("/services/collector/ack") {
            let indexed = polls.fetch_add(1, Relaxed) > 0;
            return Reply::new(200, json!({"acks": {"7": indexed}}).to_string());
        }
        Reply::new(200, r#"{"text":"Success","code":0,"ackId":7}"#)
    })
    .await
    .unwrap();
    let meta = json!({"enable_batch": true, "use_ack": true, "ack_timeout": 5});
    with(&server, meta.clone())
        .write(&group(0..3), &Arc::default())
        .await
        .unwrap();
    assert_eq!(server.seen().len(), 3);
    assert_eq!(server.seen()[1].body, br#"{"acks":[7]}"#);
    server.set_fault(Some(Fault::Answers(Reply::new(200, r#"{"code":0}"#))));
    let error = with(&server, meta)
        .write(&group(0..3), &Arc::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("use_ack"), "{error}");
}

#[tokio::test]
async fn acknowledgements_of_many_requests_are_awaited_together() {
    let posts = std::sync::atomic::AtomicU64::new(0);
    let polls = std::sync::atomic::AtomicUsize::new(0);
    let server = HttpServer::start(move |request: &Received| {
        if request.path.starts_with("/services/collector/ack") {
            // The last one takes its time.
            let last = polls.fetch_add(1, Relaxed) > 0;
            let acks: serde_json::Map<_, _> = (0..50).map(|id| (id.to_string(), json!(last || id < 49))).collect();
            return Reply::new(200, json!({"acks": acks}).to_string());
        }
        Reply::new(
            200,
            json!({"code": 0, "ackId": posts.fetch_add(1, Relaxed)}).to_string(),
        )
    })
    .await
    .unwrap();
    let sink = with(&server, json!({"use_ack": true, "ack_timeout": 5}));
    let applied = Arc::default();
    sink.write(&group(0..50), &applied).await.unwrap();
    let seen = server.seen();
    assert_eq!(seen.len(), 52);
    assert_eq!(seen[51].body, br#"{"acks":[49]}"#);
    sink.write(&group(0..50), &applied).await.unwrap();
    assert_eq!(server.seen().len(), 52, "what is indexed is not sent again");
}

#[tokio::test]
async fn a_wrong_certificate_pauses_until_it_is_right() {
    let made = Certificates::make().unwrap();
    for (certificate, name, good) in [
        ("server", "", true),
        ("rogue", "", false),
        ("wronghost", "", false),
        ("wronghost", "elsewhere.invalid", true),
    ] {
        let acceptor = made.acceptor(certificate, false).unwrap();
        let server = HttpServer::start_with(Some(acceptor), |_: &Received| Reply::new(200, "{}"))
            .await
            .unwrap();
        let meta = json!({"ssl_ca_file": made.text("ca.crt"), "ssl_server_name": name});
        match with(&server, meta).write(&group(0..1), &Arc::default()).await {
            Ok(_) => {
                assert!(good, "{certificate}");
                let host = server.address().port();
                assert_eq!(server.seen()[0].header("host"), format!("localhost:{host}"));
            }
            Err(WriteError::Config(error)) => assert!(!good, "{certificate}: {error}"),
            Err(error) => panic!("{certificate}: {error}"),
        }
    }
}

#[tokio::test]
async fn an_event_without_a_json_form_costs_only_itself() {
    let server = server().await;
    let far = Row::Odd(1, |record| record.time[When::TimeStamp as usize].seconds = 1 << 40);
    let batch = rows::batch(ClaimId(ulid::Ulid(1)), 0, [Row::Good(0), far, Row::Good(2)]);
    let written = with(&server, json!({"enable_batch": true}))
        .write(&[rows::all(&batch)], &Arc::default())
        .await
        .unwrap();
    assert_eq!(written.rejected.len(), 1);
    assert_eq!(rows::serials(&server.seen()[0].body), [0, 2]);
}

#[test]
fn missing_settings_are_named() {
    for meta in [
        json!({}),
        json!({"collector_token": "t"}),
        json!({"collector_url": "http://h"}),
    ] {
        let Err(error) = Splunk::new(&context(meta)) else {
            panic!("it starts")
        };
        assert!(error.to_string().starts_with("Empty settings"), "{error}");
    }
}

#[tokio::test]
async fn a_success_without_success_in_it_is_none() {
    let server = server().await;
    let page = "<!DOCTYPE html><html><body>Please log in</body></html>";
    for (body, want) in [
        (page, "config"),
        (r#"{"text":"Invalid token","code":4}"#, "config"),
        (r#"{"text":"Incorrect index","code":7}"#, "config"),
        (r#"{"text":"Server is busy","code":9}"#, "retry"),
        (r#"{"text":"Invalid data format","code":6}"#, "refused"),
        ("OK", "ok"),
        ("", "ok"),
        ("{}", "ok"),
    ] {
        server.set_fault(Some(Fault::Answers(Reply::new(200, body))));
        let applied = Arc::<Applied>::default();
        let written = with(&server, json!({})).write(&group(0..1), &applied).await;
        let got = match &written {
            Ok(written) if written.rejected.is_empty() => "ok",
            Ok(_) => "refused",
            Err(WriteError::Retry { .. }) => "retry",
            Err(WriteError::Reject { .. }) => "refused",
            Err(WriteError::Config(_)) => "config",
        };
        assert_eq!(got, want, "{body}: {written:?}");
        assert_eq!(
            applied.ranges(ClaimId(ulid::Ulid(1))).is_empty(),
            want != "ok",
            "{body}"
        );
    }
}
