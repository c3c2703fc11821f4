use analytics::{ClaimId, Int, RecordView, Text, Time, When, record::Builder};
use fakes::rows;
use proptest::prelude::*;
use serde_json::json;
use tokio::net::UdpSocket;

use super::*;

fn encoder(fields: &[&str], tags: &[&str], as_it_is: bool) -> Encoder {
    Encoder {
        timings: TIMINGS
            .iter()
            .filter(|(name, _)| fields.contains(name))
            .copied()
            .collect(),
        tags: tags.iter().map(|tag| Tag::of(tag, false)).collect(),
        zone: Zone::UTC,
        as_it_is,
    }
}

fn metrics(encoder: &Encoder, record: &RecordView<'_>) -> Vec<String> {
    let mut name = Vec::new();
    encoder.write_tags(&mut name, record);
    let metric = |timing: &(&'static str, Int)| {
        let mut metric = Vec::new();
        encoder.write_metric(&mut metric, *timing, &name, record);
        assert!(metric.len() <= encoder.longest() + name.len());
        String::from_utf8(metric).unwrap()
    };
    encoder.timings.iter().map(metric).collect()
}

fn name(tag: &str, as_it_is: bool, text: impl AsRef<[u8]>) -> String {
    let mut record = Builder::new();
    record.text(Text::ApiName, text);
    let metric = metrics(&encoder(&["request_time"], &[tag], as_it_is), &record.view()).remove(0);
    let name = metric.strip_prefix("request_time.").unwrap();
    name.strip_suffix(":0|ms").unwrap().to_owned()
}

fn record() -> Builder {
    let mut record = Builder::new();
    record
        .text(Text::Method, "GET")
        .text(Text::Path, "/orders/42/")
        .text(Text::ApiName, "Orders & Co")
        .int(Int::ResponseCode, 200)
        .int(Int::RequestTime, 37)
        .int(Int::LatencyGateway, 7)
        .time(
            When::TimeStamp,
            Time {
                seconds: 1_709_634_030,
                nanos: 123_456_789,
                zone: Zone::UTC,
            },
        );
    record
}

#[test]
fn a_metric_is_a_field_with_tags_in_lower_case() {
    let tags = ["path", "response_code", "api_name", "oauth_id", "nope"];
    let encoder = encoder(&["request_time", "latency_gateway"], &tags, false);
    assert_eq!(
        metrics(&encoder, &record().view()),
        [
            "request_time.get/orders/42.200.orders\\u0026co..null:37|ms",
            "latency_gateway.get/orders/42.200.orders\\u0026co..null:7|ms"
        ]
    );
}

#[test]
fn without_tags_a_name_ends_in_a_dot() {
    let encoder = encoder(&["request_time"], &[], false);
    assert_eq!(metrics(&encoder, &record().view()), ["request_time.:37|ms"]);
}

#[test]
fn a_time_has_whole_seconds_and_no_colons() {
    let encoder = encoder(&["request_time"], &["time_stamp"], false);
    assert_eq!(
        metrics(&encoder, &record().view()),
        ["request_time.2024-03-0510-20-30+0000utc:37|ms"]
    );
}

#[test]
fn names_are_written_literally() {
    for (text, expected) in [
        ("a%20b%d", "a%20b%d"),
        ("\"Quo\\te\"", "\\quo\\\\te\\"),
        ("Line\r\nEnd\t", "line\\r\\nend\\t"),
        ("ÀÉ ΟΔΟΣ", "àéοδοσ"),
        ("İ", "i"),
        ("a\u{2028}b", "a\\u2028b"),
        ("a.b/c@d", "a.b/c@d"),
    ] {
        assert_eq!(name("api_name", false, text), expected);
        assert_eq!(name("api_name", true, text), expected);
    }
    assert_eq!(name("api_name", false, b"a\xff"), "a\\ufffd");
}

#[test]
fn what_a_daemon_would_read_as_another_metric_or_a_tag_is_replaced_unless_compat_asks_for_it() {
    for (text, safe) in [
        ("2001:db8::1", "2001_db8__1"),
        ("x:1|c|@0.1", "x_1_c_@0.1"),
        ("Search #catalog", "search#catalog"),
        ("a=b,c=d", "a=b,c_d"),
        ("a#b=c", "a#b_c"),
        ("a;b=c", "a;b_c"),
        ("a[b=c]", "a[b_c]"),
    ] {
        assert_eq!(name("api_name", false, text), safe);
        assert_eq!(
            name("api_name", true, text),
            text.to_lowercase().replace(' ', ""),
            "as upstream"
        );
    }
}

/// What the daemon of Etsy reads: everything behind the first colon is a value of its own, those without a type are bad.
fn read_by_etsy(line: &str) -> Vec<(&str, &str)> {
    let mut bits = line.split(':');
    bits.next();
    bits.filter_map(|bit| bit.split_once('|')).collect()
}

/// What statsd_exporter and Datadog's agent read: several values may stand before the type.
fn read_by_others(line: &str) -> Vec<(&str, &str)> {
    let Some((_, rest)) = line.split_once(':') else {
        return Vec::new();
    };
    let mut parts = rest.split('|');
    let values = parts.next().unwrap_or_default();
    let kind = parts.next().unwrap_or_default();
    assert_eq!(parts.next(), None, "{line}");
    values.split(':').map(|value| (value, kind)).collect()
}

/// Tags in the names of Librato, InfluxDB, Graphite and SignalFX.
fn has_tags(line: &str) -> bool {
    let opener = line.find(['#', ',', ';', '[']);
    opener.is_some_and(|opener| line[opener..].contains('='))
}

proptest! {
    #[test]
    fn whatever_is_in_a_record_each_timing_is_one_metric(
        texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 11),
        marks in proptest::collection::vec("[%:|#,;=@.\\[\\]\r\n\"0-9a-zİ\u{2028} ]{0,20}", 11),
        value in any::<i64>(),
        any_bytes in any::<bool>(),
    ) {
        let mut record = Builder::new();
        let fields = [
            Text::Method, Text::Path, Text::ApiKey, Text::ApiVersion, Text::ApiName, Text::ApiId, Text::OrgId,
            Text::OauthId, Text::RawRequest, Text::RawResponse, Text::IpAddress,
        ];
        for ((field, bytes), marks) in fields.into_iter().zip(&texts).zip(&marks) {
            record.text(field, if any_bytes { bytes.as_slice() } else { marks.as_bytes() });
        }
        record.int(Int::RequestTime, value);
        let tags: Vec<&str> = TAGS.iter().map(|(name, _)| *name).collect();
        let encoder = encoder(&["request_time", "latency_total"], &tags, false);
        let metrics = metrics(&encoder, &record.view());
        prop_assert_eq!(metrics.len(), 2);
        for (metric, value) in metrics.iter().zip([value, 0]) {
            let sent = [(value.to_string(), "ms".to_owned())];
            for read in [read_by_etsy(metric), read_by_others(metric)] {
                let read: Vec<_> = read.into_iter().map(|(value, kind)| (value.to_owned(), kind.to_owned())).collect();
                prop_assert_eq!(&read, &sent, "{}", metric);
            }
            prop_assert!(!has_tags(metric), "{}", metric);
            prop_assert!(!metric.contains(['\n', '\r', ' ']), "{}", metric);
        }
    }
}

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

async fn datagrams(receiver: &UdpSocket, count: usize) -> Vec<String> {
    let mut buffer = [0; 1024];
    let mut datagrams = Vec::new();
    for _ in 0..count {
        let received = tokio::time::timeout(Duration::from_secs(10), receiver.recv(&mut buffer));
        let length = received.await.unwrap().unwrap();
        datagrams.push(String::from_utf8_lossy(&buffer[..length]).into_owned());
    }
    datagrams
}

#[tokio::test]
async fn every_timing_is_a_datagram_of_its_own() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = receiver.local_addr().unwrap().to_string();
    let meta = json!({"address": address, "fields": ["latency_total", "hits", "request_time"], "tags": ["path"]});
    let sink = Statsd::new(&BuildContext::new("TEST", "fleet", meta)).unwrap();
    let applied = Arc::default();
    sink.write(&rows::group(CLAIM, 0..2), &applied).await.unwrap();
    assert_eq!(
        datagrams(&receiver, 4).await,
        [
            "latency_total.get/serial/0:0|ms",
            "request_time.get/serial/0:0|ms",
            "latency_total.get/serial/1:0|ms",
            "request_time.get/serial/1:0|ms"
        ]
    );
    assert_eq!(applied.ranges(CLAIM).to_string(), "0-1");
    // What has left does not come again.
    sink.write(&rows::group(CLAIM, 0..3), &applied).await.unwrap();
    assert_eq!(
        datagrams(&receiver, 2).await,
        ["latency_total.get/serial/2:0|ms", "request_time.get/serial/2:0|ms"]
    );
}

#[tokio::test]
async fn a_daemon_that_is_away_gets_everything_later() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = receiver.local_addr().unwrap();
    drop(receiver);
    let meta = json!({"address": address.to_string(), "fields": ["request_time"], "tags": ["path"]});
    let sink = Statsd::new(&BuildContext::new("TEST", "fleet", meta)).unwrap();
    let applied = Arc::default();
    let away = sink.write(&rows::group(CLAIM, 0..3), &applied).await;
    assert!(matches!(away, Err(WriteError::Retry { .. })), "{away:?}");
    assert_eq!(applied.ranges(CLAIM).to_string(), "", "nobody has taken anything");
    let receiver = UdpSocket::bind(address).await.unwrap();
    sink.write(&rows::group(CLAIM, 0..3), &applied).await.unwrap();
    assert_eq!(datagrams(&receiver, 3).await.len(), 3);
}

#[tokio::test]
async fn a_name_that_does_not_resolve_is_tried_again() {
    let meta = json!({"address": "no-such-host.invalid:8125", "fields": ["request_time"]});
    let sink = Statsd::new(&BuildContext::new("TEST", "fleet", meta)).unwrap();
    let away = sink.write(&rows::group(CLAIM, 0..1), &Arc::default()).await;
    assert!(matches!(away, Err(WriteError::Retry { .. })), "{away:?}");
}

/// The pieces of a group.
fn pieces(encoder: &Encoder, limits: Limits, group: &[Selection]) -> Vec<Dispatch> {
    let mut pieces = Vec::new();
    encode(encoder, limits, group, |piece| {
        pieces.push(piece);
        true
    });
    pieces
}

const ALONE: Limits = Limits {
    lines: 1,
    bytes: MAX_DATAGRAM,
};

#[test]
fn a_datagram_can_have_as_many_metrics_as_fit() {
    let encoder = encoder(&["request_time", "latency_total"], &["path"], false);
    let bytes = "request_time.get/serial/0:0|ms\nlatency_total.get/serial/0:0|ms\nrequest_time.get/serial/0:0|ms".len();
    let limits = |bytes| Limits {
        lines: usize::MAX,
        bytes,
    };
    let mut dispatch = pieces(&encoder, limits(bytes), &rows::group(CLAIM, 0..2)).remove(0);
    assert_eq!(
        dispatch.datagrams(),
        [
            &b"request_time.get/serial/0:0|ms\nlatency_total.get/serial/0:0|ms\nrequest_time.get/serial/1:0|ms"[..],
            b"latency_total.get/serial/1:0|ms"
        ]
    );
    let mut dispatch = pieces(&encoder, limits(10), &rows::group(CLAIM, 0..2)).remove(0);
    assert_eq!(
        dispatch.datagrams().len(),
        4,
        "what fits nowhere has a datagram for itself"
    );
}

#[test]
fn a_metric_that_no_datagram_can_carry_is_refused_and_the_others_are_sent() {
    let mut long = Builder::new();
    long.text(Text::Path, vec![b'x'; 65_600]);
    let mut bytes = Vec::new();
    analytics::msgpack::encode(&mut bytes, &long.view());
    let rows = [rows::Row::Good(0), rows::Row::Bytes(bytes.leak()), rows::Row::Good(2)];
    let group = [rows::all(&rows::batch(CLAIM, 7, rows))];
    let mut dispatch = pieces(&encoder(&["request_time"], &["path"], false), ALONE, &group).remove(0);
    assert_eq!(
        dispatch.datagrams(),
        [
            &b"request_time.get/serial/0:0|ms"[..],
            b"request_time.get/serial/2:0|ms"
        ]
    );
    let [rejected] = dispatch.rejected() else {
        panic!("{:?}", dispatch.rejected())
    };
    assert_eq!(rejected.row.row, 8);
    assert!(
        rejected.reason.contains("a datagram takes 65507"),
        "{}",
        rejected.reason
    );
}

#[test]
fn a_group_is_put_together_in_pieces() {
    let rows = (0..40).map(|number| {
        let mut long = Builder::new();
        long.text(Text::Path, format!("/serial/{number}/{}", "x".repeat(30_000)));
        let mut bytes = Vec::new();
        analytics::msgpack::encode(&mut bytes, &long.view());
        rows::Row::Bytes(bytes.leak())
    });
    let group = [rows::all(&rows::batch(CLAIM, 0, rows))];
    let encoder = encoder(&["request_time", "latency_total"], &["path"], false);
    let all = pieces(&encoder, ALONE, &group);
    assert_eq!(all.len(), 3);
    assert!(all.iter().all(|piece| piece.size() < PIECE + 100_000));
    let datagrams = all.into_iter().map(|mut piece| piece.datagrams().len());
    assert_eq!(datagrams.sum::<usize>(), 80);
    let mut count = 0;
    encode(&encoder, ALONE, &group, |_| {
        count += 1;
        false
    });
    assert_eq!(count, 1, "a write that is given up asks for no more");
}

#[tokio::test]
async fn wrong_options_are_named() {
    for (meta, expected) in [
        (json!({}), "meta.address is \"\", expected host:port"),
        (
            json!({"address": "localhost"}),
            "meta.address is \"localhost\", expected host:port",
        ),
        (json!({"address": "localhost:0"}), "expected host:port"),
        (
            json!({"address": "localhost:8125", "fields": "request_time"}),
            "meta.fields is the text \"request_time\"",
        ),
        (
            json!({"address": format!("unix:///{}", "x".repeat(120))}),
            "shorten the path",
        ),
    ] {
        let Err(error) = Statsd::new(&BuildContext::new("TEST", "fleet", meta.clone())) else {
            panic!("{meta} is accepted")
        };
        assert!(error.to_string().contains(expected), "{meta}: {error}");
    }
    for meta in [
        json!({"address": ":8125"}),
        json!({"address": "[::1]:8125", "fields": ["hits"], "tags": ["method", "colour"]}),
        json!({"address": "unix:///run/statsd.sock"}),
    ] {
        assert!(Statsd::new(&BuildContext::new("TEST", "fleet", meta)).is_ok());
    }
}
