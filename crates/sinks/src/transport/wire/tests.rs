use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
};

use super::{stream::tcp, *};
use crate::WriteError;

#[test]
fn addresses_are_read_and_shown() {
    let rows = [
        ("localhost:514", Some("localhost:514")),
        (":514", Some("localhost:514")),
        ("[::1]:6514", Some("[::1]:6514")),
        (" 10.0.0.1:1 ", Some("10.0.0.1:1")),
        ("localhost", None),
        ("localhost:", None),
        ("localhost:0", None),
        ("localhost:65536", None),
        ("::1:514", None),
        ("udp://h:514", None),
    ];
    for (text, expected) in rows {
        let address = Address::parse(text).map(|address| address.to_string());
        assert_eq!(address.as_deref(), expected, "{text}");
    }
}

async fn listener() -> (TcpListener, Address) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = Address::parse(&listener.local_addr().unwrap().to_string()).unwrap();
    (listener, address)
}

fn is_retry(result: &Result<(), WriteError>) -> bool {
    matches!(result, Err(WriteError::Retry { .. }))
}

#[tokio::test]
async fn a_connection_that_the_receiver_ended_is_opened_again_before_anything_is_written() {
    let (listener, address) = listener().await;
    let wire = StreamWire::new("it", tcp(address));
    wire.send(b"one\n").await.unwrap();
    let (mut first, _) = listener.accept().await.unwrap();
    let mut got = [0; 4];
    first.read_exact(&mut got).await.unwrap();
    first.shutdown().await.unwrap();
    drop(first);
    let noticed = async {
        while wire.is_up().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), noticed).await.unwrap();
    wire.send(b"two\n").await.unwrap();
    let (mut second, _) = listener.accept().await.unwrap();
    second.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"two\n");
}

#[tokio::test]
async fn a_receiver_that_is_away_is_tried_again() {
    let (listener, address) = listener().await;
    let wire = StreamWire::new("it", tcp(address.clone()));
    drop(listener);
    assert!(is_retry(&wire.send(b"one\n").await));
    let listener = TcpListener::bind(address.to_string()).await.unwrap();
    wire.send(b"two\n").await.unwrap();
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut got = [0; 4];
    stream.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"two\n");
}

#[tokio::test]
async fn datagrams_arrive_one_by_one() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = Address::parse(&receiver.local_addr().unwrap().to_string()).unwrap();
    let datagrams = Datagrams::new(address);
    datagrams.send(b"onetwothree", &[3, 6, 11]).await.unwrap();
    let mut buffer = [0; 64];
    for expected in ["one", "two", "three"] {
        let len = receiver.recv(&mut buffer).await.unwrap();
        assert_eq!(&buffer[..len], expected.as_bytes());
    }
}

#[tokio::test]
async fn a_port_where_nobody_listens_is_an_error() {
    let receiver = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = Address::parse(&receiver.local_addr().unwrap().to_string()).unwrap();
    drop(receiver);
    let datagrams = Datagrams::new(address);
    let result = datagrams.send(b"onetwo", &[3, 6]).await;
    assert!(is_retry(&result), "{result:?}");
}
