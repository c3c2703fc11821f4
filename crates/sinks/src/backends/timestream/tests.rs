use analytics::{ClaimId, Int, Record, RecordView, Span, Text, Time, Transform, When};
use fakes::{
    http::{HttpServer, Received, Reply},
    rows,
};
use serde_json::Value;

use super::*;

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

fn options(more: Value) -> Options {
    let mut options = json!({"dimensions": ["Method", "Path", "OauthID"], "measures": ["ResponseCode"]});
    for (key, value) in more.as_object().unwrap() {
        options[key] = value.clone();
    }
    serde_json::from_value(options).unwrap()
}

/// The record of the reference's example, with `texts` besides.
fn written(more: Value, texts: &[(Text, &str)]) -> Option<Value> {
    let mut record = Record::default();
    let mut buffer = Vec::new();
    for (field, text) in [(Text::Method, "GET"), (Text::Path, "/orders/42/")].iter().chain(texts) {
        record.text[*field as usize] = Span {
            start: buffer.len() as u32,
            len: text.len() as u32,
        };
        buffer.extend_from_slice(text.as_bytes());
    }
    record.int[Int::ResponseCode as usize] = 200;
    record.int[Int::RequestTime as usize] = 37;
    record.time[When::TimeStamp as usize] = Time {
        seconds: 1_709_634_030,
        nanos: 123_456_789,
        zone: analytics::Zone::UTC,
    };
    let mut out = Vec::new();
    let encoder = Encoder::new(&options(more), false, |_| {}).unwrap();
    let is_sent = encoder
        .write(&mut out, &RecordView::new(&buffer, &record, &Transform::default()))
        .unwrap();
    is_sent.then(|| serde_json::from_slice(&out).unwrap())
}

fn measures(record: &Value) -> Vec<String> {
    let measures = record["MeasureValues"].as_array().unwrap().iter();
    measures
        .map(|measure| format!("{} {} {}", measure["Name"], measure["Type"], measure["Value"]).replace('"', ""))
        .collect()
}

#[test]
fn a_record_is_what_the_reference_writes() {
    let record = written(
        json!({
            "measures": ["ResponseCode", "RawResponse", "RequestTime", "GeoData.Country.ISOCode", "RateLimit.Limit"],
            "field_name_mappings": {"Path": "path", "ResponseCode": "response_code"}
        }),
        &[],
    );
    assert_eq!(
        record.unwrap(),
        json!({
            "Dimensions": [{"Name": "Method", "Value": "GET", "DimensionValueType": "VARCHAR"},
                {"Name": "path", "Value": "/orders/42/", "DimensionValueType": "VARCHAR"}],
            "MeasureName": "request_metrics", "MeasureValueType": "MULTI",
            "MeasureValues": [{"Name": "response_code", "Type": "BIGINT", "Value": "200"},
                {"Name": "RequestTime", "Type": "BIGINT", "Value": "37"},
                {"Name": "RawResponseSize", "Type": "BIGINT", "Value": "0"}],
            "Time": "1709634030123456789", "TimeUnit": "NANOSECONDS"
        })
    );
}

#[test]
fn long_texts_are_cut_and_responses_come_in_pieces() {
    let long = "é".repeat(1_500);
    let record = written(
        json!({"measures": ["RawResponse", "UserAgent", "ResponseCode"]}),
        &[(Text::UserAgent, &long), (Text::RawResponse, &"x".repeat(5_000))],
    );
    let measures = measures(&record.unwrap());
    assert_eq!(measures[0], format!("UserAgent VARCHAR {}", "é".repeat(1_024)));
    assert_eq!(measures[2], "RawResponseSize BIGINT 3");
    let lengths: Vec<usize> = measures[3..].iter().map(|piece| piece.matches('x').count()).collect();
    assert_eq!(lengths, [2_048, 2_048, 904]);
    assert!(measures[5].starts_with("RawResponse2 VARCHAR x"), "{}", measures[5]);
}

#[test]
fn limits_and_places_come_from_headers() {
    let response =
        "HTTP/1.1 200 OK\r\nX-RateLimit-Limit: 100 \r\nX-Ratelimit-Remaining: 5.0\r\nX-Ratelimit-Reset: +7\r\n\r\nok";
    let request = "GET / HTTP/1.1\r\ncloudfront-viewer-country: AT\r\nCloudFront-Viewer-City: Wien\r\n\r\n";
    let record = written(
        json!({
            "measures": ["RateLimit.Limit", "RateLimit.Remaining", "ratelimit.reset", "GeoData.Country.ISOCode",
                "GeoData.City.Names", "RateLimit.Limit", "Nonsense"],
            "write_rate_limit": true,
            "read_geo_from_request": true
        }),
        &[(Text::RawResponse, response), (Text::RawRequest, request)],
    );
    assert_eq!(
        measures(&record.unwrap()),
        [
            "RateLimit.Limit BIGINT 100",
            "Ratelimit.Reset BIGINT 7",
            "GeoData.Country.ISOCode VARCHAR AT",
            "GeoData.City.Names VARCHAR Wien"
        ]
    );
}

#[test]
fn a_record_with_nothing_to_write_is_left_out_and_zeros_are_written_when_asked_for() {
    assert_eq!(written(json!({"measures": ["Latency.Total"]}), &[]), None);
    assert_eq!(written(json!({"dimensions": ["OauthID"]}), &[]), None);
    let zero = written(json!({"measures": ["Latency.Total"], "write_zero_values": true}), &[]);
    assert_eq!(measures(&zero.unwrap()), ["Latency.Total BIGINT 0"]);
    for missing in ["dimensions", "measures"] {
        let error = Encoder::new(&options(json!({missing: []})), false, |_| {})
            .err()
            .unwrap();
        assert!(error.to_string().contains(missing), "{error}");
    }
}

async fn sink(server: &HttpServer) -> Timestream {
    let meta = json!({"aws_region": "eu-west-1", "aws_key": "AKID", "aws_secret": "s3cret", "aws_endpoint": server.url(),
        "timestream_database_name": "db", "timestream_table_name": "t", "dimensions": ["Method"], "measures": ["Path", "RequestTime"],
        "write_zero_values": true});
    Timestream::new(&BuildContext::new("TIMESTREAM", "fleet", meta))
        .await
        .unwrap()
}

#[tokio::test]
async fn refused_records_are_known_one_by_one() {
    let server = HttpServer::start(|_: &Received| {
        let body = json!({"__type": "com.amazonaws.timestream#RejectedRecordsException", "Message": "One or more records",
            "RejectedRecords": [{"RecordIndex": 1, "Reason": "The record timestamp is outside the time range [alice]"}]});
        Reply::new(419, body.to_string())
    });
    let server = server.await.unwrap();
    let (sink, applied) = (sink(&server).await, Arc::default());
    let written = sink.write(&rows::group(CLAIM, 0..3), &applied).await.unwrap();
    assert_eq!(written.rejected.len(), 1);
    assert_eq!(written.rejected[0].row.row, 1);
    assert!(!written.rejected[0].reason.contains("alice"), "{written:?}");
    assert_eq!(applied.ranges(CLAIM).to_string(), "0-0,2-2");
    let request = server.seen().pop().unwrap();
    assert_eq!(request.header("x-amz-target"), "Timestream_20181101.WriteRecords");
    assert!(
        request
            .header("authorization")
            .contains("/eu-west-1/timestream/aws4_request")
    );
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&body["DatabaseName"], &body["TableName"]), (&json!("db"), &json!("t")));
}

#[tokio::test]
async fn a_hundred_records_go_in_a_request() {
    let server = HttpServer::start(|_: &Received| Reply::new(200, "{}")).await.unwrap();
    sink(&server)
        .await
        .write(&rows::group(CLAIM, 0..250), &Arc::default())
        .await
        .unwrap();
    let counts: Vec<usize> = server
        .seen()
        .iter()
        .map(|request| {
            serde_json::from_slice::<Value>(&request.body).unwrap()["Records"]
                .as_array()
                .unwrap()
                .len()
        })
        .collect();
    assert_eq!(counts, [100, 100, 50]);
}
