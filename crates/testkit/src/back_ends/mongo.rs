//! The back-end of the MongoDB pumps: a database of its own on a real server, behind a proxy that breaks things.

use analytics::{Flag, RecordKind};
use async_trait::async_trait;
use fakes::{
    mongo::{Store, Trouble},
    rows::{self, Alter},
};
use futures::{FutureExt, future::BoxFuture};
use mongodb::bson::RawDocument;
use serde_json::{Value, json};
use sinks::{BuildContext, BuildError, Sink, SinkSpec, mongo};

use crate::{BackEnd, Reason, flagged::Flagged};

/// See [`crate::Harness`].
pub fn start_records() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::SPEC, "records", &[])
}

/// See [`crate::Harness`].
pub fn start_graph() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::GRAPH, "records", &[Flag::IsGraphQl])
}

/// See [`crate::Harness`].
pub fn start_mcp() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::MCP, "records", &[Flag::IsMcp])
}

/// See [`crate::Harness`].
pub fn start_selective() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::SELECTIVE, "z_tyk_analyticz_o1", &[])
}

/// See [`crate::Harness`]: endpoints are counted by path, so that the path of every row is found again.
pub fn start_aggregate() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::AGGREGATE, "z_tyk_analyticz_aggregate_o1", &[Flag::TrackPath])
}

/// See [`crate::Harness`].
pub fn start_mcp_aggregate() -> BoxFuture<'static, Box<dyn BackEnd>> {
    let flags = &[Flag::IsMcp, Flag::TrackPath];
    start(&mongo::MCP_AGGREGATE, "z_tyk_mcp_analyticz_aggregate_o1", flags)
}

/// See [`crate::Harness`].
pub fn start_uptime() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::UPTIME, "tyk_uptime_analytics", &[])
}

fn start(
    spec: &'static SinkSpec,
    collection: &'static str,
    flags: &'static [Flag],
) -> BoxFuture<'static, Box<dyn BackEnd>> {
    async move {
        let store = Store::start().await;
        Box::new(Server {
            spec,
            store,
            collection,
            flags,
        }) as Box<dyn BackEnd>
    }
    .boxed()
}

const MISSING: Reason = "no MongoDB server: PUMP_TEST_MONGO is not set";

struct Server {
    spec: &'static SinkSpec,
    store: Option<Store>,
    /// Where its documents are.
    collection: &'static str,
    /// What its records are.
    flags: &'static [Flag],
}

#[async_trait]
impl BackEnd for Server {
    fn options(&self) -> Value {
        let url = self.store.as_ref().map(Store::url).unwrap_or_default();
        match self.spec.name {
            _ if self.spec.records == RecordKind::Uptime => json!({"mongo_url": url}),
            // Their index would let the suite's records expire at once, which have no time for that.
            "mongo-pump-selective" => json!({"mongo_url": url, "omit_index_creation": true}),
            "mongo-pump-aggregate" | "mongo-mcp-aggregate" => json!({"mongo_url": url, "omit_index_creation": true}),
            _ => json!({"mongo_url": url, "collection_name": "records"}),
        }
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        let sink = (self.spec.build)(context).await?;
        Ok(Flagged::around(sink, self.flags))
    }

    fn present(&self) -> Result<(), Reason> {
        self.store.as_ref().map(|_| ()).ok_or(MISSING)
    }

    fn keeps_order(&self) -> bool {
        false
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let store = self.store.as_ref().ok_or(MISSING)?;
        let documents = store.documents(self.collection).await;
        if self.flags.contains(&Flag::TrackPath) {
            return Ok(documents.iter().flat_map(|document| counted(document)).collect());
        }
        let field = match self.spec.records {
            RecordKind::Traffic => "path",
            RecordKind::Uptime => "url",
        };
        let paths = documents.iter().filter_map(|document| document.get_str(field).ok());
        Ok(paths
            .filter_map(|path| rows::serials(path.as_bytes()).first().copied())
            .collect())
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.store.as_ref().ok_or(MISSING)?.proxy.set(Trouble::Refuse);
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.store.as_ref().ok_or(MISSING)?.proxy.set(Trouble::Stall);
        Ok(())
    }

    async fn heal(&self) {
        if let Some(store) = &self.store {
            store.proxy.set(Trouble::None);
        }
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Err(
            "what a server refuses depends on indexes and rules of others: a_document_that_breaks_a_unique_index_costs_only_itself",
        )
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("every document is inserted or refused by itself")
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Ok(vec!["before the server has the insert", "before its answer arrives"])
    }

    async fn die_at(&self, death: usize) {
        if let Some(store) = &self.store {
            store.proxy.set(if death == 0 {
                Trouble::DiesBefore
            } else {
                Trouble::DiesAfter
            });
        }
    }
}

/// The serial numbers of an aggregate's endpoints, each as often as it was counted.
fn counted(document: &RawDocument) -> Vec<u64> {
    let mut serials = Vec::new();
    let Ok(endpoints) = document.get_document("endpoints") else {
        return serials;
    };
    for (path, counter) in endpoints.iter().filter_map(Result::ok) {
        let hits = counter.as_document().and_then(|counter| counter.get_i32("hits").ok());
        for serial in rows::serials(path.as_str().as_bytes()) {
            serials.extend((0..hits.unwrap_or_default()).map(|_| serial));
        }
    }
    serials
}
