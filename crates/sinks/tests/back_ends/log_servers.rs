//! Real log servers get what `graylog` and `syslog` send. `scripts/services.sh start rsyslog gelf` starts them.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use analytics::{ClaimId, Selection, Text, msgpack, record::Builder};
use fakes::{
    certificates::Certificates,
    rows::{self, Row},
    server,
};
use serde_json::{Value, json};
use sinks::{BuildContext, Sink, WriteError, find};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// Address and folder of a server.
fn place(name: &str) -> Option<(String, u16, PathBuf)> {
    let text = server::address(name)?;
    let (address, folder) = text.split_once(' ').unwrap();
    let (host, port) = address.split_once(':').unwrap();
    Some((host.to_owned(), port.parse().unwrap(), folder.into()))
}

async fn sink(kind: &str, meta: Value) -> Box<dyn Sink> {
    let build = find(kind).unwrap().build;
    build(BuildContext::new("TEST", "fleet", meta)).await.unwrap()
}

/// A number that no other run has used, as the first row.
fn first_row() -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    // Rows are a second apart, and rsyslog knows no year after 2100.
    now.as_micros() as u64 % 20_000_000 * 100
}

const CLAIM: ClaimId = ClaimId(ulid::Ulid(1));

/// What tells the rows `from..from + count` apart: their paths.
fn paths(from: u64, count: u64) -> Vec<String> {
    (from..from + count).map(|row| format!("/serial/{row}")).collect()
}

/// The lines of `file` that hold one of `marks`, once there is one for each.
async fn lines(file: PathBuf, marks: &[String]) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        // rsyslog escapes slashes in JSON.
        let text = String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()).replace("\\/", "/");
        let is_wanted = |line: &&str| marks.iter().any(|mark| line.contains(mark.as_str()));
        let found: Vec<String> = text.lines().filter(is_wanted).map(str::to_owned).collect();
        if found.len() >= marks.len() {
            return found;
        }
        let file = file.display();
        assert!(
            Instant::now() < deadline,
            "{} of {} lines in {file}",
            found.len(),
            marks.len()
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// One row with a raw response of `len` bytes that hardly shrink.
fn long_row(row: u64, len: usize) -> Vec<Selection> {
    let mut state = row | 1;
    let noise: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + (state >> 59) as u8 % 26)
    })
    .take(len)
    .collect();
    let mut record = Builder::new();
    record
        .text(Text::Path, format!("/serial/{row}"))
        .text(Text::RawResponse, noise + "!the end");
    let mut bytes = Vec::new();
    msgpack::encode(&mut bytes, &record.view());
    vec![rows::all(&rows::batch(CLAIM, row, [Row::Bytes(bytes.leak())]))]
}

#[tokio::test]
async fn rsyslog_gets_every_message_over_every_transport() {
    let Some((host, port, folder)) = place("rsyslog") else {
        return;
    };
    for (transport, input) in [("udp", "imudp"), ("tcp", "imptcp"), ("tls", "imtls")] {
        for (format, framing) in [
            ("map", "newline"),
            ("json", "octet_counting"),
            ("rfc5424", "newline"),
            ("cef", "newline"),
        ] {
            let port = if transport == "tls" { port + 1 } else { port };
            let host = if transport == "tls" { "localhost" } else { &host };
            let meta = json!({
                "transport": transport, "network_addr": format!("{host}:{port}"), "log_level": 134, "tag": "tyk",
                "format": format, "framing": if transport == "udp" { "newline" } else { framing },
                "ssl_ca_file": folder.join("ca.pem").to_string_lossy(),
            });
            let sink = sink("syslog", meta).await;
            let from = first_row();
            sink.write(&rows::group(CLAIM, from..from + 50), &Arc::default())
                .await
                .unwrap();
            let raw = lines(folder.join("raw.log"), &paths(from, 50)).await;
            assert_eq!(raw.len(), 50);
            let start = if format == "rfc5424" { "<134>1 " } else { "<134>2" };
            for line in &raw {
                assert!(line.starts_with(&format!("{input} {start}")), "{line}");
            }
            let parsed = lines(folder.join("json.log"), &paths(from, 50)).await;
            for line in &parsed {
                let message: Value = serde_json::from_str(line).unwrap();
                assert_eq!(
                    (&message["facility"], &message["severity"]),
                    (&json!("local0"), &json!("info")),
                    "{line}"
                );
                assert_eq!(message["app"], "tyk", "{line}");
            }
            sink.close().await.unwrap();
        }
    }
}

#[tokio::test]
async fn a_message_of_60_kb_arrives_whole() {
    let Some((host, port, folder)) = place("rsyslog") else {
        return;
    };
    for (transport, port) in [("udp", port), ("tcp", port), ("tls", port + 1)] {
        let host = if transport == "tls" { "localhost" } else { &host };
        let meta = json!({
            "transport": transport, "network_addr": format!("{host}:{port}"), "log_level": 134,
            "ssl_ca_file": folder.join("ca.pem").to_string_lossy(),
        });
        let sink = sink("syslog", meta).await;
        let row = first_row();
        sink.write(&long_row(row, 60_000), &Arc::default()).await.unwrap();
        let found = lines(folder.join("raw.log"), &paths(row, 1)).await;
        assert!(found.len() == 1 && found[0].len() > 60_000, "{transport}");
        assert!(
            found[0].contains("!the end request_time_ms:") && !found[0].contains("truncated"),
            "{transport}"
        );
    }
}

#[tokio::test]
async fn a_message_that_no_datagram_can_carry_is_cut_and_says_so() {
    let Some((host, port, folder)) = place("rsyslog") else {
        return;
    };
    let meta = json!({"network_addr": format!("{host}:{port}"), "log_level": 134, "format": "json"});
    let sink = sink("syslog", meta).await;
    let row = first_row();
    sink.write(&long_row(row, 100_000), &Arc::default()).await.unwrap();
    let found = lines(folder.join("raw.log"), &paths(row, 1)).await;
    let (_, document) = found[0].split_once("]: ").unwrap();
    let document: Value = serde_json::from_str(document).unwrap();
    let body = document["raw_response"].as_str().unwrap();
    assert!(
        body.ends_with("...[truncated]") && body.len() > 30_000,
        "{}",
        body.len()
    );
}

/// Chunks are not tried here: the reader takes datagrams of 1,420 bytes at most, those of the reference have 1,432.
#[tokio::test]
async fn the_reader_of_graylog_gets_every_message() {
    let Some((host, port, folder)) = place("gelf") else {
        return;
    };
    let out = folder.join("out.jsonl");
    for (transport, additional_fields) in [("udp", false), ("tcp", false), ("udp", true), ("tcp", true)] {
        let meta = json!({
            "host": host, "port": port, "transport": transport, "additional_fields": additional_fields,
            "tags": ["method", "path", "raw_response"],
        });
        let sink = sink("graylog", meta).await;
        let from = first_row();
        sink.write(&rows::group(CLAIM, from..from + 50), &Arc::default())
            .await
            .unwrap();
        // The reader shows the fields of the standard alone.
        let times: Vec<String> = (from..from + 50)
            .map(|row| format!("\"timestamp\":{},", 1_700_000_000 + row))
            .collect();
        for line in lines(out.clone(), &times).await {
            let message: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(message["host"], "tyk-pumps", "{line}");
            let short = message["short_message"].as_str().unwrap_or_default();
            assert_eq!(short.starts_with("GET /serial/"), additional_fields, "{line}");
            assert_eq!(message["extra"]["_method"] == "GET", additional_fields, "{line}");
        }
        if additional_fields && transport == "tcp" {
            let row = first_row();
            sink.write(&long_row(row, 60_000), &Arc::default()).await.unwrap();
            let found = lines(out.clone(), &paths(row, 1)).await;
            assert!(found[0].len() > 60_000 && found[0].contains("!the end"));
        }
        sink.close().await.unwrap();
    }
}

/// A server of TLS that keeps what it reads.
async fn tls_server(acceptor: tokio_rustls::TlsAcceptor) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let held: Arc<Mutex<Vec<u8>>> = Arc::default();
    let keep = held.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, keep) = (acceptor.clone(), keep.clone());
            tokio::spawn(async move {
                let mut stream = acceptor.accept(stream).await.ok()?;
                let mut buffer = [0; 4096];
                loop {
                    let len = stream.read(&mut buffer).await.ok().filter(|&len| len > 0)?;
                    keep.lock().unwrap().extend_from_slice(&buffer[..len]);
                }
                #[allow(unreachable_code)]
                Some(())
            });
        }
    });
    (port, held)
}

#[tokio::test]
async fn a_wrong_certificate_pauses_the_pump_and_a_right_one_does_not() {
    let certificates = Certificates::make().unwrap();
    let ca = certificates.text("ca.crt");
    for (shown, asks, extra, expected) in [
        ("server", false, json!({}), None),
        ("rogue", false, json!({}), Some("certificate is not trusted")),
        ("wronghost", false, json!({}), Some("certificate is not trusted")),
        ("expired", false, json!({}), Some("certificate is not trusted")),
        ("rogue", false, json!({"ssl_insecure_skip_verify": true}), None),
        ("server", true, json!({}), Some("refuses this client")),
        (
            "server",
            true,
            json!({"ssl_cert_file": certificates.text("client.crt"), "ssl_key_file": certificates.text("client.key")}),
            None,
        ),
    ] {
        let (port, held) = tls_server(certificates.acceptor(shown, asks).unwrap()).await;
        for kind in ["syslog", "graylog"] {
            let mut meta = match kind {
                "syslog" => json!({"network_addr": format!("localhost:{port}"), "log_level": 6}),
                _ => json!({"host": "localhost", "port": port, "tags": ["path"]}),
            };
            meta["transport"] = "tls".into();
            meta["ssl_ca_file"] = ca.as_str().into();
            for (key, value) in extra.as_object().unwrap() {
                meta[key] = value.clone();
            }
            let sink = sink(kind, meta).await;
            let result = sink.write(&rows::group(CLAIM, 0..3), &Arc::default()).await;
            match (expected, result) {
                (None, Ok(_)) => {
                    let deadline = Instant::now() + Duration::from_secs(10);
                    while rows::serials(&held.lock().unwrap()).len() < 3 {
                        assert!(Instant::now() < deadline, "{kind} {shown}: nothing arrives");
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                    held.lock().unwrap().clear();
                }
                (Some(expected), Err(WriteError::Config(error))) => {
                    assert!(error.to_string().contains(expected), "{kind} {shown}: {error}");
                }
                (_, result) => panic!("{kind} {shown} {extra}: {result:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_receiver_without_tls_is_said_to_be_one() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"220 hello\r\n").await;
        }
    });
    let meta = json!({
        "transport": "tls", "network_addr": format!("localhost:{port}"), "log_level": 6, "ssl_insecure_skip_verify": true,
    });
    let sink = sink("syslog", meta).await;
    let error = sink
        .write(&rows::group(CLAIM, 0..3), &Arc::default())
        .await
        .unwrap_err();
    assert!(
        matches!(&error, WriteError::Config(_)) && error.to_string().contains("does not speak TLS"),
        "{error}"
    );
}

/// A receiver that ends its half of each connection at once and reads on.
#[tokio::test]
async fn a_half_closed_receiver_gets_everything() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let held: Arc<Mutex<Vec<u8>>> = Arc::default();
    let keep = held.clone();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let keep = keep.clone();
            tokio::spawn(async move {
                stream.shutdown().await.unwrap();
                let mut got = Vec::new();
                let _ = stream.read_to_end(&mut got).await;
                keep.lock().unwrap().extend(got);
            });
        }
    });
    let meta = json!({"transport": "tcp", "network_addr": format!("127.0.0.1:{port}"), "log_level": 6});
    let sink = sink("syslog", meta).await;
    for from in (0..100).step_by(10) {
        sink.write(&rows::group(CLAIM, from..from + 10), &Arc::default())
            .await
            .unwrap();
    }
    sink.close().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let mut there = rows::serials(&held.lock().unwrap());
        there.sort_unstable();
        there.dedup();
        if there == (0..100).collect::<Vec<_>>() {
            break;
        }
        assert!(Instant::now() < deadline, "{there:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
