//! The walk-through of docs/elasticsearch.md: a gateway's traffic, the pump, Elasticsearch, and what people look for.

use std::collections::BTreeMap;

use analytics::{Batch, ClaimId, Int, Key, RecordKind, Selection, Span, Text, Transform, When, Wire};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use sinks::http::{HttpClient, HttpSettings, Method, Request, Url};

use super::{
    push,
    records::{KEY, elements},
};
use crate::support::{self, daemon::Site};

/// What the records of a capture say.
struct Sent {
    api: String,
    code: i64,
    millis: i64,
    seconds: i64,
    response: String,
}

fn sent(lists: &BTreeMap<String, Vec<Vec<u8>>>) -> Vec<Sent> {
    let mut all = Vec::new();
    for (list, elements) in lists {
        let spans = elements.iter().scan(0, |at, element| {
            let start = *at;
            *at += element.len() as u32;
            Some(Span {
                start,
                len: element.len() as u32,
            })
        });
        let key = Key {
            name: list.as_str().into(),
            short: list.as_str().into(),
            wire: Wire::Msgpack,
            records: RecordKind::Traffic,
        };
        let claim = ClaimId(ulid::Ulid(1));
        let batch = Batch::decode(claim, key.into(), 0, elements.concat().into(), spans.collect());
        let len = batch.len();
        let selection = Selection::new(batch.into(), 0..len, Transform::default().into());
        all.extend(selection.records().map(|(_, record)| {
            let text = |field| String::from_utf8_lossy(&record.text(field)).into_owned();
            Sent {
                api: text(Text::ApiId),
                code: record.int(Int::ResponseCode),
                millis: record.int(Int::RequestTime),
                seconds: record.time(When::TimeStamp).seconds,
                response: String::from_utf8_lossy(&STANDARD.decode(text(Text::RawResponse)).unwrap()).into_owned(),
            }
        }));
    }
    all
}

/// A search as Kibana sends it, and its answer.
async fn search(client: &HttpClient, index: &str, body: Value) -> Value {
    let url = Url::parse(&format!("{index}/_search")).unwrap();
    let request = Request::new(Method::POST, url).header("content-type", "application/json");
    let answer = client
        .send(request.body(body.to_string()))
        .await
        .unwrap()
        .accepted()
        .unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

async fn count(client: &HttpClient, index: &str, query: Value) -> usize {
    let answer = search(
        client,
        index,
        json!({"query": query, "track_total_hits": true, "size": 0}),
    )
    .await;
    answer["hits"]["total"]["value"].as_u64().unwrap() as usize
}

#[test]
fn searches_find_exactly_what_a_gateway_recorded() {
    let Some(url) = fakes::server::address("elasticsearch") else {
        return;
    };
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let mut lists = elements("gateway/msgpack-detailed-ten-keys.jsonl");
    lists.retain(|list, _| list.starts_with(KEY));
    let sent = sent(&lists);
    assert!(sent.len() > 200);
    let name = format!("tyk_analytics-{}", ulid::Ulid::new().to_string().to_lowercase());
    let site = Site::new(
        &redis,
        json!({"elasticsearch": {"type": "elasticsearch", "meta": {
            "elasticsearch_url": url,
            "index_name": name,
            "extended_stats": true,
            "decode_base64": true,
        }}}),
    );
    for (list, elements) in &lists {
        push(&redis, list, elements);
    }
    let daemon = site.start_ready();
    site.wait_until_drained(&redis, 120);
    assert!(site.operate_json("dlq list --json").is_empty());
    assert!(daemon.stop().success());

    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = HttpClient::new(HttpSettings::default()).unwrap();
        let index = format!("{url}/{name}");
        let refresh = Request::post(Url::parse(&format!("{index}/_refresh")).unwrap());
        client.send(refresh).await.unwrap().accepted().unwrap();
        assert_eq!(count(&client, &index, json!({"match_all": {}})).await, sent.len());

        // response_code:500, and every other code.
        let mut codes: Vec<i64> = sent.iter().map(|record| record.code).collect();
        codes.sort_unstable();
        codes.dedup();
        assert!(codes.contains(&500) && codes.len() > 3, "{codes:?}");
        for code in codes {
            let want = sent.iter().filter(|record| record.code == code).count();
            let query = json!({"query_string": {"query": format!("response_code:\"{code}\"")}});
            assert_eq!(count(&client, &index, query).await, want, "{code}");
        }

        // The slowest requests.
        let slowest = json!({"size": 10, "sort": [{"request_time_ms": "desc"}], "_source": ["request_time_ms"]});
        let answer = search(&client, &index, slowest).await;
        let found: Vec<i64> = answer["hits"]["hits"]
            .as_array()
            .unwrap()
            .iter()
            .map(|hit| hit["_source"]["request_time_ms"].as_i64().unwrap())
            .collect();
        let mut want: Vec<i64> = sent.iter().map(|record| record.millis).collect();
        want.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(found, want[..10]);

        // One API between two points in time.
        let api = &sent[sent.len() / 2].api;
        let mut seconds: Vec<i64> = sent.iter().map(|record| record.seconds).collect();
        seconds.sort_unstable();
        let (from, to) = (seconds[seconds.len() / 4], seconds[seconds.len() / 2]);
        let want = sent
            .iter()
            .filter(|record| record.api == *api && (from..=to).contains(&record.seconds))
            .count();
        let range = json!({"gte": from * 1000, "lt": (to + 1) * 1000, "format": "epoch_millis"});
        let query = json!({"bool": {"filter": [{"term": {"api_id.keyword": api}}, {"range": {"@timestamp": range}}]}});
        assert!(want > 0);
        assert_eq!(count(&client, &index, query).await, want, "{api} {from} {to}");

        // A word in a decoded body.
        let want = sent
            .iter()
            .filter(|record| record.response.to_lowercase().contains("teapot"))
            .count();
        assert!(want > 0 && want < sent.len());
        let query = json!({"match": {"raw_response": "teapot"}});
        assert_eq!(count(&client, &index, query).await, want);
    });
}
