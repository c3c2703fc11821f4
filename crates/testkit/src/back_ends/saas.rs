//! Back-ends of sinks whose service only runs at its provider: a local server that keeps what it is sent.

use std::{
    io::Read,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use flate2::read::ZlibDecoder;
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use fakes::{
    http::{Fault, HttpServer, Received, Reply},
    rows::{self, Alter},
};
use sinks::{BuildContext, BuildError, Sink, SinkSpec};

use crate::{BackEnd, Reason};

/// The harness of `logzio`.
pub fn logzio() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(Service {
        spec: &sinks::logzio::SPEC,
        options: |url| json!({"token": "token", "url": url}),
        serials: rows::serials,
        refused: |record| record.time[0].seconds = 1_000_000_000_000,
    })
}

/// The harness of `moesif`.
pub fn moesif() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(Service {
        spec: &sinks::moesif::SPEC,
        options: |url| json!({"application_id": "application", "enable_bulk": true, "bulk_config": {"api_endpoint": url}}),
        // The path of a record counts only where its request has none.
        serials: seconds,
        refused: |record| record.time[0].seconds = 1_000_000_000_000,
    })
}

/// The harness of `resurfaceio`.
pub fn resurfaceio() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(Service {
        spec: &sinks::resurfaceio::SPEC,
        options: |url| json!({"capture_url": url, "rules": "include debug"}),
        serials: milliseconds,
        // One letter is no base64.
        refused: |record| record.text[analytics::Text::RawRequest as usize].len = 1,
    })
}

/// The harness of `segment`.
pub fn segment() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(Service {
        spec: &sinks::segment::SPEC,
        options: |url| json!({"segment_write_key": "key", "anonymous": true, "endpoint": format!("{url}/v1/batch")}),
        serials: rows::serials,
        refused: |record| record.time[0].seconds = 1_000_000_000_000,
    })
}

/// Serial numbers by the times of requests.
fn seconds(content: &[u8]) -> Vec<u64> {
    let content = String::from_utf8_lossy(content);
    let times = content.split("\"request\":{\"time\":\"").skip(1);
    let seconds = times.filter_map(|part| {
        let time: jiff::Timestamp = part.split('"').next()?.parse().ok()?;
        u64::try_from(time.as_second() - rows::FIRST_SECOND).ok()
    });
    seconds.collect()
}

/// Serial numbers by the member `now`.
fn milliseconds(content: &[u8]) -> Vec<u64> {
    let content = String::from_utf8_lossy(content);
    let times = content.split("[\"now\",\"").skip(1);
    let seconds = times.filter_map(|part| {
        let millis: i64 = part.split('"').next()?.parse().ok()?;
        u64::try_from(millis / 1000 - rows::FIRST_SECOND).ok()
    });
    seconds.collect()
}

struct Service {
    spec: &'static SinkSpec,
    options: fn(&str) -> Value,
    serials: fn(&[u8]) -> Vec<u64>,
    refused: Alter,
}

fn start(service: Service) -> BoxFuture<'static, Box<dyn BackEnd>> {
    async move {
        let held: Arc<Mutex<Vec<u8>>> = Arc::default();
        let keep = held.clone();
        let server = HttpServer::start(move |request| {
            let body = body(request);
            // A status that no call has: the service does not understand the request.
            if body.windows(5).any(|window| window == b":-413" || window == b"\"-413") {
                return Reply::new(400, "what is this");
            }
            keep.lock().unwrap_or_else(PoisonError::into_inner).extend(body);
            Reply::new(200, "{}")
        });
        let server = server.await.map_err(|error| error.to_string());
        Box::new(Saas { service, held, server }) as Box<dyn BackEnd>
    }
    .boxed()
}

fn body(request: &Received) -> Vec<u8> {
    let mut body = Vec::new();
    match request.header("content-encoding") {
        "deflated" if ZlibDecoder::new(&*request.body).read_to_end(&mut body).is_ok() => body,
        _ => request.body.clone(),
    }
}

struct Saas {
    service: Service,
    held: Arc<Mutex<Vec<u8>>>,
    server: Result<HttpServer, String>,
}

impl Saas {
    fn set_fault(&self, fault: Option<Fault>) -> Result<(), Reason> {
        let server = self.server.as_ref().map_err(|_| "no port is free")?;
        server.set_fault(fault);
        Ok(())
    }
}

#[async_trait]
impl BackEnd for Saas {
    fn options(&self) -> Value {
        let url = self.server.as_ref().map(HttpServer::url).unwrap_or_default();
        (self.service.options)(&url)
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (self.service.spec.build)(context).await
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        Ok((self.service.serials)(
            &self.held.lock().unwrap_or_else(PoisonError::into_inner),
        ))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.set_fault(Some(Fault::Answers(Reply::new(503, "out of order"))))
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.set_fault(Some(Fault::Stalls))
    }

    async fn heal(&self) {
        // Without a server no check gets this far.
        let _ = self.set_fault(None);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Ok(self.service.refused)
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Ok(|record| record.int[analytics::Int::ResponseCode as usize] = -413)
    }

    fn deaths(&self) -> Result<Vec<&'static str>, Reason> {
        Err("it keeps no ledger: at least once")
    }
}
