//! What SQS, Kinesis and Timestream answer, as far as sinks ask: [`Cloud`] keeps messages and records in memory, and [`Gate`] stands before
//! a service and takes entries out of batches, as a service under load does and a small one does not.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::TcpStream,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use serde_json::{Value, json};

use crate::http::{Received, Reply};

/// What a message or record has that no service takes.
const POISON: &str = "\"response_code\":666";

/// What the services hold.
#[derive(Debug, Default)]
pub struct Held {
    /// Bodies of messages and data of records, in the order of their arrival.
    pub bodies: Vec<String>,
    seen: HashSet<String>,
}

/// SQS and Kinesis in memory. A queue whose name ends in `.fifo` knows messages again, and takes none without a group.
#[derive(Debug, Default)]
pub struct Cloud(Mutex<Held>);

impl Cloud {
    /// What it holds.
    pub fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it answers.
    pub fn answer(&self, request: &Received) -> Reply {
        if !request
            .header("authorization")
            .starts_with("AWS4-HMAC-SHA256 Credential=")
        {
            return refusal("MissingAuthenticationTokenException", "no signature");
        }
        let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        match request.header("x-amz-target") {
            "AmazonSQS.GetQueueUrl" => {
                let url = format!("https://sqs.test/1/{}", body["QueueName"].as_str().unwrap_or_default());
                Reply::new(200, json!({"QueueUrl": url}).to_string())
            }
            "AmazonSQS.SendMessageBatch" => self.messages(&body),
            "Kinesis_20131202.PutRecords" => self.records(&body),
            "Timestream_20181101.WriteRecords" => self.points(&body),
            _ => refusal("UnknownOperationException", ""),
        }
    }

    fn messages(&self, body: &Value) -> Reply {
        let is_fifo = body["QueueUrl"].as_str().is_some_and(|url| url.ends_with(".fifo"));
        let entries = body["Entries"].as_array().cloned().unwrap_or_default();
        match entries.len() {
            0 => {
                return refusal(
                    "com.amazonaws.sqs#EmptyBatchRequest",
                    "There should be at least one entry",
                );
            }
            1..=10 => {}
            _ => return refusal("com.amazonaws.sqs#TooManyEntriesInBatchRequest", "too many"),
        }
        let size: usize = entries.iter().map(|entry| text(entry, "MessageBody").len()).sum();
        if size > 1 << 20 {
            return refusal("com.amazonaws.sqs#BatchRequestTooLong", "too long");
        }
        let mut held = self.held();
        let (mut successful, mut failed) = (Vec::new(), Vec::new());
        for entry in &entries {
            let (id, message) = (text(entry, "Id"), text(entry, "MessageBody"));
            let refused =
                |code: &str| json!({"Id": id, "Code": code, "SenderFault": true, "Message": "Invalid message"});
            if message.contains(POISON) {
                failed.push(refused("InvalidMessageContents"));
                continue;
            }
            if is_fifo && (text(entry, "MessageGroupId").is_empty() || text(entry, "MessageDeduplicationId").is_empty())
            {
                failed.push(refused("MissingParameter"));
                continue;
            }
            if !is_fifo || held.seen.insert(text(entry, "MessageDeduplicationId")) {
                held.bodies.push(message);
            }
            successful.push(json!({"Id": id, "MessageId": "m"}));
        }
        Reply::new(200, json!({"Successful": successful, "Failed": failed}).to_string())
    }

    fn records(&self, body: &Value) -> Reply {
        let records = body["Records"].as_array().cloned().unwrap_or_default();
        let data: Vec<String> = records.iter().map(|record| plain(&text(record, "Data"))).collect();
        let is_too_large = data.iter().any(|data| data.len() > 1 << 20);
        if records.len() > 500 || is_too_large || data.iter().any(|data| data.contains(POISON)) {
            return refusal("ValidationException", "Value failed to satisfy constraint");
        }
        let said: Vec<Value> = (0..data.len())
            .map(|at| json!({"SequenceNumber": at.to_string(), "ShardId": "s"}))
            .collect();
        self.held().bodies.extend(data);
        Reply::new(200, json!({"FailedRecordCount": 0, "Records": said}).to_string())
    }
}

impl Cloud {
    fn points(&self, body: &Value) -> Reply {
        let records = body["Records"].as_array().cloned().unwrap_or_default();
        if records.is_empty() || records.len() > 100 {
            return refusal("ValidationException", "1 to 100 records");
        }
        let is_refused = |record: &Value| record["MeasureValues"][0]["Value"] == "666";
        let refused = (0..records.len()).filter(|&at| records.get(at).is_some_and(is_refused));
        let refused: Vec<Value> = refused
            .map(|at| json!({"RecordIndex": at, "Reason": "Invalid value"}))
            .collect();
        let taken = records.iter().filter(|record| !is_refused(record));
        self.held().bodies.extend(taken.map(Value::to_string));
        if refused.is_empty() {
            return Reply::new(200, "{}");
        }
        let code = "com.amazonaws.timestream#RejectedRecordsException";
        Reply::new(
            419,
            json!({"__type": code, "Message": "some", "RejectedRecords": refused}).to_string(),
        )
    }
}

fn refusal(code: &str, message: &str) -> Reply {
    Reply::new(400, json!({"__type": code, "message": message}).to_string())
}

fn text(entry: &Value, key: &str) -> String {
    entry[key].as_str().unwrap_or_default().to_owned()
}

/// The text that `base64` says.
pub fn plain(base64: &str) -> String {
    let value = |letter: u8| match letter {
        b'A'..=b'Z' => Some(letter - b'A'),
        b'a'..=b'z' => Some(letter - b'a' + 26),
        b'0'..=b'9' => Some(letter - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
    for six in base64.bytes().filter_map(value) {
        bits = bits << 6 | u32::from(six);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Stands before a service: of each batch it lets some entries through, says of others that there is no room now, and refuses
/// poisoned messages for good.
#[derive(Debug, Default)]
pub struct Gate {
    /// Of a hundred entries so many are throttled.
    pub throttled: u64,
    /// Entries so far.
    entries: AtomicU64,
    /// Entries that were throttled.
    pub held_back: AtomicU64,
    /// Calls of batches.
    pub batches: AtomicU64,
}

impl Gate {
    /// A gate that throttles so many of a hundred entries.
    pub fn new(throttled: u64) -> Gate {
        Gate {
            throttled,
            ..Gate::default()
        }
    }

    /// Whether there is no room for the next entry: spread evenly, and different for an entry that comes again.
    fn is_throttled(&self) -> bool {
        let number = self.entries.fetch_add(1, Relaxed);
        let mixed = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        let is_throttled = mixed % 100 < self.throttled;
        self.held_back.fetch_add(u64::from(is_throttled), Relaxed);
        is_throttled
    }

    /// What becomes of a request; `service` answers what is let through.
    pub fn answer(&self, request: &Received, service: impl Fn(&Received) -> Reply) -> Reply {
        let list = match request.header("x-amz-target").rsplit('.').next() {
            Some("SendMessageBatch") => "Entries",
            Some("PutRecords") => "Records",
            _ => return service(request),
        };
        self.batches.fetch_add(1, Relaxed);
        let mut body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
        let entries = body[list].as_array().cloned().unwrap_or_default();
        let verdicts: Vec<Option<Value>> = entries.iter().map(|entry| self.verdict(entry)).collect();
        let through = entries.iter().zip(&verdicts).filter(|(_, verdict)| verdict.is_none());
        let through: Vec<Value> = through.map(|(entry, _)| entry.clone()).collect();
        let mut said = json!({"Successful": [], "Failed": [], "Records": []});
        if !through.is_empty() {
            body[list] = through.into();
            let mut smaller = request.clone();
            smaller.body = body.to_string().into_bytes();
            let reply = service(&smaller);
            if reply.status != 200 {
                return reply;
            }
            said = serde_json::from_slice(&reply.body).unwrap_or_default();
        }
        if list == "Entries" {
            let mut failed = said["Failed"].as_array().cloned().unwrap_or_default();
            failed.extend(verdicts.into_iter().flatten());
            said["Failed"] = failed.into();
        } else {
            let mut stored = said["Records"].as_array().cloned().unwrap_or_default().into_iter();
            let merged = verdicts.into_iter().map(|verdict| verdict.or_else(|| stored.next()));
            let merged: Vec<Value> = merged.map(Option::unwrap_or_default).collect();
            said["Records"] = merged.into();
        }
        Reply::new(200, said.to_string())
    }

    /// `None`: let through.
    fn verdict(&self, entry: &Value) -> Option<Value> {
        let id = text(entry, "Id");
        if text(entry, "MessageBody").contains(POISON) {
            return Some(
                json!({"Id": id, "Code": "InvalidMessageContents", "SenderFault": true, "Message": "Invalid"}),
            );
        }
        if !self.is_throttled() {
            return None;
        }
        Some(match id.is_empty() {
            true => json!({"ErrorCode": "ProvisionedThroughputExceededException", "ErrorMessage": "Rate exceeded"}),
            false => json!({"Id": id, "Code": "RequestThrottled", "SenderFault": true, "Message": "Rate exceeded"}),
        })
    }
}

/// Sends a request on to a server on this machine, `http://HOST:PORT`; 502 if there is no answer.
pub fn forward(to: &str, request: &Received) -> Reply {
    exchange(to, request).unwrap_or_else(|| Reply::new(502, "{}"))
}

fn exchange(to: &str, request: &Received) -> Option<Reply> {
    let host = to.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(host).ok()?;
    let mut head = format!(
        "{} {} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n",
        request.method, request.path
    );
    for (name, value) in &request.headers {
        if !["host", "connection", "content-length", "transfer-encoding"].contains(&name.as_str()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    head.push_str(&format!("content-length: {}\r\n\r\n", request.body.len()));
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(&request.body).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n")?;
    let status = String::from_utf8_lossy(answer.get(..end)?)
        .split(' ')
        .nth(1)?
        .parse()
        .ok()?;
    Some(Reply::new(status, answer.get(end + 4..)?))
}

/// Calls an operation of a service on this machine, such as `AmazonSQS.CreateQueue`, as a test does that looks at it itself.
pub fn call(to: &str, operation: &str, body: Value) -> Value {
    let service = if operation.starts_with("Kinesis") {
        "kinesis"
    } else {
        "sqs"
    };
    let credential = format!("AWS4-HMAC-SHA256 Credential=test/20260101/eu-central-1/{service}/aws4_request");
    let request = Received {
        method: "POST".to_owned(),
        path: "/".to_owned(),
        headers: vec![
            ("x-amz-target".to_owned(), operation.to_owned()),
            ("content-type".to_owned(), "application/x-amz-json-1.1".to_owned()),
            (
                "authorization".to_owned(),
                format!("{credential}, SignedHeaders=host, Signature=0"),
            ),
        ],
        body: body.to_string().into_bytes(),
    };
    serde_json::from_slice(&forward(to, &request).body).unwrap_or_default()
}
