//! Real daemons read what `statsd` and `dogstatsd` send. `scripts/services.sh start statsd statsd-exporter` starts them.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use analytics::{ClaimId, Int, Selection, Text, msgpack, record::Builder};
use fakes::{
    rows::{self, Row},
    server,
};
use serde_json::{Value, json};
use sinks::{BuildContext, find};

/// Texts that somebody who calls an API may choose.
const TEXTS: &[&[u8]] = &[
    b"/plain",
    b"/a:1|c",
    b"/a:1:2:3",
    b"/a|@0.001|#env:prod",
    b"/a,env=prod",
    b"/a#env=prod",
    b"/a;env=prod",
    b"/a[env=prod]",
    b"/a,env:prod",
    b"/a\nforged:1|c\r\nforged:2|c",
    b"/%s%d%20",
    b"/\xff\xfe",
    "/ÄÖ İ \u{2028}".as_bytes(),
    b"2001:db8::1",
    b"\"quoted\"",
    b"",
];

/// A record of each text, which is everywhere in it; `mark` tells the runs of a test apart.
fn nasty(mark: &str) -> Vec<Selection> {
    let rows = TEXTS.iter().enumerate().map(|(number, text)| {
        let mut record = Builder::new();
        record
            .text(Text::Path, [format!("/serial/{number}").as_bytes(), text].concat())
            .text(Text::Method, text)
            .text(Text::ApiName, text)
            .text(Text::IpAddress, text)
            .text(Text::OrgId, mark)
            .int(Int::RequestTime, 7);
        let mut bytes = Vec::new();
        msgpack::encode(&mut bytes, &record.view());
        Row::Bytes(bytes.leak())
    });
    vec![rows::all(&rows::batch(ClaimId(ulid::Ulid(1)), 0, rows))]
}

fn mark() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    format!("run{}", now.as_nanos())
}

async fn write(kind: &str, meta: Value, group: &[Selection]) {
    let build = find(kind).unwrap().build;
    let sink = build(BuildContext::new("TEST", "fleet", meta)).await.unwrap();
    let written = sink.write(group, &Arc::default()).await.unwrap();
    assert!(written.rejected.is_empty(), "{:?}", written.rejected);
    sink.close().await.unwrap();
}

/// The answer of a StatsD's management to `command`.
fn managed(address: &str, command: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    writeln!(stream, "{command}").unwrap();
    let lines = BufReader::new(stream).lines().map(Result::unwrap);
    lines.take_while(|line| line != "END").collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn the_statsd_daemon_reads_every_metric() {
    let Some(address) = server::address("statsd") else {
        return;
    };
    let bad = || {
        let stats = managed(&address, "stats");
        let line = stats
            .lines()
            .find_map(|line| line.strip_prefix("messages.bad_lines_seen: "));
        line.map_or(0, |count| count.trim().parse::<u64>().unwrap())
    };
    let (before, mark) = (bad(), mark());
    for max_datagram_size in [0, 1432] {
        let meta = json!({
            "address": address, "fields": ["request_time", "latency_total"], "max_datagram_size": max_datagram_size,
            "tags": ["org_id", "path", "api_name", "ip_address", "time_stamp"],
        });
        write("statsd", meta, &nasty(&mark)).await;
    }
    let deadline = Instant::now() + Duration::from_secs(20);
    let timers = loop {
        // A line for each name.
        let timers = managed(&address, "timers");
        let ours: Vec<&str> = timers.lines().filter(|line| line.contains(&mark)).collect();
        let names = ours.len();
        // It came once alone in its datagram and once with others.
        if names == 2 * TEXTS.len()
            && ours
                .iter()
                .all(|line| line.contains("[ 7, 7 ]") || line.contains("[ 0, 0 ]"))
        {
            break timers;
        }
        assert!(Instant::now() < deadline, "{names} names: {timers}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert!(!timers.contains("forged:"), "{timers}");
    assert_eq!(bad(), before, "lines that it could not read");
}

/// Figures of a statsd_exporter about itself: lines, samples, errors.
fn figures(address: &str) -> [f64; 3] {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    write!(stream, "GET /metrics HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    ["lines_total", "samples_total", "sample_errors_total"].map(|name| {
        let start = format!("statsd_exporter_{name}");
        let lines = page.lines().filter(|line| line.starts_with(&start));
        lines
            .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
            .sum()
    })
}

#[tokio::test]
async fn statsd_exporter_reads_every_metric() {
    let Some(place) = server::address("statsd-exporter") else {
        return;
    };
    let (address, folder) = place.split_once(' ').unwrap();
    let local = format!("unix://{folder}/dsd");
    let tags = ["org_id", "path", "api_name"];
    let all = ["org_id", "path", "method", "api_name", "ip_address"];
    for (kind, meta, metrics) in [
        (
            "statsd",
            json!({"address": address, "fields": ["request_time", "latency_total"], "tags": all}),
            2,
        ),
        (
            "statsd",
            json!({"address": local, "fields": ["request_time"], "tags": all, "max_datagram_size": 8192}),
            1,
        ),
        ("dogstatsd", json!({"address": address}), 1),
        (
            "dogstatsd",
            json!({"address": local, "buffered": true, "tags": tags}),
            1,
        ),
    ] {
        let [lines, samples, errors] = figures(address);
        let sent = (metrics * TEXTS.len()) as f64;
        write(kind, meta.clone(), &nasty(&mark())).await;
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let now = figures(address);
            if now[1] + now[2] - samples - errors >= sent {
                assert_eq!(now, [lines + sent, samples + sent, errors], "{kind} {meta}");
                break;
            }
            assert!(Instant::now() < deadline, "{now:?} {kind} {meta}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}
