use std::sync::Mutex;

use analytics::{ClaimId, Int};
use fakes::{
    aws::{Cloud, Gate, plain},
    http::{HttpServer, Received, Reply},
    rows::{self, Row},
};
use serde_json::{Value, json};

use super::*;

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

async fn sink(server: &HttpServer, options: Value) -> Result<Kinesis, BuildError> {
    let mut meta = json!({"stream_name": "tyk", "region": "eu-west-2", "aws_key": "AKID", "aws_secret": "s3cret",
        "aws_endpoint": server.url()});
    for (key, value) in options.as_object().unwrap() {
        meta[key] = value.clone();
    }
    Kinesis::new(&BuildContext::new("KINESIS", "fleet", meta)).await
}

fn bodies(server: &HttpServer) -> Vec<Value> {
    let bodies = server.seen().into_iter();
    bodies
        .map(|request| serde_json::from_slice(&request.body).unwrap())
        .collect()
}

#[tokio::test]
async fn a_record_is_a_flat_document_with_the_same_partition_key_whenever_it_is_sent() {
    let cloud = Cloud::default();
    let server = HttpServer::start(move |request| cloud.answer(request)).await.unwrap();
    let sink = sink(&server, json!({})).await.unwrap();
    for _ in 0..2 {
        let written = sink.write(&rows::group(CLAIM, 3..4), &Arc::default()).await.unwrap();
        assert!(written.rejected.is_empty());
    }
    let seen = server.seen();
    assert_eq!(seen[0].header("content-type"), "application/x-amz-json-1.1");
    assert!(
        seen[0]
            .header("authorization")
            .contains("/eu-west-2/kinesis/aws4_request")
    );
    let bodies = bodies(&server);
    assert_eq!(bodies[0], bodies[1]);
    assert_eq!(bodies[0]["StreamName"], "tyk");
    let record = &bodies[0]["Records"][0];
    assert_eq!(
        plain(record["Data"].as_str().unwrap()),
        r#"{"alias":"","api_id":"","api_key":"","api_name":"Orders","api_version":"","content_length":0,"host":"gw.example.com","ip_address":"","method":"GET","oauth_id":"","org_id":"o1","path":"/serial/3","raw_path":"","raw_request":"R0VUIC8gSFRUUC8xLjENCkhvc3Q6IGUNCg0K","raw_response":"","request_time_ms":0,"response_code":0,"tags":null,"timestamp":"2023-11-14T22:13:23Z","user_agent":"curl/8.5.0, \"quoted\""}"#
    );
    let key: u64 = record["PartitionKey"].as_str().unwrap().parse().unwrap();
    assert!(key < PARTITIONS);
}

#[tokio::test]
async fn records_without_room_are_sent_again_and_no_others() {
    let (cloud, gate) = (Arc::new(Cloud::default()), Arc::new(Gate::new(30)));
    let (service, before) = (cloud.clone(), gate.clone());
    let server = HttpServer::start(move |request| before.answer(request, |request| service.answer(request)));
    let server = server.await.unwrap();
    let sink = sink(&server, json!({"batch_size": 500})).await.unwrap();
    let (group, applied) = (rows::group(CLAIM, 0..1_000), Arc::default());
    let mut failures = 0;
    while let Err(error) = sink.write(&group, &applied).await {
        assert!(matches!(error, WriteError::Retry { .. }), "{error}");
        assert!(
            error.to_string().contains("ProvisionedThroughputExceededException"),
            "{error}"
        );
        failures += 1;
        assert!(failures < 50);
    }
    assert!(failures > 0);
    let mut held = rows::serials(cloud.held().bodies.concat().as_bytes());
    held.sort_unstable();
    assert!(held.into_iter().eq(0..1_000));
}

#[tokio::test]
async fn a_record_that_is_too_large_travels_alone_and_is_refused_alone() {
    let cloud = Arc::new(Cloud::default());
    let service = cloud.clone();
    let server = HttpServer::start(move |request| service.answer(request)).await.unwrap();
    let sink = sink(&server, json!({})).await.unwrap();
    // The bytes of a batch are shared: a path that is as long as all of them together makes one record large.
    let mut batch = Vec::new();
    for serial in 0..20 {
        batch.push(Row::Good(serial));
    }
    let large: Vec<u8> = {
        let text = vec![b'x'; 1_100_000];
        let mut element = vec![0x81, 0xa4];
        element.extend_from_slice(b"Path");
        element.push(0xdb);
        element.extend_from_slice(&(text.len() as u32).to_be_bytes());
        element.extend_from_slice(&text);
        element
    };
    batch.insert(7, Row::Bytes(Box::leak(large.into_boxed_slice())));
    let group = [rows::all(&rows::batch(CLAIM, 0, batch))];
    let applied = Arc::default();
    let written = sink.write(&group, &applied).await.unwrap();
    assert_eq!(written.rejected.len(), 1);
    assert_eq!(written.rejected[0].row.row, 7);
    assert!(
        written.rejected[0].reason.contains("ValidationException"),
        "{written:?}"
    );
    let held = rows::serials(cloud.held().bodies.concat().as_bytes());
    assert!(held.into_iter().eq(0..20));
}

#[tokio::test]
async fn what_a_service_says_decides_what_becomes_of_the_rows() {
    for (status, code, state) in [
        (500, "", "retry"),
        (400, "com.amazon.coral.service#ThrottlingException", "retry"),
        (400, "LimitExceededException", "retry"),
        (400, "KMSThrottlingException", "retry"),
        (400, "ResourceNotFoundException", "config"),
        (400, "AccessDeniedException", "config"),
        (400, "UnrecognizedClientException", "config"),
        (400, "KMSDisabledException", "config"),
        (400, "ValidationException", "reject"),
        (413, "", "rejected"),
    ] {
        let body = json!({"__type": code, "message": "5f2bKEY is not s3cret"}).to_string();
        let server = HttpServer::start(move |_: &Received| Reply::new(status, body.clone()))
            .await
            .unwrap();
        let sink = sink(&server, json!({})).await.unwrap();
        let (got, text) = match sink.write(&rows::group(CLAIM, 0..2), &Arc::default()).await {
            Ok(written) => ("rejected", written.rejected[0].reason.clone()),
            Err(WriteError::Retry { source, .. }) => ("retry", source.to_string()),
            Err(WriteError::Reject { source, .. }) => ("reject", source.to_string()),
            Err(WriteError::Config(source)) => ("config", source.to_string()),
        };
        assert_eq!(got, state, "{code}: {text}");
        assert!(
            text.contains("PutRecords") && !text.contains("5f2bKEY") && !text.contains("s3cret"),
            "{text}"
        );
    }
}

#[tokio::test]
async fn requests_are_bounded_and_group_by_group() {
    let cloud = Cloud::default();
    let server = HttpServer::start(move |request| cloud.answer(request)).await.unwrap();
    for (size, sizes) in [(4, vec![4, 4, 1]), (0, vec![9]), (-3, vec![9]), (9_999, vec![9])] {
        let sink = sink(&server, json!({"batch_size": size})).await.unwrap();
        let before = server.seen().len();
        sink.write(&rows::group(CLAIM, 0..9), &Arc::default()).await.unwrap();
        let seen = bodies(&server).split_off(before);
        let counts: Vec<usize> = seen
            .iter()
            .map(|body| body["Records"].as_array().unwrap().len())
            .collect();
        assert_eq!(counts, sizes);
    }
}

#[tokio::test]
async fn encryption_is_switched_on_once_and_another_key_is_a_mistake() {
    for (described, calls, outcome) in [
        (json!({"EncryptionType": "NONE"}), 2, "fine"),
        (json!({}), 2, "fine"),
        (
            json!({"EncryptionType": "KMS", "KeyId": "arn:aws:kms:r:1:key/k-1"}),
            1,
            "fine",
        ),
        (json!({"EncryptionType": "KMS", "KeyId": "k-2"}), 1, "options"),
    ] {
        let started = Arc::new(Mutex::new(Value::Null));
        let keep = started.clone();
        let server = HttpServer::start(move |request: &Received| {
            if request.header("x-amz-target").ends_with("StartStreamEncryption") {
                *keep.lock().unwrap() = serde_json::from_slice(&request.body).unwrap();
                return Reply::new(400, r#"{"__type":"ResourceInUseException"}"#);
            }
            Reply::new(200, json!({"StreamDescription": described}).to_string())
        });
        let server = server.await.unwrap();
        let outcome_now = match sink(&server, json!({"kms_key_id": "k-1"})).await {
            Ok(_) => "fine",
            Err(BuildError::Options(_)) => "options",
            Err(_) => "unavailable",
        };
        assert_eq!((server.seen().len(), outcome_now), (calls, outcome));
        if calls == 2 {
            let asked = json!({"StreamName": "tyk", "EncryptionType": "KMS", "KeyId": "k-1"});
            assert_eq!(*started.lock().unwrap(), asked);
        }
    }
}

#[tokio::test]
async fn without_a_name_the_stream_is_what_is_missing() {
    let cloud = Cloud::default();
    let server = HttpServer::start(move |request| cloud.answer(request)).await.unwrap();
    let sink = sink(&server, json!({"stream_name": ""})).await.unwrap();
    let odd = rows::batch(
        CLAIM,
        0,
        [Row::Odd(1, |record| record.int[Int::ResponseCode as usize] = 666)],
    );
    let error = sink.write(&[rows::all(&odd)], &Arc::default()).await.unwrap_err();
    assert!(matches!(error, WriteError::Config(_)), "{error}");
    assert!(error.to_string().contains("meta.stream_name"), "{error}");
}
