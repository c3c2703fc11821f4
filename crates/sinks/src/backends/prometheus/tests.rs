use std::{collections::BTreeMap, time::Instant};

use analytics::{Batch, Record, Span, Text, Transform, msgpack};
use bytes::Bytes;
use fakes::{certificates::Certificates, rows};
use flate2::read::GzDecoder;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::*;

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

/// The same, with times of requests.
/// Texts of a record, and its time.
type Timed<'a> = (&'a [(Text, &'a [u8])], i64);

fn timed(first_row: u64, records: &[Timed<'_>]) -> Vec<Selection> {
    let (mut buffer, mut elements) = (Vec::new(), Vec::new());
    for (texts, time) in records {
        let (mut record, mut bytes) = (Record::default(), Vec::new());
        for (field, text) in *texts {
            record.text[*field as usize] = Span {
                start: bytes.len() as u32,
                len: text.len() as u32,
            };
            bytes.extend_from_slice(text);
        }
        record.int[analytics::Int::RequestTime as usize] = *time;
        record.int[analytics::Int::ResponseCode as usize] = 200;
        let start = buffer.len();
        let view = analytics::RecordView::new(&bytes, &record, &Transform::NONE);
        msgpack::encode(&mut buffer, &view);
        elements.push(Span {
            start: start as u32,
            len: (buffer.len() - start) as u32,
        });
    }
    let key = rows::batch(CLAIM, 0, []).key.clone();
    vec![rows::all(&Arc::new(Batch::decode(
        CLAIM,
        key,
        first_row,
        Bytes::from(buffer),
        elements,
    )))]
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
async fn pumps_share_an_address_with_a_path_each() {
    let one = open(json!({"path": "/one"})).await;
    let address = one.address();
    let two = open(json!({"listen_address": address.to_string(), "path": "GET /two/"})).await;
    write(&one, &rows::group(CLAIM, 0..3)).await;
    let page = ask(address, "GET /one", "").await.text();
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 3.0);
    for path in ["/two/", "/two/anything/below?x=1", "/%74wo/"] {
        let answer = ask(address, &format!("GET {path}"), "").await;
        assert_eq!(
            (answer.status, answer.text().contains("tyk_http_status{")),
            (200, false)
        );
    }
    for path in ["/", "/metrics", "/one/", "/two", "/debug/pprof/"] {
        let answer = ask(address, &format!("GET {path}"), "").await;
        assert_eq!(
            (answer.status, answer.text().as_str()),
            (404, "404 page not found\n"),
            "{path}"
        );
    }
    let answer = ask(address, "POST /two/", "").await;
    assert_eq!(answer.status, 405);
    assert!(answer.head.contains("allow: get, head"), "{}", answer.head);
    assert_eq!(ask(address, "POST /one", "").await.status, 200);
    let taken = json!({"listen_address": address.to_string(), "path": "/one"});
    assert!(matches!(refused(taken).await, BuildError::Unavailable(_)));
    let locked = json!({"listen_address": address.to_string(), "path": "/3", "username": "u", "password": "p"});
    assert!(matches!(refused(locked).await, BuildError::Options(_)));
    one.close().await.unwrap();
    assert_eq!(ask(address, "GET /one", "").await.status, 404);
    assert_eq!(ask(address, "HEAD /two/", "").await.status, 200);
    two.close().await.unwrap();
    // The port is free again.
    open(json!({"listen_address": address.to_string()})).await;
}

#[tokio::test]
async fn who_is_not_known_gets_nothing() {
    let sink = open(json!({"username": "prom", "password": "secret"})).await;
    let answer = ask(sink.address(), "GET /metrics", "").await;
    assert_eq!(answer.status, 401);
    assert!(answer.head.contains("www-authenticate: basic"), "{}", answer.head);
    let right = "Authorization: Basic cHJvbTpzZWNyZXQ=\r\n";
    assert_eq!(ask(sink.address(), "GET /metrics", right).await.status, 200);
    assert_eq!(ask(sink.address(), "GET /", "").await.status, 401);
}

#[tokio::test]
async fn gzip_is_the_same_page() {
    let meta = json!({"disabled_metrics": ["tyk_latency"]});
    let sink = open(meta).await;
    write(&sink, &rows::group(CLAIM, 0..3)).await;
    let answer = ask(sink.address(), "GET /metrics", "Accept-Encoding: gzip, deflate\r\n").await;
    assert!(answer.head.contains("content-encoding: gzip"), "{}", answer.head);
    let mut page = String::new();
    std::io::Read::read_to_string(&mut GzDecoder::new(&*answer.body), &mut page).unwrap();
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 3.0);
}

#[tokio::test]
async fn scrapers_can_be_asked_for_a_certificate() {
    let files = Certificates::make().unwrap();
    let named = |name: &str| files.text(name);
    let meta = json!({"ssl_cert_file": named("server.crt"), "ssl_key_file": named("server.key"), "ssl_ca_file": named("ca.crt")});
    let sink = open(meta).await;
    let get = async |identity: Option<Identity>| -> std::io::Result<String> {
        let settings = crate::tls::TlsSettings {
            ca_files: PemFile::of("ca", &named("ca.crt")).into_iter().collect(),
            identity,
            ..crate::tls::TlsSettings::default()
        };
        let config = crate::tls::client_config(&settings).unwrap();
        let stream = TcpStream::connect(sink.address()).await?;
        let name = rustls_pki_types::ServerName::try_from("localhost").unwrap();
        let mut stream = tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await?;
        let request = b"GET /metrics HTTP/1.1\r\nHost: pump\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok(answer)
    };
    let identity = Identity {
        certificate: PemFile::of("c", &named("client.crt")).unwrap(),
        key: PemFile::of("k", &named("client.key")).unwrap(),
    };
    assert!(get(Some(identity)).await.unwrap().starts_with("HTTP/1.1 200"));
    assert!(get(None).await.is_err());
    assert!(ask_plainly(sink.address()).await.is_none());
}

async fn ask_plainly(address: SocketAddr) -> Option<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    // An alert of TLS is no answer.
    answer.first().copied().filter(|first| *first == b'H')
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
async fn scrapers_who_do_not_read_hold_nothing_up() {
    let meta = json!({"track_all_paths": true});
    let sink = open(meta).await;
    write(&sink, &rows::group(CLAIM, 0..2_000)).await;
    // They ask and do not read.
    let mut waiting = Vec::new();
    for _ in 0..50 {
        let mut stream = TcpStream::connect(sink.address()).await.unwrap();
        stream
            .write_all(b"GET /metrics HTTP/1.1\r\nHost: pump\r\n\r\n")
            .await
            .unwrap();
        waiting.push(stream);
    }
    for first in (2_000..10_000).step_by(1_000) {
        write(&sink, &rows::group(CLAIM, first..first + 1_000)).await;
    }
    let page = scrape(&sink).await;
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 10_000.0);
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
async fn counters_go_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let meta = json!({"state_dir": folder.path(), "track_all_paths": true});
    let sink = open(meta.clone()).await;
    assert_eq!(sink.guarantee(), None);
    assert_eq!(open(json!({})).await.guarantee(), Some(Guarantee::BestEffort));
    write(&sink, &rows::group(CLAIM, 0..100)).await;
    assert_eq!(sink.applied(CLAIM, None).await.unwrap().unwrap().to_string(), "0-99");
    let before = scrape(&sink).await;
    // Nobody closes it, as when the process is killed.
    drop(sink);
    let sink = open(meta.clone()).await;
    let mine = |page: &str| samples(page, "tyk_");
    assert_eq!(mine(&scrape(&sink).await), mine(&before));
    write(&sink, &rows::group(CLAIM, 50..150)).await;
    sink.close().await.unwrap();
    let sink = open(meta).await;
    let page = scrape(&sink).await;
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 150.0);
    assert!(
        samples(&page, "tyk_http_status_per_path{")
            .into_values()
            .all(|count| count == 1.0)
    );
}

#[tokio::test]
async fn what_cannot_be_kept_is_not_counted() {
    let folder = tempfile::tempdir().unwrap();
    let meta = json!({"state_dir": folder.path(), "series_ttl": 3600, "max_series": 10, "track_all_paths": true});
    let sink = open(meta.clone()).await;
    sink.set_hook(Arc::new(|bytes| bytes / 2)).await;
    let group = rows::group(CLAIM, 0..100);
    for _ in 0..2 {
        let error = sink.write(&group, &Arc::default()).await.unwrap_err();
        assert!(matches!(&error, WriteError::Retry { .. }), "{error}");
    }
    assert_eq!(samples(&scrape(&sink).await, "tyk_http_status{"), BTreeMap::new());
    sink.set_hook(Arc::new(|bytes| bytes)).await;
    write(&sink, &group).await;
    drop(sink);
    let sink = open(meta).await;
    let page = scrape(&sink).await;
    assert_eq!(samples(&page, "tyk_http_status{").into_values().sum::<f64>(), 100.0);
    let folded = "tyk_pump_series_folded_total{metric=\"tyk_http_status_per_path\"}";
    assert_eq!(samples(&page, folded)[folded], 91.0);
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
