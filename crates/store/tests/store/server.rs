//! The server as its clients see it.

use std::time::Duration;

use redis::{FromRedisValue, Value};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use super::support::*;

async fn ask<T: FromRedisValue>(client: &mut redis::aio::MultiplexedConnection, words: &[&str]) -> T {
    redis::cmd(words[0]).arg(&words[1..]).query_async(client).await.unwrap()
}

async fn error(client: &mut redis::aio::MultiplexedConnection, words: &[&str]) -> String {
    let answer: redis::RedisResult<Value> = redis::cmd(words[0]).arg(&words[1..]).query_async(client).await;
    answer.unwrap_err().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_claimed_in_order() {
    let served = Served::start(|_| {}).await;
    let mut client = served.client().await;
    let rows = elements(30_000);
    for part in rows.chunks(1000) {
        let mut pipeline = redis::pipe();
        for row in part {
            pipeline.cmd("RPUSH").arg(KEY).arg(&row[..]).ignore();
        }
        pipeline.exec_async(&mut client).await.unwrap();
    }
    assert_eq!(ask::<u64>(&mut client, &["LLEN", KEY]).await, 30_000);
    let source = &served.store;
    let claim = claim_all(source, &["A"]).await;
    assert_eq!(read_all(source, &claim, 0).await, rows);
    assert_eq!(ask::<u64>(&mut client, &["EXISTS", KEY]).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_to_live_never_deletes_records() {
    let served = Served::start(|_| {}).await;
    let mut client = served.client().await;
    ask::<u64>(&mut client, &["RPUSH", KEY, "record"]).await;
    ask::<()>(&mut client, &["SET", "lock", "1", "PX", "20"]).await;
    assert_eq!(ask::<i64>(&mut client, &["PEXPIRE", KEY, "2000"]).await, 1);
    assert!(ask::<i64>(&mut client, &["PTTL", KEY]).await > 0);
    until("the string expires", async || {
        let left: Option<String> = ask(&mut client, &["GET", "lock"]).await;
        left.is_none().then_some(())
    })
    .await;
    until("the time is over", async || {
        (ask::<i64>(&mut client, &["PTTL", KEY]).await == -1).then_some(())
    })
    .await;
    assert_eq!(ask::<i64>(&mut client, &["EXPIRE", KEY, "-1"]).await, 1);
    assert_eq!(
        ask::<Vec<String>>(&mut client, &["LRANGE", KEY, "0", "-1"]).await,
        ["record"]
    );
    assert_eq!(ask::<Vec<String>>(&mut client, &["KEYS", "*"]).await, [KEY]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_store_says_oom_keeps_what_it_has_and_takes_more_once_it_is_delivered() {
    let served = Served::start(|settings| settings.max_bytes = 3 << 20).await;
    let mut client = served.client().await;
    let record = "x".repeat(100_000);
    let mut taken = 0;
    let refused = loop {
        let push: redis::RedisResult<u64> = redis::cmd("RPUSH").arg(KEY).arg(&record).query_async(&mut client).await;
        match push {
            Ok(_) => taken += 1,
            Err(error) => break error.to_string(),
        }
    };
    assert!(taken > 25, "{taken}");
    assert!(
        refused.contains("OOM") && refused.contains("embedded_storage.max_bytes"),
        "{refused}"
    );
    assert_eq!(ask::<u64>(&mut client, &["LLEN", KEY]).await, taken);
    assert_eq!(ask::<String>(&mut client, &["PING"]).await, "PONG");
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_gets_in_without_the_password() {
    let served = Served::start(|settings| settings.password = "right".to_owned()).await;
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    let mut say = async |words: &str| {
        stream.write_all(words.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let len = stream.read(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer[..len]).into_owned()
    };
    for words in ["PING\r\n", "RPUSH a b\r\n", "KEYS *\r\n", "INFO\r\n", "MULTI\r\n"] {
        assert_eq!(say(words).await, "-NOAUTH Authentication required.\r\n", "{words}");
    }
    assert!(say("HELLO 3\r\n").await.starts_with("-NOAUTH HELLO must be called"));
    let begun = std::time::Instant::now();
    assert!(say("AUTH wrong\r\n").await.starts_with("-WRONGPASS"));
    assert!(begun.elapsed() > Duration::from_millis(900), "guessing has a price");
    assert!(say("HELLO 3 AUTH default wrong\r\n").await.starts_with("-WRONGPASS"));
    assert_eq!(say("AUTH right\r\n").await, "+OK\r\n");
    assert_eq!(say("RPUSH a b\r\n").await, ":1\r\n");
    assert!(say("HELLO 3 AUTH default right\r\n").await.starts_with("%7\r\n"));
    // The third wrong one closes the connection.
    assert!(say("AUTH default wrong\r\n").await.starts_with("-WRONGPASS"));
    assert_eq!(say("").await, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_does_not_know_changes_nothing() {
    let served = Served::start(|_| {}).await;
    let mut client = served.client().await;
    ask::<u64>(&mut client, &["RPUSH", KEY, "record"]).await;
    for words in [
        &["FLUSHALL"][..],
        &["LPUSH", KEY, "x"],
        &["RENAME", KEY, "other"],
        &["EVAL", "return 1", "0"],
        &["CONFIG", "SET", "save", ""],
        &["DEBUG", "SLEEP", "10"],
        &["SHUTDOWN"],
        &["SET", KEY, "x"],
        &["LTRIM", KEY, "a", "b"],
        &["RPUSH", KEY],
    ] {
        let text = error(&mut client, words).await;
        assert!(!text.is_empty(), "{words:?}");
    }
    assert_eq!(
        ask::<Vec<String>>(&mut client, &["LRANGE", KEY, "0", "-1"]).await,
        ["record"]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_original_pump_can_drain_it() {
    let served = Served::start(|_| {}).await;
    let mut client = served.client().await;
    let rows: Vec<String> = (0..10_000).map(|row| format!("row {row}")).collect();
    let mut push = redis::cmd("RPUSH");
    push.arg(KEY).arg(&rows);
    push.exec_async(&mut client).await.unwrap();
    let mut drained: Vec<String> = Vec::new();
    for _ in 0..3 {
        let mut chunk = redis::pipe();
        chunk.atomic().lrange(KEY, 0, 2999).ltrim(KEY, 3000, -1).ignore();
        let (part,): (Vec<String>,) = chunk.query_async(&mut client).await.unwrap();
        drained.extend(part);
    }
    ask::<i64>(&mut client, &["EXPIRE", KEY, "60"]).await;
    drained.extend(ask::<Vec<String>>(&mut client, &["LPOP", KEY, "10"]).await);
    let mut rest = redis::pipe();
    rest.atomic().lrange(KEY, 0, -1).del(KEY).ignore();
    let (part,): (Vec<String>,) = rest.query_async(&mut client).await.unwrap();
    drained.extend(part);
    assert_eq!(drained, rows);
    assert_eq!(ask::<u64>(&mut client, &["DBSIZE"]).await, 0);
}
