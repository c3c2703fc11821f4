//! An old pump that pops from the same keys, beside each of our modes.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tyk_pump::{
    config::ModeChoice,
    source::{Claims, SourceError, redis::RedisSource},
};

use super::{KEY, open, push, without_scripts};
use crate::support::{
    self, Server,
    promises::{AcknowledgeOne, elements, lanes},
};

const ROWS: usize = 20_000;

/// What the reference does, until nothing more is pushed.
fn pop(server: &Server, done: &AtomicBool) -> Vec<Vec<u8>> {
    let mut client = server.client(0, "");
    let mut popped: Vec<Vec<u8>> = Vec::new();
    while !done.load(Ordering::Acquire) {
        let mut transaction = redis::pipe();
        transaction
            .atomic()
            .cmd("LRANGE")
            .arg(KEY)
            .arg(0)
            .arg(-1)
            .cmd("DEL")
            .arg(KEY);
        let (rows, _): (Vec<Vec<u8>>, i64) = transaction.query(&mut client).unwrap();
        popped.extend(rows);
    }
    popped
}

fn unless_lost<T>(result: Result<T, SourceError>) -> Option<T> {
    match result {
        Ok(value) => Some(value),
        Err(SourceError::LeaseLost(_)) => None,
        Err(error) => panic!("{error}"),
    }
}

/// Delivers until nothing more is pushed and nothing is left. Returns every row that was delivered.
async fn drain(source: &RedisSource, done: &AtomicBool) -> Vec<Vec<u8>> {
    let mut rows = Vec::new();
    loop {
        let finished = done.load(Ordering::Acquire);
        let Some(claim) = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap() else {
            if finished {
                return rows;
            }
            continue;
        };
        let at = claim.reference();
        let mut next = 0;
        while next < claim.len {
            let Some(window) = unless_lost(source.read(&at, next, 5000).await) else {
                break;
            };
            rows.extend(window.elements.iter().map(|span| span.of(&window.buffer).to_vec()));
            next += window.elements.len() as u64;
            unless_lost(source.acknowledge_one(&at, "A", next).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn beside_an_old_pump_every_record_goes_to_exactly_one() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let all = support::redis_settings(server.addr(0));
    for (settings, choice) in [
        (all.clone(), ModeChoice::Auto),
        (without_scripts(&server), ModeChoice::Auto),
        (all.clone(), ModeChoice::Legacy),
        (all.clone(), ModeChoice::Peek),
    ] {
        let source = open(&settings, "a", choice).await;
        let done = AtomicBool::new(false);
        let handle = tokio::runtime::Handle::current();
        let (mut rows, theirs) = thread::scope(|scope| {
            let new = scope.spawn(|| handle.block_on(drain(&source, &done)));
            let old = scope.spawn(|| pop(&server, &done));
            for part in elements(ROWS).chunks(20) {
                push(&server, KEY, part);
            }
            done.store(true, Ordering::Release);
            (new.join().unwrap(), old.join().unwrap())
        });
        assert!(!rows.is_empty() && !theirs.is_empty());
        rows.extend(theirs);
        rows.sort();
        if choice == ModeChoice::Peek {
            rows.dedup(); // the other pump may take what we have just delivered
        }
        let mut pushed: Vec<Vec<u8>> = elements(ROWS).iter().map(|row| row.to_vec()).collect();
        pushed.sort();
        assert!(rows == pushed, "{choice:?}: {} of {}", rows.len(), pushed.len());
    }
}
