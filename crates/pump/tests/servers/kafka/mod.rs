//! Kafka pumps as operators run them, against a real broker: refused, locked out, killed, and with a broker that goes away.

mod outages;
mod refusals;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::{services::records::LIST, support::daemon::Site};

/// The broker that tests share.
struct Shared {
    /// Host and port without a login; ports with logins and TLS follow.
    address: String,
    port: u16,
    topic: String,
}

impl Shared {
    /// A new topic on it; `None`: it was not started.
    fn create(settings: &[(&str, &str)]) -> Option<Shared> {
        let server = fakes::server::address("kafka")?;
        let address = server.split(' ').next().unwrap().to_owned();
        let topic = format!("t-{}", ulid::Ulid::new());
        create(&address, &topic, 1, settings);
        Some(Shared {
            port: address.rsplit_once(':').unwrap().1.parse().unwrap(),
            address,
            topic,
        })
    }

    /// A pump that logs in, at a port that asks for it.
    fn with_login(&self, login: Value) -> Value {
        let mut meta = json!({"broker": [format!("127.0.0.1:{}", self.port + 1)], "topic": self.topic});
        for (key, value) in login.as_object().unwrap() {
            meta[key] = value.clone();
        }
        json!({"events": {"type": "kafka", "meta": meta}})
    }

    /// How often each number is in the topic.
    fn numbers(&self) -> BTreeMap<u64, u64> {
        numbers(&self.address, &self.topic)
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

fn create(address: &str, topic: &str, partitions: i32, settings: &[(&str, &str)]) {
    block_on(fakes::kafka::create(address, topic, partitions, settings)).unwrap();
}

/// How often each number of [`crate::services::records`] is in a topic.
fn numbers(address: &str, topic: &str) -> BTreeMap<u64, u64> {
    let mut numbers = BTreeMap::new();
    for message in fakes::kafka::messages(address, topic).unwrap() {
        let message: Value = serde_json::from_slice(&message.value).unwrap();
        let number = message["path"].as_str().and_then(|path| path.strip_prefix("/serial/"));
        *numbers.entry(number.unwrap().parse().unwrap()).or_default() += 1;
    }
    numbers
}

/// Each of these numbers once.
fn once(numbers: impl Iterator<Item = u64>) -> BTreeMap<u64, u64> {
    numbers.map(|number| (number, 1)).collect()
}

/// Waits until the pump is in a state with a cause and a remedy in which these words are.
fn wait_for_state(site: &Site, state: &str, words: &[&str]) {
    let mut last = Value::Null;
    site.wait(&format!("{state} with {words:?}"), 60, || {
        let (_, pump) = site.status("EVENTS")?;
        let text = format!("{} {}", pump["cause"], pump["remedy"]);
        let is_so = pump["state"] == state && words.iter().all(|word| text.contains(word));
        if !is_so && pump["cause"] != last["cause"] {
            println!("{} {text}", pump["state"]);
            last = pump;
        }
        is_so.then_some(())
    });
}

/// Rows that gateways have pushed and nobody has claimed yet.
fn unclaimed(client: &mut redis::Connection) -> u64 {
    redis::cmd("LLEN").arg(LIST).query(client).unwrap()
}
