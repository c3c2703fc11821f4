//! What a client, a disk or another user of the machine must not be able to do.

use std::{
    os::unix::fs::{FileExt, PermissionsExt, symlink},
    time::{Duration, Instant},
};

use bytes::Bytes;
use store::{Letter, LetterLimits, Store};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::support::*;

async fn everything(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    // A reset is an end, too.
    let _ = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_web_page_posts_is_not_carried_out() {
    let served = Served::start(|_| {}).await;
    let body = "RPUSH planted x\r\nSET planted2 x\r\n";
    for head in [
        "POST / HTTP/1.1\r\nHost: 127.0.0.1:6380\r\nContent-Type: text/plain\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n",
        "FOO / HTTP/1.1\r\n\r\n",
        "Host: 127.0.0.1\r\n\r\n",
        "Origin: http://a\r\n\r\n",
        "*1\r\n$4\r\nPOST\r\n",
        "*1\r\n$5\r\nHost:\r\n",
    ] {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
        assert_eq!(everything(&mut stream).await, "", "{head}");
    }
    let mut client = served.client().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg("*").query_async(&mut client).await.unwrap();
    assert!(keys.is_empty(), "{keys:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn auth_and_hello_inside_a_transaction_get_their_replies() {
    let served = Served::start(|settings| settings.password = "right".to_owned()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let words = "AUTH right\r\nMULTI\r\nAUTH default right\r\nPING\r\nHELLO 2\r\nEXEC\r\nQUIT\r\n";
    stream.write_all(words.as_bytes()).await.unwrap();
    let answer = everything(&mut stream).await;
    assert!(
        answer.starts_with("+OK\r\n+OK\r\n+QUEUED\r\n+QUEUED\r\n+QUEUED\r\n*3\r\n+OK\r\n+PONG\r\n*14\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("*0\r\n+OK\r\n"), "{answer}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_has_one_deadline_whatever_it_sends() {
    let served = Served::start(|settings| settings.password = "right".to_owned()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let begun = Instant::now();
    let mut byte = [0; 1];
    loop {
        let sent = stream.write_all(b"*0\r\n").await;
        let read = timeout(Duration::from_millis(500), stream.read(&mut byte)).await;
        if sent.is_err() || matches!(read, Ok(Ok(0) | Err(_))) {
            break;
        }
        assert!(begun.elapsed() < Duration::from_secs(40), "the seat is still taken");
    }
    assert!(begun.elapsed() > Duration::from_secs(25));
}

/// Sends commands whose replies nobody reads, and returns the most memory that it took while another client talked.
async fn unread(served: &Served, commands: Vec<u8>) -> u64 {
    let mut good = served.client().await;
    let before = resident();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let _ = timeout(Duration::from_secs(2), stream.write_all(&commands)).await;
    let (end, mut most) = (Instant::now() + Duration::from_secs(4), 0);
    while Instant::now() < end {
        let begun = Instant::now();
        let pong: String = redis::cmd("PING").query_async(&mut good).await.unwrap();
        assert_eq!(pong, "PONG");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
        most = most.max(resident().saturating_sub(before));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    most
}

#[tokio::test(flavor = "multi_thread")]
async fn replies_that_nobody_reads_take_little_memory() {
    let served = Served::start(|_| {}).await;
    let mut client = served.client().await;
    for part in 0..20 {
        let mut pipeline = redis::pipe();
        for list in 0..250 {
            let name = format!("{}{part}-{list}", "x".repeat(900));
            pipeline.cmd("RPUSH").arg(name).arg("x").ignore();
        }
        pipeline.exec_async(&mut client).await.unwrap();
    }
    let set = redis::cmd("SET")
        .arg("s")
        .arg("x".repeat(65_000))
        .exec_async(&mut client)
        .await;
    set.unwrap();
    for (what, commands) in [
        ("KEYS", b"KEYS *\r\n".repeat(3500)),
        ("GET", b"GET s\r\n".repeat(50_000)),
        ("LRANGE", b"LRANGE x 0 -1\r\n".repeat(50_000)),
    ] {
        let most = unread(&served, commands).await;
        assert!(most < 64 << 20, "{what}: {} MB", most >> 20);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn strings_count_and_are_bounded() {
    let served = Served::start(|settings| settings.max_bytes = 8 << 20).await;
    let mut client = served.client().await;
    let value = "x".repeat(60_000);
    let mut refused = None;
    for number in 0..300 {
        let set: redis::RedisResult<()> = redis::cmd("SET")
            .arg(number % 7)
            .arg(&value)
            .query_async(&mut client)
            .await;
        if let Err(error) = set {
            refused = Some((number, error.to_string()));
            break;
        }
    }
    let (number, text) = refused.expect("the store is full");
    assert!(
        number > 50 && text.contains("OOM") && text.contains("max_bytes"),
        "{number} {text}"
    );

    let served = Served::start(|_| {}).await;
    let mut client = served.client().await;
    let mut taken = 0;
    let text = loop {
        let set: redis::RedisResult<()> = redis::cmd("SET").arg(taken).arg(&value).query_async(&mut client).await;
        match set {
            Ok(()) => taken += 1,
            Err(error) => break error.to_string(),
        }
        assert!(taken < 1000);
    };
    assert!(text.contains("bytes of strings"), "{text}");
    let copy = copy_of(served.store.folder());
    let again = open(copy.path());
    assert_eq!(again.recovered().damaged, 0);
}

#[tokio::test]
async fn a_flipped_bit_among_letters_costs_one_letter() {
    let folder = TempDir::new().unwrap();
    let store = open(folder.path());
    store.push(KEY, &elements(10)).await.unwrap();
    let claim = claim_all(&store, &["A"]).await;
    let letter = |row: u64| Letter {
        reader: "A".into(),
        list: KEY.into(),
        row: analytics::RowId { claim: claim.id, row },
        cause: format!("cause {row}"),
        at_ms: row + 1,
        raw: Bytes::from(format!("letter {row}")),
        form: None,
    };
    let limits = LetterLimits {
        count: 100,
        bytes: 1 << 20,
    };
    let letters: Vec<Letter> = (0..10).map(letter).collect();
    store.store_letters(&letters, limits).await.unwrap();
    let flip = |folder: &std::path::Path, what: &str| {
        let path = folder.join("dead-letters");
        let bytes = std::fs::read(&path).unwrap();
        let at = bytes
            .windows(what.len())
            .position(|part| part == what.as_bytes())
            .unwrap();
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"X", at as u64).unwrap();
    };
    // At rest.
    let copy = copy_of(folder.path());
    flip(copy.path(), "cause 4");
    let again = open(copy.path());
    let rows = async |store: &Store| -> Vec<u64> {
        let left = store.list_letters(None, 100).await.unwrap();
        left.iter().map(|letter| letter.row.row).collect()
    };
    assert_eq!(rows(&again).await, [0, 1, 2, 3, 5, 6, 7, 8, 9]);
    assert_eq!((again.recovered().damaged, again.facts().damaged), (1, 1));
    assert_eq!(std::fs::read_dir(copy.path().join("quarantine")).unwrap().count(), 1);
    again.close().await;
    drop(again);
    let again = open(copy.path());
    assert_eq!(again.recovered().damaged, 0, "it is not found again");
    // While the store is open.
    flip(folder.path(), "cause 7");
    assert_eq!(rows(&store).await, [0, 1, 2, 3, 4, 5, 6, 8, 9]);
    assert_eq!(store.facts().damaged, 1);
    assert_eq!(rows(&store).await.len(), 9);
    assert_eq!(store.facts().damaged, 1, "counted once");
}

#[tokio::test]
async fn files_are_for_their_owner_alone_and_links_are_not_followed() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path().join("store");
    let store = open(&folder);
    store.push(KEY, &elements(10)).await.unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    store.close().await;
    drop(store);
    for name in ["lock", "dead-letters"] {
        let folder = TempDir::new().unwrap();
        let target = parent.path().join("target");
        std::fs::write(&target, "somebody else's").unwrap();
        symlink(&target, folder.path().join(name)).unwrap();
        let error = format!("{:#}", Store::open(&settings(folder.path())).unwrap_err());
        assert!(error.contains("symbolic link"), "{name}: {error}");
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "somebody else's");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_says_so_until_there_is_room() {
    let served = Served::start(|settings| settings.max_bytes = 4 << 20).await;
    let mut client = served.client().await;
    assert_eq!(served.store.facts().refusing, None);
    let record = "x".repeat(1 << 20);
    for _ in 0..6 {
        let _: redis::RedisResult<u64> = redis::cmd("RPUSH").arg(KEY).arg(&record).query_async(&mut client).await;
    }
    let facts = served.store.facts();
    assert!(facts.refusing.unwrap().contains("max_bytes"));
    assert_eq!((facts.refused_full, facts.refused_disk), (3, 0));
}
