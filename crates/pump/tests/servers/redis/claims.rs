//! Claims on one Redis, and the same promises in memory.

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tyk_pump::{
    config::{ModeChoice, RedisSettings, Secret},
    source::{Acknowledged, Claims, Operate, Source, SourceError, memory::MemorySource},
};

use super::{KEY, ask, leftovers, open, push, without_scripts};
use crate::support::{
    self, Server,
    promises::{self, AcknowledgeOne, LEASE, World, elements, lanes, read_all},
    until,
};

struct InMemory(MemorySource);

#[async_trait]
impl World for InMemory {
    async fn instance(&self, id: &str) -> Box<dyn Source> {
        Box::new(self.0.instance(id))
    }

    async fn push(&self, key: usize, elements: Vec<Bytes>) {
        self.0.push(key, elements);
    }
}

#[tokio::test]
async fn memory_keeps_what_sources_promise() {
    let key = |name: &str| analytics::Key {
        name: name.into(),
        short: name.into(),
        wire: analytics::Wire::Msgpack,
        records: analytics::RecordKind::Traffic,
    };
    promises::hold(async || {
        let lists = vec![
            (key("analytics-tyk-system-analytics"), Vec::new()),
            (key("b"), Vec::new()),
        ];
        InMemory(MemorySource::new(lists).lease(LEASE))
    })
    .await;
}

struct InRedis<'a> {
    server: &'a Server,
    settings: RedisSettings,
    mode: &'static str,
}

#[async_trait]
impl World for InRedis<'_> {
    async fn instance(&self, id: &str) -> Box<dyn Source> {
        let source = support::source(&self.settings, id, ModeChoice::Auto, LEASE);
        let mode = source.open().await.unwrap();
        assert_eq!(mode.label, self.mode, "{}", mode.reason);
        Box::new(source)
    }

    async fn push(&self, key: usize, elements: Vec<Bytes>) {
        let source = support::source(&self.settings, "pusher", ModeChoice::Auto, LEASE);
        push(self.server, &source.keys()[key].name, &elements);
    }

    fn operable(&self) -> bool {
        self.mode == "claims-script"
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_by_script_keep_what_sources_promise() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    promises::hold(async || {
        ask::<()>(&server, &["FLUSHALL"]);
        InRedis {
            server: &server,
            settings: support::redis_settings(server.addr(0)),
            mode: "claims-script",
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_by_watch_keep_what_sources_promise() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let settings = without_scripts(&server);
    promises::hold(async || {
        ask::<()>(&server, &["FLUSHALL"]);
        InRedis {
            server: &server,
            settings: settings.clone(),
            mode: "claims-watch",
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_never_expires_and_leaves_nothing_behind() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let source = open(&support::redis_settings(server.addr(0)), "a", ModeChoice::Auto).await;
    assert!(
        leftovers(&server).is_empty(),
        "probing leaves nothing: {:?}",
        leftovers(&server)
    );
    push(&server, KEY, &elements(10));
    ask::<i64>(&server, &["PEXPIRE", KEY, "60000"]);
    let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    assert!(claim.ttl.unwrap() > Duration::from_secs(50));
    let list = leftovers(&server)
        .into_iter()
        .find(|key| key.starts_with("analytics-claim:"))
        .unwrap();
    assert_eq!(list, format!("analytics-claim:{{{KEY}}}:{}", claim.id));
    assert_eq!(ask::<i64>(&server, &["PTTL", &list]), -1);
    // Somebody sets a time to live on a claim: a renewal takes it off again.
    ask::<i64>(&server, &["PEXPIRE", &list, "60000"]);
    source.renew(&[claim.reference()], &lanes(&["A"])).await.unwrap();
    assert_eq!(ask::<i64>(&server, &["PTTL", &list]), -1);
    source.fleet().await.unwrap();
    source.announce_version("1.2.3").await.unwrap();
    assert_eq!(ask::<String>(&server, &["GET", "version-check-pump"]), "1.2.3");
    source.acknowledge_one(&claim.reference(), "A", 10).await.unwrap();
    source.renew(&[], &lanes(&["A"])).await.unwrap();
    let left = [
        "analytics-fleet".to_owned(),
        format!("analytics-pumps:{{{KEY}}}"),
        "version-check-pump".to_owned(),
    ];
    assert_eq!(leftovers(&server), left);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_of_another_type_is_named_and_left_alone() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let settings = support::redis_settings(server.addr(0));
    let watching = without_scripts(&server);
    ask::<()>(&server, &["SET", KEY, "text"]);
    for (settings, choice) in [
        (&settings, ModeChoice::Auto),
        (&watching, ModeChoice::Auto),
        (&settings, ModeChoice::Peek),
        (&settings, ModeChoice::Legacy),
    ] {
        let source = open(settings, "a", choice).await;
        let pending = source.pending().await.unwrap();
        let [(0, Err(error @ SourceError::NotAList { .. }))] = &pending[..] else {
            panic!("{pending:?}")
        };
        assert!(error.to_string().contains("is a string, not a list"), "{error}");
        let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await;
        assert!(matches!(claim, Err(SourceError::NotAList { .. })), "{claim:?}");
        assert_eq!(ask::<String>(&server, &["GET", KEY]), "text");
        assert!(source.usage().await.unwrap().unclaimed.is_empty());
    }
}

/// `noeviction` and no memory left: what is there must drain, because nothing else makes room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_is_drained() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let source = open(&support::redis_settings(server.addr(0)), "a", ModeChoice::Auto).await;
    push(&server, KEY, &elements(30_000));
    push(&server, "analytics-tyk-system-analytics_0", &elements(10));
    let claim = source
        .claim(&source.keys()[0], &lanes(&["A", "B"]))
        .await
        .unwrap()
        .unwrap();
    ask::<()>(&server, &["CONFIG", "SET", "maxmemory", "1mb"]);
    let refused: redis::RedisResult<()> = redis::cmd("SET").arg("x").arg(1).query(&mut server.client(0, ""));
    assert!(refused.unwrap_err().to_string().contains("OOM"));

    // A second instance starts now, and a second list is claimed now.
    let other = open(&support::redis_settings(server.addr(0)), "b", ModeChoice::Auto).await;
    let second = other
        .claim(&other.keys()[2], &lanes(&["A", "B"]))
        .await
        .unwrap()
        .unwrap();
    other.fleet().await.unwrap();
    assert!(
        source
            .renew(&[claim.reference()], &lanes(&["A"]))
            .await
            .unwrap()
            .is_empty()
    );
    source.release(&[claim.reference()]).await.unwrap();
    let claim = other
        .take_over(&lanes(&["A"]), &[second.id])
        .await
        .unwrap()
        .pop()
        .unwrap();
    assert_eq!(read_all(&other, &claim, 0).await, elements(30_000));
    for lane in ["A", "B"] {
        for cursor in [20_000, 25_000, 30_000] {
            other.acknowledge_one(&claim.reference(), lane, cursor).await.unwrap();
        }
        other.acknowledge_one(&second.reference(), lane, 10).await.unwrap();
    }
    assert!(other.list().await.unwrap().is_empty());
    let usage = other.usage().await.unwrap();
    assert_eq!(usage.max_memory, Some(1 << 20));
    assert_eq!(usage.eviction_policy.as_deref(), Some("noeviction"));
}

/// What an eviction policy other than `noeviction` can do.
#[tokio::test(flavor = "multi_thread")]
async fn a_claim_without_its_state_comes_again() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let source = open(&support::redis_settings(server.addr(0)), "a", ModeChoice::Auto).await;
    push(&server, KEY, &elements(10));
    let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    ask::<i64>(
        &server,
        &["DEL", &format!("analytics-claim-state:{{{KEY}}}:{}", claim.id)],
    );
    assert!(matches!(
        source.read(&claim.reference(), 0, 5).await,
        Err(SourceError::LeaseLost(_))
    ));
    let again = until("the lease is over", async || {
        source.take_over(&lanes(&["A"]), &[]).await.unwrap().pop()
    })
    .await;
    assert!(again.id != claim.id, "its rows have new numbers");
    assert_eq!(again.key.name, claim.key.name);
    assert_eq!(read_all(&source, &again, 0).await, elements(10));
    assert_eq!(
        source.acknowledge_one(&again.reference(), "A", 10).await.unwrap(),
        Acknowledged::Finished
    );
    assert!(leftovers(&server).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_list_is_reported_with_its_rows() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let source = open(&support::redis_settings(server.addr(0)), "a", ModeChoice::Auto).await;
    push(&server, KEY, &elements(10));
    let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    source.acknowledge_one(&claim.reference(), "A", 4).await.unwrap();
    ask::<i64>(&server, &["DEL", &format!("analytics-claim:{{{KEY}}}:{}", claim.id)]);
    match source.read(&claim.reference(), 4, 100).await {
        Err(SourceError::Evicted { claim: id, rows }) => assert_eq!((id, rows), (claim.id, 4..10)),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        source.acknowledge_one(&claim.reference(), "A", 10).await.unwrap(),
        Acknowledged::Finished
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_of_large_rows_stay_within_four_mib() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let source = open(&support::redis_settings(server.addr(0)), "a", ModeChoice::Auto).await;
    let mut rows: Vec<Bytes> = elements(3000);
    rows.extend((0..300u32).map(|row| Bytes::from(vec![row as u8; 200_000])));
    rows.push(Bytes::from(vec![7; 20_000_000]));
    rows.extend(elements(100));
    for part in rows.chunks(100) {
        push(&server, KEY, part);
    }
    let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    let mut next = 0;
    let mut windows = 0;
    while next < claim.len {
        let window = source.read(&claim.reference(), next, 5000).await.unwrap();
        assert!(window.buffer.len() < (4 << 20) + (1 << 16) || window.elements.len() == 1);
        for span in &window.elements {
            assert_eq!(span.of(&window.buffer), rows[next as usize], "row {next}");
            next += 1;
        }
        windows += 1;
    }
    assert!(windows < 40, "{windows} windows");
}

/// Forgotten scripts and cut connections are repaired without anybody noticing more than one failed call.
#[tokio::test(flavor = "multi_thread")]
async fn lost_scripts_and_connections_are_made_anew() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let source = open(&support::redis_settings(server.addr(0)), "a", ModeChoice::Auto).await;
    push(&server, KEY, &elements(1000));
    let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    ask::<()>(&server, &["SCRIPT", "FLUSH"]);
    source.acknowledge_one(&claim.reference(), "A", 10).await.unwrap();
    read_all(&source, &claim, 10).await;
    ask::<i64>(&server, &["CLIENT", "KILL", "TYPE", "normal"]);
    let failed = source.read(&claim.reference(), 10, 10).await;
    assert!(matches!(failed, Ok(_) | Err(SourceError::Unavailable(_))), "{failed:?}");
    until("reconnected", async || {
        source.acknowledge_one(&claim.reference(), "A", 20).await.ok()
    })
    .await;
    until("reconnected", async || {
        source.read(&claim.reference(), 20, 10).await.ok()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_read_does_not_spoil_the_next() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let source = open(&support::redis_settings(server.addr(0)), "a", ModeChoice::Auto).await;
    push(&server, KEY, &elements(20_000));
    let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    for round in 0..200 {
        let at = claim.reference();
        let read = source.read(&at, round * 7, 5000);
        drop(tokio::time::timeout(Duration::from_micros(round * 20), read).await);
    }
    assert_eq!(read_all(&source, &claim, 0).await, elements(20_000));
}

/// The state of a claim whose process is gone: taken at once by the same instance, by another when its lease is over.
#[tokio::test(flavor = "multi_thread")]
async fn the_claims_of_a_dead_process_are_taken_at_once() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    for settings in [support::redis_settings(server.addr(0)), without_scripts(&server)] {
        let lease = Duration::from_secs(3600);
        let source = support::source(&settings, "a", ModeChoice::Auto, lease);
        source.open().await.unwrap();
        push(&server, KEY, &elements(10));
        let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
        let state = format!("analytics-claim-state:{{{KEY}}}:{}", claim.id);
        let owner: String = ask(&server, &["HGET", &state, "owner"]);
        let dead = format!("{}1", owner); // another start time: the number was given to somebody else
        ask::<i64>(&server, &["HSET", &state, "owner", &dead]);
        let other = support::source(&settings, "b", ModeChoice::Auto, lease);
        other.open().await.unwrap();
        assert!(other.take_over(&lanes(&["A"]), &[]).await.unwrap().is_empty());
        let taken = source.take_over(&lanes(&["A"]), &[]).await.unwrap().pop().unwrap();
        assert_eq!((taken.id, taken.fence), (claim.id, 2));
        source.acknowledge_one(&taken.reference(), "A", 10).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_of_a_lane_that_nobody_has_are_orphans_after_a_while() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let source = open(&support::redis_settings(server.addr(0)), "a", ModeChoice::Auto).await;
    push(&server, KEY, &elements(10));
    let claim = source
        .claim(&source.keys()[0], &lanes(&["A", "GONE"]))
        .await
        .unwrap()
        .unwrap();
    source.renew(&[claim.reference()], &lanes(&["A"])).await.unwrap();
    assert!(source.usage().await.unwrap().orphans.is_empty(), "too young");
    let state = format!("analytics-claim-state:{{{KEY}}}:{}", claim.id);
    ask::<i64>(&server, &["HSET", &state, "at", "1"]);
    assert_eq!(source.usage().await.unwrap().orphans, [("GONE".into(), 10)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn passwords_and_databases_are_used_and_wrong_ones_are_refused() {
    let Some(server) = support::redis("password", &[]) else {
        return;
    };
    let settings = |password: &str| RedisSettings {
        password: Secret::new(password.to_owned()),
        database: 3,
        ..support::redis_settings(server.addr(0))
    };
    for password in ["", "wrong"] {
        let source = support::source(&settings(password), "a", ModeChoice::Auto, LEASE);
        let error = source.open().await.unwrap_err();
        assert!(matches!(error, SourceError::Refused(_)), "{error}");
    }
    let source = open(&settings("secret"), "a", ModeChoice::Auto).await;
    source.announce_version("1").await.unwrap();
    let mut client = server.client(0, "secret");
    redis::cmd("SELECT").arg(3).exec(&mut client).unwrap();
    let version: String = redis::cmd("GET").arg("version-check-pump").query(&mut client).unwrap();
    assert_eq!(version, "1");

    let Some(open_server) = support::redis("plain", &[]) else {
        return;
    };
    let needless = RedisSettings {
        password: Secret::new("needless".to_owned()),
        ..support::redis_settings(open_server.addr(0))
    };
    open(&needless, "a", ModeChoice::Auto).await;
}
