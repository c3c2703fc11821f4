//! A broker of its own that goes away, and pumps that are killed.

use std::{thread, time::Duration};

use rand::Rng;
use serde_json::json;

use super::{create, numbers, wait_for_state};
use crate::{
    services::records::{element, push},
    support::{self, daemon::Site},
};

/// `PUMP_TEST_KILLS` says how many pumps are killed, with 50,000 records for each.
fn size() -> (u32, u64) {
    match std::env::var("PUMP_TEST_KILLS").ok() {
        // Small enough for every day.
        None => (5, 60_000),
        Some(kills) => {
            let kills: u32 = kills.parse().unwrap();
            (kills, 50_000 * u64::from(kills))
        }
    }
}

#[test]
fn kills_of_pumps_and_of_the_broker_lose_nothing() {
    let (Some(redis), Some(broker)) = (
        support::redis("plain", &[]),
        support::kafka(&["auto.create.topics.enable=false"]),
    ) else {
        return;
    };
    let address = broker.addr(0);
    let meta = json!({"broker": [address], "topic": "tyk", "timeout": 5});
    let site = Site::new(&redis, json!({"events": {"type": "kafka", "meta": meta}}));
    let daemon = site.start();
    push(&redis, (0..100).map(element));
    wait_for_state(&site, "paused", &["does not exist", "meta.topic"]);
    create(&address, "tyk", 3, &[]);
    daemon.kill();

    let (kills, records) = size();
    let part = records / u64::from(kills);
    let mut next = 100;
    for kill in 0..kills {
        let daemon = site.start();
        push(&redis, (next..next + part).map(element));
        next += part;
        let later = rand::rng().random_range(100..1500);
        thread::sleep(Duration::from_millis(later));
        // Twice as it should be, once as it may be.
        match kill * 4 / kills.max(4) {
            1 => broker.crash(),
            _ if kill % 2 == 0 => broker.act("stop"),
            _ => {}
        }
        thread::sleep(Duration::from_millis(later / 2));
        daemon.kill();
        if kill % 2 == 0 || kill * 4 / kills.max(4) == 1 {
            broker.start_again();
        }
    }
    // Everything may be there already: it must have begun to listen for signals.
    let last = site.start_ready();
    site.wait_until_drained(&redis, 180);
    let ended = last.stop();
    assert!(ended.success(), "{ended}\n{}", site.log());
    let found = numbers(&address, "tyk");
    let lost = (0..next).filter(|number| !found.contains_key(number)).count();
    let doubled: u64 = found.values().map(|times| times - 1).sum();
    println!("records {next}, kills {kills}, lost {lost}, doubled {doubled}");
    assert_eq!((found.len() as u64, lost), (next, 0));
    let log = site.log();
    assert!(!log.contains("rows are dropped"), "{log}");
}
