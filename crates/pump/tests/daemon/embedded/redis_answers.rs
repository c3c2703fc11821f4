//! The same bytes to a real redis-server and to the store: the answers are the same.

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tyk_pump::config::Secret;

use super::Served;
use crate::support::{
    self,
    daemon::{Site, csv_rows},
};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/golden/gateway")
}

fn lines(path: &Path) -> Vec<Value> {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let lines = BufReader::new(file).lines();
    lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect()
}

/// A record of this serializer, for values that are cut in the capture.
fn record(name: &str) -> Vec<u8> {
    let file = folder().join(name);
    let first = lines(&file).remove(0);
    STANDARD.decode(first["b64"].as_str().unwrap()).unwrap()
}

fn command(words: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n", word.len()).bytes());
        bytes.extend(word);
        bytes.extend(b"\r\n");
    }
    bytes
}

/// What a connection answers to these commands, of which there are so many.
struct Peer(TcpStream);

impl Peer {
    async fn connect(address: &str) -> Peer {
        Peer(TcpStream::connect(address).await.unwrap())
    }

    /// Sends, then a PING with a text of its own, and reads up to its answer.
    async fn ask(&mut self, bytes: &[u8]) -> Vec<u8> {
        const MARK: &[u8] = b"$18\r\nthat-is-the-answer\r\n";
        self.0.write_all(bytes).await.unwrap();
        self.0
            .write_all(b"*2\r\n$4\r\nECHO\r\n$18\r\nthat-is-the-answer\r\n")
            .await
            .unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(MARK) {
            let mut part = vec![0; 64 << 10];
            let read = timeout(Duration::from_secs(10), self.0.read(&mut part)).await;
            let len = read
                .unwrap_or_else(|_| panic!("no answer behind {:?}", String::from_utf8_lossy(&answer)))
                .unwrap();
            if len == 0 {
                break;
            }
            answer.extend(&part[..len]);
        }
        answer.truncate(answer.len().saturating_sub(MARK.len()));
        answer
    }
}

/// Numbers of connections and remaining times differ between any two servers.
fn comparable(answer: &[u8], words: &[Vec<u8>]) -> String {
    let mut text = String::from_utf8_lossy(answer).into_owned();
    let name = String::from_utf8_lossy(&words[0]).to_lowercase();
    if name == "hello" {
        let (head, tail) = text.split_once("$2\r\nid\r\n:").unwrap_or((&text, ""));
        let tail = tail.trim_start_matches(|digit: char| digit.is_ascii_digit());
        text = format!("{head}id{tail}");
        let version = text.find("$7\r\nversion\r\n").map(|at| at + 13);
        if let Some(at) = version {
            let rest = text.split_off(at);
            text.push_str(rest.splitn(3, "\r\n").last().unwrap_or_default());
        }
    }
    if name == "ttl"
        && text
            .trim_start_matches(':')
            .trim()
            .parse::<i64>()
            .is_ok_and(|left| left > 0)
    {
        text = ":some\r\n".to_owned();
    }
    text
}

/// Elements of both serializers, for values that are cut in a capture.
struct Records {
    msgpack: Vec<u8>,
    protobuf: Vec<u8>,
}

/// Replays a capture against both, speaking this version of the protocol. Returns how many records were pushed.
async fn replay(capture: &str, protocol: &str, records: &Records, redis: &str, ours: &Served) -> u64 {
    let ours_at = ours.address.to_string();
    let mut peers: BTreeMap<u64, (Peer, Peer)> = BTreeMap::new();
    let mut pushed = 0;
    for line in lines(&folder().join(capture)) {
        if line["dir"] != ">" {
            continue;
        }
        let connection = line["conn"].as_u64().unwrap();
        if line["closed"] == true {
            peers.remove(&connection);
            continue;
        }
        if let std::collections::btree_map::Entry::Vacant(unknown) = peers.entry(connection) {
            unknown.insert((Peer::connect(redis).await, Peer::connect(&ours_at).await));
        }
        let (theirs, own) = peers.get_mut(&connection).unwrap();
        for words in line["cmds"].as_array().unwrap() {
            let mut words: Vec<Vec<u8>> = words
                .as_array()
                .unwrap()
                .iter()
                .map(|word| match word.as_str().unwrap() {
                    cut if cut.starts_with('<') && cut.ends_with("bytes>") => {
                        let list = words[1].as_str().unwrap();
                        match list.ends_with("_protobuf") {
                            true => records.protobuf.clone(),
                            false => records.msgpack.clone(),
                        }
                    }
                    word => word.as_bytes().to_vec(),
                })
                .collect();
            if words[0].eq_ignore_ascii_case(b"hello") {
                words[1] = protocol.into();
            }
            if words[0].eq_ignore_ascii_case(b"rpush") && words[1].starts_with(b"analytics-") {
                pushed += 1;
            }
            let bytes = command(&words);
            let (theirs, own) = (theirs.ask(&bytes).await, own.ask(&bytes).await);
            let shown = words
                .iter()
                .map(|word| String::from_utf8_lossy(&word[..word.len().min(40)]))
                .collect::<Vec<_>>();
            assert_eq!(
                comparable(&own, &words),
                comparable(&theirs, &words),
                "{capture}, RESP{protocol}: {shown:?}"
            );
        }
    }
    pushed
}

#[tokio::test(flavor = "multi_thread")]
async fn gateways_hear_from_the_store_what_they_hear_from_redis() {
    let records = Records {
        msgpack: record("msgpack-plain.jsonl"),
        protobuf: record("protobuf-detailed-ten-keys.jsonl"),
    };
    // Gateways ask for RESP3; where it is refused, and before it was there, they speak RESP2.
    for (capture, protocol, password) in [
        ("commands-msgpack.resp.jsonl", "3", ""),
        ("commands-msgpack.resp.jsonl", "2", ""),
        ("commands-protobuf.resp.jsonl", "3", ""),
        ("commands-cluster.resp.jsonl", "3", ""),
        ("commands-cluster.resp.jsonl", "2", ""),
        ("commands-auth-db-outage.resp.jsonl", "3", "pw1"),
        ("commands-auth-db-outage.resp.jsonl", "2", "pw1"),
    ] {
        let Some(server) = support::redis("plain", &[]) else {
            return;
        };
        let set = ["SET", "requirepass", password];
        redis::cmd("CONFIG").arg(&set).exec(&mut server.client(0, "")).unwrap();
        let ours = Served::start(|settings| settings.password = Secret::new(password.to_owned())).await;
        let pushed = replay(capture, protocol, &records, &server.addr(0), &ours).await;
        assert!(pushed > 10, "{capture}: {pushed}");
        let folder = ours.stop().await;
        let csv = json!({"csv": {"type": "csv", "meta": {"csv_dir": "@/csv"}}});
        let site = Site::embedded(json!({"dir": folder.path()}), csv);
        let pump = site.start_ready();
        site.wait("every record in CSV", 30, || {
            (csv_rows(&site.path("csv")).len() as u64 == pushed).then_some(())
        });
        assert!(pump.stop().success());
    }
}

/// What people type, with what Redis says about mistakes.
const BY_HAND: &[&str] = &[
    "PING",
    "PING hello",
    "PING a b",
    "ECHO",
    "ECHO a",
    "SELECT 0",
    "SELECT 15",
    "SELECT 16",
    "SELECT -1",
    "SELECT x",
    "AUTH a",
    "AUTH default a",
    "AUTH a b c",
    "HELLO x",
    "HELLO 1",
    "HELLO 2 NOPE",
    "HELLO 2 SETNAME me",
    "CLIENT GETNAME",
    "CLIENT SETNAME you",
    "CLIENT GETNAME",
    "CLIENT SETNAME",
    "CLIENT",
    "CLIENT NOPE",
    "CLIENT SETINFO LIB-NAME x",
    "CLUSTER SLOTS",
    "NOPE",
    "NOPE a b c",
    "nope 'a b'",
    "LLEN l",
    "LLEN",
    "RPUSH l",
    "RPUSH l a",
    "rpush l b c d e",
    "LLEN l",
    "LRANGE l 0 -1",
    "LRANGE l 1 2",
    "LRANGE l -2 -1",
    "LRANGE l 3 1",
    "LRANGE l -100 100",
    "LRANGE l a b",
    "LRANGE l 0 b",
    "LRANGE none 0 -1",
    "TYPE l",
    "TYPE none",
    "EXISTS l l none",
    "TTL l",
    "TTL none",
    "PTTL none",
    "EXPIRE l 100",
    "EXPIRE none 100",
    "EXPIRE l x",
    "EXPIRE l 100 NOPE",
    "EXPIRE l 9223372036854775807",
    "TTL l",
    "PERSIST l",
    "PERSIST l",
    "PERSIST none",
    "TTL l",
    "GET l",
    "SET s v",
    "GET s",
    "GET none",
    "SET s v NX",
    "SET s w XX",
    "SET none v XX",
    "SET s v GET",
    "SET s v NX XX",
    "SET s v EX",
    "SET s v EX 0",
    "SET s v EX x",
    "SET s v EX 100 PX 100",
    "SET s v EX 100",
    "TTL s",
    "SET s v KEEPTTL",
    "TTL s",
    "SET s v",
    "TTL s",
    "SET s",
    "RPUSH s a",
    "LLEN s",
    "LRANGE s 0 -1",
    "LTRIM s 0 1",
    "LPOP s",
    "TYPE s",
    "DBSIZE",
    "EXPIRE s 0",
    "GET s",
    "LTRIM l 1 -2",
    "LRANGE l 0 -1",
    "LTRIM l x 1",
    "LPOP l",
    "LPOP l 0",
    "LPOP l -1",
    "LPOP l x",
    "LPOP l 1 2",
    "LPOP l 10",
    "LPOP l",
    "LPOP l 1",
    "EXISTS l",
    "RPUSH l a b c",
    "LTRIM l 5 10",
    "EXISTS l",
    "EXEC",
    "DISCARD",
    "MULTI;MULTI;RPUSH m a b;LRANGE m 0 -1;LPOP m;LLEN m;GET m;DEL m;EXEC",
    "MULTI;NOPE;RPUSH m a;EXEC",
    "MULTI;RPUSH m;EXEC",
    "MULTI;RPUSH m a;DISCARD",
    "RPUSH p a;RPUSH p b c;RPUSH q a;LLEN p;RPUSH p d;LRANGE p 0 -1;DEL p q",
    "EXISTS m",
    "DEL none",
    "DEL",
    "RPUSH k1 a",
    "RPUSH k2 a",
    "KEYS k?",
    "KEYS nope*",
    "KEYS",
    "SCAN 0 MATCH k1",
    "SCAN x",
    "SCAN 0 NOPE",
    "SCAN 0 COUNT 0",
    "SCAN 0 COUNT x",
    "SCAN 0 TYPE string",
    "UNLINK k1 k2 none",
    "CONFIG GET save-nothing-like-that",
    "CONFIG GET databases",
    "CONFIG GET maxmemory-policy",
    "CONFIG NOPE",
    "CONFIG GET",
    "COMMAND NOPE",
];

fn words(line: &str) -> Vec<Vec<u8>> {
    let line = line.replace("'a b'", "a\u{1}b");
    line.split(' ')
        .map(|word| word.replace('\u{1}', " ").into_bytes())
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn people_read_from_the_store_what_they_read_from_redis() {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let ours = Served::start(|_| {}).await;
    for resp3 in [false, true] {
        let mut theirs = Peer::connect(&redis.addr(0)).await;
        let mut own = Peer::connect(&ours.address.to_string()).await;
        for line in std::iter::once(if resp3 { "HELLO 3" } else { "HELLO 2" }).chain(BY_HAND.iter().copied()) {
            if resp3 && line.starts_with("HELLO 2 SETNAME") {
                continue;
            }
            let bytes: Vec<u8> = line.split(';').flat_map(|line| command(&words(line))).collect();
            let words = words(line);
            let (theirs, own) = (theirs.ask(&bytes).await, own.ask(&bytes).await);
            let mut answers = [comparable(&own, &words), comparable(&theirs, &words)];
            if line.starts_with("KEYS") {
                answers.iter_mut().for_each(|answer| *answer = sorted(answer));
            }
            assert_eq!(answers[0], answers[1], "{line} (RESP3: {resp3})");
        }
    }
}

fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.split("\r\n").collect();
    lines.sort_unstable();
    lines.join("\r\n")
}
