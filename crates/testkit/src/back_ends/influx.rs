//! The back-end of `influx` and `influx2`: a database that holds one point for each series and time.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};

use analytics::Int;
use fakes::{
    http::{Fault, HttpServer, Received, Reply},
    rows::{self, Alter},
};
use sinks::{
    BuildContext, BuildError, Sink, SinkSpec,
    influx::{SPEC, TWO},
};

use crate::{BackEnd, Reason};

/// The harness of `influx`.
pub fn one() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&SPEC)
}

/// The harness of `influx2`.
pub fn two() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&TWO)
}

fn start(spec: &'static SinkSpec) -> BoxFuture<'static, Box<dyn BackEnd>> {
    async move {
        let points = Arc::new(Mutex::new(Points::default()));
        let held = points.clone();
        let server = HttpServer::start(move |request| answer(request, &held)).await;
        Box::new(Database { spec, server, points }) as Box<dyn BackEnd>
    }
    .boxed()
}

/// Lines, in the order in which their points came first.
#[derive(Default)]
struct Points {
    lines: Vec<String>,
    /// Where the line of a series and a time is.
    places: HashMap<String, usize>,
}

impl Points {
    fn put(&mut self, line: &str) {
        let (Some((series, _)), Some((_, time))) = (line.split_once(' '), line.rsplit_once(' ')) else {
            return;
        };
        let next = self.lines.len();
        let place = *self.places.entry(format!("{series} {time}")).or_insert(next);
        match self.lines.get_mut(place) {
            Some(before) => line.clone_into(before),
            None => self.lines.push(line.to_owned()),
        }
    }
}

fn answer(request: &Received, points: &Mutex<Points>) -> Reply {
    match request.path.split('?').next().unwrap_or_default() {
        "/ready" => return Reply::new(200, r#"{"status":"ready"}"#),
        "/api/v2/orgs" => return Reply::new(200, r#"{"orgs":[{"id":"1"}]}"#),
        "/api/v2/buckets" => return Reply::new(200, r#"{"buckets":[{"orgID":"1"}]}"#),
        _ => {}
    }
    let body = String::from_utf8_lossy(&request.body);
    let mut points = points.lock().unwrap_or_else(PoisonError::into_inner);
    let mut dropped = 0;
    for line in body.lines() {
        if line.contains("response_code=666i") {
            dropped += 1;
        } else {
            points.put(line);
        }
    }
    let text = format!("partial write: field type conflict dropped={dropped}");
    match dropped {
        0 => Reply::new(204, ""),
        _ if request.path.starts_with("/api") => Reply::new(422, json!({"message": text}).to_string()),
        _ => Reply::new(400, json!({"error": text}).to_string()),
    }
}

struct Database {
    spec: &'static SinkSpec,
    server: std::io::Result<HttpServer>,
    points: Arc<Mutex<Points>>,
}

impl Database {
    fn set(&self, fault: Option<Fault>) -> Result<(), Reason> {
        self.server.as_ref().map_err(|_| "no server")?.set_fault(fault);
        Ok(())
    }
}

#[async_trait]
impl BackEnd for Database {
    fn options(&self) -> Value {
        let url = self.server.as_ref().map(HttpServer::url).unwrap_or_default();
        let place = if self.spec.name == SPEC.name {
            "database_name"
        } else {
            "bucket"
        };
        json!({"address": url, place: "db", "tags": ["method"], "fields": ["path", "response_code"]})
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (self.spec.build)(context).await
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let points = self.points.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(rows::serials(points.lines.join("\n").as_bytes()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.set(Some(Fault::Answers(Reply::new(503, r#"{"error":"timeout"}"#))))
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
        Err("the other points of a request are written")
    }
}
