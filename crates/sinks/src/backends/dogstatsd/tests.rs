use analytics::{ClaimId, Flag, Int, RowId, Text, record::Builder};
use fakes::rows;
use proptest::prelude::*;
use serde_json::{Value, json};
use tokio::net::{UdpSocket, UnixDatagram};

use super::*;

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

fn encoder(tags: &[Tag], as_it_is: bool) -> Encoder {
    Encoder {
        head: Head::new("pump", 0.5, &["env:staging".to_owned()]),
        tags: tags.to_vec(),
        rate: 0.5,
        limits: Limits { lines: 1, bytes: 1432 },
        as_it_is,
    }
}

fn line(encoder: &Encoder, record: &Builder) -> String {
    let mut line = Vec::new();
    encoder.write(&mut line, &record.view());
    String::from_utf8(line).unwrap()
}

fn record() -> Builder {
    let mut record = Builder::new();
    record
        .text(Text::Method, "GET")
        .text(Text::Path, "/orders/42/")
        .text(Text::ApiVersion, "Default")
        .text(Text::ApiName, "Orders & Co")
        .text(Text::ApiId, "a1b2")
        .text(Text::OrgId, "org7")
        .int(Int::ResponseCode, 200)
        .int(Int::RequestTime, 37);
    record
}

#[test]
fn a_metric_has_rate_and_tags() {
    let mut record = record();
    let start = "pump.request_time:37|h|@0.5|#env:staging,tyk-pump,path:/orders/42/,method:GET,response_code:200,\
                 api_version:Default,api_name:Orders & Co,api_id:a1b2,org_id:org7,tracked:";
    let encoder = encoder(DEFAULT_TAGS, false);
    assert_eq!(line(&encoder, &record), format!("{start}false"));
    record.text(Text::OauthId, "me").flag(Flag::TrackPath, true);
    assert_eq!(line(&encoder, &record), format!("{start}true,oauth_id:me"));
}

#[test]
fn tags_that_are_named_stand_in_their_order_and_paths_lose_their_slashes() {
    let names = ["oauth_id", "path", "tracked", "path"].map(str::to_owned);
    let encoder = encoder(&tags(&names).unwrap(), false);
    assert_eq!(
        line(&encoder, &record()),
        "pump.request_time:37|h|@0.5|#env:staging,tyk-pump,path:/orders/42,tracked:false,path:/orders/42"
    );
}

#[test]
fn values_are_floats_without_an_exponent() {
    for (value, expected) in [
        (0, "0"),
        (-1, "-1"),
        (9_007_199_254_740_993, "9007199254740992"),
        (i64::MAX, "9223372036854776000"),
        (i64::MIN, "-9223372036854776000"),
        (1_234_567_890_123_456_789, "1234567890123456800"),
    ] {
        let mut record = Builder::new();
        record.int(Int::RequestTime, value);
        assert_eq!(
            line(&encoder(&[], false), &record),
            format!("pump.request_time:{expected}|h|@0.5|#env:staging,tyk-pump")
        );
    }
}

#[test]
fn what_the_agent_would_read_as_another_tag_or_part_is_replaced_unless_compat_asks_for_it() {
    let mut record = Builder::new();
    record.text(Text::Path, "/a,env:prod|@0.001|#x\nother:1|c");
    let tags = [Tag::WholePath];
    assert_eq!(
        line(&encoder(&tags, false), &record),
        "pump.request_time:0|h|@0.5|#env:staging,tyk-pump,path:/a_env:prod_@0.001_#xother:1_c"
    );
    assert_eq!(
        line(&encoder(&tags, true), &record),
        "pump.request_time:0|h|@0.5|#env:staging,tyk-pump,path:/a,env:prod|@0.001|#xother:1|c"
    );
    record.text(Text::Path, b"/a\xff\xfeb");
    assert!(line(&encoder(&tags, false), &record).ends_with("path:/a\u{fffd}\u{fffd}b"));
    let mut bytes = Vec::new();
    encoder(&tags, true).write(&mut bytes, &record.view());
    assert!(bytes.ends_with(b"path:/a\xff\xfeb"));
}

proptest! {
    #[test]
    fn whatever_is_in_a_record_it_is_one_metric_with_its_tags(
        texts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 7),
        marks in proptest::collection::vec("[%:|#,@\r\n0-9a-zé ]{0,20}", 7),
        value in any::<i64>(),
        any_bytes in any::<bool>(),
    ) {
        let mut record = Builder::new();
        let fields = [
            Text::Method, Text::Path, Text::ApiVersion, Text::ApiName, Text::ApiId, Text::OrgId, Text::OauthId,
        ];
        for ((field, bytes), marks) in fields.into_iter().zip(&texts).zip(&marks) {
            record.text(field, if any_bytes { bytes.as_slice() } else { marks.as_bytes() });
        }
        record.int(Int::RequestTime, value);
        let mut out = Vec::new();
        encoder(DEFAULT_TAGS, false).write(&mut out, &record.view());
        let line = String::from_utf8(out).unwrap();
        prop_assert!(!line.contains('\n'));
        let parts: Vec<&str> = line.split('|').collect();
        let [metric, kind, rate, tags] = parts[..] else {
            return Err(TestCaseError::fail(format!("{} parts: {line}", parts.len())));
        };
        let (name, number) = metric.split_once(':').unwrap();
        prop_assert_eq!((name, kind, rate), ("pump.request_time", "h", "@0.5"));
        prop_assert_eq!(number.parse::<f64>().unwrap(), value as f64);
        let keys: Vec<&str> = tags.strip_prefix('#').unwrap().split(',').map(|tag| tag.split(':').next().unwrap()).collect();
        let oauth = record.view().text(Text::OauthId).is_empty();
        let mut expected = vec![
            "env", "tyk-pump", "path", "method", "response_code", "api_version", "api_name", "api_id", "org_id", "tracked",
        ];
        expected.extend((!oauth).then_some("oauth_id"));
        prop_assert_eq!(keys, expected);
    }
}

fn buffering(lines: usize, bytes: usize) -> Encoder {
    Encoder {
        head: Head::new("n", 1.0, &[]),
        tags: vec![Tag::WholePath],
        rate: 1.0,
        limits: Limits { lines, bytes },
        as_it_is: false,
    }
}

fn sizes(encoder: &Encoder, count: u64) -> Vec<usize> {
    let mut dispatch = encoder.encode(&rows::group(CLAIM, 100..100 + count));
    assert!(dispatch.rejected().is_empty());
    dispatch.datagrams().into_iter().map(<[u8]>::len).collect()
}

#[test]
fn a_datagram_ends_where_the_next_line_has_no_room() {
    let line = "n.request_time:0|h|#tyk-pump,path:/serial/100".len();
    let whole = |lines| lines * line + lines - 1;
    assert_eq!(sizes(&buffering(1, 1432), 3), [line; 3]);
    assert_eq!(sizes(&buffering(2, 1432), 5), [whole(2), whole(2), line]);
    assert_eq!(sizes(&buffering(100, whole(3)), 7), [whole(3), whole(3), line]);
    assert_eq!(sizes(&buffering(100, whole(3) - 1), 4), [whole(2), whole(2)]);
    assert_eq!(sizes(&buffering(100, line), 2), [line; 2]);
    let mut refused = buffering(100, line - 1).encode(&rows::group(CLAIM, 100..101));
    assert!(refused.datagrams().is_empty());
    let reason = &refused.rejected()[0].reason;
    assert!(reason.contains("max_datagram_size"), "{reason}");
}

#[test]
fn a_sample_has_about_its_part_of_the_records_and_is_always_the_same() {
    let mut encoder = buffering(1, 1432);
    encoder.rate = 0.25;
    let group = rows::group(CLAIM, 0..20_000);
    let mut sample = encoder.encode(&group);
    let count = sample.datagrams().len();
    assert!((4_700..5_300).contains(&count), "{count}");
    assert_eq!(encoder.encode(&group).datagrams(), sample.datagrams());
    // Rows of other claims are drawn anew.
    let other = ClaimId(ulid::Ulid(u128::MAX / 7));
    let both = (0..10_000).filter(|&row| line::draw(RowId { claim: CLAIM, row }) <= 0.25);
    let both = both
        .filter(|&row| line::draw(RowId { claim: other, row }) <= 0.25)
        .count();
    assert!((500..750).contains(&both), "{both}");
}

fn surroundings(set: &[(&'static str, &str)]) -> Surroundings {
    Surroundings(set.iter().map(|(name, value)| (*name, (*value).to_owned())).collect())
}

fn made(meta: Value, set: &[(&'static str, &str)]) -> Result<DogStatsd, BuildError> {
    DogStatsd::new(&BuildContext::new("TEST", "fleet", meta), &surroundings(set))
}

#[tokio::test]
async fn the_variables_of_the_agent_count() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = receiver.local_addr().unwrap().port().to_string();
    let set = [
        ("DD_AGENT_HOST", "127.0.0.1"),
        ("DD_DOGSTATSD_PORT", port.as_str()),
        ("DD_ENTITY_ID", "pod-7"),
        ("DD_ENV", ""),
        ("DD_SERVICE", "shop"),
        ("DD_VERSION", "1.\n2"),
    ];
    let sink = made(json!({"tags": ["path"]}), &set).unwrap();
    sink.write(&rows::group(CLAIM, 5..6), &Arc::default()).await.unwrap();
    let mut buffer = [0; 1024];
    let received = tokio::time::timeout(Duration::from_secs(10), receiver.recv(&mut buffer));
    let length = received.await.unwrap().unwrap();
    assert_eq!(
        String::from_utf8_lossy(&buffer[..length]),
        "default.request_time:0|h|#dd.internal.entity_id:pod-7,service:shop,version:1.2,tyk-pump,path:/serial/5"
    );
}

#[tokio::test]
async fn an_agent_that_is_busy_gets_every_record_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dsd");
    let receiver = UnixDatagram::bind(&path).unwrap();
    let meta = json!({
        "address": format!("unix://{}", path.display()), "buffered": true, "buffered_max_messages": 3, "tags": ["path"],
    });
    let sink = made(meta, &[]).unwrap();
    let (applied, group) = (Arc::default(), rows::group(CLAIM, 0..3_000));
    let busy = sink.write(&group, &applied).await;
    assert!(matches!(busy, Err(WriteError::Retry { .. })), "{busy:?}");
    let reading = tokio::spawn(async move {
        let mut serials = Vec::new();
        let mut buffer = [0; 8192];
        while serials.len() < 3_000 {
            let length = receiver.recv(&mut buffer).await.unwrap();
            serials.extend(rows::serials(&buffer[..length]));
        }
        serials
    });
    sink.write(&group, &applied).await.unwrap();
    let serials = tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .unwrap()
        .unwrap();
    assert_eq!(serials, (0..3_000).collect::<Vec<_>>());
}

#[tokio::test]
async fn wrong_options_are_named() {
    for (meta, set, expected) in [
        (
            json!({}),
            &[][..],
            "meta.address is empty and the variable DD_AGENT_HOST is not set",
        ),
        (
            json!({"address": "a:b:c"}),
            &[],
            "meta.address is \"a:b:c\", expected host:port, host or unix:///path",
        ),
        (
            json!({"address": "h", "tags": ["method", "colour"]}),
            &[],
            "meta.tags has \"colour\", which is no tag",
        ),
        (json!({"address": "h", "tags": ["pth"]}), &[], "write \"path\""),
        (
            json!({"address": "h", "buffered": "yes"}),
            &[],
            "meta.buffered is the text \"yes\"",
        ),
        (
            json!({"address": "h", "max_datagram_size": -1}),
            &[],
            "meta.max_datagram_size is -1",
        ),
        (
            json!({}),
            &[("DD_AGENT_HOST", "h"), ("DD_DOGSTATSD_PORT", "dog")],
            "the variable DD_DOGSTATSD_PORT is \"dog\"",
        ),
    ] {
        let Err(error) = made(meta.clone(), set) else {
            panic!("{meta} is accepted")
        };
        assert!(error.to_string().contains(expected), "{meta}: {error}");
    }
    for (meta, set) in [
        (
            json!({"address": "h", "buffered": true, "buffered_max_messages": -1, "sample_rate": -1}),
            &[][..],
        ),
        (
            json!({"address": "unix:///run/dsd", "async_uds": true, "namespace": ""}),
            &[],
        ),
        (json!({"sample_rate": 2}), &[("DD_AGENT_HOST", "unix:///run/dsd")]),
        (json!({}), &[("DD_AGENT_HOST", "::1")]),
    ] {
        assert!(made(meta, set).is_ok());
    }
}
