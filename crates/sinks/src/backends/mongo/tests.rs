//! Against a real server, which `PUMP_TEST_MONGO` names.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use analytics::{ClaimId, Selection, Text, Time, Zone, record::Builder};
use futures::TryStreamExt;
use mongodb::{
    IndexModel,
    bson::{Document, RawDocumentBuf, doc},
    options::IndexOptions,
};
use serde_json::{Value, json};

mod claims;
mod counting;
mod retention;

use super::*;
use crate::{WriteError, Written};
use fakes::{
    mongo::{Store, Trouble},
    rows, server,
};

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1 << 90));
/// 2023-11-14T22:00:00Z
const HOUR: i64 = 1_699_999_200;

fn context(pump: &str, meta: Value, compat: bool) -> BuildContext {
    BuildContext {
        compat,
        ..BuildContext::new(pump, "fleet", meta)
    }
}

async fn sink(spec: &'static SinkSpec, meta: Value) -> Box<dyn Sink> {
    built(spec, context("TEST", meta, false)).await
}

async fn built(spec: &'static SinkSpec, context: BuildContext) -> Box<dyn Sink> {
    match (spec.build)(context).await {
        Ok(sink) => sink,
        Err(error) => panic!("{error}"),
    }
}

async fn refusal(meta: Value) -> String {
    match (SPEC.build)(context("TEST", meta, false)).await {
        Ok(_) => panic!("it was built"),
        Err(error) => error.to_string(),
    }
}

/// Rows of `claim`; each record is made by `make` from its number.
fn group(claim: ClaimId, numbers: std::ops::Range<u64>, make: impl Fn(u64, &mut Builder)) -> Vec<Selection> {
    let first = numbers.start;
    let records = numbers.map(|number| {
        let mut builder = Builder::new();
        builder
            .text(Text::OrgId, "o1")
            .text(Text::ApiId, "api1")
            .int(analytics::Int::ResponseCode, 200);
        builder.int(analytics::Int::RequestTime, 10);
        // Indexes of organisations' collections let records go at that time.
        builder.time(analytics::When::ExpireAt, at(4_000_000_000));
        make(number, &mut builder);
        builder
    });
    vec![rows::all(&rows::batch_of_built(claim, first, records))]
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
        match sink.write(group, &Arc::default()).await {
            Ok(written) => return written,
            Err(WriteError::Retry { .. }) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("it is never accepted");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_document_that_breaks_a_unique_index_costs_only_itself() {
    for compat in [false, true] {
        let Some(store) = Store::start().await else {
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
    let Some(store) = Store::start().await else {
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
async fn unacknowledged_writes_are_acknowledged() {
    let Some(store) = Store::start().await else {
        return;
    };
    let meta = json!({"mongo_url": format!("{}&w=0", store.url()), "collection_name": "records"});
    let sink = sink(&SPEC, meta).await;
    write(sink.as_ref(), &group(CLAIM, 0..10, distinct)).await;
    assert_eq!(store.documents("records").await.len(), 10);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_names_of_the_driver_are_accepted() {
    let Some(store) = Store::start().await else {
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
        (SPEC.build)(context("TEST", meta, false)).await.is_ok()
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
    // The same server under a name that is not in its certificate.
    let elsewhere = url.replace("localhost", "[::ffff:127.0.0.1]");
    let named = |ca: &str, any_name: bool| json!({"mongo_url": elsewhere, "mongo_use_ssl": true, "mongo_ssl_ca_file": ca, "mongo_ssl_allow_invalid_hostnames": any_name});
    assert!(!connects(named(&trusted, false)).await);
    assert!(connects(named(&trusted, true)).await);
    assert!(!connects(named(&rogue, true)).await, "the authority still counts");
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
