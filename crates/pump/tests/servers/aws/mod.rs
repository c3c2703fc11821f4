//! Kinesis and SQS, as moto has them, with a gate in between that does what a small service does not: it throttles entries.

mod cloud;

use std::sync::atomic::Ordering::Relaxed;

use analytics::{Int, Text};
use fakes::http::Fault;
use serde_json::json;

use self::cloud::Cloud;
use super::services::records::{element, element_with, push};
use crate::support::{self, daemon::Site, oracle::Tally};

/// Few: moto looks through all messages of a queue for each new one.
const ALL: u64 = 300;
/// A message that SQS refuses.
const POISON: u64 = 50;
/// A record that neither takes.
const LARGE: u64 = 70;

fn odd(serial: u64) -> Vec<u8> {
    match serial {
        POISON => element_with(serial, |record| {
            record.int(Int::ResponseCode, 666);
        }),
        LARGE => element_with(serial, |record| {
            record.text(Text::RawResponse, "QUFB".repeat(300_000));
        }),
        serial => element(serial),
    }
}

#[test]
fn services_under_load_get_every_record_and_what_they_refuse_is_a_dead_letter() {
    let (Some(redis), Some(cloud)) = (support::redis("plain", &[]), Cloud::start(30)) else {
        return;
    };
    let (queue, stream) = (cloud.create_queue(""), cloud.create_stream());
    let pumps = json!({"records": {"type": "kinesis", "meta": cloud.stream_options(&stream)},
        "messages": {"type": "sqs", "meta": cloud.queue_options(&queue)}});
    let site = Site::new(&redis, pumps);
    let daemon = site.start_ready();
    push(&redis, (0..ALL).map(odd));
    site.wait_until_drained(&redis, 120);
    let letters = site.operate_json("dlq list --json");
    assert!(daemon.stop().success());
    println!(
        "{} entries were throttled in {} batches",
        cloud.gate.held_back.load(Relaxed),
        cloud.gate.batches.load(Relaxed)
    );
    for (name, arrived, refused) in [
        ("kinesis", cloud.records(&stream), vec![LARGE]),
        ("sqs", cloud.messages(&queue), vec![POISON, LARGE]),
    ] {
        let tally = Tally::of(ALL, arrived);
        assert_eq!(tally.lost, refused, "{name}: {tally}");
        assert!(tally.doubled.is_empty() && tally.foreign == 0, "{name}: {tally}");
    }
    assert_eq!(letters.len(), 3, "{letters:?}");
    assert!(cloud.gate.held_back.load(Relaxed) > ALL / 4);
}

#[test]
fn a_queue_with_an_order_has_every_message_once_and_in_order_whatever_dies() {
    let (Some(redis), Some(cloud)) = (support::redis("plain", &[]), Cloud::start(0)) else {
        return;
    };
    let queue = cloud.create_queue(".fifo");
    let site = Site::new(
        &redis,
        json!({"messages": {"type": "sqs", "meta": cloud.queue_options(&queue)}}),
    );
    push(&redis, (0..ALL).map(element));
    let batches = || cloud.gate.batches.load(Relaxed);
    for _ in 0..3 {
        let daemon = site.start();
        let before = batches();
        site.wait("batches of a pump that will be killed", 60, || {
            (batches() > before + 3).then_some(())
        });
        // Of these the pump never hears that they are in the queue.
        cloud.server.set_fault(Some(Fault::BreaksOff));
        let cut = batches();
        site.wait("a batch whose answer is cut off", 60, || {
            (batches() > cut).then_some(())
        });
        daemon.kill();
        cloud.server.set_fault(None);
    }
    let last = site.start_ready();
    site.wait_until_drained(&redis, 120);
    assert!(last.stop().success());
    let sent = batches() * 10;
    let arrived = cloud.messages(&queue);
    assert!(sent > ALL, "nothing was sent twice: {sent}");
    assert!(
        arrived.iter().copied().eq(0..ALL),
        "{}",
        Tally::of(ALL, arrived.clone())
    );
}
