//! A local HTTP back-end that only counts: a collector of Splunk, or a node of Elasticsearch.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread,
};

use crate::pump::Kind;

/// Listens until the process ends.
pub(crate) struct HttpSink {
    address: SocketAddr,
    records: Arc<AtomicU64>,
}

impl HttpSink {
    pub(crate) fn start(kind: Kind) -> anyhow::Result<HttpSink> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let records = Arc::new(AtomicU64::new(0));
        let counter = records.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = counter.clone();
                thread::spawn(move || serve(&stream, kind, &counter));
            }
        });
        Ok(HttpSink { address, records })
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Records that arrived.
    pub(crate) fn records(&self) -> u64 {
        self.records.load(Relaxed)
    }
}

/// Answers the requests of one connection; `None`: it is over.
fn serve(stream: &TcpStream, kind: Kind, records: &AtomicU64) -> Option<()> {
    let (mut reader, mut writer) = (BufReader::with_capacity(1 << 16, stream), stream);
    let mut body = Vec::new();
    let mut line = String::new();
    loop {
        let (mut size, mut first) = (0, true);
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if let Some((name, value)) = line.split_once(':').filter(|_| !first)
                && name.eq_ignore_ascii_case("content-length")
            {
                size = value.trim().parse().ok()?;
            }
            first = false;
            if line.trim_end().is_empty() {
                break;
            }
        }
        body.resize(size, 0);
        reader.read_exact(&mut body).ok()?;
        let (count, reply) = answer(kind, &body);
        records.fetch_add(count, Relaxed);
        let head = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
            reply.len()
        );
        writer.write_all(&[head.as_bytes(), reply.as_bytes()].concat()).ok()?;
    }
}

/// How many records a body has, and what the back-end says to them.
fn answer(kind: Kind, body: &[u8]) -> (u64, String) {
    if body.is_empty() {
        return (0, r#"{"version":{"number":"7.17.0"}}"#.to_owned());
    }
    if kind == Kind::Splunk {
        let mark = br#"{"time":"#;
        let starts = body.iter().enumerate().filter(|(_, byte)| **byte == b'{');
        let events = starts.filter(|(at, _)| body[*at..].starts_with(mark)).count();
        return (events as u64, r#"{"text":"Success","code":0}"#.to_owned());
    }
    let documents = body.iter().filter(|byte| **byte == b'\n').count() / 2;
    let items = vec![r#"{"create":{"status":201}}"#; documents].join(",");
    (documents as u64, format!(r#"{{"errors":false,"items":[{items}]}}"#))
}
