//! Set-ups that cannot work are named, each with what to change.

use tyk_pump::{
    config::{ModeChoice, RedisSettings, RedisTopology, Secret, TlsSettings, TlsVersion},
    source::{Acknowledged, Claims, SourceError},
};

use super::{KEY, ask, push};
use crate::support::{
    self,
    promises::{AcknowledgeOne, LEASE, elements, lanes, read_all},
};

/// What opening, or else the first look at the lists, says.
async fn complaint(settings: &RedisSettings) -> String {
    let source = support::source(settings, "a", ModeChoice::Auto, LEASE);
    let looked = async {
        source.open().await?;
        source.fleet().await?;
        source.pending().await.map(drop)
    };
    looked.await.expect_err("it cannot work").to_string()
}

fn names(said: &str, parts: &[&str]) {
    for part in parts {
        assert!(said.contains(part), "{part:?} is not in {said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sentinel_and_a_replica_are_named_with_their_remedy() {
    let Some(server) = support::redis_sentinel() else {
        return;
    };
    let sentinel = RedisSettings {
        password: Secret::new("sentinel-secret".to_owned()),
        ..support::redis_settings(server.addr(2))
    };
    names(
        &complaint(&sentinel).await,
        &[&server.addr(2), "is a Sentinel", "master_name"],
    );
    let replica = RedisSettings {
        password: Secret::new("secret".to_owned()),
        ..support::redis_settings(server.addr(1))
    };
    names(
        &complaint(&replica).await,
        &[&server.addr(1), "read-only replica", "name the master", "READONLY"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_a_cluster_is_named_with_its_remedy() {
    let Some(server) = support::redis_cluster() else { return };
    let said = complaint(&support::redis_settings(server.addr(0))).await;
    names(
        &said,
        &[&server.addr(0), "node of a Redis Cluster", "enable_cluster", "MOVED"],
    );
    let cluster = RedisSettings {
        topology: RedisTopology::Cluster,
        ..support::redis_settings(server.addr(0))
    };
    support::source(&cluster, "a", ModeChoice::Auto, LEASE)
        .open()
        .await
        .unwrap();
}

fn careless() -> TlsSettings {
    TlsSettings {
        skip_verify: true,
        ca_file: None,
        identity: None,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_to_a_plain_port_and_plain_to_a_tls_port_are_told_apart() {
    if let Some(server) = support::redis("plain", &[]) {
        let settings = RedisSettings {
            tls: Some(careless()),
            timeout: std::time::Duration::from_secs(2),
            ..support::redis_settings(server.addr(0))
        };
        names(
            &complaint(&settings).await,
            &[&server.addr(0), "does not speak TLS", "use_ssl"],
        );
    }
    for mode in ["tls", "mtls"] {
        if let Some(server) = support::redis(mode, &[]) {
            let said = complaint(&support::redis_settings(server.addr(0))).await;
            names(&said, &[&server.addr(0), "speaks TLS", "use_ssl"]);
        }
    }
}

/// A user as upstream needs it: its lists, and nothing beside them.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_with_the_keys_of_upstream_alone_is_served_as_upstream_does_and_told_why() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    ask::<()>(
        &server,
        &[
            "ACL",
            "SETUSER",
            "narrow",
            "on",
            ">narrow",
            "~analytics-tyk-system-analytics*",
            "~host-checker:tyk-uptime-analytics",
            "~version-check-pump",
            "+@all",
        ],
    );
    let settings = RedisSettings {
        username: "narrow".to_owned(),
        password: Secret::new("narrow".to_owned()),
        ..support::redis_settings(server.addr(0))
    };
    let source = support::source(&settings, "a", ModeChoice::Auto, LEASE);
    let mode = source.open().await.unwrap();
    assert_eq!(mode.label, "legacy");
    names(&mode.reason, &["NOPERM", "docs/redis.md"]);
    let fleet = source.fleet().await.unwrap();
    let again = support::source(&settings, "a", ModeChoice::Auto, LEASE);
    again.open().await.unwrap();
    assert_eq!(fleet, again.fleet().await.unwrap(), "the same at every start");
    push(&server, KEY, &elements(50));
    let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    assert_eq!(read_all(&source, &claim, 0).await, elements(50));
    assert_eq!(
        source.acknowledge_one(&claim.reference(), "A", 50).await.unwrap(),
        Acknowledged::Finished
    );
}

/// The user of docs/redis.md.
#[tokio::test(flavor = "multi_thread")]
async fn the_documented_user_may_do_everything_that_claims_need() {
    let Some(server) = support::redis("plain", &[]) else {
        return;
    };
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/redis.md")).unwrap();
    let command = page.split("```").nth(1).unwrap();
    let words: Vec<&str> = command.split_whitespace().collect();
    assert_eq!(words[..3], ["ACL", "SETUSER", "tyk-pump"]);
    ask::<()>(&server, &words);
    let settings = RedisSettings {
        username: "tyk-pump".to_owned(),
        password: Secret::new("PASSWORD".to_owned()),
        ..support::redis_settings(server.addr(0))
    };
    let user = Documented { server, settings };
    support::promises::hold(async || {
        ask::<()>(&user.server, &["FLUSHDB"]);
        &user
    })
    .await;
    let source = support::source(&user.settings, "a", ModeChoice::Auto, LEASE);
    assert_eq!(source.open().await.unwrap().label, "claims-script");
    source.announce_version("1").await.unwrap();
    assert!(source.usage().await.unwrap().used_memory.is_some());
    let denied: Vec<redis::Value> = ask(&user.server, &["ACL", "LOG"]);
    assert!(denied.is_empty(), "{denied:?}");
}

struct Documented {
    server: support::Server,
    settings: RedisSettings,
}

#[async_trait::async_trait]
impl support::promises::World for &Documented {
    async fn instance(&self, id: &str) -> Box<dyn tyk_pump::source::Source> {
        let source = support::source(&self.settings, id, ModeChoice::Auto, LEASE);
        source.open().await.unwrap();
        Box::new(source)
    }

    async fn push(&self, key: usize, elements: Vec<bytes::Bytes>) {
        let name = support::source(&self.settings, "x", ModeChoice::Auto, LEASE).keys()[key]
            .name
            .clone();
        push(&self.server, &name, &elements);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_log_in_is_refused_for_good() {
    let Some(server) = support::redis("acl", &[]) else {
        return;
    };
    let settings = RedisSettings {
        username: "limited".to_owned(),
        password: Secret::new("wrong".to_owned()),
        ..support::redis_settings(server.addr(0))
    };
    let source = support::source(&settings, "a", ModeChoice::Auto, LEASE);
    let opened = source.open().await;
    assert!(matches!(opened, Err(SourceError::Refused(_))), "{opened:?}");
}
