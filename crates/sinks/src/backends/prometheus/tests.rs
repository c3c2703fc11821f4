use std::{collections::BTreeMap, time::Instant};

use analytics::{Int, Text, record::Builder};
use fakes::{certificates::Certificates, rows};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

mod keeping;
mod serving;

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

fn context(meta: Value) -> BuildContext {
    BuildContext::new("PROM", "fleet", meta)
}

async fn open(mut meta: Value) -> Prometheus {
    if meta.get("listen_address").is_none() {
        meta["listen_address"] = "127.0.0.1:0".into();
    }
    Prometheus::open(&context(meta)).await.unwrap()
}

async fn refused(meta: Value) -> BuildError {
    let Err(error) = Prometheus::open(&context(meta)).await else {
        panic!("it opens");
    };
    error
}

async fn write(sink: &Prometheus, group: &[Selection]) {
    sink.write(group, &Arc::default()).await.unwrap();
}

/// Status, head and body of an answer.
struct Answer {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Answer {
    fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }
}

async fn ask(address: SocketAddr, request: &str, headers: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nHost: pump\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap();
    let head = String::from_utf8(answer[..end].to_vec()).unwrap();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        head: head.to_lowercase(),
        body: answer[end + 4..].to_vec(),
    }
}

async fn scrape(sink: &Prometheus) -> String {
    let answer = ask(sink.address(), "GET /metrics", "").await;
    assert_eq!(answer.status, 200);
    answer.text()
}

/// Samples whose line begins so.
fn samples(page: &str, start: &str) -> BTreeMap<String, f64> {
    let lines = page.lines().filter(|line| line.starts_with(start));
    lines
        .map(|line| {
            let (name, value) = line.rsplit_once(' ').unwrap();
            (name.to_owned(), value.parse().unwrap())
        })
        .collect()
}

/// Records with these texts, as one batch that begins at this row.
fn batch(first_row: u64, records: &[&[(Text, &[u8])]]) -> Vec<Selection> {
    timed(
        first_row,
        &records.iter().map(|record| (*record, 0)).collect::<Vec<_>>(),
    )
}

/// Texts of a record, and its time.
type Timed<'a> = (&'a [(Text, &'a [u8])], i64);

/// The same, with times of requests.
fn timed(first_row: u64, records: &[Timed<'_>]) -> Vec<Selection> {
    let records = records.iter().map(|(texts, time)| {
        let mut record = Builder::new();
        for (field, text) in *texts {
            record.text(*field, text);
        }
        record.int(Int::RequestTime, *time).int(Int::ResponseCode, 200);
        record
    });
    vec![rows::all(&rows::batch_of_built(CLAIM, first_row, records))]
}

const QUIET: &[&str] = &[
    "tyk_http_status",
    "tyk_http_status_per_path",
    "tyk_http_status_per_key",
    "tyk_http_status_per_oauth_client",
    "tyk_latency",
];

#[tokio::test]
async fn the_example_of_the_specification_is_shown_to_the_byte() {
    let sink = open(json!({})).await;
    let texts: &[(Text, &[u8])] = &[
        (Text::Method, b"GET"),
        (Text::Path, b"/orders/42/"),
        (Text::ApiKey, b"5e9d"),
        (Text::ApiId, b"a1b2"),
    ];
    write(&sink, &timed(0, &[(texts, 37)])).await;
    let page = scrape(&sink).await;
    for line in [
        "# TYPE tyk_http_status counter",
        "tyk_http_status{api=\"a1b2\",code=\"200\"} 1",
        "tyk_http_status_per_key{code=\"200\",key=\"5e9d\"} 1",
        "tyk_http_status_per_oauth_client{client_id=\"\",code=\"200\"} 1",
        "tyk_http_status_per_path{api=\"a1b2\",code=\"200\",method=\"GET\",path=\"unknown\"} 1",
        "tyk_latency_bucket{api=\"a1b2\",type=\"total\",le=\"30\"} 0",
        "tyk_latency_bucket{api=\"a1b2\",type=\"total\",le=\"40\"} 1",
        "tyk_latency_bucket{api=\"a1b2\",type=\"total\",le=\"+Inf\"} 1",
        "tyk_latency_sum{api=\"a1b2\",type=\"total\"} 37",
        "tyk_latency_count{api=\"a1b2\",type=\"total\"} 1",
        "tyk_latency_count{api=\"a1b2\",type=\"upstream\"} 1",
    ] {
        assert!(page.lines().any(|shown| shown == line), "{line}\n{page}");
    }
    assert!(!page.contains("tyk_pump_series_folded_total"));
}

#[tokio::test]
async fn rows_that_come_again_are_counted_once() {
    let sink = open(json!({})).await;
    for rows in [0..10, 20..30, 5..25, 0..40] {
        write(&sink, &rows::group(CLAIM, rows)).await;
    }
    let page = scrape(&sink).await;
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 40.0);
    // A claim that is done is remembered no longer.
    sink.forget(&[CLAIM]).await;
    write(&sink, &rows::group(CLAIM, 0..40)).await;
    let page = scrape(&sink).await;
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 80.0);
}

#[tokio::test]
async fn a_write_whose_future_is_dropped_counts_once() {
    let sink = open(json!({})).await;
    let group = rows::group(CLAIM, 0..5_000);
    let applied = Arc::default();
    let _ = tokio::time::timeout(Duration::ZERO, sink.write(&group, &applied)).await;
    write(&sink, &group).await;
    let page = scrape(&sink).await;
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 5_000.0);
}

#[tokio::test]
async fn an_average_is_one_observation_of_a_batch() {
    let sink = open(json!({"aggregate_observations": true})).await;
    let texts: &[(Text, &[u8])] = &[(Text::ApiId, b"a")];
    let mut group = timed(0, &[(texts, 60), (texts, 140), (texts, 101), (texts, -7)]);
    group.extend(timed(4, &[(texts, i64::MAX), (texts, i64::MAX), (texts, i64::MAX)]));
    write(&sink, &group).await;
    let page = scrape(&sink).await;
    let count = "tyk_latency_count{api=\"a\",type=\"total\"}";
    assert_eq!(samples(&page, count), BTreeMap::from([(count.to_owned(), 2.0)]));
    let at = "tyk_latency_bucket{api=\"a\",type=\"total\",le=\"80\"}";
    assert_eq!(samples(&page, at)[at], 1.0);
}

#[tokio::test]
async fn a_metric_stays_in_its_budget_and_its_sum_is_exact() {
    let meta = json!({"track_all_paths": true, "max_series": 100, "disabled_metrics": ["tyk_latency"]});
    let sink = open(meta).await;
    assert_eq!(sink.notice(), None);
    for first in (0..50_000).step_by(5_000) {
        write(&sink, &rows::group(CLAIM, first..first + 5_000)).await;
    }
    let page = scrape(&sink).await;
    let paths = samples(&page, "tyk_http_status_per_path{");
    assert!(paths.len() <= 101, "{} series", paths.len());
    assert_eq!(paths.values().sum::<f64>(), 50_000.0);
    let other = "tyk_http_status_per_path{api=\"\",code=\"0\",method=\"GET\",path=\"__other__\"}";
    assert_eq!(paths[other], 49_910.0);
    let folded = "tyk_pump_series_folded_total{metric=\"tyk_http_status_per_path\"}";
    assert_eq!(samples(&page, folded)[folded], 49_910.0);
    let notice = sink.notice().unwrap();
    assert!(
        notice.contains("tyk_http_status_per_path") && notice.contains("label path") && notice.contains("max_series"),
        "{notice}"
    );
}

#[tokio::test]
async fn labels_that_explode_together_end_in_one_series() {
    let labels = json!([{"name": "acme_total", "metric_type": "counter", "labels": ["path", "alias", "method"]},
        {"name": "acme_time", "metric_type": "histogram", "labels": ["path", "alias"]}]);
    let meta = json!({"track_all_paths": true, "max_series": 20, "disabled_metrics": QUIET, "custom_metrics": labels});
    let sink = open(meta).await;
    let texts: Vec<(String, String)> = (0..1000).map(|n| (format!("/p/{n}"), format!("a{}", n / 2))).collect();
    let records: Vec<[(Text, &[u8]); 2]> = texts
        .iter()
        .map(|(path, alias)| [(Text::Path, path.as_bytes()), (Text::Alias, alias.as_bytes())])
        .collect();
    let records: Vec<&[(Text, &[u8])]> = records.iter().map(|record| &record[..]).collect();
    write(&sink, &batch(0, &records)).await;
    let page = scrape(&sink).await;
    for (start, all) in [
        (
            "acme_total{",
            "acme_total{alias=\"__other__\",method=\"__other__\",path=\"__other__\"}",
        ),
        (
            "acme_time_count{",
            "acme_time_count{alias=\"__other__\",path=\"__other__\",type=\"total\"}",
        ),
    ] {
        let series = samples(&page, start);
        assert!(series.len() <= 21, "{series:?}");
        assert_eq!(series.values().sum::<f64>(), 1000.0);
        assert!(series.contains_key(all), "{series:?}");
        assert!(
            series
                .keys()
                .any(|name| name.contains("alias=\"a9\",") && name.contains("__other__")),
            "{series:?}"
        );
    }
}

#[tokio::test]
async fn a_series_without_requests_ends() {
    let meta = json!({"track_all_paths": true, "series_ttl": 2, "disabled_metrics": ["tyk_latency"]});
    let sink = open(meta).await;
    write(&sink, &rows::group(CLAIM, 0..10)).await;
    let shown = |page: &str| samples(page, "tyk_http_status_per_path{").len();
    assert_eq!(shown(&scrape(&sink).await), 10);
    let deadline = Instant::now() + Duration::from_secs(30);
    while shown(&scrape(&sink).await) > 0 {
        assert!(Instant::now() < deadline, "series stay");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // What comes now takes them out, and what comes then begins anew.
    for rows in [10..12, 12..14] {
        write(&sink, &rows::group(CLAIM, rows)).await;
    }
    sink.forget(&[CLAIM]).await;
    write(&sink, &rows::group(CLAIM, 0..1)).await;
    let page = scrape(&sink).await;
    let first = "tyk_http_status_per_path{api=\"\",code=\"0\",method=\"GET\",path=\"/serial/0\"}";
    assert_eq!(samples(&page, first)[first], 1.0);
    assert_eq!(shown(&page), 5);
}

#[tokio::test]
async fn what_is_wrong_is_said_with_key_and_remedy() {
    for (meta, said) in [
        (
            json!({}),
            "meta.listen_address is missing – write for instance \":9090\"",
        ),
        (
            json!({"listen_address": "9090"}),
            "meta.listen_address is \"9090\", expected host:port or :port",
        ),
        (json!({"listen_address": ":x"}), "meta.listen_address is \":x\""),
        (
            json!({"listen_address": ":0", "path": "GET /a b"}),
            "meta.path is \"GET /a b\", which has a blank",
        ),
        (json!({"listen_address": ":0", "path": "/{x}"}), "meta.path is \"/{x}\""),
        (
            json!({"listen_address": ":0", "username": "u"}),
            "meta.username is set and meta.password is not",
        ),
        (
            json!({"listen_address": ":0", "ssl_cert_file": "/no"}),
            "meta.ssl_cert_file is set and meta.ssl_key_file is not",
        ),
        (
            json!({"listen_address": ":0", "ssl_cert_file": "/no", "ssl_key_file": "/no"}),
            "meta.ssl_cert_file /no: ",
        ),
        (
            json!({"listen_address": ":0", "track_all_paths": "yes"}),
            "meta.track_all_paths is the text \"yes\"",
        ),
    ] {
        let error = refused(meta).await;
        assert!(
            matches!(&error, BuildError::Options(text) if text.starts_with(said)),
            "{error}"
        );
    }
    let there = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = there.local_addr().unwrap().to_string();
    let error = refused(json!({ "listen_address": address })).await;
    assert!(matches!(&error, BuildError::Unavailable(_)), "{error}");
    assert!(
        error
            .to_string()
            .starts_with(&format!("meta.listen_address {address}: ")),
        "{error}"
    );
    // Served although it has no slash.
    let sink = open(json!({"path": "metrics"})).await;
    scrape(&sink).await;
}

#[tokio::test]
async fn nasty_values_make_no_line_of_their_own() {
    let meta = json!({"track_all_paths": true, "disabled_metrics": QUIET,
        "custom_metrics": [{"name": "acme_total", "metric_type": "counter", "labels": ["alias", "path"]}]});
    let sink = open(meta).await;
    let long = vec![b'x'; 100_000];
    let records: [&[(Text, &[u8])]; 5] = [
        &[(Text::Alias, b"a\"} 5\nforged 1\n\\"), (Text::Path, b"\xff\xfe")],
        &[(Text::Alias, b"a--b"), (Text::Path, b"c")],
        &[(Text::Alias, b"a"), (Text::Path, b"b--c")],
        &[(Text::Alias, b"a"), (Text::Path, b"b--c")],
        &[(Text::Alias, &long), (Text::Path, b"\r\0")],
    ];
    write(&sink, &batch(0, &records)).await;
    let page = scrape(&sink).await;
    let mine: Vec<_> = page
        .split('\n')
        .filter(|line| line.starts_with("acme_total{"))
        .collect();
    assert_eq!(mine.len(), 4, "{page}");
    assert!(!page.contains("\nforged"));
    assert!(mine.contains(&"acme_total{alias=\"a\",path=\"b--c\"} 2"));
    assert!(mine.contains(&"acme_total{alias=\"a--b\",path=\"c\"} 1"));
    assert!(mine.contains(&"acme_total{alias=\"a\\\"} 5\\nforged 1\\n\\\\\",path=\"\u{fffd}\u{fffd}\"} 1"));
    assert!(mine.iter().all(|line| line.len() < 5_000));
}

#[tokio::test]
async fn the_dashboard_asks_for_what_there_is() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/grafana/tyk-apis.json");
    let dashboard: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
    let sink = open(json!({"max_series": 1, "track_all_paths": true})).await;
    write(&sink, &rows::group(CLAIM, 0..3)).await;
    let page = scrape(&sink).await;
    let targets = dashboard["panels"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|panel| panel["targets"].as_array().unwrap());
    let mut asked = 0;
    for expression in targets.map(|target| target["expr"].as_str().unwrap()) {
        let words = expression.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
        for name in words.filter(|word| word.starts_with("tyk_") || word.starts_with("process_")) {
            let is_shown = page.lines().any(|line| line.split(['{', ' ']).next() == Some(name));
            assert!(is_shown, "{name} of {expression}");
            asked += 1;
        }
    }
    assert!(asked > 10);
}
