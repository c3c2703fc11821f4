//! The back-end of `elasticsearch`: a node in memory.

use std::sync::PoisonError;

use analytics::Int;
use async_trait::async_trait;
use fakes::{
    elasticsearch::{Documents, answer},
    http::{Fault, HttpServer, Reply},
    rows::{self, Alter},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sinks::{BuildContext, BuildError, Sink, elasticsearch::SPEC};

use crate::{BackEnd, Reason};

/// See [`crate::Harness`].
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async {
        let documents = Documents::default();
        let kept = documents.clone();
        let server = HttpServer::start(move |request| answer(request, &kept)).await;
        Box::new(Node { server, documents }) as Box<dyn BackEnd>
    }
    .boxed()
}

struct Node {
    server: std::io::Result<HttpServer>,
    documents: Documents,
}

impl Node {
    fn set(&self, fault: Option<Fault>) -> Result<(), Reason> {
        self.server.as_ref().map_err(|_| "no server")?.set_fault(fault);
        Ok(())
    }
}

#[async_trait]
impl BackEnd for Node {
    fn options(&self) -> Value {
        let url = self.server.as_ref().map(HttpServer::url).unwrap_or_default();
        json!({"elasticsearch_url": url})
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (SPEC.build)(context).await
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let held = self.documents.lock().unwrap_or_else(PoisonError::into_inner);
        let all: Vec<String> = held
            .documents
            .iter()
            .map(|(_, _, document)| document.to_string())
            .collect();
        Ok(rows::serials(all.concat().as_bytes()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.set(Some(Fault::Answers(Reply::new(503, r#"{"error":"unavailable"}"#))))
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.set(Some(Fault::Stalls))
    }

    async fn heal(&self) {
        let _ = self.set(None);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Ok(|record| record.int[Int::ResponseCode as usize] = 666)
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("a bulk request takes each document by itself")
    }
}
