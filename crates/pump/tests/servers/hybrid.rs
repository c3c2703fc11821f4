//! The bridge to another data centre: SIGKILL at random moments, and calls that are taken and never answered.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
};

use futures::FutureExt;
use gorpc::{Answer, IncomingCall, Outcome, Server, ServerOptions, gob::Basic};
use serde_json::{Value, json};

use crate::support::{
    self,
    deck::Deck,
    kills::{Plan, Watched, deliver},
};

/// What came, whether it was answered or not.
#[derive(Default)]
struct Taken {
    /// How often each record came.
    records: Mutex<HashMap<u64, u32>>,
    /// Hits of organisations, added up over their aggregates.
    hits: Mutex<HashMap<String, u64>>,
    /// The most records, or hits, of one call.
    largest: Mutex<[u64; 2]>,
    calls: AtomicU32,
    /// One of so many calls is not answered.
    cut: AtomicU32,
}

impl Taken {
    fn take(&self, call: &IncomingCall) -> Answer {
        let text = match &call.argument {
            Some(Basic::Text(text)) => text.as_ref(),
            _ => b"null",
        };
        let returned = |value| Answer::Outcome(Outcome::Returned(value));
        match &*call.name {
            ".Ping" | ".Login" => return returned(Some(Basic::Bool(true))),
            ".PurgeAnalyticsData" => self.count_records(&serde_json::from_slice(text).unwrap()),
            ".PurgeAnalyticsDataAggregated" => self.count_hits(&serde_json::from_slice(text).unwrap()),
            other => panic!("{other}"),
        }
        let calls = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        match self.cut.load(Ordering::SeqCst) {
            0 => returned(None),
            every if calls.is_multiple_of(every) => Answer::Close,
            _ => returned(None),
        }
    }

    fn count_records(&self, records: &Value) {
        let records = records.as_array().unwrap();
        let mut known = self.records.lock().unwrap();
        for record in records {
            *known.entry(record["content_length"].as_u64().unwrap()).or_default() += 1;
        }
        self.see(0, records.len() as u64);
    }

    fn count_hits(&self, aggregates: &Value) {
        let mut all = 0;
        for (organisation, aggregate) in aggregates.as_object().unwrap() {
            let hits = aggregate["Total"]["hits"].as_u64().unwrap();
            *self.hits.lock().unwrap().entry(organisation.clone()).or_default() += hits;
            all += hits;
        }
        self.see(1, all);
    }

    fn see(&self, kind: usize, size: u64) {
        let mut largest = self.largest.lock().unwrap();
        largest[kind] = largest[kind].max(size);
    }
}

/// A bridge and its server.
struct Bridge {
    taken: Arc<Taken>,
    address: SocketAddr,
    _server: Server,
    _runtime: tokio::runtime::Runtime,
}

impl Bridge {
    fn start() -> Bridge {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let taken = Arc::new(Taken::default());
        let takes = taken.clone();
        let handler = move |call: IncomingCall| {
            let takes = takes.clone();
            async move { takes.take(&call) }.boxed()
        };
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = runtime
            .block_on(Server::start(local, ServerOptions::default(), Arc::new(handler)))
            .unwrap();
        Bridge {
            taken,
            address: server.address(),
            _server: server,
            _runtime: runtime,
        }
    }
}

impl Watched for Bridge {
    fn cut_commits(&self, every: u32) {
        self.taken.cut.store(every, Ordering::SeqCst);
    }

    fn commits(&self) -> u32 {
        self.taken.calls.load(Ordering::SeqCst)
    }
}

/// At least once: everything is there, and what is there twice is no more than the calls that were under way at a kill, or
/// whose answers were lost.
fn nothing_is_lost(plan: &Plan) {
    let Some(redis) = support::redis("plain", &[]) else {
        return;
    };
    let bridge = Bridge::start();
    let meta = |aggregated: bool| json!({"connection_string": bridge.address.to_string(), "api_key": "key", "aggregated": aggregated});
    let pumps = json!({
        "raw": {"type": "hybrid", "meta": meta(false)},
        "aggregated": {"type": "hybrid", "meta": meta(true)},
    });
    deliver(&redis, &bridge, pumps, plan);
    let records = bridge.taken.records.lock().unwrap();
    let lost = (0..plan.deck.records)
        .filter(|serial| !records.contains_key(serial))
        .count();
    let doubled: u64 = records.values().map(|times| u64::from(times - 1)).sum();
    let hits: u64 = bridge.taken.hits.lock().unwrap().values().sum();
    let [records_a_call, hits_a_call] = *bridge.taken.largest.lock().unwrap();
    let repeats = u64::from(plan.kills) + u64::from(bridge.commits().div_ceil(plan.cut_one_in));
    println!(
        "lost {lost}, doubled {doubled}, hits {hits}, calls of at most {records_a_call} records and {hits_a_call} hits, at most {repeats} repeats"
    );
    assert_eq!(lost, 0);
    assert!(doubled <= repeats * records_a_call);
    assert!((plan.deck.records..=plan.deck.records + repeats * hits_a_call).contains(&hits));
}

#[test]
fn kills_and_lost_answers_lose_nothing_and_double_no_more_than_was_under_way() {
    nothing_is_lost(&Plan {
        deck: Deck::ordinary(40_000),
        kills: 6,
        cut_one_in: 5,
        commits: 0..4,
        later: 0..120,
        patience: 20,
    });
}

#[test]
#[ignore = "full size: 1 M records, 20 kills"]
fn a_million_records_and_twenty_kills_lose_nothing() {
    nothing_is_lost(&Plan {
        deck: Deck::ordinary(1_000_000),
        kills: 20,
        cut_one_in: 20,
        commits: 0..8,
        later: 0..400,
        patience: 120,
    });
}
