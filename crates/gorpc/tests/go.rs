//! Go's own `encoding/gob` reads what this crate writes, and writes what it reads (tests/services/gorpc-go).

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use fakes::server::skip;
use futures::FutureExt;
use gorpc::{
    Address, Answer, CallError, Client, ClientOptions, IncomingCall, Outcome, Server, ServerOptions, Style, gob::Basic,
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader},
    process::{Child, Command},
    sync::{
        OnceCell,
        mpsc::{UnboundedReceiver, unbounded_channel},
    },
};

const SOON: Duration = Duration::from_secs(60);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The judge, built once; `None` without Go: the test that asks is reported as skipped by name.
async fn judge() -> Option<&'static PathBuf> {
    static JUDGE: OnceCell<std::io::Result<PathBuf>> = OnceCell::const_new();
    let built = JUDGE.get_or_init(async || {
        let binary = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("gorpc-go");
        let mut build = Command::new("go");
        build.current_dir(root().join("tests/services/gorpc-go"));
        build.args(["build", "-buildvcs=false", "-o"]).arg(&binary).arg(".");
        let status = build.status().await?;
        assert!(status.success(), "tests/services/gorpc-go cannot be built");
        Ok::<_, std::io::Error>(binary)
    });
    match built.await {
        Ok(binary) => Some(binary),
        Err(error) => {
            skip(&format!("there is no go on the PATH ({error})"));
            None
        }
    }
}

/// A Go server and the lines that it prints, which are read at once: a full pipe would stop it in the middle of a call.
async fn go_server(binary: &Path) -> (Child, u16, UnboundedReceiver<String>) {
    let mut server = Command::new(binary);
    server.arg("serve").stdout(Stdio::piped()).kill_on_drop(true);
    let mut server = server.spawn().unwrap();
    let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
    let port = lines.next_line().await.unwrap().unwrap().parse().unwrap();
    let (sender, printed) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    (server, port, printed)
}

fn client(port: u16, compressed: bool) -> Client {
    Client::start(ClientOptions {
        address: Address {
            host: "127.0.0.1".to_owned(),
            port,
        },
        connections: 1,
        pool: Bytes::from_static(b"judged"),
        compressed,
        dial_timeout: SOON,
        tls: None,
    })
}

async fn next(printed: &mut UnboundedReceiver<String>) -> serde_json::Value {
    let line = tokio::time::timeout(SOON, printed.recv()).await.unwrap().unwrap();
    serde_json::from_str(&line).unwrap()
}

#[tokio::test]
async fn go_reads_our_calls_and_we_read_its_answers() {
    let Some(binary) = judge().await else { return };
    for compressed in [true, false] {
        let (_server, port, mut lines) = go_server(binary).await;
        let client = client(port, compressed);
        let call = async |name: &str, argument: Option<Basic>| client.call(name, argument, SOON).await;
        assert_eq!(call(".Ping", None).await.unwrap(), Some(Basic::Bool(true)));
        let seen = next(&mut lines).await;
        assert_eq!(
            seen,
            serde_json::json!({"name": ".Ping", "argument": null, "pool": "judged", "compressed": compressed})
        );
        for (key, is_right) in [("secret-key", true), ("", false)] {
            let answer = call(".Login", Some(Basic::text(key))).await.unwrap();
            assert_eq!(answer, Some(Basic::Bool(is_right)));
            assert_eq!(next(&mut lines).await["argument"], key);
        }
        assert_eq!(
            call(".PurgeAnalyticsData", Some(Basic::text("[]"))).await.unwrap(),
            None
        );
        let failed = call(".Fail", None).await.unwrap_err();
        assert!(matches!(failed, CallError::Failed { text, .. } if text == "storage unavailable"));
        let broken = call(".Crash", None).await.unwrap_err();
        assert!(matches!(broken, CallError::Broken { text, .. } if text == "handler crashed"));
        for echoed in [
            Basic::Bool(false),
            Basic::Int(-65),
            Basic::Uint(u64::MAX),
            Basic::Float(-1.5e300),
            Basic::Bytes(Bytes::from_static(b"\x00\xff")),
            Basic::text("é\u{2028}"),
            Basic::text(vec![b'x'; 5 << 20]),
        ] {
            assert_eq!(call(".Echo", Some(echoed.clone())).await.unwrap(), Some(echoed));
        }
    }
}

/// The calls of the reference pump for decks that are meant to hurt, through our client into Go's decoder.
#[tokio::test]
async fn go_decodes_the_golden_calls_to_the_golden_texts() {
    let Some(binary) = judge().await else { return };
    let (_server, port, mut lines) = go_server(binary).await;
    let client = client(port, true);
    let mut compared = 0;
    for case in [
        "edges",
        "graph",
        "mcp",
        "protobuf",
        "aggregated-edges",
        "aggregated-mcp",
    ] {
        let file = root().join(format!("tests/golden/cases/hybrid/{case}/expected/mdcb/calls.jsonl"));
        for line in std::fs::read_to_string(file).unwrap().lines() {
            let expected: serde_json::Value = serde_json::from_str(line).unwrap();
            let argument = expected["argument"].as_str().map(|text| Basic::text(text.to_owned()));
            client
                .call(expected["call"].as_str().unwrap(), argument, SOON)
                .await
                .unwrap();
            let seen = next(&mut lines).await;
            assert_eq!(
                (&seen["name"], &seen["argument"]),
                (&expected["call"], &expected["argument"]),
                "{case}"
            );
            compared += 1;
        }
    }
    assert!(compared >= 24, "{compared} calls");
}

#[tokio::test]
async fn a_go_client_is_served_in_both_styles() {
    let Some(binary) = judge().await else { return };
    for style in [Style::InPlace, Style::UpFront] {
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = calls.clone();
        let handler = move |call: IncomingCall| {
            seen.lock()
                .unwrap()
                .push((call.pool, call.name.clone(), call.argument.clone()));
            let outcome = match &*call.name {
                ".Fail" => Outcome::Failed("no".to_owned()),
                ".Crash" => Outcome::Broken("crashed".to_owned()),
                _ => Outcome::Returned(call.argument),
            };
            async { Answer::Outcome(outcome) }.boxed()
        };
        let options = ServerOptions {
            style,
            ..ServerOptions::default()
        };
        let address = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(address, options, Arc::new(handler)).await.unwrap();
        let mut go = Command::new(binary);
        go.arg("call").arg(server.address().to_string());
        go.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
        let mut go = go.spawn().unwrap();
        let mut input = go.stdin.take().unwrap();
        let lines = concat!(
            r#"{"name": ".Echo", "argument": "k"} {"name": ".Echo"} {"name": ".Echo", "argument": false}"#,
            r#"{"name": ".Echo", "argument": 1.5} {"name": ".Fail"} {"name": ".Crash"} {"name": ".Echo", "argument": ""}"#,
        );
        input.write_all(lines.as_bytes()).await.unwrap();
        drop(input);
        let output = tokio::time::timeout(SOON, go.wait_with_output())
            .await
            .unwrap()
            .unwrap();
        assert!(output.status.success());
        let answers: Vec<serde_json::Value> = output
            .stdout
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| serde_json::from_slice(line).unwrap())
            .collect();
        let expected = serde_json::json!([
            {"value": "k"}, {"value": null}, {"value": false}, {"value": 1.5}, {"error": "no"}, {"broken": "crashed"}, {"value": ""}
        ]);
        assert_eq!(serde_json::Value::from(answers), expected);
        let calls = calls.lock().unwrap();
        assert_eq!(
            calls[0],
            (
                Bytes::from_static(b"gorpcgo"),
                ".Echo".to_owned(),
                Some(Basic::text("k"))
            )
        );
    }
}
