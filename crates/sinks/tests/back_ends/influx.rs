//! `influx` against a real InfluxDB, and `influx2` where that has the write endpoint of version 2.
//! `scripts/services.sh start influxdb` starts one. `PUMP_TEST_INFLUX_ROWS=1000000` writes more than the usual.

use std::sync::Arc;

use analytics::{ClaimId, Int, Selection, Text, Time, Zone, record::Builder};
use fakes::{rows, server};
use serde_json::{Value, json};
use sinks::{
    Applied, BuildContext, Sink,
    http::{HttpClient, HttpSettings, Method, Request, Url, header::HeaderMap},
};

/// A database of its own on the server.
struct Database {
    url: String,
    name: String,
    client: HttpClient,
    /// The sinks that can write to it.
    kinds: Vec<&'static str>,
}

impl Database {
    /// `None`: no server was started.
    async fn new() -> Option<Database> {
        let mut database = Database {
            url: server::address("influxdb")?,
            name: format!("tyk-{}", ulid::Ulid::new()),
            client: HttpClient::new(HttpSettings::default()).unwrap(),
            kinds: vec!["influx"],
        };
        let create = format!("CREATE DATABASE \"{}\"", database.name);
        let (headers, _) = database.call(Method::POST, "query", &[("q", &create)], "").await;
        if !headers["x-influxdb-version"].to_str().unwrap().starts_with("1.6") {
            database.kinds.push("influx2");
        }
        Some(database)
    }

    async fn call(
        &self,
        method: Method,
        path: &str,
        parameters: &[(&str, &str)],
        body: &'static str,
    ) -> (HeaderMap, Value) {
        let mut url = Url::parse(&self.url).unwrap();
        url.set_path(path);
        url.query_pairs_mut()
            .extend_pairs(parameters)
            .append_pair("db", &self.name);
        let answer = self.client.send(Request::new(method, url).body(body)).await.unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status.is_success(), "{path}: {} {text}", answer.status);
        (answer.headers, serde_json::from_str(&text).unwrap_or_default())
    }

    async fn sink(&self, kind: &str, compat: bool) -> Box<dyn Sink> {
        let meta = json!({
            "address": self.url, "tags": ["path", "method"], "fields": ["request_time", "response_code"],
        });
        let mut meta = meta;
        match kind {
            "influx" => meta["database_name"] = self.name.as_str().into(),
            _ => meta["bucket"] = self.name.as_str().into(),
        }
        let context = BuildContext {
            compat,
            ..BuildContext::new("TEST", "fleet", meta)
        };
        (sinks::find(kind).unwrap().build)(context).await.unwrap()
    }

    /// Number of points.
    async fn count(&self) -> u64 {
        let query = "SELECT count(request_time) FROM analytics";
        let (_, found) = self.call(Method::GET, "query", &[("q", query)], "").await;
        found["results"][0]["series"][0]["values"][0][1].as_u64().unwrap_or(0)
    }

    async fn empty(&self) {
        self.call(Method::POST, "query", &[("q", "DROP MEASUREMENT analytics")], "")
            .await;
    }
}

/// Rows of a claim; `record` makes each from its number.
fn group(claim: u128, first_row: u64, records: impl IntoIterator<Item = Builder>) -> Vec<Selection> {
    vec![rows::all(&rows::batch_of_built(
        ClaimId(ulid::Ulid(claim)),
        first_row,
        records,
    ))]
}

const FIRST: i64 = 1_700_000_000;

/// A thousand of them a second, of three paths; each tenth in one and the same nanosecond.
fn request(number: u64) -> Builder {
    let (milliseconds, nanos) = match number % 10 {
        0 => (0, 0),
        _ => (number, number * 7_919 % 1_000_000),
    };
    let mut record = Builder::new();
    record
        .text(Text::Method, "GET")
        .text(Text::Path, format!("/orders/{}", number % 3))
        .int(Int::RequestTime, number as i64)
        .int(Int::ResponseCode, 200)
        .recorded_at(Time {
            seconds: FIRST + (milliseconds / 1_000) as i64,
            nanos: (milliseconds % 1_000 * 1_000_000 + nanos) as u32,
            zone: Zone::UTC,
        });
    record
}

#[tokio::test]
async fn every_request_is_a_point_although_many_share_a_nanosecond() {
    let Some(database) = Database::new().await else {
        return;
    };
    let rows: u64 = std::env::var("PUMP_TEST_INFLUX_ROWS").map_or(60_000, |rows| rows.parse().unwrap());
    const GROUP: u64 = 5_000;
    /// Groups of a claim.
    const CLAIM: u64 = 4;
    for kind in database.kinds.clone() {
        let mut sink = database.sink(kind, false).await;
        for number in 0..rows / GROUP {
            // Lists that were taken in the same millisecond.
            let claim = u128::from(number / CLAIM) + (7 << 80);
            let records = (number * GROUP..(number + 1) * GROUP).map(request);
            let group = group(claim, number % CLAIM * GROUP, records);
            sink.write(&group, &Arc::default()).await.unwrap();
            if number % 5 == 0 {
                // What was not acknowledged comes again after a crash.
                let again = group[0].slice(number % CLAIM * GROUP + 1_000..u64::MAX);
                sink.write(&[again], &Arc::default()).await.unwrap();
            }
        }
        assert_eq!(database.count().await, rows / GROUP * GROUP, "{kind}");
        // A pump that knows nothing of the points that there are.
        sink = database.sink(kind, false).await;
        let first = group(7 << 80, 0, (0..GROUP).map(request));
        sink.write(&first, &Arc::default()).await.unwrap();
        assert_eq!(database.count().await, rows / GROUP * GROUP, "{kind}");
        database.empty().await;
    }
}

#[tokio::test]
async fn one_bad_point_of_five_thousand_is_refused_and_no_other() {
    let Some(database) = Database::new().await else {
        return;
    };
    for kind in database.kinds.clone() {
        let sink = database.sink(kind, false).await;
        // A week in which the field was a text: the server only counts what it drops.
        let line = "analytics response_code=\"text\" 1600000000000000000";
        database.call(Method::POST, "write", &[], line).await;
        let conflict = |number: u64| {
            let mut record = request(number);
            if number == 1_234 {
                record.recorded_at(Time {
                    seconds: 1_600_000_000,
                    nanos: 1,
                    zone: Zone::UTC,
                });
            }
            record
        };
        // A line that cannot be read: the server repeats it.
        let too_long = |number: u64| {
            let mut record = request(number);
            if number == 4_321 {
                record.text(Text::Path, "x".repeat(66_000));
            }
            record
        };
        for (claim, bad, group) in [
            (1, 1_234, group(1, 0, (0..5_000).map(conflict))),
            (2, 4_321, group(2, 0, (0..5_000).map(too_long))),
        ] {
            let written = sink.write(&group, &Arc::default()).await.unwrap();
            let rejected: Vec<_> = written.rejected.iter().map(|rejected| rejected.row.row).collect();
            assert_eq!(rejected, [bad], "{kind}: {:?}", written.rejected);
            assert_eq!(database.count().await, claim * 4_999, "{kind}");
        }
        database.empty().await;
    }
}

#[tokio::test]
async fn no_value_of_a_record_breaks_its_line() {
    let Some(database) = Database::new().await else {
        return;
    };
    let values = [
        "plain",
        "com,ma",
        "equals=",
        "two words",
        "\"quoted\"",
        "ends with \\",
        "\\",
        "\\\\\\",
        "ends with \\\"",
        "\n",
        "\r\n\t",
        "a\\,b",
        "a\\ b",
        "=",
        ",",
        " ",
        "\"",
        "'",
        "\\\"",
        "\u{0}",
        "ünï",
        "\u{2028}",
        "#",
        "\\n",
    ];
    for kind in database.kinds.clone() {
        let record = |(number, value): (usize, &&str)| {
            let mut record = request(number as u64);
            record.text(Text::Path, value).text(Text::Method, value);
            record
        };
        let applied = Arc::<Applied>::default();
        let sink = database.sink(kind, false).await;
        let written = sink
            .write(&group(3, 0, values.iter().enumerate().map(record)), &applied)
            .await;
        assert!(written.unwrap().rejected.is_empty(), "{kind}");
        assert_eq!(database.count().await, values.len() as u64, "{kind}");
        database.empty().await;
    }
}

#[tokio::test]
async fn times_as_upstream_writes_them_are_taken_by_every_version() {
    let Some(database) = Database::new().await else {
        return;
    };
    for kind in database.kinds.clone() {
        let sink = database.sink(kind, true).await;
        for _ in 0..2 {
            sink.write(&group(1, 0, (0..5_000).map(request)), &Arc::default())
                .await
                .unwrap();
        }
        assert_eq!(
            database.count().await,
            10_000,
            "{kind}: without a time of its own a row that comes again is another"
        );
        let (_, found) = database
            .call(
                Method::GET,
                "query",
                &[(
                    "q",
                    "SELECT last(request_time) FROM analytics WHERE time > now() - 1h AND time < now() + 1h",
                )],
                "",
            )
            .await;
        assert!(found["results"][0]["series"].is_array(), "{kind}: {found}");
        database.empty().await;
    }
}
