//! Aggregates.

use std::collections::BTreeMap;

use analytics::Flag;

use super::*;

fn hits(document: &RawDocumentBuf, path: &[&str]) -> i64 {
    let mut document = document.to_owned();
    for part in path {
        let Ok(inner) = document.get_document(part) else {
            return 0;
        };
        document = inner.to_owned();
    }
    match document.get("hits") {
        Ok(Some(mongodb::bson::RawBsonRef::Int32(hits))) => hits.into(),
        Ok(Some(mongodb::bson::RawBsonRef::Int64(hits))) => hits,
        _ => 0,
    }
}

/// Hits of every key of a dimension, over all documents.
fn dimension(documents: &[RawDocumentBuf], dimension: &str) -> BTreeMap<String, i64> {
    let mut all = BTreeMap::new();
    for document in documents {
        let Ok(keys) = document.get_document(dimension) else {
            continue;
        };
        for (key, _) in keys.iter().filter_map(Result::ok) {
            *all.entry(key.as_str().to_owned()).or_default() += hits(document, &[dimension, key.as_str()]);
        }
    }
    all
}

const AGGREGATES: &str = "z_tyk_analyticz_aggregate_o1";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_count_nothing_twice() {
    let Some(store) = Store::start().await else {
        return;
    };
    let meta = json!({"mongo_url": store.url(), "use_mixed_collection": true});
    let sink = sink(&AGGREGATE, meta).await;
    store.proxy.set(Trouble::LosesAnswers);
    for first in (0..1_000).step_by(100) {
        write(sink.as_ref(), &group(CLAIM, first..first + 100, distinct)).await;
        // The lane may begin further back, in another cut.
        write(sink.as_ref(), &group(CLAIM, first..first + 60, distinct)).await;
    }
    assert!(store.proxy.lost.load(Ordering::SeqCst) > 10);
    for collection in [AGGREGATES, "tyk_analytics_aggregates"] {
        let documents = store.documents(collection).await;
        assert_eq!(documents.len(), 1);
        assert_eq!(hits(&documents[0], &["total"]), 1_000);
        assert_eq!(hits(&documents[0], &["apiid", "api1"]), 1_000);
        let total = documents[0].get_document("total").unwrap();
        assert_eq!(total.get_f64("requesttime").unwrap(), 10.0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_instances_count_every_row_once() {
    let Some(store) = Store::start().await else {
        return;
    };
    let meta = json!({"mongo_url": store.url()});
    let (one, two) = (sink(&AGGREGATE, meta.clone()).await, sink(&AGGREGATE, meta).await);
    let other = ClaimId(ulid::Ulid(2 << 90));
    let work = |sink: Box<dyn Sink>, claims: [ClaimId; 2]| async move {
        for claim in claims {
            for first in (0..500).step_by(50) {
                write(sink.as_ref(), &group(claim, first..first + 50, distinct)).await;
            }
        }
    };
    // Each has its claim, and takes the other's over later, from the beginning.
    tokio::join!(work(one, [CLAIM, other]), work(two, [other, CLAIM]));
    let documents = store.documents(AGGREGATES).await;
    assert_eq!(
        documents.iter().map(|document| hits(document, &["total"])).sum::<i64>(),
        1_000
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn late_records_count_in_their_own_hour() {
    let Some(store) = Store::start().await else {
        return;
    };
    let sink = sink(&AGGREGATE, json!({"mongo_url": store.url()})).await;
    let rows = group(CLAIM, 0..3, |number, builder| {
        builder.recorded_at(at(HOUR + 3599 + number as i64));
    });
    write(sink.as_ref(), &rows).await;
    let mut found: Vec<_> = store
        .documents(AGGREGATES)
        .await
        .iter()
        .map(|document| hits(document, &["total"]))
        .collect();
    found.sort_unstable();
    assert_eq!(found, [1, 2]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn documents_stay_below_12_mb_and_lose_nothing() {
    let Some(store) = Store::start().await else {
        return;
    };
    // The whole number takes minutes.
    let number = std::env::var("PUMP_TEST_PATHS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(6_000u64);
    let sink = sink(&AGGREGATE, json!({"mongo_url": store.url(), "track_all_paths": true})).await;
    let tagged = |number: u64, builder: &mut Builder| {
        distinct(number, builder);
        builder.tags([format!("request-{}", number / 5)]);
    };
    for first in (0..number).step_by(3_000) {
        let rows = group(CLAIM, first..number.min(first + 3_000), tagged);
        write(sink.as_ref(), &rows).await;
        write(sink.as_ref(), &rows).await;
    }
    let documents = store.documents(AGGREGATES).await;
    let largest = documents
        .iter()
        .map(|document| document.as_bytes().len())
        .max()
        .unwrap();
    assert!(largest < 12_582_912, "{largest}");
    assert!(documents.len() > 1);
    let closed = documents
        .iter()
        .filter(|document| document.get_bool("_closed").unwrap_or_default())
        .count();
    assert_eq!(closed, documents.len() - 1);
    assert_eq!(
        documents.iter().map(|document| hits(document, &["total"])).sum::<i64>(),
        number as i64
    );
    let (paths, tags) = (dimension(&documents, "endpoints"), dimension(&documents, "tags"));
    assert_eq!((paths.len() as u64, tags.len() as u64), (number, number / 5));
    assert!(paths.values().all(|&hits| hits == 1) && tags.values().all(|&hits| hits == 5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_dimension_counts_the_rest_together() {
    let Some(store) = Store::start().await else {
        return;
    };
    let meta = json!({"mongo_url": store.url(), "max_keys_per_dimension": 3});
    let sink = sink(&AGGREGATE, meta).await;
    let tagged = |number: u64, builder: &mut Builder| {
        builder.recorded_at(at(HOUR));
        builder.tags([if number.is_multiple_of(2) {
            "often".to_owned()
        } else {
            format!("once-{number}")
        }]);
    };
    for first in [0, 100] {
        write(sink.as_ref(), &group(CLAIM, first..first + 100, tagged)).await;
    }
    let documents = store.documents(AGGREGATES).await;
    let tags = dimension(&documents, "tags");
    assert_eq!(tags.len(), 4);
    assert_eq!(tags["often"], 100);
    assert_eq!(tags["__other__"], 98);
    let list = documents[0].get_document("lists").unwrap().get_array("tags").unwrap();
    assert_eq!(list.into_iter().count(), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fresh_averages_in_lists_are_those_of_the_counters() {
    let Some(store) = Store::start().await else {
        return;
    };
    let sink = sink(&AGGREGATE, json!({"mongo_url": store.url(), "fresh_averages": true})).await;
    for number in 0..3 {
        let rows = group(CLAIM, number..number + 1, |number, builder| {
            builder
                .recorded_at(at(HOUR))
                .int(analytics::Int::RequestTime, 10 * number as i64);
        });
        write(sink.as_ref(), &rows).await;
    }
    let documents = store.documents(AGGREGATES).await;
    let list = documents[0].get_document("lists").unwrap().get_array("apiid").unwrap();
    let first = list.into_iter().next().unwrap().unwrap();
    assert_eq!(first.as_document().unwrap().get_f64("requesttime").unwrap(), 10.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_upstream_has_made_is_continued() {
    let Some(store) = Store::start().await else {
        return;
    };
    let hour = || mongodb::bson::DateTime::from_millis(HOUR * 1000);
    let upstream = doc! {
        "orgid": "o1", "timestamp": hour(),
        "total": {"hits": 5i32, "success": 5i32, "errortotal": 0i32, "totalrequesttime": 100.0, "totallatency": 100i64},
        "apiid": {"api1": {"identifier": "api1", "hits": 5i32, "totalrequesttime": 100.0}},
    };
    store
        .database
        .collection::<Document>(AGGREGATES)
        .insert_one(upstream)
        .await
        .unwrap();
    let records = store.database.collection::<Document>("records");
    records.insert_one(doc! {"orgid": "o1", "path": "/old"}).await.unwrap();
    let index = |key: Document| {
        let options = IndexOptions::builder().name("logBrowserIndex".to_owned()).build();
        IndexModel::builder().keys(key).options(options).build()
    };
    records.create_index(index(doc! {"timestamp": 1})).await.unwrap();
    let counting = sink(&AGGREGATE, json!({"mongo_url": store.url()})).await;
    let storing = sink(
        &SPEC,
        json!({"mongo_url": store.url(), "collection_name": "records", "mongo_db_type": 1}),
    )
    .await;
    for sink in [&counting, &storing] {
        write(sink.as_ref(), &group(CLAIM, 0..10, distinct)).await;
    }
    let documents = store.documents(AGGREGATES).await;
    assert_eq!(documents.len(), 1);
    assert_eq!(
        (hits(&documents[0], &["total"]), hits(&documents[0], &["apiid", "api1"])),
        (15, 15)
    );
    assert_eq!(store.documents("records").await.len(), 11);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_record_with_more_tags_than_a_document_can_hold_is_refused_before_an_update_is_made() {
    let Some(store) = Store::start().await else {
        return;
    };
    let sink = sink(&AGGREGATE, json!({"mongo_url": store.url()})).await;
    let tagged = |number: u64, builder: &mut Builder| {
        distinct(number, builder);
        let tags: Vec<String> = (0..100_000).map(|tag| format!("t{tag}")).collect();
        builder.tags(tags.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let error = sink
        .write(&group(CLAIM, 0..1, tagged), &Arc::default())
        .await
        .unwrap_err();
    assert!(matches!(error, WriteError::Reject { .. }), "{error}");
    assert!(error.to_string().contains("counters of one record"), "{error}");
    write(sink.as_ref(), &group(CLAIM, 1..3, distinct)).await;
    assert_eq!(hits(&store.documents(AGGREGATES).await[0], &["total"]), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_organisation_that_makes_no_name_costs_only_its_records() {
    let nameless = |number: u64, builder: &mut Builder| {
        distinct(number, builder);
        builder.flag(Flag::IsGraphQl, number == 6).flag(Flag::IsMcp, number > 6);
        if number % 2 == 1 || number == 6 {
            builder.text(Text::OrgId, if number % 4 == 1 { "a$b" } else { "a\0b" });
        }
    };
    // Each refuses only what it would have stored or counted.
    for (spec, collection, nameless_rows) in [
        (&AGGREGATE, AGGREGATES, &[1, 3, 5][..]),
        (&SELECTIVE, "z_tyk_analyticz_o1", &[1, 3, 5, 6]),
        (&MCP_AGGREGATE, "z_tyk_mcp_analyticz_aggregate_o1", &[7]),
    ] {
        let Some(store) = Store::start().await else {
            return;
        };
        let sink = sink(spec, json!({"mongo_url": store.url()})).await;
        let written = write(sink.as_ref(), &group(CLAIM, 0..9, nameless)).await;
        let refused: Vec<u64> = written.rejected.iter().map(|rejected| rejected.row.row).collect();
        assert_eq!(refused, nameless_rows, "{}", spec.name);
        assert!(
            written
                .rejected
                .iter()
                .all(|rejected| rejected.reason.contains("organisation"))
        );
        assert!(!store.documents(collection).await.is_empty(), "{}", spec.name);
    }
}
