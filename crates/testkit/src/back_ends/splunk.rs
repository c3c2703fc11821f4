//! The back-end of `splunk`: a collector that refuses events with the response code 666.

use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use analytics::Int;
use fakes::{
    http::{Fault, HttpServer, Received, Reply},
    rows::{self, Alter},
};
use sinks::{BuildContext, BuildError, Sink, splunk::SPEC};

use crate::{BackEnd, Reason};

/// See [`crate::Harness`].
pub fn start() -> BoxFuture<'static, Box<dyn BackEnd>> {
    async {
        let taken = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
        let events = taken.clone();
        let server = HttpServer::start(move |request| take(request, &events)).await;
        Box::new(Collector { server, taken }) as Box<dyn BackEnd>
    }
    .boxed()
}

type Taken = std::sync::Arc<std::sync::Mutex<Vec<u8>>>;

struct Collector {
    server: std::io::Result<HttpServer>,
    taken: Taken,
}

fn take(request: &Received, taken: &Taken) -> Reply {
    if request.header("authorization") != "Splunk token" {
        return Reply::new(403, r#"{"text":"Invalid token","code":4}"#);
    }
    let bad = br#""response_code":666"#;
    if request.body.windows(bad.len()).any(|window| window == bad) {
        return Reply::new(400, r#"{"text":"Invalid data format","code":6}"#);
    }
    let mut taken = taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    taken.extend_from_slice(&request.body);
    Reply::new(200, r#"{"text":"Success","code":0}"#)
}

impl Collector {
    fn set(&self, fault: Option<Fault>) -> Result<(), Reason> {
        self.server.as_ref().map_err(|_| "no server")?.set_fault(fault);
        Ok(())
    }
}

#[async_trait]
impl BackEnd for Collector {
    fn options(&self) -> Value {
        let url = self.server.as_ref().map(HttpServer::url).unwrap_or_default();
        json!({"collector_token": "token", "collector_url": url, "enable_batch": true})
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (SPEC.build)(context).await
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let taken = self.taken.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(rows::serials(&taken))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.set(Some(Fault::Answers(Reply::new(
            503,
            r#"{"text":"Server is busy","code":9}"#,
        ))))
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.set(Some(Fault::Stalls))
    }

    async fn heal(&self) {
        let _ = self.set(None);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Err("a collector takes a request as a whole, or not at all")
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Ok(|record| record.int[Int::ResponseCode as usize] = 666)
    }
}
