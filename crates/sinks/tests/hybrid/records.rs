//! Records, and calls that fail.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use fakes::rows;
use gorpc::{Answer, Outcome, ServerOptions, gob::Basic};
use serde_json::json;
use sinks::WriteError;

use crate::mdcb::{Calls, Mdcb, Whim, built, failed, good, with};

#[tokio::test]
async fn records_arrive_after_ping_and_login() {
    let mdcb = Mdcb::start(|_| None).await;
    let pump = built(mdcb.meta(), false).await;
    pump.write(&good(0..10)).await.unwrap();
    pump.write(&good(10..12)).await.unwrap();
    assert_eq!(
        mdcb.names(),
        [
            "Ping",
            "Login",
            "Login",
            "PurgeAnalyticsData",
            "Login",
            "PurgeAnalyticsData"
        ]
    );
    assert_eq!(mdcb.serials(), (0..12).collect::<Vec<_>>());
    pump.sink.close().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    while mdcb.server.open() > 0 {
        assert!(Instant::now() < deadline, "connections stay open");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(mdcb.server.connections() <= 5, "dialled after close");
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_is_repeated_and_counted_and_answered_ones_are_not() {
    let mishaps = Arc::new(Mutex::new(vec!["close", "silence", "error", "crash"]));
    let next = mishaps.clone();
    let mdcb = Mdcb::start(move |call| {
        // The second call of every write goes wrong.
        let holds_40 = matches!(&call.argument, Some(Basic::Text(text)) if rows::serials(text).contains(&40));
        if !holds_40 {
            return None;
        }
        match next.lock().unwrap().pop()? {
            "close" => Some(Answer::Close),
            "silence" => Some(Answer::Silence),
            "error" => failed("storage unavailable"),
            _ => Some(Answer::Outcome(Outcome::Broken("handler crashed".to_owned()))),
        }
    })
    .await;
    // About a record a kilobyte: several calls a write.
    let pump = built(with(mdcb.meta(), json!({"max_call_bytes": 20_000})), false).await;
    let mut texts = Vec::new();
    let written = loop {
        match pump.write(&good(0..100)).await {
            Ok(written) => break written,
            Err(WriteError::Retry { source, .. }) => texts.push(source.to_string()),
            Err(error) => panic!("{error:?}"),
        }
    };
    assert_eq!(texts.len(), 4, "{texts:?}");
    for (text, part) in texts
        .iter()
        .zip(["handler crashed", "storage unavailable", "no answer", "was lost"])
    {
        assert!(text.contains(part), "{texts:?}");
    }
    let mut serials = mdcb.serials();
    serials.sort_unstable();
    assert_eq!(
        serials,
        (0..100).collect::<Vec<_>>(),
        "nothing that was answered came again"
    );
    assert!(
        written.possibly_doubled > 0,
        "the silent and the closed call may have arrived"
    );
}

#[tokio::test]
async fn a_call_goes_on_when_the_write_is_dropped_and_its_answer_counts() {
    let mdcb = Mdcb::start(|_| None).await;
    let pump = built(mdcb.meta(), false).await;
    let group = good(0..2000);
    // Dropped after its first poll: the call is on its way.
    let _ = tokio::time::timeout(Duration::from_millis(1), pump.write(&group)).await;
    pump.write(&group).await.unwrap();
    assert_eq!(mdcb.serials(), (0..2000).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_server_that_restarts_loses_nothing() {
    let whim: Whim = Arc::new(|call| (call.number == 7).then_some(Answer::Close));
    let calls = Calls::default();
    let local = SocketAddr::from(([127, 0, 0, 1], 0));
    let mut mdcb = Mdcb::at(local, calls.clone(), ServerOptions::default(), whim.clone()).await;
    let pump = built(with(mdcb.meta(), json!({"rpc_pool_size": 2})), false).await;
    let address = mdcb.server.address();
    for round in 0..30u64 {
        if round % 10 == 5 {
            mdcb.server.stop().await;
            drop(mdcb);
            let group = good(round * 5..round * 5 + 5);
            assert!(pump.write(&group).await.is_err());
            mdcb = Mdcb::at(address, calls.clone(), ServerOptions::default(), whim.clone()).await;
        }
        let group = good(round * 5..round * 5 + 5);
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = pump.write(&group).await {
            assert!(Instant::now() < deadline, "{error}");
        }
        assert!(mdcb.server.most_open() <= 4, "{} connections", mdcb.server.most_open());
    }
    let mut serials = mdcb.serials();
    serials.sort_unstable();
    serials.dedup();
    assert_eq!(serials, (0..150).collect::<Vec<_>>());
}
