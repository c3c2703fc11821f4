#![allow(clippy::unwrap_used)]

use std::io::{Read, Write};

use analytics::{ClaimId, Int, Text, Time, When, Zone, record::Builder};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{
    http_text::{HttpText, target},
    *,
};
use crate::testkit::{
    self,
    http::{Fault, HttpServer, Reply},
    rows,
};

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));
const REQUEST: &[u8] = b"POST /orders?dry=1 HTTP/1.1\r\nHost: api.example.com\r\nContent-Type: application/json\r\n\r\n{\"b\":2,\"a\":1}";
const RESPONSE: &[u8] = b"HTTP/1.1 201 Created\r\nContent-Type: text/plain\r\n\r\nok";

fn record(request: &[u8], response: &[u8]) -> Builder {
    let mut record = Builder::new();
    for (field, text) in [
        (Text::Method, "POST"),
        (Text::Host, "api.example.com"),
        (Text::RawPath, "/orders"),
        (Text::ApiKey, "00AD1D5B"),
        (Text::ApiName, "Orders & Co"),
        (Text::IpAddress, "203.0.113.9"),
    ] {
        record.text(field, text);
    }
    record
        .text(Text::RawRequest, STANDARD.encode(request))
        .text(Text::RawResponse, STANDARD.encode(response))
        .int(Int::ResponseCode, 201)
        .int(Int::RequestTime, 42)
        .time(
            When::TimeStamp,
            Time {
                seconds: 1_704_164_645,
                nanos: 60_000_000,
                zone: Zone::UTC,
            },
        );
    record
}

fn encoder(rules: &str, whole_values: bool) -> Encoder {
    Encoder {
        rules: Rules::parse(rules).unwrap(),
        host: "vm".to_owned(),
        whole_values,
    }
}

fn made(record: &Builder) -> (Made, Value) {
    let mut out = Vec::new();
    let made = encoder("include debug", true).write(&mut out, &record.view(), 0);
    (made, serde_json::from_slice(&out).unwrap_or_default())
}

fn message(record: &Builder) -> Value {
    let (made, message) = made(record);
    assert_eq!(made, Made::Message);
    message
}

fn value<'a>(message: &'a Value, key: &str) -> Option<&'a str> {
    let mut pairs = message.as_array().unwrap().iter();
    pairs.find(|pair| pair[0] == key)?[1].as_str()
}

#[test]
fn a_message_has_its_pairs_in_order() {
    let expected = json!([
        ["request_method", "POST"],
        ["request_url", "http://api.example.com/orders"],
        ["response_code", "201"],
        ["request_body", "{\"b\":2,\"a\":1}"],
        ["request_header:host", "api.example.com"],
        ["request_header:content-type", "application/json"],
        ["request_header:x-forwarded-for", "203.0.113.9"],
        ["request_param:dry", "1"],
        ["response_header:content-type", "text/plain"],
        ["response_body", "ok"],
        ["now", "1704164645000"],
        ["interval", "42"],
        ["custom_field:tyk-api-key", "00ad1d5b"],
        ["custom_field:tyk-api-name", "orders & co"],
        ["host", "vm"],
    ]);
    assert_eq!(message(&record(REQUEST, RESPONSE)), expected);
}

#[test]
fn a_body_needs_no_header_lines_in_front() {
    let message = message(&record(b"POST /a HTTP/1.1\r\n\r\nrequest", b"HTTP/1.1 200 X\r\n\r\nresponse"));
    assert_eq!(value(&message, "request_body"), Some("request"));
    assert_eq!(value(&message, "response_body"), Some("response"));
}

#[test]
fn header_values_are_whole_except_for_the_reference() {
    let text = b"GET / HTTP/1.1\r\nX-A: b: c\r\nX-Tight:d\r\nBroken\r\nX-A: e\r\n\r\n";
    let headers = |whole| HttpText::parse(text, whole).headers;
    let pairs = |texts: &[(&str, &str)]| -> Vec<(String, String)> {
        texts.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    };
    assert_eq!(headers(true), pairs(&[("x-a", "b: c"), ("x-tight", "d"), ("x-a", "e")]));
    assert_eq!(headers(false), pairs(&[("x-a", "b"), ("x-a", "e")]));
}

#[test]
fn bodies_are_decoded() {
    let body = |encoding: &str, body: &[u8]| {
        let response = [b"HTTP/1.1 200 X\r\nContent-Encoding: ", encoding.as_bytes(), b"\r\n\r\n", body].concat();
        HttpText::parse(&response, true).body_text()
    };
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all("ün".as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!((body("gzip", &gzip), body("X-GZIP", &gzip)), ("ün".to_owned(), "ün".to_owned()));
    assert_eq!(body("deflate", &deflate(b"x")), "x");
    assert_eq!(body("identity", b"a\xff\xfeb"), "a\u{fffd}\u{fffd}b");
    // "hello" as brotli has it, stored.
    assert_eq!(body("br", b"\x0b\x02\x80hello\x03"), "hello");
    assert_eq!((body("gzip", b"no"), body("unheard-of", b"x")), (String::new(), String::new()));
    assert_eq!(body("", &vec![b'a'; 2 << 20]).len(), 1 << 20);
}

#[test]
fn trailers_of_chunked_responses_become_headers() {
    let response = b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 99\r\n\r\n";
    let message = message(&record(REQUEST, response));
    assert_eq!(value(&message, "response_header:x-sum"), Some("99"));
    assert_eq!(value(&message, "response_body"), Some("5\r\nhello\r\n0\r\n"));
}

#[test]
fn targets_are_taken_apart() {
    let path = |text: &str| target(text).map(|target| (target.is_absolute, target.path));
    assert_eq!(path("/a%20b?x=%zz#f"), Some((false, "/a b".to_owned())));
    assert_eq!(path("http://h/a?b"), Some((true, "http://h/a".to_owned())));
    assert_eq!(path("/to?u=http://x"), Some((false, "/to".to_owned())));
    for text in ["/a%2", "/a%zz", "/a\nb", "1http://x", "http://a b/"] {
        assert_eq!(path(text), None, "{text}");
    }
    let parameters = target("/?a=1&a=one%20two+x&b=2;c&&flag&bad=%zz&=e").unwrap().parameters;
    let text: Vec<_> = parameters.iter().map(|(name, value)| format!("{name}:{value}")).collect();
    assert_eq!(text, ["a:1", "a:one two x", "b:2;c", "flag:", ":e"]);
}

#[test]
fn what_the_record_does_not_say_comes_from_the_wire() {
    let mut record = record(b"DELETE noslash HTTP/1.1\r\nHost: gw\r\n\r\n", b"HTTP/1.1 418 X\r\n\r\n");
    record.text(Text::Method, "").text(Text::Host, "").text(Text::RawPath, "");
    record.int(Int::ResponseCode, 0).int(Int::RequestTime, 0);
    let message = message(&record);
    assert_eq!(value(&message, "request_method"), Some("DELETE"));
    assert_eq!(value(&message, "request_url"), Some("http://gw/noslash"));
    assert_eq!(value(&message, "response_code"), Some("418"));
    assert_eq!(value(&message, "interval"), Some("1"));
}

#[test]
fn records_that_make_no_message_are_told_apart() {
    assert_eq!(made(&record(b"", b"")).0, Made::Empty);
    for (request, response) in [
        (&b""[..], RESPONSE),
        (b"word", b""),
        (b"GET /%zz HTTP/1.1\r\n\r\n", RESPONSE),
    ] {
        let mut record = record(request, response);
        record.text(Text::RawPath, "");
        assert!(matches!(made(&record).0, Made::Unusable(_)), "{}", String::from_utf8_lossy(request));
    }
    let mut no_base64 = record(REQUEST, RESPONSE);
    no_base64.text(Text::RawRequest, "!");
    assert!(matches!(made(&no_base64).0, Made::Unusable(_)));
    let mut decoded = record(REQUEST, RESPONSE);
    decoded.text(Text::RawRequest, REQUEST);
    assert_eq!(made(&decoded).0, Made::Message, "decoded by an option of the pump");
    let mut no_status = record(REQUEST, b"HTTP/1.1 what\r\n\r\n");
    no_status.int(Int::ResponseCode, 0);
    assert!(matches!(made(&no_status).0, Made::Unusable(_)));
}

fn build_with(meta: Value, variables: &[(&str, &str)]) -> Result<Resurface, BuildError> {
    Resurface::new(&testkit::context(meta), |name| {
        let found = variables.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned()).unwrap_or_default()
    })
}

#[test]
fn wrong_options_are_named() {
    let url = "https://h/message";
    for (meta, variables, expected) in [
        (json!({}), &[][..], "meta.capture_url is missing"),
        (json!({"capture_url": "http://h/message"}), &[], "meta.capture_url is plain http"),
        (json!({"capture_url": "h/message"}), &[], "meta.capture_url"),
        (json!({"capture_url": url, "rules": "remove everything"}), &[], "meta.rules: the rule \"remove everything\""),
        (json!({"capture_url": url, "rules": "file:///nowhere"}), &[], "meta.rules: the file /nowhere cannot be read"),
        (json!({"capture_url": url}), &[("USAGE_LOGGERS_DISABLE", "true")], "USAGE_LOGGERS_DISABLE"),
        (json!({"capture_url": 5}), &[], "meta.capture_url is the number 5"),
    ] {
        let Err(error) = build_with(meta.clone(), variables) else {
            panic!("{meta} is accepted")
        };
        assert!(error.to_string().contains(expected), "{meta}: {error}");
    }
    let sink = build_with(json!({"queue": []}), &[("USAGE_LOGGERS_URL", url), ("DYNO", "web.1")]).unwrap();
    assert_eq!((sink.url.as_str(), sink.encoder.host.as_str()), (url, "web.1"));
}

#[tokio::test]
async fn bundles_are_compressed_lines() {
    let server = HttpServer::start(|_| Reply::new(204, "")).await.unwrap();
    for (rules, encoding) in [("include debug", "deflated"), ("include debug\nskip_compression", "")] {
        let sink = build_with(json!({"capture_url": format!("{}/message", server.url()), "rules": rules}), &[]).unwrap();
        sink.write(&rows::group(CLAIM, 0..3)).await.unwrap();
        let request = server.seen().pop().unwrap();
        assert_eq!(request.header("content-type"), "application/ndjson; charset=UTF-8");
        assert_eq!((request.path.as_str(), request.header("content-encoding")), ("/message", encoding));
        let mut lines = String::new();
        match encoding {
            "" => lines = String::from_utf8(request.body).unwrap(),
            _ => _ = flate2::read::ZlibDecoder::new(&*request.body).read_to_string(&mut lines).unwrap(),
        }
        assert_eq!((lines.lines().count(), lines.ends_with("]]\n")), (3, true));
    }
}

#[tokio::test]
async fn every_fault_has_its_class() {
    let server = HttpServer::start(|_| Reply::new(204, "")).await.unwrap();
    let sink = build_with(json!({"capture_url": server.url(), "rules": "include debug"}), &[]).unwrap();
    for (fault, expected) in [
        (Fault::HangsUp, "retry"),
        (Fault::Answers(Reply::new(500, "")), "retry"),
        (Fault::Answers(Reply::new(404, "")), "config"),
        (Fault::TooLarge(10), "reject"),
    ] {
        server.set_fault(Some(fault.clone()));
        let error = sink.write(&rows::group(CLAIM, 0..3)).await.unwrap_err();
        let class = match &error {
            WriteError::Retry { .. } => "retry",
            WriteError::Reject { .. } => "reject",
            WriteError::Config(_) => "config",
        };
        assert_eq!(class, expected, "{fault:?}: {error}");
    }
}

#[tokio::test]
async fn nothing_is_sent_when_the_rules_say_so() {
    let server = HttpServer::start(|_| Reply::new(204, "")).await.unwrap();
    for rules in ["include debug\nskip_submission", "include debug\n/request_method/ stop"] {
        let sink = build_with(json!({"capture_url": server.url(), "rules": rules}), &[]).unwrap();
        let written = sink.write(&rows::group(CLAIM, 0..3)).await.unwrap();
        assert!(written.rejected.is_empty() && server.seen().is_empty());
    }
}
