//! The admin server as a client sees it: raw bytes over TCP.

use std::{net::SocketAddr, sync::Arc};

use async_trait::async_trait;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;
use tyk_pump::{
    admin::{self, Actions, AdminSettings, Refused, client},
    delivery::{
        replay::Replayed,
        status::{LaneState, StatusBoard},
    },
};

struct OnePaused;

#[async_trait]
impl Actions for OnePaused {
    async fn accept_refusals(&self, pump: &str) -> Result<(), Refused> {
        match pump {
            "CSV" => Ok(()),
            "SQL" => Err(Refused::NothingRefused(pump.to_owned())),
            _ => Err(Refused::UnknownPump(pump.to_owned())),
        }
    }

    async fn replay(&self, pump: Option<&str>, limit: usize) -> anyhow::Result<Replayed> {
        anyhow::ensure!(pump != Some("SQL"), "Redis is away");
        Ok(Replayed {
            accepted: limit as u64,
            kept: 0,
            cause: pump.map(str::to_owned),
        })
    }
}

struct Running {
    port: u16,
    board: Arc<StatusBoard>,
    stop: CancellationToken,
    server: tokio::task::JoinHandle<std::io::Result<()>>,
}

fn settings(name: &str) -> AdminSettings {
    AdminSettings {
        name: name.to_owned(),
        port: 0,
        profiler: false,
        compat: false,
    }
}

fn run(settings: &AdminSettings) -> Running {
    let bound = admin::bind(settings).unwrap();
    let (port, stop) = (bound.port(), CancellationToken::new());
    let board = Arc::new(StatusBoard::new("box-1".to_owned()));
    let server = tokio::spawn(admin::serve(bound, board.clone(), Arc::new(OnePaused), stop.clone()));
    Running {
        port,
        board,
        stop,
        server,
    }
}

impl Running {
    /// The whole answer to one request on a connection of its own, without its `date` line.
    async fn raw(&self, method: &str, path: &str, headers: &str) -> Vec<u8> {
        let mut connection = TcpStream::connect(("127.0.0.1", self.port)).await.unwrap();
        let request = format!("{method} {path} HTTP/1.1\r\nhost: pump\r\n{headers}connection: close\r\n\r\n");
        connection.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        let date = answer
            .windows(8)
            .position(|bytes| bytes == b"\r\ndate: ")
            .expect("a date");
        let end = date
            + 2
            + answer[date + 2..]
                .windows(2)
                .position(|bytes| bytes == b"\r\n")
                .unwrap();
        answer.drain(date..end);
        answer
    }

    async fn ask(&self, method: &str, path: &str) -> String {
        String::from_utf8(self.raw(method, path, "").await).unwrap()
    }

    /// Status code and body.
    async fn answer(&self, method: &str, path: &str, headers: &str) -> (u16, Vec<u8>) {
        let raw = self.raw(method, path, headers).await;
        let code = std::str::from_utf8(&raw[9..12]).unwrap().parse().unwrap();
        let body = raw.windows(4).position(|bytes| bytes == b"\r\n\r\n").unwrap() + 4;
        (code, raw[body..].to_vec())
    }
}

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 16\r\nconnection: close\r\n\r\n{\"status\": \"ok\"}";
const NOT_ALLOWED: &str = "HTTP/1.1 405 Method Not Allowed\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
const NOT_FOUND: &str = "HTTP/1.1 404 Not Found\r\ncontent-type: text/plain; charset=utf-8\r\nx-content-type-options: nosniff\r\ncontent-length: 19\r\nconnection: close\r\n\r\n404 page not found\n";

#[tokio::test]
async fn the_health_endpoint_answers_as_upstreams_does() {
    let server = run(&settings("health"));
    for path in ["/health", "/health?x=1", "/%68ealth"] {
        assert_eq!(server.ask("GET", path).await, OK, "{path}");
    }
    for method in ["POST", "OPTIONS", "DELETE", "PUT"] {
        assert_eq!(server.ask(method, "/health").await, NOT_ALLOWED, "{method}");
    }
    let head = server.ask("HEAD", "/health").await;
    assert!(
        head.starts_with("HTTP/1.1 405 ") && head.ends_with("\r\n\r\n") && !head.contains("content-type"),
        "{head}"
    );
    for path in [
        "/health/",
        "/Health",
        "/",
        "/hello",
        "/debug/pprof/",
        "/debug/pprof/profile",
        "/lanes/CSV",
    ] {
        assert_eq!(server.ask("GET", path).await, NOT_FOUND, "{path}");
    }
    let redirect = server.ask("GET", "//health?x=1").await;
    assert_eq!(
        redirect,
        "HTTP/1.1 301 Moved Permanently\r\nlocation: /health?x=1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
}

#[tokio::test]
async fn the_name_may_have_slashes_and_goes_before_our_own_paths() {
    for (name, path) in [
        ("alive/now", "/alive/now"),
        ("/live", "/live"),
        ("status", "/status"),
        ("a b", "/a%20b"),
    ] {
        let server = run(&settings(name));
        assert_eq!(server.ask("GET", path).await, OK, "{name}");
        assert_eq!(server.ask("GET", "/health").await, NOT_FOUND, "{name}");
    }
}

#[tokio::test]
async fn the_server_listens_on_all_interfaces_of_both_families() {
    let server = run(&settings("health"));
    for host in ["127.0.0.1", "127.0.0.2", "::1"] {
        let address = SocketAddr::new(host.parse().unwrap(), server.port);
        assert!(TcpStream::connect(address).await.is_ok(), "{address}");
    }
}

#[tokio::test]
async fn a_taken_port_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let error = admin::bind(&AdminSettings {
        port,
        ..settings("health")
    })
    .err()
    .unwrap()
    .to_string();
    assert!(error.starts_with("Error serving health check endpoint"), "{error}");
    assert!(
        error.contains(&format!("listen tcp :{port}: ")) && error.contains("in use"),
        "{error}"
    );
}

#[tokio::test]
async fn readiness_names_every_pump_that_does_not_deliver() {
    let server = run(&settings("health"));
    assert_eq!(server.answer("GET", "/livez", "").await, (200, b"ok\n".to_vec()));
    let (code, body) = server.answer("GET", "/readyz", "").await;
    assert_eq!(
        (code, body.as_slice()),
        (503, b"source is connecting: not connected yet\n".as_slice())
    );

    server.board.source(|source| source.state = "up".to_owned());
    let csv = server
        .board
        .add_lane("CSV".into(), "csv", Some(sinks::Guarantee::ExactlyOnce));
    csv.enter(LaneState::Paused, Some("No such directory".to_owned()), None);
    let (code, body) = server.answer("GET", "/readyz", "").await;
    assert_eq!(
        (code, body.as_slice()),
        (503, b"pump csv is paused: no such directory\n".as_slice())
    );

    csv.enter(LaneState::Running, None, None);
    assert_eq!(server.answer("GET", "/readyz", "").await, (200, b"ready\n".to_vec()));
    assert_eq!(server.answer("POST", "/readyz", "").await, (405, Vec::new()));
}

#[tokio::test]
async fn status_and_metrics_show_the_same_figures() {
    let server = run(&settings("health"));
    let csv = server
        .board
        .add_lane("CSV".into(), "csv", Some(sinks::Guarantee::ExactlyOnce));
    csv.change(|facts| facts.delivered = 12);
    csv.dropped("oldest", 3);
    let (code, body) = server.answer("GET", "/status", "").await;
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((code, &status["pumps"][0]["delivered"]), (200, &Value::from(12)));
    assert_eq!(status["pumps"][0]["dropped"]["oldest"], 3);
    let (code, body) = server.answer("GET", "/metrics", "").await;
    let page = String::from_utf8(body).unwrap();
    assert_eq!(code, 200);
    assert!(
        page.contains("\ntyk_pump_delivered_rows_total{pump=\"CSV\"} 12\n"),
        "{page}"
    );
    assert!(
        page.contains("\ntyk_pump_dropped_rows_total{pump=\"CSV\",reason=\"oldest\"} 3\n"),
        "{page}"
    );
}

#[tokio::test]
async fn metrics_are_off_under_compat_alone() {
    let server = run(&AdminSettings {
        compat: true,
        ..settings("health")
    });
    assert_eq!(server.ask("GET", "/metrics").await, NOT_FOUND);
    assert_eq!(server.answer("GET", "/livez", "").await.0, 200);
    assert_eq!(server.answer("GET", "/status", "").await.0, 200);
}

#[tokio::test]
async fn the_profiler_gives_a_cpu_profile_and_says_what_there_is_not() {
    let server = run(&AdminSettings {
        profiler: true,
        ..settings("health")
    });
    assert_eq!(server.answer("GET", "/debug/pprof/", "").await.0, 200);
    let (code, body) = server.answer("GET", "/debug/pprof/heap", "").await;
    assert_eq!(code, 404);
    assert!(String::from_utf8(body).unwrap().starts_with("no profile \"heap\": "));
    assert_eq!(server.ask("GET", "/debug/pprof").await, NOT_FOUND);
    let (code, body) = server.answer("POST", "/debug/pprof/profile?seconds=1", "").await;
    assert_eq!(code, 200);
    // Field 1 (sample types) of the profile message comes first.
    assert_eq!(body.first(), Some(&0x0a));
}

#[tokio::test]
async fn refusals_are_accepted_for_programs_on_this_machine_alone() {
    let server = run(&settings("health"));
    let path = |pump: &str| format!("/lanes/{pump}/accept-refusals");
    let (code, body) = server.answer("POST", &path("CSV"), "").await;
    assert_eq!(code, 200);
    assert_eq!(
        serde_json::from_slice::<Value>(&body).unwrap(),
        serde_json::json!({"pump": "CSV", "accepted": true})
    );
    for (pump, want) in [("SQL", 409), ("NONE", 404)] {
        let (code, body) = server.answer("POST", &path(pump), "").await;
        assert_eq!(code, want);
        assert!(
            serde_json::from_slice::<Value>(&body).unwrap()["error"]
                .as_str()
                .unwrap()
                .contains(pump)
        );
    }
    for header in ["origin: http://evil.example\r\n", "x-forwarded-for: 10.0.0.1\r\n"] {
        assert_eq!(server.answer("POST", &path("CSV"), header).await.0, 403, "{header}");
    }
    assert_eq!(server.answer("GET", &path("CSV"), "").await.0, 405);
}

#[tokio::test]
async fn dead_letters_are_replayed_on_request() {
    let server = run(&settings("health"));
    let (code, body) = server
        .answer("POST", "/dead-letters/replay?pump=C%20SV&limit=7", "")
        .await;
    let want = serde_json::json!({"accepted": 7, "kept": 0, "cause": "C SV"});
    assert_eq!((code, serde_json::from_slice::<Value>(&body).unwrap()), (200, want));
    assert_eq!(server.answer("POST", "/dead-letters/replay", "").await.0, 200);
    assert_eq!(server.answer("POST", "/dead-letters/replay?limit=x", "").await.0, 400);
    assert_eq!(server.answer("POST", "/dead-letters/replay?pump=SQL", "").await.0, 503);
    assert_eq!(
        server
            .answer("POST", "/dead-letters/replay", "origin: null\r\n")
            .await
            .0,
        403
    );
    assert_eq!(server.answer("GET", "/dead-letters/replay", "").await.0, 405);
}

#[tokio::test]
async fn the_client_gets_answers_and_refusals_of_a_daemon_on_this_machine() {
    let server = run(&settings("health"));
    let accepted = client::accept_refusals(server.port, "CSV").await.unwrap();
    assert_eq!(accepted["accepted"], true);
    let refused = client::accept_refusals(server.port, "a/b ?").await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no pump a/b ?; /status lists them");
    let replayed = client::replay(server.port, Some("C&V"), 9).await.unwrap();
    assert_eq!(
        (&replayed["accepted"], &replayed["cause"]),
        (&Value::from(9), &Value::from("C&V"))
    );
    assert_eq!(
        client::replay(server.port, Some("SQL"), 9)
            .await
            .unwrap_err()
            .to_string(),
        "Redis is away"
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let nobody = client::replay(free, None, 9).await.unwrap_err();
    assert!(nobody.to_string().contains("health_check_endpoint_port"), "{nobody}");
}

#[tokio::test]
async fn a_running_request_does_not_hold_up_the_stop() {
    let server = run(&AdminSettings {
        profiler: true,
        ..settings("health")
    });
    let mut connection = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    connection.write_all(b"GET /heal").await.unwrap();
    assert_eq!(server.answer("GET", "/livez", "").await.0, 200);
    server.stop.cancel();
    let stopped = tokio::time::timeout(std::time::Duration::from_secs(5), server.server).await;
    stopped.expect("the server stops within its grace").unwrap().unwrap();
}
