//! The source against Redis Cluster, Sentinel and TLS.

use std::{path::PathBuf, time::Duration};

use crate::support::{
    self, Server,
    promises::{self, AcknowledgeOne, LEASE, World, elements, lanes, read_all},
    until,
};
use async_trait::async_trait;
use bytes::Bytes;
use tyk_pump::{
    config::{ModeChoice, RedisSettings, RedisTopology, Secret, TlsSettings, TlsVersion},
    source::{Acknowledged, Claims, Source, SourceError, redis::RedisSource},
};

/// Runs a command wherever the cluster has its key.
fn ask<T: redis::FromRedisValue>(server: &Server, command: &[&[u8]]) -> T {
    let nodes: Vec<String> = (0..3).map(|node| format!("redis://{}", server.addr(node))).collect();
    let mut client = redis::cluster::ClusterClient::new(nodes)
        .unwrap()
        .get_connection()
        .unwrap();
    let mut request = redis::cmd(std::str::from_utf8(command[0]).unwrap());
    for part in &command[1..] {
        request.arg(*part);
    }
    request.query(&mut client).unwrap()
}

fn cluster_settings(server: &Server, prefix: &str) -> RedisSettings {
    RedisSettings {
        topology: RedisTopology::Cluster,
        addrs: vec!["127.0.0.1:1".to_owned(), server.addr(2)], // the first seed is down
        key_prefix: prefix.to_owned(),
        ..support::redis_settings(server.addr(0))
    }
}

struct InCluster<'a> {
    server: &'a Server,
    settings: RedisSettings,
    mode: &'static str,
}

#[async_trait]
impl World for InCluster<'_> {
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

fn push(server: &Server, key: &str, elements: &[Bytes]) {
    for part in elements.chunks(10_000) {
        let mut command: Vec<&[u8]> = vec![b"RPUSH", key.as_bytes()];
        command.extend(part.iter().map(|element| &element[..]));
        ask::<i64>(server, &command);
    }
}

fn flush(server: &Server) {
    for node in 0..3 {
        redis::cmd("FLUSHALL").exec(&mut server.client(node, "")).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_keeps_what_sources_promise() {
    let Some(server) = support::redis_cluster() else { return };
    promises::hold(async || {
        flush(&server);
        InCluster {
            server: &server,
            settings: cluster_settings(&server, "analytics-"),
            mode: "claims-script",
        }
    })
    .await;
    for node in 0..3 {
        let mut user = redis::cmd("ACL");
        user.arg(&["SETUSER", "plain", "on", ">plain", "~*", "+@all", "-@scripting"]);
        user.exec(&mut server.client(node, "")).unwrap();
    }
    promises::hold(async || {
        flush(&server);
        InCluster {
            server: &server,
            settings: RedisSettings {
                username: "plain".to_owned(),
                password: Secret::new("plain".to_owned()),
                ..cluster_settings(&server, "analytics-")
            },
            mode: "claims-watch",
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn prefixes_with_and_without_a_hash_tag_work_in_a_cluster() {
    let Some(server) = support::redis_cluster() else { return };
    for (prefix, mode) in [("{tyk}analytics-", "claims-script"), ("a{}b-", "peek")] {
        let settings = cluster_settings(&server, prefix);
        let source = support::source(&settings, "a", ModeChoice::Auto, LEASE);
        let chosen = source.open().await.unwrap();
        assert_eq!(chosen.label, mode, "{}", chosen.reason);
        for key in source.keys() {
            push(&server, &key.name, &elements(100));
        }
        assert_eq!(source.pending().await.unwrap().len(), 23);
        for key in source.keys() {
            let claim = source.claim(key, &lanes(&["A"])).await.unwrap().unwrap();
            assert_eq!(read_all(&source, &claim, 0).await, elements(100));
            let state = source.acknowledge_one(&claim.reference(), "A", 100).await.unwrap();
            assert_eq!(state, Acknowledged::Finished);
        }
        assert!(source.pending().await.unwrap().is_empty());
        assert_eq!(source.fleet().await.unwrap().len(), 26);
    }
}

/// The slot of a claim moves to another node while it is read and acknowledged.
#[tokio::test(flavor = "multi_thread")]
async fn a_slot_that_moves_takes_nothing_with_it() {
    let Some(server) = support::redis_cluster() else { return };
    let settings = cluster_settings(&server, "analytics-");
    let source = support::source(&settings, "a", ModeChoice::Auto, Duration::from_secs(60));
    source.open().await.unwrap();
    let key = source.keys()[0].clone();
    push(&server, &key.name, &elements(3000));
    let claim = source.claim(&key, &lanes(&["A"])).await.unwrap().unwrap();
    let at = claim.reference();
    assert_eq!(source.read(&at, 0, 10).await.unwrap().elements.len(), 10);

    let slot = "609"; // of analytics-tyk-system-analytics, on the first node
    let id = |node| {
        redis::cmd("CLUSTER")
            .arg("MYID")
            .query::<String>(&mut server.client(node, ""))
            .unwrap()
    };
    let (from, to) = (id(0), id(1));
    let set = |node, parts: &[&str]| {
        redis::cmd("CLUSTER")
            .arg("SETSLOT")
            .arg(slot)
            .arg(parts)
            .exec(&mut server.client(node, ""))
            .unwrap();
    };
    set(1, &["IMPORTING", &from]);
    set(0, &["MIGRATING", &to]);
    let keys: Vec<String> = redis::cmd("CLUSTER")
        .arg("GETKEYSINSLOT")
        .arg(slot)
        .arg(100)
        .query(&mut server.client(0, ""))
        .unwrap();
    assert!(keys.len() >= 3, "{keys:?}");
    for name in &keys {
        redis::cmd("MIGRATE")
            .arg(&["127.0.0.1", &(server.port + 1).to_string(), name, "0", "5000"])
            .exec(&mut server.client(0, ""))
            .unwrap();
        // In the middle everything may fail, but only as something that passes.
        let read = source.read(&at, 10, 10).await;
        assert!(matches!(read, Ok(_) | Err(SourceError::Unavailable(_))), "{read:?}");
        let acknowledged = source.acknowledge_one(&at, "A", 10).await;
        assert!(
            matches!(acknowledged, Ok(_) | Err(SourceError::Unavailable(_))),
            "{acknowledged:?}"
        );
    }
    for node in [1, 0, 2] {
        set(node, &["NODE", &to]);
    }
    until("the new node", async || source.read(&at, 10, 10).await.ok()).await;
    assert_eq!(read_all(&source, &claim, 0).await, elements(3000));
    assert_eq!(
        source.acknowledge_one(&at, "A", 3000).await.unwrap(),
        Acknowledged::Finished
    );
}

fn sentinel_settings(server: &Server, password: &str) -> RedisSettings {
    RedisSettings {
        topology: RedisTopology::Sentinel {
            master: "mymaster".to_owned(),
            password: Secret::new(password.to_owned()),
        },
        addrs: vec!["127.0.0.1:1".to_owned(), server.addr(2), server.addr(3), server.addr(4)],
        password: Secret::new("secret".to_owned()),
        ..support::redis_settings(server.addr(0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_master_is_found_through_the_sentinels() {
    let Some(server) = support::redis_sentinel() else {
        return;
    };
    let wrong = support::source(&sentinel_settings(&server, "wrong"), "a", ModeChoice::Auto, LEASE);
    assert!(wrong.open().await.is_err());
    let settings = sentinel_settings(&server, "sentinel-secret");
    let source = support::source(&settings, "a", ModeChoice::Auto, Duration::from_secs(60));
    source.open().await.unwrap();
    let mut master = server.client(0, "secret");
    for element in elements(100) {
        redis::cmd("RPUSH")
            .arg(&*source.keys()[0].name)
            .arg(&element[..])
            .exec(&mut master)
            .unwrap();
    }
    let claim = source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().unwrap();
    source.acknowledge_one(&claim.reference(), "A", 10).await.unwrap();
    redis::cmd("WAIT").arg(1).arg(5000).exec(&mut master).unwrap();
    for act in ["failover", "kill-master"] {
        server.act(act);
        let rows = until("the new master", async || {
            match source.read(&claim.reference(), 10, 100).await {
                Ok(window) => Some(window.elements.len()),
                Err(SourceError::Unavailable(_)) => None,
                Err(error) => panic!("{act}: {error}"),
            }
        });
        assert!(rows.await > 0);
        until("the new master", async || {
            match source.acknowledge_one(&claim.reference(), "A", 10).await {
                Ok(state) => Some(state),
                Err(SourceError::Unavailable(_)) => None,
                Err(error) => panic!("{act}: {error}"),
            }
        })
        .await;
        if act == "failover" {
            // The old master follows the new one before the next fault.
            until("replication", async || {
                let info: String = redis::cmd("INFO")
                    .arg("replication")
                    .query(&mut server.try_client(0, "secret").ok()?)
                    .ok()?;
                info.contains("master_link_status:up").then_some(())
            })
            .await;
        }
    }
    source.acknowledge_one(&claim.reference(), "A", 100).await.unwrap();
}

fn tls(server: &Server) -> TlsSettings {
    TlsSettings {
        skip_verify: false,
        ca_file: Some(cert(server, "ca.crt")),
        identity: None,
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
    }
}

fn cert(server: &Server, name: &str) -> PathBuf {
    server.folder.path().join("certs").join(name)
}

async fn try_tls(server: &Server, tls: TlsSettings) -> Result<RedisSource, SourceError> {
    let settings = RedisSettings {
        tls: Some(tls),
        ..support::redis_settings(format!("localhost:{}", server.port))
    };
    let source = support::source(&settings, "a", ModeChoice::Auto, LEASE);
    source.open().await.map(|_| source)
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_trusts_the_named_authority_and_nobody_else() {
    let Some(server) = support::redis("tls", &[]) else {
        return;
    };
    let source = try_tls(&server, tls(&server)).await.unwrap();
    // Control connections and windows both.
    source.announce_version("1").await.unwrap();
    assert!(source.claim(&source.keys()[0], &lanes(&["A"])).await.unwrap().is_none());
    let popping = support::source(
        &RedisSettings {
            tls: Some(tls(&server)),
            ..support::redis_settings(server.addr(0))
        },
        "a",
        ModeChoice::Legacy,
        LEASE,
    );
    popping.open().await.unwrap();

    for untrusted in [
        TlsSettings {
            ca_file: Some(cert(&server, "rogue-ca.crt")),
            ..tls(&server)
        },
        TlsSettings {
            ca_file: None,
            ..tls(&server)
        },
    ] {
        let Err(error) = try_tls(&server, untrusted).await else {
            panic!("trusted a stranger")
        };
        assert!(error.to_string().contains("certificate"), "{error}");
    }
    let careless = TlsSettings {
        skip_verify: true,
        ca_file: None,
        ..tls(&server)
    };
    try_tls(&server, careless).await.unwrap();
    let broken = TlsSettings {
        ca_file: Some(cert(&server, "server.key")),
        ..tls(&server)
    };
    let settings = RedisSettings {
        tls: Some(broken),
        ..support::redis_settings(server.addr(0))
    };
    let delivery = support::delivery_settings("a", ModeChoice::Auto, LEASE);
    let Err(error) = RedisSource::new(&settings, &delivery, support::LISTS) else {
        panic!("no certificate in it")
    };
    assert!(format!("{error:#}").contains("server.key"), "{error:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_versions_are_bounded_on_both_sides() {
    let Some(server) = support::redis("tls", &["--tls-protocols", "TLSv1.2"]) else {
        return;
    };
    try_tls(&server, tls(&server)).await.unwrap();
    let newer = TlsSettings {
        min_version: TlsVersion::V1_3,
        ..tls(&server)
    };
    assert!(try_tls(&server, newer).await.is_err());
    let Some(server) = support::redis("tls", &["--tls-protocols", "TLSv1.3"]) else {
        return;
    };
    try_tls(&server, tls(&server)).await.unwrap();
    let older = TlsSettings {
        max_version: TlsVersion::V1_2,
        ..tls(&server)
    };
    assert!(try_tls(&server, older).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn mutual_tls_shows_our_certificate() {
    let Some(server) = support::redis("mtls", &[]) else {
        return;
    };
    assert!(
        try_tls(&server, tls(&server)).await.is_err(),
        "the server wants a certificate"
    );
    let identity = Some((cert(&server, "client.crt"), cert(&server, "client.key")));
    try_tls(
        &server,
        TlsSettings {
            identity,
            ..tls(&server)
        },
    )
    .await
    .unwrap();
    let identity = Some((cert(&server, "rogue.crt"), cert(&server, "rogue.key")));
    assert!(
        try_tls(
            &server,
            TlsSettings {
                identity,
                ..tls(&server)
            }
        )
        .await
        .is_err()
    );
}
