//! Options of the type `kafka`.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{BuildError, encode::duration, transport::tls::SslOptions};

/// Most bytes of a batch when nothing is said.
const BATCH_BYTES: usize = 1 << 20;
/// The largest batch that librdkafka makes.
const LARGEST_BATCH: usize = 1_000_000_000;

/// Sends every record as a message to a topic of Apache Kafka, or of what speaks its protocol (Redpanda, MSK, Event Hubs): a
/// JSON object with 20 fields, sorted by name. Without `key` each message goes to the partition that this pump has given the
/// fewest bytes so far. The producer is idempotent and waits for all in-sync replicas, so that what it repeats by itself
/// arrives once; after a crash, or after an outage of more than 30 seconds, records that were under way may come twice. A record
/// that is larger than `batch_bytes`, or than the topic takes, becomes a dead letter with its size and the limit.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({
    "broker": ["kafka-1:9093", "kafka-2:9093"],
    "topic": "tyk-analytics",
    "compression": "zstd",
    "use_ssl": true,
    "sasl_mechanism": "SCRAM-SHA-512",
    "sasl_username": "tyk",
    "sasl_password": "<password>"
}))]
pub struct Options {
    /// Brokers to begin with, `host:port` each; they name the others. Required.
    pub broker: Vec<String>,
    /// Name of this client in the brokers' logs, metrics and quotas; empty: `tyk-pump@`, the host's name and the library's.
    pub client_id: String,
    /// Topic. Required. `{org_id}` and `{api_id}` in it stand for the record's own, with `_` in place of characters that no
    /// topic may have. A topic that does not exist is made only if the brokers make topics by themselves
    /// (`auto.create.topics.enable`).
    pub topic: String,
    /// How long connecting, a question for metadata and an answer to messages may take: a number of whole seconds, a number
    /// in quotes (`"1.5"`) or a duration (`"500ms"`). Missing or 0: 30 seconds for a connection, 10 for the others.
    #[schemars(extend("x-env-fixed" = "TYK_PMP_PUMPS_KAFKA_META_TIMEOUT"))]
    pub timeout: Value,
    /// Compress with Snappy.
    pub compressed: bool,
    /// How batches are compressed: `none`, `gzip`, `snappy`, `lz4` or `zstd`; empty: as `compressed` says.
    pub compression: String,
    /// Further members of every message. One that is named like a field replaces it.
    pub meta_data: BTreeMap<String, String>,
    /// Connect with TLS. Without it the other `ssl_` options have no effect.
    pub use_ssl: bool,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub ssl: SslOptions,
    /// How to log in: `PLAIN`, `SCRAM` (with `sasl_algorithm`), `SCRAM-SHA-256`, `SCRAM-SHA-512` or `OAUTHBEARER`, in any
    /// case; empty: not at all.
    pub sasl_mechanism: String,
    /// User; with `OAUTHBEARER` the client id.
    #[schemars(extend("x-env" = "USERNAME"))]
    pub sasl_username: String,
    /// Password; with `OAUTHBEARER` the client secret.
    #[schemars(extend("x-env" = "PASSWORD", "x-secret" = true))]
    pub sasl_password: String,
    /// With `SCRAM`: `sha-256` or `sha-512`; empty: `sha-256`.
    #[schemars(extend("x-env" = "ALGORITHM"))]
    pub sasl_algorithm: String,
    /// With `OAUTHBEARER`: address that gives tokens for client credentials (OAuth 2.0, as OIDC providers have it).
    pub sasl_oauth_token_url: String,
    /// With `OAUTHBEARER`: scope to ask for; empty: none.
    pub sasl_oauth_scope: String,
    /// Most bytes of a batch, and of a message; 0: 1048576. When a topic takes less, the pump makes smaller batches by itself.
    pub batch_bytes: i64,
    /// Field of the record, by its JSON name, that becomes the key of its message: messages with the same key stay in order, in
    /// one partition (chosen as Java's clients choose it). `api_id`, `api_key`, `org_id` or any other text; empty: no key.
    pub key: String,
    /// Give every message the headers `tyk-claim` and `tyk-row`, which are the same whenever the record comes again, and
    /// `tyk-encoding` (`json`).
    pub headers: bool,
    /// Who has to have a message before it counts as delivered: `all` in-sync replicas, the leader (`1`) or nobody (`0`: what
    /// gets lost is not noticed).
    pub acks: String,
    /// Number messages, so that brokers drop those that the client repeats. Needs `acks` `all`, Kafka 0.11 or later, and with
    /// ACLs before 3.0 the right IdempotentWrite.
    pub idempotence: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            broker: Vec::new(),
            client_id: String::new(),
            topic: String::new(),
            timeout: Value::Null,
            compressed: false,
            compression: String::new(),
            meta_data: BTreeMap::new(),
            use_ssl: false,
            ssl: SslOptions::default(),
            sasl_mechanism: String::new(),
            sasl_username: String::new(),
            sasl_password: String::new(),
            sasl_algorithm: String::new(),
            sasl_oauth_token_url: String::new(),
            sasl_oauth_scope: String::new(),
            batch_bytes: 0,
            key: String::new(),
            headers: false,
            acks: "all".to_owned(),
            idempotence: true,
        }
    }
}

/// How to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mechanism {
    Plain,
    Scram256,
    Scram512,
    OauthBearer,
}

impl Mechanism {
    /// Its name in the protocol.
    pub(super) fn name(self) -> &'static str {
        match self {
            Mechanism::Plain => "PLAIN",
            Mechanism::Scram256 => "SCRAM-SHA-256",
            Mechanism::Scram512 => "SCRAM-SHA-512",
            Mechanism::OauthBearer => "OAUTHBEARER",
        }
    }
}

/// Which replicas have to have a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Acks {
    All,
    Leader,
    Nobody,
}

impl Acks {
    /// As librdkafka has it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Acks::All => "all",
            Acks::Leader => "1",
            Acks::Nobody => "0",
        }
    }
}

pub(super) fn wrong<T>(text: String) -> Result<T, BuildError> {
    Err(BuildError::Options(text))
}

impl Options {
    /// The brokers, joined as librdkafka wants them.
    pub(super) fn brokers(&self) -> Result<String, BuildError> {
        let brokers: Vec<&str> = self
            .broker
            .iter()
            .map(|broker| broker.trim())
            .filter(|broker| !broker.is_empty())
            .collect();
        if brokers.is_empty() {
            return wrong("meta.broker is missing – write for instance [\"kafka:9092\"]".to_owned());
        }
        for broker in &brokers {
            let port = broker.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if broker.contains("://") || broker.contains([',', ' ']) || !matches!(port, Some(Ok(1..))) {
                return wrong(format!(
                    "meta.broker has \"{broker}\", expected host:port – write for instance [\"kafka:9092\"]"
                ));
            }
        }
        Ok(brokers.join(","))
    }

    /// `None`: the defaults of connections and requests.
    pub(super) fn timeout(&self) -> Result<Option<Duration>, BuildError> {
        let timeout = match &self.timeout {
            Value::Number(number) => {
                let seconds = number.as_f64().unwrap_or_default().trunc();
                Duration::try_from_secs_f64(seconds).ok()
            }
            Value::String(text) if text.trim().is_empty() => Some(Duration::ZERO),
            Value::String(text) => {
                let text = text.trim();
                let seconds = || Duration::try_from_secs_f64(text.parse().ok()?).ok();
                duration::parse(text).or_else(seconds)
            }
            _ => Some(Duration::ZERO),
        };
        match timeout {
            Some(timeout) => Ok(Some(timeout).filter(|timeout| !timeout.is_zero())),
            None => wrong(format!(
                "meta.timeout is {}, expected seconds or a duration – write for instance 10 or \"500ms\"",
                self.timeout
            )),
        }
    }

    /// The codec of batches, as librdkafka calls it.
    pub(super) fn codec(&self) -> Result<&'static str, BuildError> {
        let name = self.compression.to_ascii_lowercase();
        match name.as_str() {
            "" if self.compressed => Ok("snappy"),
            "" | "none" => Ok("none"),
            "gzip" => Ok("gzip"),
            "snappy" => Ok("snappy"),
            "lz4" => Ok("lz4"),
            "zstd" => Ok("zstd"),
            _ => wrong(format!(
                "meta.compression is \"{}\", expected none, gzip, snappy, lz4 or zstd – write one of them",
                self.compression
            )),
        }
    }

    /// Which mechanism to log in with, if any. With `compat` an unknown algorithm means the default, as upstream has it.
    pub(super) fn mechanism(&self, compat: bool, warn: impl Fn(&str)) -> Result<Option<Mechanism>, BuildError> {
        let name = self.sasl_mechanism.to_ascii_lowercase();
        let algorithm = self.sasl_algorithm.to_ascii_lowercase();
        Ok(Some(match name.as_str() {
            "" => return Ok(None),
            "plain" => Mechanism::Plain,
            "scram-sha-256" => Mechanism::Scram256,
            "scram-sha-512" => Mechanism::Scram512,
            "oauthbearer" => Mechanism::OauthBearer,
            "scram" => match algorithm.as_str() {
                "" | "sha-256" => Mechanism::Scram256,
                "sha-512" => Mechanism::Scram512,
                _ => {
                    let text = format!(
                        "meta.sasl_algorithm is \"{}\", expected sha-256 or sha-512",
                        self.sasl_algorithm
                    );
                    if !compat {
                        return wrong(format!("{text} – write one of them"));
                    }
                    warn(&format!("{text} – sha-256 is used"));
                    Mechanism::Scram256
                }
            },
            _ => {
                return wrong(format!(
                    "meta.sasl_mechanism is \"{}\", expected PLAIN, SCRAM, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER – \
                     write one of them, or nothing for no login",
                    self.sasl_mechanism
                ));
            }
        }))
    }

    /// Most bytes of a batch.
    pub(super) fn batch_bytes(&self, warn: impl Fn(&str)) -> Result<usize, BuildError> {
        if self.batch_bytes < 0 {
            let given = self.batch_bytes;
            warn(&format!(
                "meta.batch_bytes is {given}, expected a number of bytes – {BATCH_BYTES} are used"
            ));
        }
        match usize::try_from(self.batch_bytes).unwrap_or(0) {
            0 => Ok(BATCH_BYTES),
            bytes if bytes > LARGEST_BATCH => wrong(format!(
                "meta.batch_bytes is {bytes}, expected at most {LARGEST_BATCH} – lower it"
            )),
            bytes => Ok(bytes),
        }
    }

    /// Who has to have a message.
    pub(super) fn acks(&self) -> Result<Acks, BuildError> {
        match self.acks.to_ascii_lowercase().as_str() {
            "" | "all" | "-1" => Ok(Acks::All),
            "1" => Ok(Acks::Leader),
            "0" => Ok(Acks::Nobody),
            _ => wrong(format!(
                "meta.acks is \"{}\", expected all, 1 or 0 – write one of them",
                self.acks
            )),
        }
    }
}
