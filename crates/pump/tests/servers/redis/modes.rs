//! Users and settings that do not allow claims by script.

use tyk_pump::{
    config::{ModeChoice, RedisSettings, Secret},
    source::{
        Acknowledged, Claims, Lost, Operate, SourceError,
        redis::{ListSettings, RedisSource},
    },
};

use super::{KEY, ask, leftovers, open, push, without_scripts};
use crate::support::{
    self, Server,
    promises::{AcknowledgeOne, LEASE, dead_letters_are_kept_once_and_the_oldest_go, elements, lanes, read_all},
    until,
};

/// The same without scripts, where a full Redis refuses transactions: what is claimed can still be finished.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_redis_is_drained_without_scripts() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let source = open(&without_scripts(&server), "a", ModeChoice::Auto).await;
    push(&server, KEY, &elements(30_000));
    let claim = source
        .claim(&source.keys()[0], &lanes(&["A", "B"]))
        .await
        .unwrap()
        .unwrap();
    let at = claim.reference();
    let used = source.usage().await.unwrap().used_memory.unwrap();
    ask::<()>(&server, &["CONFIG", "SET", "maxmemory", &(used - 100_000).to_string()]);
    assert!(
        source
            .renew(std::slice::from_ref(&at), &lanes(&["A"]))
            .await
            .unwrap()
            .is_empty()
    );
    assert_eq!(read_all(&source, &claim, 0).await, elements(30_000));
    for (lane, cursor) in [("A", 30_000), ("B", 20_000)] {
        let waiting = source.acknowledge_one(&at, lane, cursor).await;
        assert!(matches!(waiting, Err(SourceError::Unavailable(_))), "{waiting:?}");
    }
    assert_eq!(
        source.acknowledge_one(&at, "B", 30_000).await.unwrap(),
        Acknowledged::Finished
    );
    assert!(source.list().await.unwrap().is_empty());
    ask::<()>(&server, &["SET", "x", "1"]);
    assert_eq!(leftovers(&server), ["x"]);
}

/// Without scripts a claim is made in two steps; its maker may die in between.
#[tokio::test(flavor = "multi_thread")]
async fn half_made_claims_are_finished_or_forgotten() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    for settings in [support::redis_settings(server.addr(0)), without_scripts(&server)] {
        let source = open(&settings, "a", ModeChoice::Auto).await;
        let ids = [ulid::Ulid::new().to_string(), ulid::Ulid::new().to_string()];
        for id in &ids {
            let state = format!("analytics-claim-state:{{{KEY}}}:{id}");
            ask::<i64>(
                &server,
                &[
                    "HSET", &state, "owner", "x", "fence", "1", "base", "0", "at", "1", "c:A", "0",
                ],
            );
            ask::<i64>(&server, &["ZADD", &format!("analytics-claims:{{{KEY}}}"), "1", id]);
        }
        push(&server, &format!("analytics-claim:{{{KEY}}}:{}", ids[0]), &elements(10));
        let taken = source.take_over(&lanes(&["A"]), &[]).await.unwrap();
        assert_eq!(
            taken.iter().map(|claim| claim.id.to_string()).collect::<Vec<_>>(),
            [ids[0].clone()]
        );
        assert_eq!(read_all(&source, &taken[0], 0).await, elements(10));
        source.acknowledge_one(&taken[0].reference(), "A", 10).await.unwrap();
        assert!(
            leftovers(&server).iter().all(|key| !key.contains("claim")),
            "{:?}",
            leftovers(&server)
        );
    }
}

/// A user who may neither run scripts nor WATCH.
fn limited(server: &Server) -> RedisSettings {
    RedisSettings {
        username: "limited".to_owned(),
        password: Secret::new("limited-secret".to_owned()),
        ..support::redis_settings(server.addr(0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_limited_user_reads_in_place() {
    let Some(server) = support::redis("acl", &[]) else {
        return;
    };
    let source = RedisSource::new(
        &limited(&server),
        &support::delivery_settings("a", ModeChoice::Auto, LEASE),
        ListSettings {
            uptime: false,
            ..support::LISTS
        },
    )
    .unwrap();
    let mode = source.open().await.unwrap();
    assert_eq!(mode.label, "peek");
    assert!(mode.reason.contains("neither scripts nor WATCH"), "{}", mode.reason);
    let url = format!("redis://app:app-secret@{}", server.addr(0));
    let mut client = redis::Client::open(url).unwrap().get_connection().unwrap();
    for element in elements(100) {
        redis::cmd("RPUSH")
            .arg(KEY)
            .arg(&element[..])
            .exec(&mut client)
            .unwrap();
    }
    let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    assert_eq!(read_all(&source, &claim, 0).await, elements(100));
    source.acknowledge_one(&claim.reference(), "A", 60).await.unwrap();
    let left: i64 = redis::cmd("LLEN").arg(KEY).query(&mut client).unwrap();
    assert_eq!(left, 40);
    assert_eq!(
        source.acknowledge_one(&claim.reference(), "A", 100).await.unwrap(),
        Acknowledged::Finished
    );
    dead_letters_are_kept_once_and_the_oldest_go(&source).await;
    let claims = RedisSource::new(
        &limited(&server),
        &support::delivery_settings("a", ModeChoice::Claims, LEASE),
        ListSettings {
            uptime: false,
            ..support::LISTS
        },
    );
    let refused = claims.unwrap().open().await.unwrap_err();
    assert!(matches!(refused, SourceError::Refused(_)), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_in_place_removes_only_what_was_delivered() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let settings = support::redis_settings(server.addr(0));
    let (a, b) = (
        open(&settings, "a", ModeChoice::Peek).await,
        open(&settings, "b", ModeChoice::Peek).await,
    );
    push(&server, KEY, &elements(100));
    ask::<i64>(&server, &["PEXPIRE", KEY, "60000"]);
    let key = &a.keys()[0];
    let claim = a.claim(key, &lanes(&["A", "B"])).await.unwrap().unwrap();
    assert_eq!(ask::<i64>(&server, &["PTTL", KEY]), -1);
    assert!(
        b.claim(key, &lanes(&["A"])).await.unwrap().is_none(),
        "one instance at a time"
    );
    push(&server, KEY, &elements(5));
    assert_eq!(
        read_all(&a, &claim, 0).await,
        elements(100),
        "what came later is for the next claim"
    );
    a.acknowledge_one(&claim.reference(), "A", 100).await.unwrap();
    a.acknowledge_one(&claim.reference(), "B", 30).await.unwrap();
    assert_eq!(ask::<i64>(&server, &["LLEN", KEY]), 75);
    assert_eq!(
        read_all(&a, &claim, 30).await,
        elements(100)[30..],
        "rows keep their numbers"
    );
    ask::<i64>(&server, &["PEXPIRE", KEY, "60000"]);
    assert!(a.renew(&[claim.reference()], &[]).await.unwrap().is_empty());
    assert_eq!(ask::<i64>(&server, &["PTTL", KEY]), -1);

    // An old pump takes everything, and gateways go on.
    ask::<i64>(&server, &["DEL", KEY]);
    push(&server, KEY, &elements(100)[10..]);
    let acknowledged = a.acknowledge_one(&claim.reference(), "B", 60).await;
    assert!(
        matches!(acknowledged, Err(SourceError::LeaseLost(_))),
        "{acknowledged:?}"
    );
    assert_eq!(
        ask::<i64>(&server, &["LLEN", KEY]),
        90,
        "rows that nobody has delivered stay"
    );

    // The lock is free again; a lock that ran out is noticed.
    let claim = b.claim(key, &lanes(&["A"])).await.unwrap().unwrap();
    b.read(&claim.reference(), 0, 10).await.unwrap();
    let next = until("lock", async || a.claim(key, &lanes(&["A"])).await.unwrap()).await;
    assert!(matches!(
        b.read(&claim.reference(), 10, 10).await,
        Err(SourceError::LeaseLost(_))
    ));
    assert!(b.renew(&[claim.reference()], &[]).await.unwrap() == [Lost::Taken(claim.id)]);
    read_all(&a, &next, 0).await;
    assert_eq!(
        a.acknowledge_one(&next.reference(), "A", 90).await.unwrap(),
        Acknowledged::Finished
    );
    assert!(leftovers(&server).is_empty(), "{:?}", leftovers(&server));
}

#[tokio::test(flavor = "multi_thread")]
async fn legacy_pops_in_chunks_and_sets_the_expiry_on_the_rest() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let lists = ListSettings {
        purge_chunk: 30,
        expiration: 77,
        uptime: false,
    };
    let delivery = support::delivery_settings("a", ModeChoice::Legacy, LEASE);
    let source = RedisSource::new(&support::redis_settings(server.addr(0)), &delivery, lists).unwrap();
    assert_eq!(source.open().await.unwrap().label, "legacy");
    push(&server, KEY, &elements(50));
    let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    assert_eq!(claim.len, 30);
    assert_eq!(ask::<i64>(&server, &["TTL", KEY]), 77);
    assert_eq!(read_all(&source, &claim, 0).await, elements(50)[..30]);
    source.acknowledge_one(&claim.reference(), "A", 30).await.unwrap();
    let rest = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    assert_eq!(read_all(&source, &rest, 0).await, elements(50)[30..]);
    assert_eq!(source.usage().await.unwrap().claimed_rows, 20);
    assert!(leftovers(&server).is_empty());
}
