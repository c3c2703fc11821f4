//! A database of a test's own, reached by the pumps through proxies with faults and by the test directly.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
};

use fakes::{
    proxy::{Cut, Proxy},
    server,
};
use futures::TryStreamExt;
use mongodb::{
    Client, Collection,
    bson::{Bson, Document, doc},
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::support::{
    deck::{Cell, Name},
    kills::Watched,
};

/// How a client begins an insert.
const INSERT: Cut = Cut {
    when: b"\x02insert\0",
    delivered: true,
};
/// How a client begins to count.
const COUNT: Cut = Cut {
    when: b"\x02findAndModify\0",
    delivered: true,
};

static DATABASES: AtomicU32 = AtomicU32::new(0);

/// The database; removed with the value.
pub(crate) struct Database {
    runtime: Runtime,
    /// On the way of records, and on that of aggregates.
    proxies: [Proxy; 2],
    database: mongodb::Database,
    credentials: String,
}

impl Database {
    /// `None`: no server was started, the test is skipped by name.
    pub(crate) fn create() -> Option<Database> {
        let address = server::address("mongo")?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let rest = address.strip_prefix("mongodb://").unwrap().trim_end_matches('/');
        let (credentials, host) = rest.rsplit_once('@').unwrap_or(("", rest));
        let number = DATABASES.fetch_add(1, Ordering::Relaxed);
        let name = format!("pump_{}_{number}", std::process::id());
        let (database, proxies) = runtime.block_on(async {
            let client = Client::with_uri_str(&address).await.unwrap();
            let database = client.database(&name);
            database.drop().await.unwrap();
            let proxy = async || Proxy::start(host.to_owned()).await.unwrap();
            (database, [proxy().await, proxy().await])
        });
        Some(Database {
            runtime,
            proxies,
            database,
            credentials: credentials.to_owned(),
        })
    }

    fn url(&self, proxy: &Proxy) -> String {
        format!(
            "mongodb://{}@{}/{}?authSource=admin",
            self.credentials,
            proxy.address(),
            self.database.name()
        )
    }

    /// Options of the pump `mongo`.
    pub(crate) fn records(&self) -> Value {
        json!({"mongo_url": self.url(&self.proxies[0]), "collection_name": "tyk_analytics"})
    }

    /// Options of the pump `mongo-pump-aggregate`.
    pub(crate) fn aggregates(&self) -> Value {
        json!({"mongo_url": self.url(&self.proxies[1])})
    }

    pub(crate) fn create_indexes(&self, collection: &str, indexes: Vec<Document>) {
        let create = self
            .database
            .run_command(doc! {"createIndexes": collection, "indexes": indexes});
        self.runtime.block_on(create.into_future()).unwrap();
    }

    /// Names of a collection's indexes, sorted.
    pub(crate) fn indexes(&self, collection: &str) -> Vec<String> {
        let collection: Collection<Document> = self.database.collection(collection);
        let mut names = self
            .runtime
            .block_on(collection.list_index_names().into_future())
            .unwrap();
        names.sort();
        names
    }

    /// All collections with the names of their indexes.
    pub(crate) fn all_indexes(&self) -> Vec<(String, Vec<String>)> {
        let list = self.database.list_collection_names();
        let mut collections = self.runtime.block_on(list.into_future()).unwrap();
        collections.sort();
        collections
            .into_iter()
            .map(|name| (name.clone(), self.indexes(&name)))
            .collect()
    }

    /// Looks at every document of a collection.
    pub(crate) fn each(&self, collection: &str, mut look: impl FnMut(Document)) {
        let collection: Collection<Document> = self.database.collection(collection);
        self.runtime.block_on(async {
            let mut found = collection.find(doc! {}).batch_size(100).await.unwrap();
            while let Some(document) = found.try_next().await.unwrap() {
                look(document);
            }
        });
    }
}

impl Watched for Database {
    fn cut_commits(&self, every: u32) {
        for (proxy, cut) in self.proxies.iter().zip([INSERT, COUNT]) {
            proxy.cut_one_in(every, cut);
        }
    }

    fn commits(&self) -> u32 {
        self.proxies.iter().map(Proxy::moments).sum()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        let _ = self.runtime.block_on(self.database.drop().into_future());
    }
}

/// The counters of one document, by dimension and value; `wrong`: what does not fit together in it.
pub(crate) fn counters(document: &Document, cells: &mut BTreeMap<Name, Cell>, wrong: &mut Vec<String>) {
    let bucket = document.get_datetime("timestamp").unwrap().timestamp_millis() / 1000;
    let organisation = document.get_str("orgid").unwrap();
    let lists = document.get_document("lists").unwrap();
    let mut note = |dimension: &str, value: String, counter: &Document| {
        let name = (bucket, organisation.to_owned(), dimension.to_owned(), value);
        let cell = cell(counter, &name, wrong);
        if cells.insert(name.clone(), cell).is_some() {
            wrong.push(format!("{name:?} is in two documents"));
        }
    };
    note("", "total".to_owned(), document.get_document("total").unwrap());
    for (dimension, value) in document {
        let Bson::Document(keys) = value else { continue };
        if ["total", "timeid", "lists", "_applied"].contains(&dimension.as_str()) {
            continue;
        }
        for (key, counter) in keys {
            let counter = counter.as_document().unwrap();
            if counter.contains_key("hits") {
                note(dimension, key.clone(), counter);
                continue;
            }
            for (inner, counter) in counter {
                note(dimension, format!("{key}.{inner}"), counter.as_document().unwrap());
            }
        }
    }
    for (dimension, list) in lists {
        let Bson::Array(list) = list else { continue };
        let sum = |hits: &mut dyn Iterator<Item = i64>| hits.sum::<i64>();
        let in_list = sum(&mut list
            .iter()
            .map(|element| number(element.as_document().unwrap(), "hits")));
        let keys = document.get_document(dimension).ok();
        let counted = sum(&mut keys
            .iter()
            .flat_map(|keys| keys.values())
            .map(|counter| number(counter.as_document().unwrap(), "hits")));
        if in_list != counted {
            wrong.push(format!(
                "{bucket} {organisation}: {in_list} in the list of {dimension}, {counted} counted"
            ));
        }
    }
}

fn cell(counter: &Document, name: &Name, wrong: &mut Vec<String>) -> Cell {
    let codes = counter.get_document("errormap").ok();
    let code = |code: &str| codes.map_or(0, |codes| number(codes, code));
    let cell = Cell {
        hits: number(counter, "hits"),
        success: number(counter, "success"),
        error: number(counter, "errortotal"),
        request_time: number(counter, "totalrequesttime"),
        total_latency: number(counter, "totallatency"),
        total_upstream: number(counter, "totalupstreamlatency"),
        max_latency: number(counter, "maxlatency"),
        max_upstream: number(counter, "maxupstreamlatency"),
        code_404: code("404"),
        code_4x: code("405"),
        code_500: code("500"),
    };
    for (average, total) in [
        ("requesttime", cell.request_time),
        ("latency", cell.total_latency),
        ("upstreamlatency", cell.total_upstream),
    ] {
        let right = total as f64 / cell.hits as f64;
        let there = counter.get_f64(average).unwrap_or_default();
        if (there - right).abs() > 1e-9 * right.max(1.0) {
            wrong.push(format!("{name:?}: {average} {there}, not {right}"));
        }
    }
    cell
}

/// A whole number of any type; 0 when it is missing.
pub(crate) fn number(document: &Document, key: &str) -> i64 {
    match document.get(key) {
        Some(Bson::Int32(value)) => i64::from(*value),
        Some(Bson::Int64(value)) => *value,
        Some(Bson::Double(value)) => *value as i64,
        _ => 0,
    }
}
