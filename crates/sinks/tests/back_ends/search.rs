//! `elasticsearch` against real servers: Elasticsearch and OpenSearch.

use std::sync::Arc;

use analytics::{ClaimId, Int};
use fakes::{
    rows::{self, Row},
    server,
};
use serde_json::{Value, json};
use sinks::{
    BuildContext, Sink,
    elasticsearch::SPEC,
    http::{HttpClient, HttpSettings, Method, Request, Url},
};

/// Started by `scripts/services.sh start search`: 7.17 and 8.19, 1.3, 2.19 and 3.3.
const SERVERS: [&str; 5] = [
    "elasticsearch",
    "elasticsearch8",
    "opensearch1",
    "opensearch",
    "opensearch3",
];

/// A server, and the names that one test uses there.
struct Server {
    name: &'static str,
    url: String,
    client: HttpClient,
    index: String,
}

/// The servers that were started.
fn servers(test: &str) -> Vec<Server> {
    SERVERS
        .into_iter()
        .filter_map(|name| Some((name, server::address(name)?)))
        .map(|(name, url)| Server {
            name,
            url,
            client: HttpClient::new(HttpSettings::default()).unwrap(),
            index: format!("{test}-{}", ulid::Ulid::new().to_string().to_lowercase()),
        })
        .collect()
}

impl Server {
    async fn call(&self, method: Method, path: &str, body: Value) -> Value {
        let url = Url::parse(&format!("{}/{path}", self.url)).unwrap();
        let request = Request::new(method, url).header("content-type", "application/json");
        let request = match body {
            Value::Null => request,
            body => request.body(body.to_string()),
        };
        let answer = self.client.send(request).await.unwrap();
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(answer.status.is_success(), "{path}: {} {text}", answer.status);
        serde_json::from_str(&text).unwrap()
    }

    async fn search(&self, query: Value) -> Vec<Value> {
        self.call(Method::POST, &format!("{}*/_refresh", self.index), Value::Null)
            .await;
        let body = json!({"query": query, "size": 10_000, "track_total_hits": true});
        let found = self.call(Method::POST, &format!("{}*/_search", self.index), body).await;
        let hits = found["hits"]["hits"].as_array().unwrap().clone();
        assert_eq!(found["hits"]["total"]["value"], hits.len());
        hits
    }

    async fn count(&self) -> u64 {
        self.call(Method::POST, &format!("{}*/_refresh", self.index), Value::Null)
            .await;
        let found = self
            .call(Method::GET, &format!("{}*/_count", self.index), Value::Null)
            .await;
        found["count"].as_u64().unwrap()
    }

    async fn sink(&self, mut meta: Value) -> Box<dyn Sink> {
        meta["elasticsearch_url"] = self.url.clone().into();
        meta["index_name"] = self.index.clone().into();
        let context = BuildContext::new("SEARCH", "fleet", meta);
        (SPEC.build)(context).await.unwrap_or_else(|error| panic!("{error}"))
    }
}

const CLAIM: ClaimId = ClaimId(ulid::Ulid(7));

#[tokio::test]
async fn a_mapping_conflict_costs_only_its_document() {
    for server in servers("conflict") {
        let mapping = json!({"mappings": {"properties": {"response_code": {"type": "short"}}}});
        server.call(Method::PUT, &server.index, mapping).await;
        let sink = server.sink(json!({})).await;
        let mut rejected = Vec::new();
        for first in [0, 5_000] {
            let rows = (first..first + 5_000).map(|row| match row {
                6_789 => Row::Odd(row, |record| record.int[Int::ResponseCode as usize] = 70_000),
                row => Row::Good(row),
            });
            let written = sink
                .write(&[rows::all(&rows::batch(CLAIM, first, rows))], &Arc::default())
                .await
                .unwrap();
            rejected.extend(written.rejected);
        }
        assert_eq!(rejected.len(), 1, "{rejected:?}");
        assert_eq!(rejected[0].row.row, 6_789);
        assert!(rejected[0].reason.contains("response_code"), "{}", rejected[0].reason);
        assert_eq!(server.count().await, 9_999);
    }
}

#[tokio::test]
async fn a_replay_creates_no_second_document() {
    for server in servers("replay") {
        for (rows, want) in [(0..700, 700), (300..1_000, 1_000), (0..1_000, 1_000)] {
            // A new sink each time, as after a crash.
            let sink = server
                .sink(json!({"bulk_config": {"workers": 3, "bulk_actions": 100}}))
                .await;
            sink.write(&rows::group(CLAIM, rows), &Arc::default()).await.unwrap();
            assert_eq!(server.count().await, want);
        }
        let single = server.sink(json!({"disable_bulk": true})).await;
        single
            .write(&rows::group(CLAIM, 990..1_010), &Arc::default())
            .await
            .unwrap();
        assert_eq!(server.count().await, 1_010);
    }
}

#[tokio::test]
async fn every_record_is_found_in_the_index_of_its_day() {
    for server in servers("days") {
        let sink = server.sink(json!({"rolling_index": true, "gzip": true})).await;
        let late = Row::Odd(1, |record| record.time[0].seconds += 86_400);
        sink.write(
            &[rows::all(&rows::batch(CLAIM, 0, [Row::Good(0), late]))],
            &Arc::default(),
        )
        .await
        .unwrap();
        let mut found: Vec<_> = server
            .search(json!({"match_all": {}}))
            .await
            .iter()
            .map(|hit| hit["_index"].as_str().unwrap().replace(&server.index, ""))
            .collect();
        found.sort();
        assert_eq!(found, ["-2023.11.14", "-2023.11.15"]);
    }
}

#[tokio::test]
async fn the_template_makes_an_index_that_boards_know() {
    for server in servers("template") {
        let sink = server
            .sink(json!({"index_template": true, "extended_stats": true}))
            .await;
        sink.write(&rows::group(CLAIM, 0..3), &Arc::default()).await.unwrap();
        let mapping = server
            .call(Method::GET, &format!("{}/_mapping", server.index), Value::Null)
            .await;
        let properties = &mapping[&server.index]["mappings"]["properties"];
        assert_eq!(properties["@timestamp"]["type"], "date");
        assert_eq!(properties["api_name"]["fields"]["keyword"]["type"], "keyword");
        assert_eq!(properties["mcp_method"]["type"], "text");
        server
            .call(
                Method::DELETE,
                &format!("_index_template/{}", server.index),
                Value::Null,
            )
            .await;
    }
}

#[tokio::test]
async fn a_data_stream_takes_every_row_once() {
    // The jars of Elasticsearch 7 that can be had do not have data streams.
    for server in servers("stream")
        .into_iter()
        .filter(|server| server.name != "elasticsearch")
    {
        for _ in 0..2 {
            let sink = server.sink(json!({"data_stream": true})).await;
            sink.write(&rows::group(CLAIM, 0..50), &Arc::default()).await.unwrap();
        }
        assert_eq!(server.count().await, 50);
        let hits = server.search(json!({"match_all": {}})).await;
        assert!(hits[0]["_index"].as_str().unwrap().starts_with(".ds-"));
        // Those of Elasticsearch 8 can write to them, and not remove them.
        if server.name == "elasticsearch8" {
            continue;
        }
        server
            .call(Method::DELETE, &format!("_data_stream/{}", server.index), Value::Null)
            .await;
        server
            .call(
                Method::DELETE,
                &format!("_index_template/{}", server.index),
                Value::Null,
            )
            .await;
    }
}
