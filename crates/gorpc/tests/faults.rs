//! The client and a server that misbehaves.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures::FutureExt;
use gorpc::{
    Address, Answer, CallError, Client, ClientOptions, Handler, IncomingCall, Outcome, Preamble, Server, ServerOptions,
    Style, gob::Basic,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpListener, TcpStream},
};

const SOON: Duration = Duration::from_secs(20);
const LOCAL: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn handler<F: Future<Output = Answer> + Send + 'static>(
    answer: impl Fn(IncomingCall) -> F + Send + Sync + 'static,
) -> Handler {
    Arc::new(move |call| answer(call).boxed())
}

fn returned(value: impl Into<Option<Basic>>) -> Answer {
    Answer::Outcome(Outcome::Returned(value.into()))
}

/// Answers with the argument.
fn echo() -> Handler {
    handler(async |call| returned(call.argument))
}

fn client(address: SocketAddr, connections: usize) -> Client {
    Client::start(ClientOptions {
        address: Address {
            host: address.ip().to_string(),
            port: address.port(),
        },
        connections,
        pool: Bytes::from_static(b"pool"),
        compressed: true,
        dial_timeout: Duration::from_secs(5),
        tls: None,
    })
}

async fn eventually(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn serve(options: ServerOptions, handler: Handler) -> Server {
    Server::start(LOCAL, options, handler).await.unwrap()
}

#[tokio::test]
async fn arguments_arrive_and_come_back_whatever_the_server_writes_like() {
    for (style, fragment) in [
        (Style::InPlace, None),
        (Style::UpFront, None),
        (Style::InPlace, Some(1)),
    ] {
        let server = serve(
            ServerOptions {
                style,
                fragment,
                first_id: 66,
                ..ServerOptions::default()
            },
            echo(),
        )
        .await;
        let client = client(server.address(), 2);
        for length in [0, 1, 300, 70_000] {
            let text = Basic::text(vec![b'x'; length]);
            let got = client.call(".Echo", Some(text.clone()), SOON).await.unwrap();
            assert_eq!(got, Some(text));
        }
        assert_eq!(client.call(".Echo", None, SOON).await.unwrap(), None);
        client.stop().await;
    }
}

#[tokio::test]
async fn answers_may_come_in_any_order() {
    let server = serve(
        ServerOptions::default(),
        handler(async |call| {
            if call.argument == Some(Basic::text("slow")) {
                tokio::time::sleep(Duration::from_millis(300)).await;
            }
            returned(call.argument)
        }),
    )
    .await;
    let client = client(server.address(), 1);
    let order = Mutex::new(Vec::new());
    let call = async |text: &'static str| {
        let got = client.call(".Echo", Some(Basic::text(text)), SOON).await.unwrap();
        assert_eq!(got, Some(Basic::text(text)));
        order.lock().unwrap().push(text);
    };
    tokio::join!(call("slow"), call("quick"));
    assert_eq!(*order.lock().unwrap(), ["quick", "slow"]);
}

#[tokio::test]
async fn errors_of_functions_and_of_the_server_are_told_apart() {
    let server = serve(
        ServerOptions::default(),
        handler(async |call| {
            Answer::Outcome(match &*call.name {
                ".Fail" => Outcome::Failed("storage unavailable".to_owned()),
                _ => Outcome::Broken("handler crashed".to_owned()),
            })
        }),
    )
    .await;
    let client = client(server.address(), 1);
    let failed = client.call(".Fail", None, SOON).await.unwrap_err();
    assert!(matches!(&failed, CallError::Failed { text, .. } if text == "storage unavailable"));
    assert!(failed.was_sent() && failed.was_answered());
    let broken = client.call(".Break", None, SOON).await.unwrap_err();
    assert!(matches!(&broken, CallError::Broken { text, .. } if text == "handler crashed"));
    assert!(
        failed.to_string().starts_with(".Fail on 127.0.0.1:") && failed.to_string().ends_with("storage unavailable"),
        "{failed}"
    );
}

#[tokio::test]
async fn a_call_that_waits_for_a_connection_is_withdrawn_on_time_out() {
    // Known to be free, and nobody listens there yet.
    let listener = std::net::TcpListener::bind(LOCAL).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let client = client(address, 2);
    let error = client
        .call(".Late", None, Duration::from_millis(200))
        .await
        .unwrap_err();
    assert!(!error.was_sent(), "{error}");
    assert!(error.to_string().contains("cannot connect"), "{error}");
    let dropped = client.call(".Dropped", None, SOON);
    assert!(
        tokio::time::timeout(Duration::from_millis(50), dropped).await.is_err(),
        "answered by nobody"
    );
    let names = Arc::new(Mutex::new(Vec::new()));
    let seen = names.clone();
    let server = Server::start(
        address,
        ServerOptions::default(),
        handler(move |call| {
            seen.lock().unwrap().push(call.name);
            async { returned(None) }
        }),
    )
    .await
    .unwrap();
    client.call(".Now", None, SOON).await.unwrap();
    assert_eq!(*names.lock().unwrap(), [".Now"]);
    drop(server);
}

#[tokio::test]
async fn a_connection_lost_in_mid_call_says_that_the_call_was_sent() {
    let server = serve(ServerOptions::default(), handler(async |_| Answer::Close)).await;
    let client = client(server.address(), 1);
    let error = client.call(".Purge", None, SOON).await.unwrap_err();
    assert!(matches!(&error, CallError::Lost { sent: true, .. }), "{error:?}");
    assert!(error.to_string().contains("the server has closed it"), "{error}");
}

#[tokio::test]
async fn garbage_ends_the_connection_and_names_the_place() {
    for (garbage, reason) in [
        (&b"\xff\xff\xff\xff\xff\xff\xff"[..], "compressed stream"),
        // A stored block with a message that says it is of 128 bytes' length of length.
        (
            b"\x00\x01\x00\xfe\xff\x80\x00\x00\x00\xff\xff",
            "message 1 of the stream, byte 0",
        ),
    ] {
        let server = serve(
            ServerOptions::default(),
            handler(move |_| async move { Answer::Raw(Bytes::from_static(garbage)) }),
        )
        .await;
        let client = client(server.address(), 1);
        let error = client.call(".Purge", None, SOON).await.unwrap_err();
        assert!(error.was_sent() && error.to_string().contains(reason), "{error}");
    }
}

/// Accepts, reads, and never answers.
async fn black_hole() -> (SocketAddr, tokio::task::JoinHandle<()>, Arc<AtomicU64>) {
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let address = listener.local_addr().unwrap();
    let accepted = Arc::new(AtomicU64::new(0));
    let count = accepted.clone();
    let task = tokio::spawn(async move {
        let mut open = Vec::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            open.push(stream);
        }
    });
    (address, task, accepted)
}

#[tokio::test]
async fn a_half_open_connection_is_left_after_the_call_that_it_swallowed() {
    let (address, hole, accepted) = black_hole().await;
    let client = client(address, 1);
    let error = client
        .call(".Purge", Some(Basic::text(vec![1; 1000])), Duration::from_millis(300))
        .await
        .unwrap_err();
    assert!(matches!(error, CallError::TimedOut { .. }), "{error:?}");
    assert!(error.was_sent());
    eventually("a second connection", || accepted.load(Ordering::SeqCst) >= 2).await;
    hole.abort();
}

#[tokio::test]
async fn a_slow_answer_to_a_call_that_was_given_up_leaves_a_living_connection_alone() {
    let server = serve(
        ServerOptions::default(),
        handler(async |call| {
            match &*call.name {
                ".Slow" => tokio::time::sleep(Duration::from_millis(500)).await,
                ".Tick" => tokio::time::sleep(Duration::from_millis(100)).await,
                _ => {}
            }
            returned(None)
        }),
    )
    .await;
    let client = client(server.address(), 1);
    let (slow, tick) = tokio::join!(
        client.call(".Slow", None, Duration::from_millis(250)),
        client.call(".Tick", None, SOON),
    );
    assert!(matches!(slow, Err(CallError::TimedOut { .. })), "{slow:?}");
    tick.unwrap();
    tokio::time::sleep(Duration::from_millis(400)).await;
    client.call(".Now", None, SOON).await.unwrap();
    assert_eq!(server.connections(), 1, "the late answer was no protocol error");
}

#[tokio::test]
async fn two_hundred_reconnects_never_exceed_the_pool_and_leak_nothing() {
    const POOL: usize = 5;
    // Every connection is closed after 10 calls.
    let server = serve(
        ServerOptions::default(),
        handler(async |call| match call.number {
            10 => Answer::Close,
            _ => returned(call.argument),
        }),
    )
    .await;
    let client = client(server.address(), POOL);
    eventually("connections", || client.connections() == POOL).await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let before = descriptors();
    let (mut answered, mut lost) = (0, 0);
    while server.connections() < 200 + POOL as u64 {
        match client.call(".Echo", Some(Basic::text("x")), SOON).await {
            Ok(value) => {
                assert_eq!(value, Some(Basic::text("x")));
                answered += 1;
            }
            Err(CallError::Lost { .. }) => lost += 1,
            Err(error) => panic!("{error}"),
        }
        assert!(client.connections() <= POOL);
    }
    assert!(lost >= 150 && answered >= lost * 8, "{answered} answered, {lost} lost");
    assert!(server.most_open() <= POOL as u64 + 1, "{} at once", server.most_open());
    eventually("no descriptor more", || descriptors() <= before).await;
    client.stop().await;
    eventually("all closed", || server.open() == 0).await;
}

#[tokio::test]
async fn connections_that_end_at_once_are_not_dialled_in_a_loop() {
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let client = client(listener.local_addr().unwrap(), 1);
    let mut accepted = 0;
    let until = tokio::time::Instant::now() + Duration::from_millis(1000);
    while tokio::time::timeout_at(until, listener.accept()).await.is_ok() {
        accepted += 1;
    }
    // After 0, 100, 300 and 700 ms.
    assert!((2..=5).contains(&accepted), "{accepted} connections in a second");
    drop(client);
}

#[tokio::test]
async fn nothing_is_dialled_or_sent_after_stop() {
    let listener = TcpListener::bind(LOCAL).await.unwrap();
    let client = client(listener.local_addr().unwrap(), 3);
    let mut streams: Vec<TcpStream> = Vec::new();
    for _ in 0..3 {
        streams.push(listener.accept().await.unwrap().0);
    }
    let waiting = async {
        let lost = client.call(".Purge", None, SOON).await.unwrap_err();
        assert!(lost.was_sent(), "{lost}");
    };
    let stopping = async {
        for stream in &mut streams {
            let preamble = Preamble::read(stream).await.unwrap();
            assert_eq!(preamble.pool, "pool");
        }
        // The call is under way on one of them.
        let (found, ..) = futures::future::select_all(streams.iter().map(|stream| stream.readable().boxed())).await;
        found.unwrap();
        client.stop().await;
    };
    tokio::join!(waiting, stopping);
    for mut stream in streams {
        let mut rest = Vec::new();
        // Whatever was sent before; then the end.
        let _ = tokio::time::timeout(SOON, stream.read_to_end(&mut rest)).await.unwrap();
    }
    let late = client.call(".Late", None, SOON).await.unwrap_err();
    assert!(matches!(late, CallError::Stopped { .. }), "{late:?}");
    let again = tokio::time::timeout(Duration::from_millis(300), listener.accept()).await;
    assert!(again.is_err(), "dialled after stop");
}

#[tokio::test]
async fn a_server_that_comes_back_gets_the_calls_that_waited() {
    let first = serve(ServerOptions::default(), echo()).await;
    let address = first.address();
    let client = client(address, 2);
    client.call(".Echo", None, SOON).await.unwrap();
    first.stop().await;
    eventually("connections are gone", || client.connections() == 0).await;
    let call = client.call(".Echo", Some(Basic::Bool(false)), SOON);
    let restart = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        Server::start(address, ServerOptions::default(), echo()).await.unwrap()
    };
    let (answer, _second) = tokio::join!(call, restart);
    assert_eq!(answer.unwrap(), Some(Basic::Bool(false)));
}
