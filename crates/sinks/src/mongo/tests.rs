//! Against a real server, which `PUMP_TEST_MONGO` names.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock, atomic::Ordering},
    time::Duration,
};

use analytics::{
    Batch, ClaimId, Key, RecordKind, Selection, Text, Time, Wire, Zone,
    logrus::{LogForm, LogFormat, LogLevel},
    msgpack,
    record::Builder,
};
use mongodb::{
    IndexModel,
    bson::{Document, RawDocumentBuf, doc},
    options::IndexOptions,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    WriteError, Written,
    testkit::{
        mongo::{Store, Trouble},
        rows, server,
    },
};

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1 << 90));
/// 2023-11-14T22:00:00Z
const HOUR: i64 = 1_699_999_200;

fn context(pump: &str, meta: Value, compat: bool) -> BuildContext {
    BuildContext {
        pump: pump.into(),
        meta,
        compat,
        log: LogForm {
            format: LogFormat::Text,
            level: LogLevel::Info,
        },
        fleet: Arc::new(OnceLock::from(Arc::from("fleet"))),
    }
}

async fn sink(spec: &'static SinkSpec, meta: Value) -> Box<dyn Sink> {
    built(spec, context("TEST", meta, false)).await
}

async fn built(spec: &'static SinkSpec, context: BuildContext) -> Box<dyn Sink> {
    match (spec.build.unwrap())(context).await {
        Ok(sink) => sink,
        Err(error) => panic!("{error}"),
    }
}

async fn refusal(meta: Value) -> String {
    match (SPEC.build.unwrap())(context("TEST", meta, false)).await {
        Ok(_) => panic!("it was built"),
        Err(error) => error.to_string(),
    }
}

/// Rows of `claim`; each record is made by `make` from its number.
fn group(claim: ClaimId, numbers: std::ops::Range<u64>, make: impl Fn(u64, &mut Builder)) -> Vec<Selection> {
    let (mut buffer, mut elements) = (Vec::new(), Vec::new());
    for number in numbers.clone() {
        let mut builder = Builder::new();
        builder
            .text(Text::OrgId, "o1")
            .text(Text::ApiId, "api1")
            .int(analytics::Int::ResponseCode, 200);
        builder.int(analytics::Int::RequestTime, 10);
        make(number, &mut builder);
        let start = buffer.len();
        msgpack::encode(&mut buffer, &builder.view());
        elements.push(analytics::Span {
            start: start as u32,
            len: (buffer.len() - start) as u32,
        });
    }
    let key = Key {
        name: "analytics-tyk-system-analytics".into(),
        short: "tyk-system-analytics".into(),
        wire: Wire::Msgpack,
        records: RecordKind::Traffic,
    };
    let batch = Arc::new(Batch::decode(
        claim,
        Arc::new(key),
        numbers.start,
        buffer.into(),
        elements,
    ));
    vec![rows::all(&batch)]
}

fn at(seconds: i64) -> Time {
    Time {
        seconds,
        nanos: 0,
        zone: Zone::UTC,
    }
}

/// Every record in the same hour, with a path of its own.
fn distinct(number: u64, builder: &mut Builder) {
    builder
        .recorded_at(at(HOUR + number as i64 % 3600))
        .text(Text::Path, format!("/orders/{number}/with/a/path/that/is/long/enough"));
}

/// Writes until it is accepted, as a lane does.
async fn write(sink: &dyn Sink, group: &[Selection]) -> Written {
    for _ in 0..200 {
        match sink.write(group).await {
            Ok(written) => return written,
            Err(WriteError::Retry { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it is never accepted");
}

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
async fn a_document_that_breaks_a_unique_index_costs_only_itself() {
    for compat in [false, true] {
        let Some(store) = Store::start("records").await else {
            return;
        };
        let index = IndexModel::builder()
            .keys(doc! {"path": 1})
            .options(IndexOptions::builder().unique(true).build())
            .build();
        store
            .database
            .collection::<Document>("records")
            .create_index(index)
            .await
            .unwrap();
        let sink = built(
            &SPEC,
            context(
                "TEST",
                json!({"mongo_url": store.url(), "collection_name": "records"}),
                compat,
            ),
        )
        .await;
        let rows = group(CLAIM, 0..10, |number, builder| {
            let path = if number == 7 { 3 } else { number };
            builder.text(Text::Path, format!("/{path}"));
        });
        for _ in 0..2 {
            let written = write(sink.as_ref(), &rows).await;
            let refused: Vec<_> = written.rejected.iter().map(|rejected| rejected.row.row).collect();
            assert_eq!(refused, [7], "{:?}", written.rejected);
            assert!(written.rejected[0].reason.contains("11000"));
            assert_eq!(store.documents("records").await.len(), 9);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_double_nothing() {
    let Some(store) = Store::start("records").await else {
        return;
    };
    let meta = json!({"mongo_url": store.url(), "collection_name": "records", "max_insert_batch_size_bytes": 307_200});
    let sink = sink(&SPEC, meta).await;
    store.proxy.set(Trouble::LosesAnswers);
    for first in (0..2_000).step_by(500) {
        write(sink.as_ref(), &group(CLAIM, first..first + 500, distinct)).await;
    }
    assert!(store.proxy.lost.load(Ordering::SeqCst) > 4);
    assert_eq!(store.documents("records").await.len(), 2_000);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lost_answers_count_nothing_twice() {
    let Some(store) = Store::start(AGGREGATES).await else {
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
    let Some(store) = Store::start(AGGREGATES).await else {
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
    let Some(store) = Store::start(AGGREGATES).await else {
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
    let Some(store) = Store::start(AGGREGATES).await else {
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
    let Some(store) = Store::start(AGGREGATES).await else {
        return;
    };
    let meta = json!({"mongo_url": store.url(), "max_keys_per_dimension": 3});
    let sink = sink(&AGGREGATE, meta).await;
    let tagged = |number: u64, builder: &mut Builder| {
        builder.recorded_at(at(HOUR));
        builder.tags([if number % 2 == 0 {
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
async fn averages_in_lists_are_those_of_the_counters() {
    let Some(store) = Store::start(AGGREGATES).await else {
        return;
    };
    let sink = sink(&AGGREGATE, json!({"mongo_url": store.url()})).await;
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
    let Some(store) = Store::start(AGGREGATES).await else {
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
async fn unacknowledged_writes_are_acknowledged() {
    let Some(store) = Store::start("records").await else {
        return;
    };
    let meta = json!({"mongo_url": format!("{}&w=0", store.url()), "collection_name": "records"});
    let sink = sink(&SPEC, meta).await;
    write(sink.as_ref(), &group(CLAIM, 0..10, distinct)).await;
    assert_eq!(store.documents("records").await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_names_of_the_driver_are_accepted() {
    let Some(store) = Store::start("records").await else {
        return;
    };
    for driver in ["mgo", "mongo-go"] {
        let meta = json!({"mongo_url": store.url(), "collection_name": "records", "driver": driver});
        write(sink(&SPEC, meta).await.as_ref(), &group(CLAIM, 0..10, distinct)).await;
    }
    assert_eq!(store.documents("records").await.len(), 10);
}

#[tokio::test]
async fn a_url_that_cannot_work_is_named_without_its_secret() {
    for (url, why) in [
        ("mongodb://u:secret@h:1", "names no database"),
        ("mongodb://u:secret@h:1/", "names no database"),
        ("http://u:secret@h:1/d", "must begin with mongodb://"),
        (
            "mongodb://u:secret@h:1/d?w=nonsense=1&directConnection=2",
            "cannot be used",
        ),
    ] {
        let text = refusal(json!({"mongo_url": url, "collection_name": "c"})).await;
        assert!(text.contains("meta.mongo_url") && text.contains(why), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
    let text = refusal(json!({"mongo_url": "mongodb://h:1/d"})).await;
    assert!(text.contains("meta.collection_name is missing"), "{text}");
    let text = refusal(json!({"mongo_url": "mongodb://h:1/d", "collection_name": "c", "driver": "postgres"})).await;
    assert!(text.contains("meta.driver"), "{text}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_is_verified_as_the_options_say() {
    let addresses = (server::address("mongo-tls"), server::address("mongo-certs"));
    let (Some(address), Some(certs)) = addresses else {
        return;
    };
    let url = format!("{address}pump_test_tls?authSource=admin&serverSelectionTimeoutMS=1500");
    let file = |name: &str| format!("{certs}/{name}");
    let connects = async |mut meta: Value| {
        meta["collection_name"] = "records".into();
        (SPEC.build.unwrap())(context("TEST", meta, false)).await.is_ok()
    };
    let trusted = file("ca.crt");
    assert!(connects(json!({"mongo_url": url, "mongo_use_ssl": true, "mongo_ssl_ca_file": trusted})).await);
    let in_url = format!("{url}&tls=true");
    assert!(connects(json!({"mongo_url": in_url, "mongo_use_ssl": true, "mongo_ssl_ca_file": trusted})).await);
    let client = file("client.pem");
    let with_client =
        json!({"mongo_url": url, "mongo_use_ssl": true, "mongo_ssl_ca_file": trusted, "mongo_ssl_pem_keyfile": client});
    assert!(connects(with_client).await);
    assert!(connects(json!({"mongo_url": url, "mongo_use_ssl": true, "mongo_ssl_insecure_skip_verify": true})).await);
    assert!(!connects(json!({"mongo_url": url, "mongo_use_ssl": true})).await);
    let rogue = file("rogue-ca.crt");
    assert!(!connects(json!({"mongo_url": url, "mongo_use_ssl": true, "mongo_ssl_ca_file": rogue})).await);
    assert!(!connects(json!({"mongo_url": url})).await);
}

#[tokio::test]
async fn files_of_certificates_that_cannot_work_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty.pem");
    std::fs::write(&empty, "nothing").unwrap();
    for (key, path) in [
        ("mongo_ssl_ca_file", folder.path().join("missing.pem")),
        ("mongo_ssl_ca_file", empty.clone()),
        ("mongo_ssl_pem_keyfile", empty),
    ] {
        let meta = json!({"mongo_url": "mongodb://h:1/d", "collection_name": "c", "mongo_use_ssl": true, key: path});
        let text = refusal(meta).await;
        assert!(text.contains(key) && text.contains(path.to_str().unwrap()), "{text}");
    }
}
