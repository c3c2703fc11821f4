use bytes::Bytes;
use http_body_util::Full;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

async fn start(most: u64) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
    let listener = listen_on(([127, 0, 0, 1], 0).into()).unwrap();
    let (address, stop) = (listener.local_addr().unwrap(), CancellationToken::new());
    let answer = |_, request: Parts| async move {
        let body: Full<Bytes> = Full::from(format!("you ask for {}", request.uri));
        Response::new(body)
    };
    let terms = Terms {
        most,
        ..Terms::plain("test")
    };
    (
        address,
        stop.clone(),
        tokio::spawn(serve(listener, terms, answer, stop)),
    )
}

async fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream
        .write_all(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn whoever_says_nothing_keeps_nobody_out() {
    let (address, stop, task) = start(4).await;
    let mut silent = Vec::new();
    for _ in 0..20 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    assert!(ask(address).await.ends_with("you ask for /x"));
    drop(silent);
    stop.cancel();
    task.await.unwrap();
    // The port is free at once.
    drop(listen_on(address).unwrap());
}
