//! How long documents stay.

use super::*;

/// Names of a collection's indexes, with the seconds after which documents go.
async fn indexes(store: &Store, collection: &str) -> Vec<(String, Option<u64>)> {
    let names = store.database.collection::<Document>(collection).list_indexes().await;
    let models: Vec<IndexModel> = names.unwrap().try_collect().await.unwrap();
    let mut found: Vec<_> = models
        .into_iter()
        .map(|model| model.options.unwrap())
        .map(|options| (options.name.unwrap(), options.expire_after.map(|after| after.as_secs())))
        .collect();
    found.sort();
    found
}

fn has(found: &[(String, Option<u64>)], name: &str, seconds: u64) -> bool {
    found.contains(&(name.to_owned(), Some(seconds)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_is_an_index_in_new_collections_and_in_old_ones() {
    let Some(store) = Store::start().await else {
        return;
    };
    let old = store.database.collection::<Document>("old");
    old.insert_one(doc! {"path": "/old"}).await.unwrap();
    for collection in ["new", "old"] {
        let meta = json!({"mongo_url": store.url(), "collection_name": collection, "retention_days": 30, "expire_documents": true});
        // The second start finds everything there.
        for _ in 0..2 {
            let sink = sink(&SPEC, meta.clone()).await;
            let rows = group(CLAIM, 0..10, |_, builder| {
                builder.recorded_at(at(4_000_000_000));
            });
            write(sink.as_ref(), &rows).await;
        }
        let found = indexes(&store, collection).await;
        assert!(
            has(&found, "timestamp_1", 30 * 86_400) && has(&found, "expireAt_1", 0),
            "{found:?}"
        );
        let count = if collection == "new" { 6 } else { 3 };
        assert_eq!(found.len(), count, "{found:?}");
    }
    let meta = json!({"mongo_url": store.url(), "retention_days": 7});
    for (spec, collection) in [
        (&SELECTIVE, "z_tyk_analyticz_o1"),
        (&AGGREGATE, "z_tyk_analyticz_aggregate_o1"),
    ] {
        write(sink(spec, meta.clone()).await.as_ref(), &group(CLAIM, 0..10, distinct)).await;
        let found = indexes(&store, collection).await;
        assert!(
            has(&found, "timestamp_1", 7 * 86_400) && has(&found, "expireAt_1", 0),
            "{found:?}"
        );
    }
}

#[tokio::test]
async fn a_retention_that_cannot_be_had_is_refused() {
    let refused = async |more: Value| {
        let mut meta = json!({"mongo_url": "mongodb://h:1/d", "collection_name": "c"});
        meta.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        refusal(meta).await
    };
    let text = refused(json!({"retention_days": 30_000})).await;
    assert!(text.contains("write at most 24855"), "{text}");
    for more in [
        json!({"mongo_db_type": 2, "retention_days": 3}),
        json!({"mongo_db_type": 2, "expire_documents": true}),
    ] {
        let text = refused(more).await;
        assert!(text.contains("Cosmos DB"), "{text}");
    }
    let text = refused(json!({"collection_cap_enable": true, "expire_documents": true})).await;
    assert!(text.contains("choose one"), "{text}");
}
