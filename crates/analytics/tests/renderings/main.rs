//! Records as CSV, JSON and text: the reference's own lines, and properties that hold for any record.
#![allow(clippy::unwrap_used)]

mod properties;
mod sample;

use analytics::{Int, Time, Zone, csv, dump, json, logrus, record::PathItem};

use crate::sample::{Sample, order};

const ORDER_ROW: &str = "POST,up.example.com,/orders/{id},/orders/7,18446744073709551615,curl/8.5.0,14,November,2023,22,201,\
    00000000,2023-11-14 22:13:20.123 +0000 UTC,Non Versioned,\"Orders, \"\"EU\"\"\",a1b2,o1,,12,UE9TVA==,SFRUUA==,203.0.113.9,GB,\
    2643743,de:London;en:London;zh-CN:伦敦,51,0,Europe/London,0,0,0,0,12,9,3,key-00000000;org-o1;api-a1b2,bob,true,\
    2023-11-21 20:53:20 +0000 UTC,,/eu/orders/7,/eu/\n";

const EMPTY_ROW: &str = ",,,,0,,0,%!Month(0),0,0,0,,0001-01-01 00:00:00 +0000 UTC,,,,,,0,,,,,0,,0,0,,0,0,0,0,0,0,0,,,false,\
    0001-01-01 00:00:00 +0000 UTC,,,\n";

const ORDER_LINE: &str = r#"{"level":"info","msg":"","time":"2026-11-20T17:28:23Z","tyk-analytics-record":{"method":"POST","host":"up.example.com","path":"/orders/{id}","raw_path":"/orders/7","content_length":-1,"user_agent":"curl/8.5.0","day":14,"month":11,"year":2023,"hour":22,"response_code":201,"api_key":"00000000","timestamp":"2023-11-14T22:13:20.123Z","api_version":"Non Versioned","api_name":"Orders, \"EU\"","api_id":"a1b2","org_id":"o1","oauth_id":"","request_time":12,"raw_request":"POST /x HTTP/1.1 Host: h {\"a\":\"\u003cb\u003e\"}","raw_response":"HTTP/1.1 200 OK X: yz  not json ","ip_address":"203.0.113.9","geo":{"country":{"iso_code":"GB"},"city":{"geoname_id":2643743,"names":{"de":"London","en":"London","zh-CN":"伦敦"}},"location":{"latitude":51.5142,"longitude":-0.0931,"time_zone":"Europe/London"}},"network":{"open_connections":0,"closed_connections":0,"bytes_in":0,"bytes_out":0},"latency":{"total":12,"upstream":9,"gateway":3},"tags":["key-00000000","org-o1","api-a1b2"],"alias":"bob","track_path":true,"expireAt":"2023-11-21T20:53:20Z","api_schema":"","original_path":"/eu/orders/7","listen_path":"/eu/","graphql_stats":{"Variables":"","RootFields":null,"Types":null,"Errors":null,"OperationType":0,"HasErrors":false,"IsGraphQL":false},"mcp_stats":{"is_mcp":false,"jsonrpc_method":"","primitive_type":"","primitive_name":""}}}
"#;

const EMPTY_TEXT_LINE: &str = r#"time="2026-11-20T17:28:23Z" level=info prefix=stdout-pump tyk-analytics-record="{     0  0 %!Month(0) 0 0 0  0001-01-01 00:00:00 +0000 UTC      0    {{} {0 map[]} {0 0 }} {0 0 0 0} {0 0 0} []  false 0001-01-01 00:00:00 +0000 UTC    { [] map[] [] 0 false false} {false   } }"
"#;

const ORDER_DUMP: &str = "{ POST up.example.com /orders/{id} /orders/7 -1 curl/8.5.0 14 November 2023 22 201 00000000 \
    2023-11-14 22:13:20.123 +0000 UTC Non Versioned Orders, \"EU\" a1b2 o1  12 UE9TVA== SFRUUA== 203.0.113.9 {{GB} \
    {2643743 map[de:London en:London zh-CN:伦敦]} {51.5142 -0.0931 Europe/London}} {0 0 0 0} {12 9 3} \
    [key-00000000 org-o1 api-a1b2] bob true 2023-11-21 20:53:20 +0000 UTC  /eu/orders/7 /eu/ \
    { [] map[] [] 0 false false} {false   } }";

const NOW: Time = Time {
    seconds: 1_795_195_703,
    nanos: 0,
    zone: Zone::UTC,
};

fn row(sample: &Sample) -> String {
    let mut out = Vec::new();
    csv::write_row(&mut out, &sample.view());
    String::from_utf8(out).unwrap()
}

fn dumped(sample: &Sample) -> String {
    let mut out = Vec::new();
    dump::write_record(&mut out, &sample.view());
    String::from_utf8(out).unwrap()
}

fn encoded(sample: &Sample) -> String {
    let mut out = Vec::new();
    json::write_record(&mut out, &sample.view()).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn csv_rows_are_those_of_the_reference() {
    assert_eq!(row(&order("UE9TVA==", "SFRUUA==")), ORDER_ROW);
    assert_eq!(row(&Sample::default()), EMPTY_ROW);
}

#[test]
fn the_csv_header_names_42_columns() {
    let header = str::from_utf8(&csv::HEADER).unwrap();
    assert!(header.starts_with("Method,Host,Path,RawPath,ContentLength,"));
    assert!(header.ends_with(",ExpireAt,ApiSchema,OriginalPath,ListenPath\n"));
    assert_eq!(header.split(',').count(), 42);
}

#[test]
fn csv_floats_are_cut_as_on_amd64() {
    #[rustfmt::skip]
    let rows = [
        (51.9, "51"), (-0.5, "0"), (-1.0, "18446744073709551615"), (-100.7, "18446744073709551516"),
        (1e30, "9223372036854775808"), (-1e30, "9223372036854775808"), (f64::NAN, "9223372036854775808"),
        (f64::INFINITY, "9223372036854775808"), (f64::NEG_INFINITY, "9223372036854775808"),
        (9_223_372_036_854_775_808.0, "9223372036854775808"), (18_446_744_073_709_549_568.0, "18446744073709549568"),
    ];
    for (value, expected) in rows {
        let mut sample = Sample::default();
        sample.record.float = [value, 0.0];
        assert_eq!(row(&sample).split(',').nth(25), Some(expected), "{value}");
    }
}

#[test]
fn csv_fields_are_quoted_only_where_a_reader_needs_it() {
    #[rustfmt::skip]
    let rows = [
        ("", ""), ("a b ", "a b "), ("a\tb", "a\tb"), ("#'=1", "#'=1"), (r"\.", r#""\.""#), (r"\.x", r"\.x"),
        ("a,b", "\"a,b\""), ("a\"b", "\"a\"\"b\""), ("\"", "\"\"\"\""), ("a\r\nb", "\"a\r\nb\""), (" a", "\" a\""),
        ("\ta", "\"\ta\""), ("\u{85}a", "\"\u{85}a\""), ("\u{a0}", "\"\u{a0}\""), ("\u{3000}x", "\"\u{3000}x\""),
        ("\u{200b}x", "\u{200b}x"), ("a long text without anything special, but one", "\"a long text without anything special, but one\""),
    ];
    for (value, expected) in rows {
        let mut sample = Sample::default();
        sample.text(analytics::Text::Method, value);
        let rest = EMPTY_ROW;
        assert_eq!(row(&sample), format!("{expected}{rest}"), "{value:?}");
        let mut sample = Sample::default();
        sample.tags(&[value]);
        let (before, after) = EMPTY_ROW.split_at(EMPTY_ROW.find(",,,false").unwrap() + 1);
        assert_eq!(row(&sample), format!("{before}{expected}{after}"), "{value:?}");
    }
}

#[test]
fn stdout_lines_are_those_of_the_reference() {
    let request = "POST /x HTTP/1.1\r\nHost: h\r\n\r\n{ \"a\" : \"<b>\" }";
    let response = "HTTP/1.1 200 OK\r\nX: y\tz\r\n\r\nnot json\n";
    let sample = order(request, response);
    let (mut record, mut line) = (Vec::new(), Vec::new());
    json::write_flattened_record(&mut record, &sample.view()).unwrap();
    logrus::write_record_line(&mut line, NOW, "tyk-analytics-record", &record);
    assert_eq!(String::from_utf8(line).unwrap(), ORDER_LINE);
}

#[test]
fn text_lines_are_those_of_the_reference() {
    let dump = dumped(&Sample::default());
    let fields = [
        ("prefix", logrus::Value::Text(b"stdout-pump")),
        ("tyk-analytics-record", logrus::Value::Text(dump.as_bytes())),
    ];
    let mut line = Vec::new();
    logrus::write_line(
        &mut line,
        logrus::LogFormat::Text,
        logrus::LogLevel::Info,
        NOW,
        b"",
        &fields,
    );
    assert_eq!(String::from_utf8(line).unwrap(), EMPTY_TEXT_LINE);
    assert_eq!(dumped(&order("UE9TVA==", "SFRUUA==")), ORDER_DUMP);
}

#[test]
fn error_paths_may_hold_anything() {
    let mut sample = Sample::default();
    let (text, bytes) = (sample.span("he<re".as_bytes()), sample.span(&[0xff]));
    sample.error(
        "m",
        Some(vec![
            PathItem::Float(1.5),
            PathItem::Bool(true),
            PathItem::Null,
            PathItem::Bytes(bytes),
            PathItem::List(vec![PathItem::Uint(u64::MAX), PathItem::Int(-1)]),
            PathItem::Text(text),
        ]),
    );
    sample.error("n", None);
    let json = encoded(&sample);
    let expected = r#""Errors":[{"message":"m","path":[1.5,true,null,"/w==",[18446744073709551615,-1],"he\u003cre"]},{"message":"n","path":null}],"#;
    assert!(json.contains(expected), "{json}");
    let dump = dumped(&sample);
    let expected = "[{m [1.5 true <nil> [255] [18446744073709551615 -1] he<re]} {n []}]";
    assert!(dump.contains(expected), "{dump}");
}

#[test]
fn maps_in_error_paths_are_dumped_by_key() {
    let mut sample = Sample::default();
    let (a, b) = (sample.span(b"a"), sample.span(b"b"));
    let pairs = [
        (PathItem::Text(b), PathItem::Null),
        (PathItem::Uint(2), PathItem::Bool(true)),
        (PathItem::Int(-1), PathItem::Bool(false)),
        (PathItem::Text(a), PathItem::List(Vec::new())),
    ];
    sample.error("m", Some(vec![PathItem::Map(pairs.into())]));
    let dump = dumped(&sample);
    assert!(dump.contains("[{m [map[-1:false 2:true a:[] b:<nil>]]}]"), "{dump}");
}

#[test]
fn a_record_without_json_form_leaves_no_trace() {
    let mut map = Sample::default();
    let nested = PathItem::List(vec![PathItem::Map(vec![(PathItem::Null, PathItem::Bool(false))])]);
    map.error("m", Some(vec![nested]));
    let mut float = Sample::default();
    float.record.float = [0.0, f64::NAN];
    let mut time = Sample::default();
    time.record.time[1].seconds = 253_402_300_800;
    let mut out = b"before".to_vec();
    for (sample, reason) in [
        (map, json::JsonError::MapInPath),
        (float, json::JsonError::NotFinite),
        (time, json::JsonError::Year(analytics::gotime::YearOutOfRange(10_000))),
    ] {
        assert_eq!(json::write_record(&mut out, &sample.view()), Err(reason));
        assert_eq!(out, b"before");
    }
}

#[test]
fn only_the_geoname_id_is_unsigned_in_json() {
    let mut sample = Sample::default();
    sample.record.int[Int::GeoNameId as usize] = -1;
    sample.record.int[Int::Month as usize] = -1;
    let json = encoded(&sample);
    assert!(json.contains("\"geoname_id\":18446744073709551615,"), "{json}");
    assert!(json.contains("\"month\":-1,"), "{json}");
    assert!(dumped(&sample).contains("{18446744073709551615 map[]}"));
}
