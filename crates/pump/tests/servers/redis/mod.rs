//! The source against real servers.

mod beside;
mod claims;
mod loss;
mod model;
mod modes;
mod servers;
mod setups;

use crate::support::{self, Server, promises::LEASE};
use bytes::Bytes;
use tyk_pump::{
    config::{ModeChoice, RedisSettings, Secret},
    source::{Claims, redis::RedisSource},
};

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

/// Settings of a user who may do everything but run scripts.
fn without_scripts(server: &Server) -> RedisSettings {
    ask::<()>(
        server,
        &["ACL", "SETUSER", "plain", "on", ">plain", "~*", "+@all", "-@scripting"],
    );
    RedisSettings {
        username: "plain".to_owned(),
        password: Secret::new("plain".to_owned()),
        ..support::redis_settings(server.addr(0))
    }
}

async fn open(settings: &RedisSettings, instance: &str, choice: ModeChoice) -> RedisSource {
    let source = support::source(settings, instance, choice, LEASE);
    source.open().await.unwrap();
    source
}

const KEY: &str = "analytics-tyk-system-analytics";

/// Every key that is left.
fn leftovers(server: &Server) -> Vec<String> {
    let mut keys: Vec<String> = ask(server, &["KEYS", "*"]);
    keys.sort();
    keys
}
