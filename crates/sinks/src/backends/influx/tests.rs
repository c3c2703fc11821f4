use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use analytics::{ClaimId, Int, Record, Selection};
use fakes::{
    http::{HttpServer, Received, Reply},
    rows::{self, Row},
};
use serde_json::{Value, json};

use crate::{Applied, BuildContext, BuildError, Guarantee, Sink, WriteError};

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

async fn server(answer: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> HttpServer {
    HttpServer::start(answer).await.unwrap()
}

async fn built(kind: &str, compat: bool, meta: Value) -> Result<Box<dyn Sink>, BuildError> {
    let context = BuildContext {
        compat,
        ..BuildContext::new("TEST", "fleet", meta)
    };
    (crate::find(kind).unwrap().build)(context).await
}

async fn one(server: &HttpServer, compat: bool) -> Box<dyn Sink> {
    let meta = json!({
        "database_name": "my db&x=1", "address": format!("{}/base/", server.url()), "username": "u", "password": "pass",
        "fields": ["path", "response_code"],
    });
    built("influx", compat, meta).await.unwrap()
}

fn two_meta(server: &HttpServer) -> Value {
    json!({
        "bucket": "b/1 +2", "organization": "my org&ü", "address": server.url(), "token": "T-1",
        "fields": ["path", "response_code"],
    })
}

fn group(rows: u64) -> Vec<Selection> {
    rows::group(CLAIM, 0..rows)
}

fn bad(record: &mut Record) {
    record.int[Int::ResponseCode as usize] = 666;
}

/// Rows of which some are bad.
fn group_with(rows: u64, is_bad: impl Fn(u64) -> bool) -> Vec<Selection> {
    let rows = (0..rows).map(|row| match is_bad(row) {
        true => Row::Odd(row, bad),
        false => Row::Good(row),
    });
    vec![rows::all(&rows::batch(CLAIM, 0, rows))]
}

fn lines(request: &Received) -> Vec<String> {
    let text = String::from_utf8(request.body.clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn is_bad(line: &str) -> bool {
    line.contains("response_code=666i")
}

/// Every point that was written, and how the others are refused.
#[derive(Clone, Default)]
struct Points(Arc<Mutex<BTreeMap<String, usize>>>);

impl Points {
    fn take(&self, lines: &[String]) {
        let mut points = self.0.lock().unwrap();
        for line in lines.iter().filter(|line| !is_bad(line)) {
            *points.entry(line.clone()).or_default() += 1;
        }
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

async fn rejected(sink: &dyn Sink, group: &[Selection]) -> Vec<u64> {
    let written = sink.write(group, &Arc::default()).await.unwrap();
    written.rejected.iter().map(|rejected| rejected.row.row).collect()
}

#[tokio::test]
async fn a_request_to_version_1_is_upstreams() {
    let server = server(|_| Reply::new(204, "")).await;
    for compat in [true, false] {
        let sink = one(&server, compat).await;
        assert!(server.seen().len() < 2, "a start contacts nobody");
        sink.write(&group(3), &Arc::default()).await.unwrap();
        let request = server.seen().pop().unwrap();
        let unit = if compat { "us" } else { "ns" };
        assert_eq!(
            request.path,
            format!("/base/write?consistency=&db=my+db%26x%3D1&precision={unit}&rp=")
        );
        assert_eq!(request.header("authorization"), "Basic dTpwYXNz");
        assert!(
            request
                .headers
                .iter()
                .any(|header| *header == ("content-type".to_owned(), String::new()))
        );
        let lines = lines(&request);
        assert_eq!(lines.len(), 3);
        let start = "analytics path=\"/serial/2\",response_code=0i ";
        let time = lines[2].strip_prefix(start).unwrap();
        // Its own time has ten digits of seconds; the rest says where it lies in its claim.
        assert_eq!((time.len(), time.starts_with("1700000002000")), (19, !compat), "{time}");
        let wanted = compat.then_some(Guarantee::AtLeastOnce);
        assert_eq!(sink.guarantee(), wanted);
    }
}

#[tokio::test]
async fn an_address_or_a_database_that_is_missing_is_said_at_the_start() {
    for (meta, says) in [
        (json!({"database_name": "db"}), "meta.address"),
        (
            json!({"address": "127.0.0.1:8086", "database_name": "db"}),
            "meta.address",
        ),
        (
            json!({"address": "http://localhost:8086"}),
            "meta.database_name is missing",
        ),
    ] {
        let Err(BuildError::Options(text)) = built("influx", false, meta).await else {
            panic!("it starts");
        };
        assert!(text.contains(says), "{text}");
    }
    let Err(BuildError::Options(text)) = built("influx2", false, json!({"address": "http://localhost:8086"})).await
    else {
        panic!("it starts");
    };
    assert!(text.contains("meta.bucket is missing"), "{text}");
}

#[tokio::test]
async fn lines_that_a_server_names_are_refused_and_no_other() {
    let points = Points::default();
    let taken = points.clone();
    // As InfluxDB 1 says it.
    let server = server(move |request| {
        let lines = lines(request);
        taken.take(&lines);
        let bad: Vec<_> = lines.iter().filter(|line| is_bad(line)).collect();
        if bad.is_empty() {
            return Reply::new(204, "");
        }
        let named: Vec<_> = bad
            .iter()
            .map(|line| format!("unable to parse '{line}': missing field value of alice"))
            .collect();
        let text = format!("partial write: {} dropped=0", named.join("\n"));
        Reply::new(400, json!({"error": text}).to_string())
    })
    .await;
    let sink = one(&server, false).await;
    let group = group_with(5_000, |row| row % 100 == 7);
    let written = sink.write(&group, &Arc::default()).await.unwrap();
    assert_eq!(written.rejected.len(), 50);
    assert!(written.rejected.iter().all(|rejected| rejected.row.row % 100 == 7));
    assert_eq!(points.count(), 4_950);
    assert_eq!(server.seen().len(), 2, "the others are written once more, without them");
    let reason = &written.rejected[0].reason;
    assert!(
        reason == "400 Bad Request: missing field value of …" && !reason.contains("alice"),
        "{reason}"
    );
}

#[tokio::test]
async fn points_that_a_server_only_counts_are_found() {
    let points = Points::default();
    let taken = points.clone();
    let server = server(move |request| {
        let lines = lines(request);
        taken.take(&lines);
        match lines.iter().filter(|line| is_bad(line)).count() {
            0 => Reply::new(204, ""),
            bad => {
                let text = format!(
                    "partial write: field type conflict: input field \"response_code\" on measurement \"analytics\" is \
                     type integer, already exists as type string dropped={bad}"
                );
                Reply::new(400, json!({"error": text}).to_string())
            }
        }
    })
    .await;
    let sink = one(&server, false).await;
    assert_eq!(
        rejected(sink.as_ref(), &group_with(5_000, |row| row == 1_234)).await,
        [1_234]
    );
    assert_eq!(points.count(), 4_999);
    assert!(server.seen().len() < 30, "{}", server.seen().len());
    let before = server.seen().len();
    assert_eq!(rejected(sink.as_ref(), &group_with(1_000, |_| true)).await.len(), 1_000);
    assert_eq!(
        server.seen().len() - before,
        1,
        "all of them: no smaller request says more"
    );
}

#[tokio::test]
async fn what_version_3_names_by_number_is_refused() {
    let points = Points::default();
    let taken = points.clone();
    let server = server(move |request| {
        if request.path == "/ready" {
            return Reply::new(404, "not found");
        }
        let lines = lines(request);
        taken.take(&lines);
        let bad = lines.iter().enumerate().filter(|(_, line)| is_bad(line));
        let data: Vec<_> = bad
            .map(|(at, line)| json!({"original_line": line, "line_number": at + 1, "error_message": "invalid field"}))
            .collect();
        if data.is_empty() {
            return Reply::new(204, "");
        }
        Reply::new(
            400,
            json!({"error": "partial write of line protocol occurred", "data": data}).to_string(),
        )
    })
    .await;
    let meta = Value::Object(serde_json::Map::from_iter([
        ("bucket".to_owned(), "db".into()),
        ("address".to_owned(), server.url().into()),
        ("fields".to_owned(), json!(["path", "response_code"])),
    ]));
    let sink = built("influx2", false, meta).await.unwrap();
    assert_eq!(
        rejected(sink.as_ref(), &group_with(100, |row| row == 3 || row == 99)).await,
        [3, 99]
    );
    assert_eq!(points.count(), 98);
    let seen = server.seen();
    assert_eq!(
        seen[1].path, "/api/v2/write?bucket=db&org=&precision=ns",
        "nothing else is looked up"
    );
    assert_eq!(seen[1].header("authorization"), "");
}

#[tokio::test]
async fn a_server_that_refuses_every_point_is_not_asked_for_each() {
    let server = server(|_| Reply::new(400, "no")).await;
    let sink = one(&server, false).await;
    let refused = sink.write(&group(5_000), &Arc::default()).await;
    let Err(WriteError::Reject { rows, .. }) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(rows.len(), 25);
    assert!(server.seen().len() < 100, "{}", server.seen().len());
}

#[tokio::test]
async fn points_that_were_written_before_a_failure_are_not_written_again() {
    let server = server(|request| match lines(request).len() {
        10 => Reply::new(400, "no"),
        _ if lines(request)[0].contains("/serial/0\"") => Reply::new(204, ""),
        _ => Reply::new(503, "busy"),
    })
    .await;
    let sink = one(&server, false).await;
    let applied = Arc::<Applied>::default();
    let written = sink.write(&group(10), &applied).await;
    assert!(matches!(written, Err(WriteError::Retry { .. })), "{written:?}");
    assert_eq!(applied.ranges(CLAIM).to_string(), "0-4");
}

#[tokio::test]
async fn a_unit_of_times_that_a_server_does_not_know_is_not_kept_for_compatibility() {
    let server = server(|request| match request.path.contains("precision=us") {
        true => Reply::new(400, r#"{"error":"invalid precision \"us\" (use n, u, ms, s, m or h)"}"#),
        false => Reply::new(204, ""),
    })
    .await;
    let sink = one(&server, true).await;
    sink.write(&group(3), &Arc::default()).await.unwrap();
    sink.write(&group(3), &Arc::default()).await.unwrap();
    let units: Vec<_> = server
        .seen()
        .iter()
        .map(|seen| seen.path.contains("precision=us"))
        .collect();
    assert_eq!(units, [true, false, false]);
}

#[tokio::test]
async fn a_set_up_that_is_wrong_is_no_fault_of_points() {
    for (status, body) in [
        (400, r#"{"error":"invalid precision"}"#),
        (400, r#"{"error":"database is required"}"#),
        (404, r#"{"error":"database not found: \"db\""}"#),
        (401, r#"{"error":"authorization failed"}"#),
    ] {
        let server = server(move |_| Reply::new(status, body)).await;
        let sink = one(&server, true).await;
        let written = sink.write(&group(3), &Arc::default()).await;
        assert!(matches!(written, Err(WriteError::Config(_))), "{body}: {written:?}");
    }
    // Only the server's own words count, not those of a record that it quotes.
    let quoted = r#"{"error":"unable to parse 'analytics path=\"invalid precision\" dropped=3': bad"}"#;
    let server = server(move |_| Reply::new(400, quoted)).await;
    let written = one(&server, false)
        .await
        .write(&group(3), &Arc::default())
        .await
        .unwrap();
    assert_eq!((written.rejected.len(), server.seen().len()), (3, 5));
}

/// An InfluxDB 2 with these buckets.
fn two(buckets: &'static str, make: u16) -> impl Fn(&Received) -> Reply + Send + Sync {
    move |request| {
        let path = request.path.split('?').next().unwrap();
        match (request.method.as_str(), path) {
            ("GET", "/ready") => Reply::new(200, r#"{"status":"ready"}"#),
            ("GET", "/api/v2/orgs") => Reply::new(200, r#"{"orgs":[{"id":"0123","name":"o"}]}"#),
            ("GET", "/api/v2/buckets") => Reply::new(200, buckets),
            ("POST", "/api/v2/buckets") => Reply::new(make, r#"{"code":"conflict"}"#),
            ("POST", "/api/v2/write") => Reply::new(204, ""),
            _ => Reply::new(404, "no"),
        }
    }
}

#[tokio::test]
async fn version_2_is_asked_as_upstream_asks_it() {
    let server = server(two(r#"{"buckets":[{"id":"1","orgID":"0123"}]}"#, 422)).await;
    let sink = built("influx2", false, two_meta(&server)).await.unwrap();
    sink.write(&group(2), &Arc::default()).await.unwrap();
    let seen = server.seen();
    let paths: Vec<_> = seen.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(
        paths,
        [
            "/ready",
            "/api/v2/orgs?descending=false&offset=0&org=my+org%26%C3%BC",
            "/api/v2/buckets?name=b%2F1+%2B2",
            "/api/v2/write?bucket=b%2F1+%2B2&org=my+org%26%C3%BC&precision=ns",
        ]
    );
    assert!(
        seen.iter()
            .all(|request| request.header("authorization") == "Token T-1")
    );
    assert!(!seen[3].headers.iter().any(|(name, _)| name == "content-type"));
    let times = lines(&seen[3]);
    assert!(times[1].contains(" 1700000001000"), "{times:?}");
}

#[tokio::test]
async fn a_bucket_is_made_as_it_is_configured() {
    for (status, looked_up) in [(201, false), (422, true), (500, true)] {
        let server = server(two(r#"{"buckets":[{"id":"1"}]}"#, status)).await;
        let mut meta = two_meta(&server);
        meta["create_missing_bucket"] = true.into();
        meta["new_bucket_config"] = json!({
            "description": "made <by> pump",
            "retention_rules": [{"every_seconds": 3600, "shard_group_duration_seconds": 60}],
        });
        built("influx2", false, meta).await.unwrap();
        let seen = server.seen();
        assert_eq!(
            String::from_utf8_lossy(&seen[2].body),
            "{\"description\":\"made \\u003cby\\u003e pump\",\"name\":\"b/1 +2\",\"orgID\":\"0123\",\"retentionRules\":\
             [{\"everySeconds\":3600,\"shardGroupDurationSeconds\":60,\"type\":\"expire\"}],\"rp\":\"\"}"
        );
        assert_eq!(seen.len() == 4, looked_up, "{status}");
    }
}

#[tokio::test]
async fn what_is_not_there_yet_is_asked_for_again() {
    type Answer = fn(&Received) -> Option<Reply>;
    let cases: [(Answer, &str); 7] = [
        (
            |request| {
                request
                    .path
                    .starts_with("/ready")
                    .then(|| Reply::new(200, r#"{"status":"starting"}"#))
            },
            "starting",
        ),
        (
            |request| request.path.starts_with("/ready").then(|| Reply::new(200, "{}")),
            "does not say",
        ),
        (
            |request| request.path.starts_with("/ready").then(|| Reply::new(503, "no")),
            "503",
        ),
        (
            |request| request.path.contains("orgs").then(|| Reply::new(200, r#"{"orgs":[]}"#)),
            "organization 'my org&ü' not found",
        ),
        (
            |request| request.path.contains("orgs").then(|| Reply::new(401, "no")),
            "401",
        ),
        (
            |request| request.path.contains("buckets").then(|| Reply::new(200, "page")),
            "is no list",
        ),
        (
            |request| {
                request
                    .path
                    .contains("buckets")
                    .then(|| Reply::new(200, r#"{"buckets":[{"orgID":"other"}]}"#))
            },
            "bucket 'b/1 +2' not found – there is one in another organization",
        ),
    ];
    for (answer, says) in cases {
        let rest = two(r#"{"buckets":[]}"#, 201);
        let server = server(move |request| answer(request).unwrap_or_else(|| rest(request))).await;
        let Err(BuildError::Unavailable(error)) = built("influx2", false, two_meta(&server)).await else {
            panic!("it starts: {says}");
        };
        assert!(error.to_string().contains(says), "{error}");
    }
}
