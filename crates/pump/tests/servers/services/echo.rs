//! Services that repeat what they were sent: nothing of it is shown to anybody.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
};

use serde_json::{Map, Value, json};

use super::{
    kinds::{KINDS, Kind, Protocol},
    records,
};
use crate::support::{daemon::Site, lists::Lists};

const STATUSES: [u16; 4] = [400, 401, 404, 503];

/// What no text may hold: values of records.
const PRIVATE: [&str; 6] = [
    "k3y-of-a-client",
    "jane@example.org",
    "203.0.113.77",
    "/accounts/of/jane",
    "c2VjcmV0IGJvZHkgb2YgYSByZXF1ZXN0",
    "secret body of a request",
];

/// Options that hold secrets, and that the table of services has filled.
const SECRETS: [&str; 4] = ["collector_token", "token", "application_id", "segment_write_key"];

fn secret(kind: &Kind) -> String {
    format!("s3cr\"t of {}", kind.label)
}

/// Answers every request with `status` and all of the request, its head first.
fn echo(status: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for connection in listener.incoming().flatten() {
            std::thread::spawn(move || while let Some(()) = answer(&connection, status) {});
        }
    });
    port
}

fn answer(mut connection: &TcpStream, status: u16) -> Option<()> {
    let mut reader = BufReader::new(connection);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line == "\r\n" {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let said = json!({"error": "cannot take this", "head": head, "body": String::from_utf8_lossy(&body)}).to_string();
    let reply = format!(
        "HTTP/1.1 {status} Odd\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{said}",
        said.len()
    );
    connection.write_all(reply.as_bytes()).ok()
}

fn pumps() -> Value {
    let mut pumps = Map::new();
    for kind in KINDS.iter().filter(|kind| kind.protocol == Protocol::Http) {
        for status in STATUSES {
            let port = echo(status);
            let mut meta = (kind.options)();
            (kind.address)(&mut meta, &format!("http://127.0.0.1:{port}"), port);
            for option in SECRETS {
                if meta.get(option).is_some() {
                    meta[option] = secret(kind).into();
                }
            }
            if kind.name == "elasticsearch" {
                meta["username"] = "tyk".into();
                meta["password"] = secret(kind).into();
            }
            let name = format!("{}-{status}", kind.label);
            pumps.insert(name, json!({"type": kind.name, "meta": meta}));
        }
    }
    pumps.into()
}

/// Every text that people see.
fn shown(site: &Site) -> String {
    let pages = ["/status", "/readyz", "/metrics"].map(|page| site.get(page).unwrap_or_default().1);
    let letters = site.operate("dlq list");
    format!(
        "{}\n{}\n{}",
        site.log(),
        pages.join("\n"),
        String::from_utf8_lossy(&letters.stdout)
    )
}

#[test]
fn a_service_that_repeats_requests_shows_neither_secrets_nor_records_to_anybody() {
    for lists in Lists::both() {
        let site = lists.site(pumps()).configure("/log_level", json!("debug"));
        let daemon = site.start();
        site.push(records::LIST, &(0..30).map(records::private).collect::<Vec<_>>());
        site.wait("every pump to have failed", 60, || {
            let status: Value = serde_json::from_str(&site.get("/status")?.1).ok()?;
            let pumps = status["pumps"].as_array()?;
            pumps.iter().all(|pump| pump["last_error"].is_string()).then_some(())
        });
        for kind in KINDS.iter().filter(|kind| kind.protocol == Protocol::Http) {
            for status in [400, 401] {
                let pump = format!("{}-{status}", kind.label);
                // Those that paused because of it; others have nothing to accept.
                let _ = site.operate(&format!("lane accept-refusals {pump}"));
            }
        }
        site.wait("dead letters", 40, || {
            (!site.operate_json("dlq list --json").is_empty()).then_some(())
        });
        let shown = shown(&site);
        for private in PRIVATE {
            assert!(
                !shown.contains(private),
                "{private} is shown: {}",
                beside(&shown, private)
            );
        }
        for kind in KINDS {
            // Its plain part is in every encoding but that of base64, which the unit tests look at.
            let secret = format!("t of {}", kind.label);
            assert!(
                !shown.contains(&secret),
                "{secret} is shown: {}",
                beside(&shown, &secret)
            );
        }
        assert!(!shown.contains("Basic "), "{}", beside(&shown, "Basic "));
        drop(daemon);
    }
}

/// The text around what was found.
fn beside<'a>(text: &'a str, found: &str) -> &'a str {
    let at = text.find(found).unwrap_or_default();
    let (from, to) = (at.saturating_sub(300), (at + 300).min(text.len()));
    &text[text.floor_char_boundary(from)..text.floor_char_boundary(to)]
}
