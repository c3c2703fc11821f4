use std::sync::{Arc, atomic::Ordering::Relaxed};

use analytics::{ClaimId, Flag, When};
use serde_json::{Value, json};

use super::*;
use crate::transport::outbox::Fate;
use fakes::{
    certificates::Certificates,
    elasticsearch::{Documents, answer},
    http::{Fault, HttpServer, Received, Reply},
    rows::{self, Row},
};

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

fn context(meta: Value, compat: bool) -> BuildContext {
    BuildContext {
        compat,
        ..BuildContext::new("TEST", "fleet", meta)
    }
}

fn sink(server: &HttpServer, mut meta: Value) -> Elasticsearch {
    meta["elasticsearch_url"] = server.url().into();
    Elasticsearch::new(&context(meta, false)).unwrap()
}

async fn node() -> (HttpServer, Documents) {
    let documents = Documents::default();
    let kept = documents.clone();
    let server = HttpServer::start(move |request: &Received| answer(request, &kept))
        .await
        .unwrap();
    (server, documents)
}

fn group(rows: std::ops::Range<u64>) -> Vec<Selection> {
    rows::group(CLAIM, rows)
}

fn bulks(server: &HttpServer) -> Vec<Received> {
    server
        .seen()
        .into_iter()
        .filter(|request| request.path.starts_with("/_bulk"))
        .collect()
}

fn stored(documents: &Documents) -> Vec<(String, String)> {
    let held = documents.lock().unwrap();
    held.documents
        .iter()
        .map(|(index, id, _)| (index.clone(), id.clone()))
        .collect()
}

#[tokio::test]
async fn the_server_is_asked_for_its_version_once_it_refuses_that_of_upstream() {
    for (version, number, distribution, want) in [
        ("", "2.4.6", None, r#"{"create":{"_index":"i","_type":"t","_id":""#),
        ("", "6.8.1", None, r#"{"create":{"_index":"i","_type":"t","_id":""#),
        ("", "8.19.0", None, r#"{"create":{"_index":"i","_id":""#),
        ("", "1.3.20", Some("opensearch"), r#"{"create":{"_index":"i","_id":""#),
        ("5", "8.19.0", None, r#"{"create":{"_index":"i","_type":"t","_id":""#),
        ("9", "1.0.0", None, r#"{"create":{"_index":"i","_id":""#),
    ] {
        let server = HttpServer::start(move |request: &Received| match request.path.as_str() {
            "/" => {
                let mut reply = json!({"version": {"number": number}});
                if let Some(distribution) = distribution {
                    reply["version"]["distribution"] = distribution.into();
                }
                Reply::new(200, reply.to_string())
            }
            _ if number != "2.4.6" && request.header("content-type").is_empty() => Reply::new(406, "{}"),
            _ => Reply::new(200, r#"{"errors":false,"items":[{"create":{"status":201}}]}"#),
        })
        .await
        .unwrap();
        let sink = sink(
            &server,
            json!({"version": version, "index_name": "i", "document_type": "t"}),
        );
        sink.write(&group(0..1), &Arc::default()).await.unwrap();
        let asked = server.seen().iter().filter(|request| request.path == "/").count();
        assert_eq!(asked, usize::from(version.is_empty() && number != "2.4.6"), "{version}");
        let body = String::from_utf8(bulks(&server).pop().unwrap().body).unwrap();
        assert!(body.starts_with(want), "{number}: {body}");
    }
    let Err(error) = Elasticsearch::new(&context(json!({"version": "4"}), false)) else {
        panic!()
    };
    assert!(error.to_string().contains("meta.version is \"4\""), "{error}");
}

#[tokio::test]
async fn a_server_that_does_not_tell_its_version_is_spoken_to_as_upstream_does() {
    let server = HttpServer::start(|request: &Received| match request.path.as_str() {
        "/" => Reply::new(403, "{}"),
        _ => Reply::new(200, r#"{"errors":false,"items":[{"create":{"status":201}}]}"#),
    })
    .await
    .unwrap();
    let sink = sink(&server, json!({"index_name": "i", "document_type": "t"}));
    sink.write(&group(0..1), &Arc::default()).await.unwrap();
    let bulk = bulks(&server).remove(0);
    assert_eq!((bulk.path.as_str(), bulk.header("content-type")), ("/_bulk", ""));
    let body = String::from_utf8(bulk.body).unwrap();
    assert!(
        body.starts_with(r#"{"create":{"_index":"i","_type":"t","_id":""#),
        "{body}"
    );
}

#[tokio::test]
async fn the_server_makes_ids_up_where_it_is_asked_to() {
    let (server, documents) = node().await;
    let meta = json!({"version": "7", "ids": "server"});
    sink(&server, meta).write(&group(0..3), &Arc::default()).await.unwrap();
    let body = String::from_utf8(bulks(&server).remove(0).body).unwrap();
    assert!(body.starts_with(r#"{"index":{"_index":"tyk_analytics"}}"#), "{body}");
    assert_eq!(stored(&documents).len(), 3);
}

#[tokio::test]
async fn documents_that_must_wait_are_sent_again_alone_and_bad_ones_are_refused_with_the_reason() {
    let busy = Arc::new(std::sync::atomic::AtomicBool::new(true));
    let still = busy.clone();
    let server = HttpServer::start(move |request: &Received| {
        let items: Vec<Value> = rows::serials(&request.body)
            .into_iter()
            .map(|serial| match serial {
                3 if still.load(Relaxed) => json!({"create": {"status": 429, "error": {"type": "busy"}}}),
                5 => json!({"create": {"status": 400, "error": {"type": "mapper_parsing_exception", "reason": "no"}}}),
                7 => json!({"create": {"status": 409}}),
                _ => json!({"create": {"status": 201}}),
            })
            .collect();
        Reply::new(200, json!({"errors": true, "items": items}).to_string())
    })
    .await
    .unwrap();
    let sink = sink(&server, json!({"version": "7"}));
    let applied = Arc::default();
    let error = sink.write(&group(0..10), &applied).await.unwrap_err();
    assert!(matches!(error, WriteError::Retry { .. }), "{error}");
    assert_eq!(error.to_string(), "1 rows are not accepted yet: 429: busy");
    busy.store(false, Relaxed);
    let written = sink.write(&group(0..10), &applied).await.unwrap();
    let refused: Vec<_> = written
        .rejected
        .iter()
        .map(|refused| (refused.row.row, refused.reason.as_str()))
        .collect();
    assert_eq!(refused, [(5, "400: mapper_parsing_exception: no")]);
    let second = &bulks(&server)[1];
    assert_eq!(rows::serials(&second.body), [3, 5]);
}

#[tokio::test]
async fn a_missing_index_or_right_pauses_and_a_busy_server_is_asked_again() {
    let (server, _) = node().await;
    let sink = sink(&server, json!({"version": "7"}));
    let item = |status: u16| {
        let item = json!({"create": {"status": status, "error": {"type": "t", "reason": "r"}}});
        Reply::new(200, json!({"errors": true, "items": [item]}).to_string())
    };
    for (reply, want) in [
        (Reply::new(401, ""), "config"),
        (Reply::new(403, ""), "config"),
        (Reply::new(404, ""), "config"),
        (Reply::new(406, "Content-Type"), "config"),
        (Reply::new(429, ""), "retry"),
        (Reply::new(503, ""), "retry"),
        (Reply::new(200, "<html>"), "config"),
        (Reply::new(200, "thanks"), "retry"),
        (Reply::new(200, r#"{"errors":false,"items":[]}"#), "retry"),
        (Reply::new(413, ""), "refused"),
        (item(403), "config"),
        (item(404), "config"),
        (item(429), "retry"),
        (item(503), "retry"),
        (item(507), "retry"),
        (item(400), "refused"),
        (item(413), "refused"),
    ] {
        server.set_fault(Some(Fault::Answers(reply.clone())));
        let got = match sink.write(&group(0..1), &Arc::default()).await {
            Err(WriteError::Config(_)) => "config",
            Err(WriteError::Retry { .. }) => "retry",
            Ok(written) if written.rejected.len() == 1 => "refused",
            other => panic!("{reply:?}: {other:?}"),
        };
        assert_eq!(got, want, "{reply:?}");
    }
}

#[tokio::test]
async fn a_row_is_one_document_however_often_it_is_written() {
    let (server, documents) = node().await;
    for rows in [0..50, 20..70, 0..70] {
        // A new sink each time: what the process remembers does not count.
        sink(&server, json!({}))
            .write(&group(rows), &Arc::default())
            .await
            .unwrap();
    }
    let ids = stored(&documents);
    assert_eq!(ids.len(), 70);
    assert!(
        ids.iter()
            .all(|(_, id)| id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
    );
    let other = Elasticsearch::new(&BuildContext {
        pump: "OTHER".into(),
        ..context(json!({"elasticsearch_url": server.url()}), false)
    });
    other.unwrap().write(&group(0..70), &Arc::default()).await.unwrap();
    assert_eq!(stored(&documents).len(), 140);
}

#[tokio::test]
async fn an_index_a_day_is_that_of_the_record() {
    let (server, documents) = node().await;
    let late = Row::Odd(1, |record| {
        // An hour before midnight in UTC.
        record.time[When::TimeStamp as usize].seconds = 1_704_150_000;
    });
    let mcp = Row::Odd(2, |record| record.flag[Flag::IsMcp as usize] = true);
    let batch = rows::batch(CLAIM, 0, [Row::Good(0), late, mcp]);
    let meta = json!({"rolling_index": true, "rolling_utc": true, "index_name": "roll", "mcp_index_name": "mcp"});
    sink(&server, meta)
        .write(&[rows::all(&batch)], &Arc::default())
        .await
        .unwrap();
    let indices: Vec<String> = stored(&documents).into_iter().map(|(index, _)| index).collect();
    assert_eq!(indices, ["roll-2023.11.14", "roll-2024.01.01", "mcp-2023.11.14"]);
}

#[tokio::test]
async fn the_promise_follows_from_the_ids() {
    let (server, _) = node().await;
    let less = Some(Guarantee::AtLeastOnce);
    for (meta, compat, want) in [
        (json!({}), false, None),
        (json!({"rolling_index": true, "disable_bulk": true}), false, None),
        (json!({"generate_id": true}), false, less),
        (json!({"ids": "server"}), false, less),
        (json!({}), true, None),
        (json!({"disable_bulk": true}), true, less),
        (json!({"rolling_index": true}), true, less),
    ] {
        let mut all = meta.clone();
        all["elasticsearch_url"] = server.url().into();
        let sink = Elasticsearch::new(&context(all, compat)).unwrap();
        assert_eq!(sink.guarantee(), want, "{meta} {compat}");
    }
}

#[tokio::test]
async fn requests_end_at_their_limits_and_shrink_when_a_server_says_so() {
    let (server, documents) = node().await;
    let meta = json!({"version": "7", "bulk_config": {"bulk_actions": 4, "workers": 3}, "gzip": true});
    sink(&server, meta).write(&group(0..10), &Arc::default()).await.unwrap();
    let mut sizes: Vec<_> = bulks(&server)
        .iter()
        .map(|bulk| rows::serials(&bulk.body).len())
        .collect();
    sizes.sort_unstable();
    assert_eq!(sizes, [2, 4, 4]);
    // The bytes that count are those that upstream sends: without the ids of rows, and with `index` for `create`.
    let before = bulks(&server).len();
    sink(&server, json!({"version": "7"}))
        .write(&group(10..11), &Arc::default())
        .await
        .unwrap();
    let one = bulks(&server).pop().unwrap().body.len() - r#","_id":"""#.len() - 32 - 1;
    let meta = json!({"version": "7", "bulk_config": {"bulk_size": 2 * one + 1}});
    sink(&server, meta)
        .write(&group(10..17), &Arc::default())
        .await
        .unwrap();
    let sizes: Vec<_> = bulks(&server)[before + 1..]
        .iter()
        .map(|bulk| rows::serials(&bulk.body).len())
        .collect();
    assert_eq!(sizes, [3, 3, 1]);
    server.set_fault(Some(Fault::TooLarge(20_000)));
    let small = sink(&server, json!({"version": "7"}));
    small.write(&group(100..600), &Arc::default()).await.unwrap();
    assert_eq!(stored(&documents).len(), 517);
    // A server that takes nothing at all does not shrink the requests that come after it.
    server.set_fault(Some(Fault::TooLarge(0)));
    match small.write(&group(600..700), &Arc::default()).await {
        Err(WriteError::Reject { rows, .. }) => assert!((20..100).contains(&rows.len()), "{}", rows.len()),
        other => panic!("{other:?}"),
    }
    server.set_fault(None);
    let before = bulks(&server).len();
    small.write(&group(600..700), &Arc::default()).await.unwrap();
    assert_eq!(bulks(&server).len(), before + 1);
}

#[tokio::test]
async fn every_request_carries_the_credentials_also_with_tls() {
    let made = Certificates::make().unwrap();
    let acceptor = made.acceptor("server", true).unwrap();
    let documents = Documents::default();
    let server = HttpServer::start_with(Some(acceptor), move |request: &Received| answer(request, &documents))
        .await
        .unwrap();
    let tls = json!({
        "use_ssl": true,
        "ssl_ca_file": made.text("ca.crt"),
        "ssl_cert_file": made.text("client.crt"),
        "ssl_key_file": made.text("client.key"),
        "auth_basic_username": "u",
        "auth_basic_password": "p",
    });
    let mut key = tls.clone();
    key["auth_api_key_id"] = "id-1".into();
    key["auth_api_key"] = "s3cret".into();
    for (meta, want) in [(tls, "Basic dTpw"), (key, "ApiKey aWQtMTpzM2NyZXQ=")] {
        let before = server.seen().len();
        sink(&server, meta).write(&group(0..1), &Arc::default()).await.unwrap();
        let seen = &server.seen()[before..];
        assert_eq!(
            seen.len(),
            3,
            "one that is refused, the question for the version, and the documents"
        );
        assert!(
            seen.iter().all(|request| request.header("authorization") == want),
            "{want}"
        );
    }
    let untrusting = sink(
        &server,
        json!({"use_ssl": true, "ssl_ca_file": made.text("rogue-ca.crt")}),
    );
    let error = untrusting.write(&group(0..1), &Arc::default()).await.unwrap_err();
    assert!(matches!(error, WriteError::Config(_)), "{error}");
}

#[tokio::test]
async fn a_node_that_does_not_answer_costs_nothing_while_another_does() {
    let (good, documents) = node().await;
    let (bad, _) = node().await;
    bad.set_fault(Some(Fault::HangsUp));
    let urls = format!("{}, {}", bad.url(), good.url());
    let meta = json!({"elasticsearch_url": urls, "version": "7"});
    let sink = Elasticsearch::new(&context(meta, false)).unwrap();
    for first in 0..5 {
        sink.write(&group(first..first + 1), &Arc::default()).await.unwrap();
    }
    assert_eq!(stored(&documents).len(), 5);
    assert_eq!(bad.seen().len(), 1);
}

#[tokio::test]
async fn the_nodes_of_the_cluster_take_the_place_of_the_configured_one() {
    let (node, documents) = node().await;
    let address = node.address();
    let seed = HttpServer::start(move |_: &Received| {
        let nodes = json!({"nodes": {"a": {"http": {"publish_address": address.to_string()}}}});
        Reply::new(200, nodes.to_string())
    })
    .await
    .unwrap();
    sink(&seed, json!({"version": "7", "enable_sniffing": true}))
        .write(&group(0..3), &Arc::default())
        .await
        .unwrap();
    assert_eq!(stored(&documents).len(), 3);
    assert_eq!(seed.seen().len(), 1);
    assert_eq!(seed.seen()[0].path, "/_nodes/http");
}

#[tokio::test]
async fn single_documents_have_the_same_ids_and_their_failures_the_same_meaning() {
    let server = HttpServer::start(|request: &Received| match rows::serials(&request.body)[..] {
        [1] => Reply::new(400, r#"{"error":{"type":"mapper_parsing_exception","reason":"no"}}"#),
        [2] => Reply::new(409, "{}"),
        _ => Reply::new(201, "{}"),
    })
    .await
    .unwrap();
    let sink = sink(
        &server,
        json!({"version": "7", "disable_bulk": true, "index_name": "my index"}),
    );
    let written = sink.write(&group(0..3), &Arc::default()).await.unwrap();
    assert_eq!(written.rejected.len(), 1);
    assert_eq!(written.rejected[0].reason, "400: mapper_parsing_exception: no");
    let first = &server.seen()[0];
    assert_eq!(first.method, "PUT");
    assert!(first.path.starts_with("/my%20index/_doc/6553f100") && first.path.ends_with("?op_type=create"));
    server.set_fault(Some(Fault::Answers(Reply::new(429, ""))));
    assert!(matches!(
        sink.write(&group(3..5), &Arc::default()).await,
        Err(WriteError::Retry { .. })
    ));
}

#[tokio::test]
async fn the_template_is_made_once_and_only_where_servers_know_it() {
    let there = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let server = HttpServer::start(
        move |request: &Received| match (request.method.as_str(), request.path.as_str()) {
            (_, "/") => Reply::new(200, r#"{"version":{"number":"2.19.0","distribution":"opensearch"}}"#),
            ("GET", "/_index_template/tyk") if there.load(Relaxed) => Reply::new(200, "{}"),
            ("GET", "/_index_template/tyk") => Reply::new(404, "{}"),
            ("PUT", "/_index_template/tyk") => {
                there.store(true, Relaxed);
                let body: Value = serde_json::from_slice(&request.body).unwrap();
                assert_eq!(body["index_patterns"], json!(["tyk"]));
                assert!(body["data_stream"].is_object());
                Reply::new(200, "{}")
            }
            _ => Reply::new(200, r#"{"errors":false,"items":[{"create":{"status":201}}]}"#),
        },
    )
    .await
    .unwrap();
    for _ in 0..2 {
        let meta = json!({"index_name": "tyk", "data_stream": true, "rolling_index": true});
        sink(&server, meta).write(&group(0..1), &Arc::default()).await.unwrap();
    }
    assert_eq!(
        server.seen().iter().filter(|request| request.method == "PUT").count(),
        1
    );
    let old = HttpServer::start(|_: &Received| Reply::new(200, r#"{"version":{"number":"6.8.0"}}"#))
        .await
        .unwrap();
    let error = sink(&old, json!({"index_template": true}))
        .write(&group(0..1), &Arc::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains("6.8"), "{error}");
}

#[test]
fn blanks_around_a_version_do_not_matter() {
    assert_eq!(Dialect::of(" 7", true).unwrap(), Some(Dialect::Seven));
    assert_eq!(Dialect::of(" ", false).unwrap(), None);
}

#[test]
fn compat_brings_back_the_ids_of_content_and_the_version() {
    let sink = |meta: Value, compat: bool| Elasticsearch::new(&context(meta, compat)).unwrap();
    assert_eq!(sink(json!({}), true).dialect, Some(Dialect::Three));
    assert_eq!(sink(json!({}), false).dialect, None);
    let ids = |compat| {
        let sink = sink(json!({"generate_id": true}), compat);
        (sink.encoder.ids, sink.encoder.creates)
    };
    assert_eq!(ids(true), (Ids::ContentBytes, false));
    assert_eq!(ids(false), (Ids::Content, false));
}

#[test]
fn a_limit_of_the_cluster_is_no_documents_fault_and_reasons_quote_no_document() {
    let shards = json!({
        "type": "validation_exception",
        "reason": "Validation Failed: 1: this action would add [2] shards, but this cluster currently has [1000]/[1000] \
                   maximum normal shards open;",
    });
    assert!(matches!(bulk::fate(400, Some(&shards), true), Fate::Blocked(_)));
    let quoted = json!({
        "type": "mapper_parsing_exception",
        "reason": "failed to parse field [raw_request] of type [long] in document with id '7'. Preview of field's value: 's3cret'",
        "caused_by": {"type": "illegal_argument_exception", "reason": "For input string: \"s3cret\""},
    });
    let Fate::Rejected(reason) = bulk::fate(400, Some(&quoted), true) else {
        panic!()
    };
    assert!(!reason.contains("s3cret"), "{reason}");
    for part in [
        "mapper_parsing_exception",
        "field raw_request",
        "illegal_argument_exception",
    ] {
        assert!(reason.contains(part), "{reason}");
    }
}
