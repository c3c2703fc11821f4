//! Documents of real servers, Elasticsearch and OpenSearch: `scripts/services.sh start search` starts them.
//!
//! With every `PUMP_TEST_…` at one node that has `thread_pool.write.size=1 thread_pool.write.queue_size=1`
//! (`tests/services/search.sh start`) the same runs against a server that refuses two requests of three with 429.

use std::time::Duration;

use analytics::Int;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use fakes::server;
use rand::Rng;
use serde_json::{Map, Value, json};
use sinks::http::{HttpClient, HttpSettings, Method, Request, Url};
use tokio::runtime::Runtime;

use super::records::{element, element_with, push};
use crate::support::{self, daemon::Site};

const SERVERS: [&str; 5] = [
    "elasticsearch",
    "elasticsearch8",
    "opensearch1",
    "opensearch",
    "opensearch3",
];

/// An index of a server.
struct Index {
    server: &'static str,
    url: String,
    name: String,
    runtime: Runtime,
    client: HttpClient,
}

/// A new index of each server that was started.
fn indices(test: &str) -> Vec<Index> {
    let servers = SERVERS
        .into_iter()
        .filter_map(|name| Some((name, server::address(name)?)));
    servers
        .map(|(server, url)| Index {
            server,
            url,
            name: format!("{test}-{}", ulid::Ulid::new().to_string().to_lowercase()),
            runtime: Runtime::new().unwrap(),
            client: HttpClient::new(HttpSettings::default()).unwrap(),
        })
        .collect()
}

impl Index {
    fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let url = Url::parse(&format!("{}/{}{path}", self.url, self.name)).unwrap();
        let request = Request::new(method, url).header("content-type", "application/json");
        let request = match body {
            Value::Null => request,
            body => request.body(body.to_string()),
        };
        let answer = self.runtime.block_on(self.client.send(request)).unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status.is_success(), "{path}: {} {text}", answer.status);
        serde_json::from_str(&text).unwrap()
    }

    /// What there is to say about the numbers of its documents.
    fn numbers(&self) -> Value {
        self.call(Method::POST, "/_refresh", Value::Null);
        let aggregation = json!({"numbers": {"extended_stats": {"field": "request_time_ms"}}});
        let found = self.call(
            Method::POST,
            "/_search",
            json!({"size": 0, "track_total_hits": true, "aggs": aggregation}),
        );
        let numbers = &found["aggregations"]["numbers"];
        assert_eq!(found["hits"]["total"]["value"], numbers["count"]);
        json!([numbers["count"], numbers["sum"], numbers["sum_of_squares"]])
    }
}

/// The same of these numbers, each once.
fn numbers(serials: impl Iterator<Item = u64> + Clone) -> Value {
    let sum: u64 = serials.clone().sum();
    let squares: u64 = serials.clone().map(|serial| serial * serial).sum();
    json!([serials.count(), sum as f64, squares as f64])
}

fn pumps(indices: &[Index]) -> Value {
    let pump = |index: &Index| {
        let meta = json!({"elasticsearch_url": index.url, "index_name": index.name});
        (index.server.to_owned(), json!({"type": "elasticsearch", "meta": meta}))
    };
    Value::Object(indices.iter().map(pump).collect::<Map<_, _>>())
}

#[test]
fn one_conflict_among_ten_thousand_documents_is_one_dead_letter() {
    let indices = indices("conflict");
    let Some(redis) = support::redis("plain", &[]).filter(|_| !indices.is_empty()) else {
        return;
    };
    for index in &indices {
        let mapping = json!({"mappings": {"properties": {"response_code": {"type": "short"}}}});
        index.call(Method::PUT, "", mapping);
    }
    let site = Site::new(&redis, pumps(&indices));
    let daemon = site.start_ready();
    let elements = (0..10_000).map(|serial| match serial {
        6_789 => element_with(serial, |record| {
            record.int(Int::ResponseCode, 70_000);
        }),
        serial => element(serial),
    });
    push(&redis, elements);
    site.wait_until_drained(&redis, 120);
    for index in &indices {
        let letters = site.operate_json(&format!("dlq list --json --pump {}", index.server.to_uppercase()));
        assert_eq!(letters.len(), 1, "{}: {letters:?}", index.server);
        let cause = letters[0]["cause"].as_str().unwrap();
        assert!(cause.contains("response_code"), "{}: {cause}", index.server);
        let raw = STANDARD.decode(letters[0]["raw"].as_str().unwrap()).unwrap();
        assert!(String::from_utf8_lossy(&raw).contains("/serial/6789"));
        let all = (0..10_000).filter(|serial| *serial != 6_789);
        assert_eq!(index.numbers(), numbers(all), "{}", index.server);
        // Somebody makes an index that takes it.
        index.call(Method::DELETE, "", Value::Null);
        index.call(Method::PUT, "", json!({}));
    }
    let replayed = site.operate("dlq replay");
    assert!(replayed.status.success(), "{replayed:?}");
    assert!(site.operate_json("dlq list --json").is_empty());
    for index in &indices {
        assert_eq!(index.numbers(), numbers(6_789..=6_789), "{}", index.server);
    }
    assert!(daemon.stop().success());
}

#[test]
fn kills_create_no_second_document_and_lose_none() {
    let indices = indices("kills");
    let Some(redis) = support::redis("plain", &[]).filter(|_| !indices.is_empty()) else {
        return;
    };
    let site = Site::new(&redis, pumps(&indices));
    const RECORDS: u64 = 20_000;
    push(&redis, (0..RECORDS).map(element));
    let mut rng = rand::rng();
    for _ in 0..6 {
        let daemon = site.start();
        site.wait_until_ready();
        std::thread::sleep(Duration::from_millis(rng.random_range(0..700)));
        daemon.kill();
    }
    let daemon = site.start();
    site.wait_until_drained(&redis, 120);
    assert!(daemon.stop().success());
    for index in &indices {
        assert_eq!(index.numbers(), numbers(0..RECORDS), "{}", index.server);
    }
    assert!(site.log().contains("taking up a claim"), "every kill came too late");
}
