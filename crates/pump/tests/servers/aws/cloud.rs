//! A gate before moto, and what moto holds behind it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use fakes::{
    aws::{Gate, call, forward, plain},
    http::HttpServer,
    rows, server,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

pub(super) struct Cloud {
    moto: String,
    pub(super) gate: Arc<Gate>,
    pub(super) server: HttpServer,
    _runtime: Runtime,
}

/// A name that no other test has.
fn name(ending: &str) -> String {
    format!("tyk-{}{ending}", ulid::Ulid::new().to_string().to_lowercase())
}

impl Cloud {
    /// A gate that throttles so many of a hundred entries; `None`: moto was not started.
    pub(super) fn start(throttled: u64) -> Option<Cloud> {
        let moto = server::address("moto")?;
        let runtime = Runtime::new().unwrap();
        let gate = Arc::new(Gate::new(throttled));
        let (before, behind) = (gate.clone(), moto.clone());
        let server = runtime.block_on(HttpServer::start(move |request| {
            before.answer(request, |request| forward(&behind, request))
        }));
        Some(Cloud {
            moto,
            gate,
            server: server.unwrap(),
            _runtime: runtime,
        })
    }

    fn call(&self, operation: &str, body: Value) -> Value {
        call(&self.moto, operation, body)
    }

    /// Its name.
    pub(super) fn create_queue(&self, ending: &str) -> String {
        let name = name(ending);
        let attributes = match ending {
            "" => json!({}),
            _ => json!({"FifoQueue": "true"}),
        };
        let made = self.call(
            "AmazonSQS.CreateQueue",
            json!({"QueueName": name, "Attributes": attributes}),
        );
        assert!(made["QueueUrl"].is_string(), "{made}");
        name
    }

    /// Its name.
    pub(super) fn create_stream(&self) -> String {
        let name = name("");
        self.call(
            "Kinesis_20131202.CreateStream",
            json!({"StreamName": name, "ShardCount": 2}),
        );
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let said = self.call("Kinesis_20131202.DescribeStream", json!({"StreamName": name}));
            if said["StreamDescription"]["StreamStatus"] == "ACTIVE" {
                return name;
            }
            assert!(Instant::now() < deadline, "{said}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    pub(super) fn queue_options(&self, queue: &str) -> Value {
        json!({"aws_queue_name": queue, "aws_region": "eu-central-1", "aws_key": "test", "aws_secret": "test",
            "aws_endpoint": self.server.url()})
    }

    pub(super) fn stream_options(&self, stream: &str) -> Value {
        json!({"stream_name": stream, "region": "eu-central-1", "aws_key": "test", "aws_secret": "test",
            "aws_endpoint": self.server.url()})
    }

    /// Serials of the messages of a queue, which is empty then.
    pub(super) fn messages(&self, queue: &str) -> Vec<u64> {
        let url = self.call("AmazonSQS.GetQueueUrl", json!({"QueueName": queue}))["QueueUrl"].clone();
        let mut serials = Vec::new();
        loop {
            let asked = json!({"QueueUrl": url, "MaxNumberOfMessages": 10, "WaitTimeSeconds": 0});
            let said = self.call("AmazonSQS.ReceiveMessage", asked);
            let Some(messages) = said["Messages"].as_array().filter(|messages| !messages.is_empty()) else {
                return serials;
            };
            let entry = |(at, message): (usize, &Value)| json!({"Id": at.to_string(), "ReceiptHandle": message["ReceiptHandle"]});
            let entries: Vec<Value> = messages.iter().enumerate().map(entry).collect();
            for message in messages {
                let body: Value = serde_json::from_str(message["Body"].as_str().unwrap()).unwrap();
                serials.extend(rows::serials(body["path"].as_str().unwrap().as_bytes()));
            }
            self.call(
                "AmazonSQS.DeleteMessageBatch",
                json!({"QueueUrl": url, "Entries": entries}),
            );
        }
    }

    /// Serials of the records of a stream, shard by shard.
    pub(super) fn records(&self, stream: &str) -> Vec<u64> {
        let shards = self.call("Kinesis_20131202.ListShards", json!({"StreamName": stream}));
        let mut serials = Vec::new();
        for shard in shards["Shards"].as_array().unwrap() {
            let asked = json!({"StreamName": stream, "ShardId": shard["ShardId"], "ShardIteratorType": "TRIM_HORIZON"});
            let mut iterator = self.call("Kinesis_20131202.GetShardIterator", asked)["ShardIterator"].clone();
            loop {
                let said = self.call("Kinesis_20131202.GetRecords", json!({"ShardIterator": iterator}));
                let records = said["Records"].as_array().unwrap();
                if records.is_empty() {
                    break;
                }
                for record in records {
                    let body: Value = serde_json::from_str(&plain(record["Data"].as_str().unwrap())).unwrap();
                    serials.extend(rows::serials(body["path"].as_str().unwrap().as_bytes()));
                }
                iterator = said["NextShardIterator"].clone();
            }
        }
        serials
    }
}
