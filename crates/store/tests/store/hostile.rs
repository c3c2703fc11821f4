//! Clients that mean harm, beside one that does not.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::support::*;

const PASSWORD: &str = "right";

async fn connect(served: &Served, password: bool) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(served.address).await.ok()?;
    if password {
        stream.write_all(b"*2\r\n$4\r\nAUTH\r\n$5\r\nright\r\n").await.ok()?;
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).await.ok()?;
    }
    Some(stream)
}

/// One visit of a hostile client.
async fn visit(served: &Served, kind: usize) -> Option<()> {
    let mut stream = connect(served, !matches!(kind, 0 | 1)).await?;
    match kind {
        // Guesses passwords.
        0 => {
            let mut answer = [0; 512];
            loop {
                stream.write_all(b"*2\r\n$4\r\nAUTH\r\n$5\r\nwrong\r\n").await.ok()?;
                if stream.read(&mut answer).await.ok()? == 0 {
                    return None;
                }
            }
        }
        // Announces 512 MB without having said who it is.
        1 => stream.write_all(b"*2\r\n$536870912\r\n").await.ok()?,
        // The same with the password, and sends what it can.
        2 => {
            stream
                .write_all(b"*3\r\n$5\r\nRPUSH\r\n$1\r\na\r\n$536870912\r\n")
                .await
                .ok()?;
            for _ in 0..1000 {
                stream.write_all(&[b'x'; 65536]).await.ok()?;
            }
        }
        // A million arrays in each other.
        3 => stream.write_all(&b"*1\r\n".repeat(1_000_000)).await.ok()?,
        // A million arguments that never come.
        4 => {
            stream.write_all(b"*1000000\r\n").await.ok()?;
            for _ in 0..200_000 {
                stream.write_all(b"$1\r\nx\r\n").await.ok()?;
            }
        }
        // One byte at a time.
        5 => {
            for byte in b"*3\r\n$5\r\nRPUSH\r\n$1\r\na\r\n$1000000\r\nxxxxxxxxxxxxxxxxxxxx" {
                stream.write_all(&[*byte]).await.ok()?;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        // Half of a large command, then nothing.
        6 => {
            stream
                .write_all(b"*3\r\n$5\r\nRPUSH\r\n$1\r\na\r\n$33554432\r\n")
                .await
                .ok()?;
            for _ in 0..256 {
                stream.write_all(&[b'x'; 65536]).await.ok()?;
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
        }
        // Asks and never reads.
        _ => {
            stream
                .write_all(b"*4\r\n$5\r\nRPUSH\r\n$4\r\nlist\r\n$1\r\nx\r\n$1\r\ny\r\n")
                .await
                .ok()?;
            for _ in 0..20_000 {
                let ask = stream.write_all(b"*4\r\n$6\r\nLRANGE\r\n$4\r\nlist\r\n$1\r\n0\r\n$2\r\n-1\r\n");
                tokio::time::timeout(Duration::from_secs(1), ask).await.ok()?.ok()?;
            }
        }
    }
    let mut answer = [0; 512];
    tokio::time::timeout(Duration::from_secs(1), stream.read(&mut answer))
        .await
        .ok()?
        .ok()?;
    Some(())
}

/// `HOSTILE_SECONDS=60` plays longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_hostile_client_hurts_only_itself() {
    let seconds = std::env::var("HOSTILE_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(8);
    let served = Arc::new(Served::start(|settings| settings.password = PASSWORD.to_owned()).await);
    let done = Arc::new(AtomicBool::new(false));
    let mut hostile = Vec::new();
    for number in 0..24 {
        let (served, done) = (served.clone(), done.clone());
        hostile.push(tokio::spawn(async move {
            while !done.load(Ordering::Relaxed) {
                let _ = visit(&served, number % 8).await;
                // A refused connection must not turn this into a loop that only costs the test's own time.
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }));
    }
    let mut good = connect(&served, true).await.unwrap();
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut pushed, mut slowest, mut most) = (0u64, Duration::ZERO, 0);
    while Instant::now() < end {
        let begun = Instant::now();
        let record = vec![b'r'; 1000];
        let mut bytes = format!("*3\r\n$5\r\nRPUSH\r\n${}\r\n{KEY}\r\n$1000\r\n", KEY.len()).into_bytes();
        bytes.extend(record);
        bytes.extend(b"\r\n");
        good.write_all(&bytes).await.unwrap();
        let mut answer = [0; 64];
        let len = good.read(&mut answer).await.unwrap();
        pushed += 1;
        assert_eq!(String::from_utf8_lossy(&answer[..len]), format!(":{pushed}\r\n"));
        slowest = slowest.max(begun.elapsed());
        most = most.max(resident());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    done.store(true, Ordering::Relaxed);
    for task in &hostile {
        task.abort();
    }
    println!(
        "{pushed} records of the good client, the slowest in {slowest:?}; resident {} MB at most",
        most >> 20
    );
    assert!(pushed > seconds * 10, "{pushed}");
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
    assert!(most < 600 << 20, "{most} bytes");
}
