//! The source against one real Redis, and the same promises in memory.

mod support;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use support::{Server, promises::{self, LEASE, World, elements, lanes, read_all}};
use tyk_pump::{
    config::{ModeChoice, RedisSettings, Secret},
    source::{Mode, Source, SourceError, memory::MemorySource},
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
        let lists = vec![(key("analytics-tyk-system-analytics"), Vec::new()), (key("b"), Vec::new())];
        InMemory(MemorySource::new(lists).lease(LEASE))
    })
    .await;
}

struct InRedis<'a> {
    server: &'a Server,
    settings: RedisSettings,
    mode: Mode,
}

#[async_trait]
impl World for InRedis<'_> {
    async fn instance(&self, id: &str) -> Box<dyn Source> {
        let source = support::source(&self.settings, id, ModeChoice::Auto, LEASE);
        assert_eq!(source.open().await.unwrap(), self.mode, "{}", source.mode_reason());
        Box::new(source)
    }

    async fn push(&self, key: usize, elements: Vec<Bytes>) {
        let source = support::source(&self.settings, "pusher", ModeChoice::Auto, LEASE);
        push(self.server, &source.keys()[key].name, &elements);
    }

    fn operable(&self) -> bool {
        self.mode == Mode::ClaimsScript
    }
}

fn push(server: &Server, key: &str, elements: &[Bytes]) {
    let mut client = server.client(0, "");
    for part in elements.chunks(10_000) {
        let mut command = redis::cmd("RPUSH");
        command.arg(key);
        for element in part {
            command.arg(&element[..]);
        }
        command.exec(&mut client).unwrap();
    }
}

fn ask<T: redis::FromRedisValue>(server: &Server, command: &[&str]) -> T {
    let mut request = redis::cmd(command[0]);
    request.arg(&command[1..]);
    request.query(&mut server.client(0, "")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_by_script_keep_what_sources_promise() {
    let Some(server) = support::redis("plain", &[]) else { return };
    promises::hold(async || {
        ask::<()>(&server, &["FLUSHALL"]);
        InRedis {
            server: &server,
            settings: support::redis_settings(server.addr(0)),
            mode: Mode::ClaimsScript,
        }
    })
    .await;
}

/// Settings of a user who may do everything but run scripts.
fn without_scripts(server: &Server) -> RedisSettings {
    ask::<()>(server, &["ACL", "SETUSER", "plain", "on", ">plain", "~*", "+@all", "-@scripting"]);
    RedisSettings {
        username: "plain".to_owned(),
        password: Secret::new("plain".to_owned()),
        ..support::redis_settings(server.addr(0))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_by_watch_keep_what_sources_promise() {
    let Some(server) = support::redis("plain", &[]) else { return };
    let settings = without_scripts(&server);
    promises::hold(async || {
        ask::<()>(&server, &["FLUSHALL"]);
        InRedis {
            server: &server,
            settings: settings.clone(),
            mode: Mode::ClaimsWatch,
        }
    })
    .await;
}
