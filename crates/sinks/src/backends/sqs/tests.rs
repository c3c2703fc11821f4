use analytics::{ClaimId, Int};
use fakes::{
    aws::{Cloud, Gate},
    http::{HttpServer, Received, Reply},
    rows::{self, Row},
};
use serde_json::Value;

use super::*;

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

async fn sink_of(server: &HttpServer, options: Value, compat: bool) -> Result<Sqs, BuildError> {
    let mut meta = json!({"aws_queue_name": "tyk", "aws_region": "eu-west-2", "aws_key": "AKID", "aws_secret": "s3cret",
        "aws_endpoint": server.url()});
    for (key, value) in options.as_object().unwrap() {
        meta[key] = value.clone();
    }
    let mut context = BuildContext::new("SQS", "fleet", meta);
    context.compat = compat;
    Sqs::new(&context).await
}

async fn sink(server: &HttpServer, options: Value) -> Result<Sqs, BuildError> {
    sink_of(server, options, false).await
}

/// A cloud, a gate before it that throttles so many of a hundred entries, and their server.
async fn cloud(throttled: u64) -> (Arc<Cloud>, HttpServer) {
    let (cloud, gate) = (Arc::new(Cloud::default()), Gate::new(throttled));
    let service = cloud.clone();
    let server = HttpServer::start(move |request| gate.answer(request, |request| service.answer(request)));
    (cloud, server.await.unwrap())
}

/// Bodies of batches.
fn batches(server: &HttpServer) -> Vec<Value> {
    let bodies = server.seen().into_iter();
    let bodies = bodies.map(|request| serde_json::from_slice::<Value>(&request.body).unwrap());
    bodies.filter(|body| body.get("Entries").is_some()).collect()
}

fn serials(cloud: &Cloud) -> Vec<u64> {
    rows::serials(cloud.held().bodies.concat().as_bytes())
}

#[tokio::test]
async fn a_message_is_the_record_and_its_entry_has_what_the_options_say() {
    let (_, server) = cloud(0).await;
    let options = json!({"aws_message_group_id": "g", "aws_delay_seconds": 5});
    let sink = sink(&server, options).await.unwrap();
    sink.write(&rows::group(CLAIM, 3..4), &Arc::default()).await.unwrap();
    let body = batches(&server).remove(0);
    assert_eq!(body["QueueUrl"], "https://sqs.test/1/tyk");
    let mut entry = body["Entries"][0].clone();
    let id = entry["Id"].as_str().unwrap().to_owned();
    assert!(ulid::Ulid::from_string(&id).is_ok(), "{id}");
    let message: Value = serde_json::from_str(entry["MessageBody"].as_str().unwrap()).unwrap();
    assert_eq!((&message["path"], &message["hour"]), (&json!("/serial/3"), &json!(0)));
    entry["MessageBody"] = Value::Null;
    assert_eq!(
        entry,
        json!({"Id": id, "MessageBody": null, "MessageGroupId": "g", "DelaySeconds": 5})
    );
}

#[tokio::test]
async fn a_queue_with_an_order_has_what_it_needs_and_knows_messages_again() {
    let (cloud, server) = cloud(0).await;
    for _ in 0..2 {
        // As after a crash.
        let sink = sink(&server, json!({"aws_queue_name": "tyk.fifo", "aws_delay_seconds": 5}))
            .await
            .unwrap();
        sink.write(&rows::group(CLAIM, 0..25), &Arc::default()).await.unwrap();
    }
    assert!(serials(&cloud).into_iter().eq(0..25));
    let entry = batches(&server)[0]["Entries"][0].clone();
    assert_eq!(entry["MessageGroupId"], "tyk-pump");
    assert_eq!(entry["MessageDeduplicationId"], entry["Id"]);
    assert_eq!(entry.get("DelaySeconds"), None);
}

#[tokio::test]
async fn an_order_is_kept_whatever_is_throttled() {
    let (cloud, server) = cloud(5).await;
    let sink = sink(&server, json!({"aws_queue_name": "tyk.fifo"})).await.unwrap();
    let (group, applied) = (rows::group(CLAIM, 0..400), Arc::default());
    let mut failures = 0;
    while sink.write(&group, &applied).await.is_err() {
        failures += 1;
        assert!(failures < 400);
    }
    assert!(failures > 0);
    let held = serials(&cloud);
    let late: usize = held.windows(2).filter(|pair| pair[0] > pair[1]).count();
    // Within the batch that had no room for one of its messages, those after it are there already.
    assert!(late <= failures, "{held:?}");
    let ahead = held
        .iter()
        .enumerate()
        .filter(|(at, serial)| at.abs_diff(**serial as usize) > 40);
    assert_eq!(ahead.count(), 0);
}

#[tokio::test]
async fn each_message_has_its_own_fate() {
    let (cloud, server) = cloud(30).await;
    let sink = sink(&server, json!({})).await.unwrap();
    let batch = rows::batch(
        CLAIM,
        0,
        (0..500).map(|serial| match serial {
            123 => Row::Odd(serial, |record| record.int[Int::ResponseCode as usize] = 666),
            serial => Row::Good(serial),
        }),
    );
    let (group, applied) = ([rows::all(&batch)], Arc::default());
    let mut failures = 0;
    let written = loop {
        match sink.write(&group, &applied).await {
            Ok(written) => break written,
            Err(error) => assert!(matches!(error, WriteError::Retry { .. }), "{error}"),
        }
        failures += 1;
        assert!(failures < 60);
    };
    assert_eq!(written.rejected.len(), 1);
    assert_eq!(written.rejected[0].row.row, 123);
    assert!(
        written.rejected[0].reason.contains("InvalidMessageContents"),
        "{written:?}"
    );
    let mut held = serials(&cloud);
    held.sort_unstable();
    assert!(held.into_iter().eq((0..500).filter(|serial| *serial != 123)));
}

#[tokio::test]
async fn what_concerns_the_queue_blocks_and_is_no_fault_of_the_messages() {
    let server = HttpServer::start(|request: &Received| {
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let Some(entries) = body["Entries"].as_array() else {
            return Reply::new(200, r#"{"QueueUrl":"u"}"#);
        };
        let failed = entries
            .iter()
            .map(|entry| json!({"Id": entry["Id"], "Code": "MissingParameter", "SenderFault": true}));
        Reply::new(200, json!({"Failed": failed.collect::<Vec<_>>()}).to_string())
    });
    let server = server.await.unwrap();
    let sink = sink(&server, json!({})).await.unwrap();
    let error = sink
        .write(&rows::group(CLAIM, 0..3), &Arc::default())
        .await
        .unwrap_err();
    assert!(matches!(error, WriteError::Config(_)), "{error}");
}

#[tokio::test]
async fn batches_have_ten_messages_and_no_more_bytes_than_every_queue_takes() {
    let (_, server) = cloud(0).await;
    for (limit, sizes) in [
        (0, vec![10, 2]),
        (5, vec![5, 5, 2]),
        (11, vec![10, 2]),
        (-1, vec![10, 2]),
    ] {
        let sink = sink(&server, json!({"aws_sqs_batch_limit": limit})).await.unwrap();
        let before = batches(&server).len();
        sink.write(&rows::group(CLAIM, 0..12), &Arc::default()).await.unwrap();
        let seen = batches(&server).split_off(before);
        let counts: Vec<usize> = seen
            .iter()
            .map(|body| body["Entries"].as_array().unwrap().len())
            .collect();
        assert_eq!(counts, sizes);
    }
}

#[tokio::test]
async fn a_queue_that_is_missing_is_waited_for_and_wrong_options_are_not() {
    let server = HttpServer::start(|_: &Received| {
        Reply::new(
            400,
            r#"{"__type":"com.amazonaws.sqs#QueueDoesNotExist","message":"The queue x does not exist."}"#,
        )
    });
    let server = server.await.unwrap();
    let error = sink(&server, json!({})).await.err().unwrap();
    assert!(matches!(error, BuildError::Unavailable(_)), "{error}");
    assert!(error.to_string().contains("QueueDoesNotExist"), "{error}");
    for options in [
        json!({"aws_queue_name": ""}),
        json!({"aws_delay_seconds": 901}),
        json!({"aws_delay_seconds": -1}),
    ] {
        let error = sink(&server, options).await.err().unwrap();
        assert!(matches!(error, BuildError::Options(_)), "{error}");
    }
}

#[tokio::test]
async fn with_compat_ids_are_there_when_the_options_say_so() {
    let (_, server) = cloud(0).await;
    for (queue, enabled, compat, expected) in [
        ("q.fifo", false, true, false),
        ("q.fifo", true, true, true),
        ("q", true, true, true),
        ("q", true, false, false),
        ("q.fifo", false, false, true),
    ] {
        let options = json!({"aws_queue_name": queue, "aws_message_id_deduplication_enabled": enabled});
        let sink = sink_of(&server, options, compat).await.unwrap();
        let _ = sink.write(&rows::group(CLAIM, 0..1), &Arc::default()).await;
        let entry = batches(&server).pop().unwrap()["Entries"][0].clone();
        assert_eq!(
            entry.get("MessageDeduplicationId").is_some(),
            expected,
            "{queue} {enabled} {compat}"
        );
    }
}
