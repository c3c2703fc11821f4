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
    admin::{self, Actions, AdminSettings, Refused, client::Client},
    config::{AdminAccess, Secret},
    delivery::{
        cause::{Cause, CauseClass},
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
    server: tokio::task::JoinHandle<()>,
}

fn settings(name: &str) -> AdminSettings {
    AdminSettings {
        name: name.to_owned(),
        port: 0,
        profiler: false,
        compat: false,
        access: AdminAccess::default(),
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
        let request = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}connection: close\r\n\r\n");
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
    let cause = Cause::new(CauseClass::Configuration, "No such directory /var/Log/CSV").with_remedy("Make it");
    csv.enter(LaneState::Paused, Some(cause));
    let (code, body) = server.answer("GET", "/readyz", "").await;
    assert_eq!(
        (code, body.as_slice()),
        (
            503,
            "pump CSV is paused: No such directory /var/Log/CSV – Make it\n".as_bytes()
        )
    );

    csv.enter(LaneState::Running, None);
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
    csv.dropped("budget", 3);
    let (code, body) = server.answer("GET", "/status", "").await;
    let status: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!((code, &status["pumps"][0]["delivered"]), (200, &Value::from(12)));
    assert_eq!(status["pumps"][0]["dropped"]["budget"], 3);
    let (code, body) = server.answer("GET", "/metrics", "").await;
    let page = String::from_utf8(body).unwrap();
    assert_eq!(code, 200);
    assert!(
        page.contains("\ntyk_pump_delivered_rows_total{pump=\"CSV\"} 12\n"),
        "{page}"
    );
    assert!(
        page.contains("\ntyk_pump_dropped_rows_total{pump=\"CSV\",reason=\"budget\"} 3\n"),
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
    let daemon = |port| Client::at(SocketAddr::from(([0, 0, 0, 0], port)), Secret::default());
    let client = daemon(server.port);
    let accepted = client.accept_refusals("CSV").await.unwrap();
    assert_eq!(accepted["accepted"], true);
    let refused = client.accept_refusals("a/b ?").await.unwrap_err();
    assert_eq!(refused.to_string(), "there is no pump a/b ?; /status lists them");
    let replayed = client.replay(Some("C&V"), 9).await.unwrap();
    assert_eq!(
        (&replayed["accepted"], &replayed["cause"]),
        (&Value::from(9), &Value::from("C&V"))
    );
    assert_eq!(
        client.replay(Some("SQL"), 9).await.unwrap_err().to_string(),
        "Redis is away"
    );
    let free = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let nobody = daemon(free).replay(None, 9).await.unwrap_err();
    assert!(nobody.to_string().contains("health_check_endpoint_port"), "{nobody}");
}

#[tokio::test]
async fn with_an_address_of_their_own_the_admin_pages_leave_the_health_port() {
    let access = AdminAccess {
        listen: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
        token: Secret::new("s3cret".to_owned()),
        hosts: Vec::new(),
    };
    let bound = admin::bind(&AdminSettings {
        access,
        profiler: true,
        ..settings("health")
    })
    .unwrap();
    let (port, admin) = (bound.port(), bound.admin().unwrap());
    assert_ne!(port, admin.port());
    let (board, stop) = (Arc::new(StatusBoard::new("box-1".to_owned())), CancellationToken::new());
    let server = tokio::spawn(admin::serve(bound, board.clone(), Arc::new(OnePaused), stop.clone()));
    let pages = |port| Running {
        port,
        board: board.clone(),
        stop: stop.clone(),
        server: tokio::spawn(async {}),
    };
    let (health, admin) = (pages(port), pages(admin.port()));
    assert_eq!(health.ask("GET", "/health").await, OK);
    assert_eq!(health.answer("GET", "/livez", "").await.0, 200);
    let (code, body) = health.answer("GET", "/readyz", "").await;
    assert_eq!(
        (code, body.as_slice()),
        (503, b"not ready; /readyz at admin_listen says why\n".as_slice())
    );
    for path in [
        "/status",
        "/metrics",
        "/debug/pprof/",
        "/lanes/CSV/accept-refusals",
        "/store",
    ] {
        for method in ["GET", "POST"] {
            assert_eq!(health.ask(method, path).await, NOT_FOUND, "{method} {path}");
        }
    }
    assert_eq!(admin.ask("GET", "/health").await, OK);
    assert_eq!(admin.answer("GET", "/status", "").await.0, 200);
    assert_eq!(admin.answer("GET", "/metrics", "").await.0, 200);
    assert_eq!(
        admin.answer("GET", "/readyz", "").await.1,
        b"source is connecting: not connected yet\n"
    );
    for (method, path) in [("POST", "/lanes/CSV/accept-refusals"), ("GET", "/debug/pprof/")] {
        assert_eq!(admin.answer(method, path, "").await.0, 401, "{path}");
        assert_eq!(
            admin.answer(method, path, "authorization: Bearer wrong\r\n").await.0,
            403,
            "{path}"
        );
        assert_eq!(
            admin.answer(method, path, "authorization: Bearer s3cret\r\n").await.0,
            200,
            "{path}"
        );
    }
    stop.cancel();
    server.await.unwrap();
}

/// Pieces that requests are made of, proper and not.
const PIECES: [&str; 26] = [
    "POST ",
    "GET ",
    "HEAD ",
    "/lanes/CSV/accept-refusals",
    "/dead-letters/replay?limit=1",
    "/store?do=list",
    "//lanes//CSV/accept-refusals",
    "http://evil.example/lanes/CSV/accept-refusals",
    "http://127.0.0.1/lanes/CSV/accept-refusals",
    " HTTP/1.1\r\n",
    " HTTP/1.0\r\n",
    "host: localhost\r\n",
    "Host: evil.example\r\n",
    "host: 127.0.0.1:8083\r\n",
    "host: localhost, evil.example\r\n",
    "host:\r\n",
    "origin: null\r\n",
    "x-forwarded-for: 1\r\n",
    "content-length: 5\r\n",
    "transfer-encoding: chunked\r\n",
    "connection: keep-alive\r\n",
    "expect: 100-continue\r\n",
    "\r\n",
    "\n",
    "\0",
    "5\r\nabcde\r\n0\r\n",
];

#[derive(Default)]
struct Counting(std::sync::atomic::AtomicU64);

#[async_trait]
impl Actions for Counting {
    async fn accept_refusals(&self, _: &str) -> Result<(), Refused> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        Ok(())
    }

    async fn replay(&self, _: Option<&str>, _: usize) -> anyhow::Result<Replayed> {
        self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        anyhow::bail!("nothing to replay")
    }
}

#[test]
fn whatever_is_sent_to_it_the_server_ends_the_connection_and_acts_for_nobody_else() {
    use proptest::{collection::vec, prelude::any, sample::select, strategy::Strategy, test_runner::TestRunner};

    let runtime = tokio::runtime::Runtime::new().unwrap();
    let counting = Arc::new(Counting::default());
    let port = runtime.block_on(async {
        let bound = admin::bind(&settings("health")).unwrap();
        let port = bound.port();
        let board = Arc::new(StatusBoard::new("box-1".to_owned()));
        tokio::spawn(admin::serve(bound, board, counting.clone(), CancellationToken::new()));
        port
    });
    let piece = proptest::prop_oneof![
        8 => select(&PIECES[..]).prop_map(|piece| piece.as_bytes().to_vec()),
        1 => vec(any::<u8>(), 0..20),
    ];
    let acted = || counting.0.load(std::sync::atomic::Ordering::SeqCst);
    let mut runner = TestRunner::new(proptest::test_runner::Config::with_cases(1_500));
    runner
        .run(&vec(piece, 0..14), |pieces| {
            use std::io::{Read, Write};
            let request = pieces.concat();
            let before = acted();
            let mut connection = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
            connection
                .set_read_timeout(Some(std::time::Duration::from_secs(15)))
                .unwrap();
            // It may hang up on what is no request.
            let _ = connection.write_all(&request);
            let _ = connection.shutdown(std::net::Shutdown::Write);
            let ended = connection.read_to_end(&mut Vec::new());
            let shown = String::from_utf8_lossy(&request).to_ascii_lowercase();
            proptest::prop_assert!(
                !ended.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock),
                "it does not end: {:?}",
                shown
            );
            let own = ["host: localhost\r", "host: 127.0.0.1:8083\r"]
                .iter()
                .any(|host| shown.contains(host));
            let did = acted() > before;
            proptest::prop_assert!(!did || own, "it acted for {:?}", shown);
            Ok(())
        })
        .unwrap();
    let proper = format!("POST /lanes/CSV/accept-refusals HTTP/1.0\r\nhost: localhost:{port}\r\n\r\n");
    let mut connection = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
    std::io::Write::write_all(&mut connection, proper.as_bytes()).unwrap();
    let mut answer = String::new();
    std::io::Read::read_to_string(&mut connection, &mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.0 200 "), "{answer}");
}

#[tokio::test]
async fn connections_that_never_ask_take_nobodys_place() {
    let server = run(&settings("health"));
    let mut half = Vec::new();
    for _ in 0..400 {
        let mut connection = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
        // The server may have let it go already.
        let _ = connection.write_all(b"GET /livez HTTP/1.1\r\nhost: loc").await;
        half.push(connection);
    }
    assert_eq!(server.answer("GET", "/livez", "").await.0, 200);
    let mut closed = 0;
    for connection in &mut half {
        let mut byte = [0];
        let read = tokio::time::timeout(std::time::Duration::from_millis(2), connection.read(&mut byte)).await;
        closed += usize::from(read.is_ok());
    }
    assert!(closed >= 400 - 128, "{closed} of the 400 have made room");
}

#[tokio::test]
async fn a_head_that_does_not_end_is_cut_off() {
    let server = run(&settings("health"));
    let mut connection = TcpStream::connect(("127.0.0.1", server.port)).await.unwrap();
    connection.write_all(b"GET /livez HTTP/1.1\r\n").await.unwrap();
    let mut answer = Vec::new();
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), connection.read_to_end(&mut answer));
    ended.await.expect("cut off within 20 s").unwrap();
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
    stopped.expect("the server stops within its grace").unwrap();
}
