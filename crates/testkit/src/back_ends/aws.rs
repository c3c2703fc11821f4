//! The back-ends of `kinesis`, `sqs` and `timestream`: the services in memory.

use std::sync::Arc;

use analytics::Int;
use async_trait::async_trait;
use fakes::{
    aws::Cloud,
    http::{Fault, HttpServer, Reply},
    rows::{self, Alter},
};
use futures::{FutureExt, future::BoxFuture};
use serde_json::{Value, json};
use sinks::{BuildContext, BuildError, Sink, SinkSpec};

use crate::{BackEnd, Reason};

/// The harness of `kinesis`.
pub fn kinesis() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(
        &sinks::kinesis::SPEC,
        json!({"stream_name": "tyk", "region": "eu-central-1", "aws_key": "AKID", "aws_secret": "secret"}),
    )
}

/// The harness of `sqs` on a standard queue.
pub fn sqs() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&sinks::sqs::SPEC, queue("tyk"))
}

/// The harness of `sqs` on a FIFO queue.
pub fn sqs_fifo() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&sinks::sqs::SPEC, queue("tyk.fifo"))
}

/// The harness of `timestream`.
pub fn timestream() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(
        &sinks::timestream::SPEC,
        json!({"aws_region": "eu-central-1", "aws_key": "AKID", "aws_secret": "secret", "dimensions": ["Path"],
            "measures": ["ResponseCode"], "write_zero_values": true, "timestream_database_name": "tyk",
            "timestream_table_name": "requests"}),
    )
}

fn queue(name: &str) -> Value {
    json!({"aws_queue_name": name, "aws_region": "eu-central-1", "aws_key": "AKID", "aws_secret": "secret"})
}

fn start(spec: &'static SinkSpec, options: Value) -> BoxFuture<'static, Box<dyn BackEnd>> {
    async move {
        let cloud = Arc::new(Cloud::default());
        let answering = cloud.clone();
        let server = HttpServer::start(move |request| answering.answer(request)).await;
        let mut options = options;
        options["aws_endpoint"] = server.as_ref().map(HttpServer::url).unwrap_or_default().into();
        Box::new(Aws {
            spec,
            options,
            server,
            cloud,
        }) as Box<dyn BackEnd>
    }
    .boxed()
}

struct Aws {
    spec: &'static SinkSpec,
    options: Value,
    server: std::io::Result<HttpServer>,
    cloud: Arc<Cloud>,
}

impl Aws {
    fn set(&self, fault: Option<Fault>) -> Result<(), Reason> {
        self.server.as_ref().map_err(|_| "no server")?.set_fault(fault);
        Ok(())
    }

    fn is_kinesis(&self) -> bool {
        self.spec.name == "kinesis"
    }

    fn is_fifo(&self) -> bool {
        self.options["aws_queue_name"]
            .as_str()
            .is_some_and(|name| name.ends_with(".fifo"))
    }
}

#[async_trait]
impl BackEnd for Aws {
    fn options(&self) -> Value {
        self.options.clone()
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        (self.spec.build)(context).await
    }

    fn keeps_order(&self) -> bool {
        self.is_fifo() || self.spec.name == "timestream"
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        Ok(rows::serials(self.cloud.held().bodies.concat().as_bytes()))
    }

    async fn fail(&self) -> Result<(), Reason> {
        let body = r#"{"__type":"com.amazon.coral.service#ThrottlingException","message":"Rate exceeded"}"#;
        self.set(Some(Fault::Answers(Reply::new(400, body))))
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.set(Some(Fault::Stalls))
    }

    async fn heal(&self) {
        let _ = self.set(None);
    }

    fn refused(&self) -> Result<Alter, Reason> {
        match self.is_kinesis() {
            true => Err("Kinesis refuses requests, not records"),
            false => Ok(|record| record.int[Int::ResponseCode as usize] = 666),
        }
    }

    fn poison(&self) -> Result<Alter, Reason> {
        match self.is_kinesis() {
            true => Ok(|record| record.int[Int::ResponseCode as usize] = 666),
            false => Err("what is taken of a request is taken message by message"),
        }
    }
}
