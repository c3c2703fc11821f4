//! `tyk-pump load`: pushes made-up records into Redis exactly as a gateway does, for benchmarks, crash tests and trying
//! out a configuration.

mod connect;
mod fixture;
mod push;

use std::{fmt, path::PathBuf, time::Duration};

use crate::config::{RedisSettings, RedisTopology, Secret};

pub use push::push;

/// The options of `tyk-pump load`.
#[derive(Clone, Debug, clap::Args)]
pub struct LoadOptions {
    /// configuration file whose analytics_storage_config names the Redis to push to
    #[arg(short = 'c', long, value_name = "FILE")]
    pub conf: Option<PathBuf>,
    /// push to this Redis instead of the one in the configuration
    #[arg(long, value_name = "HOST:PORT")]
    pub redis: Option<String>,
    /// how many records
    #[arg(long, default_value_t = 100_000)]
    pub records: u64,
    /// records per second; without it as fast as Redis takes them
    #[arg(long)]
    pub rate: Option<f64>,
    /// with raw request and response, as with detailed recording
    #[arg(long)]
    pub bodies: bool,
    /// fill every record up to about this many bytes
    #[arg(long, value_name = "BYTES")]
    pub size: Option<usize>,
    /// number the records: the path of each is /serial/ and its number from 0 on, 12 digits
    #[arg(long)]
    pub serials: bool,
    /// share of responses that are errors, 0 to 1
    #[arg(long, default_value_t = 0.05)]
    pub errors: f64,
    /// make the same mix of records as another run with this seed
    #[arg(long)]
    pub seed: Option<u64>,
    /// connections that push side by side
    #[arg(long, default_value_t = 4)]
    pub clients: usize,
    /// lists to push to: 1, or 10 as a gateway with enable_multiple_analytics_keys
    #[arg(long, default_value = "1", value_parser = ["1", "10"])]
    pub keys: String,
    /// encoding: msgpack or protobuf
    #[arg(long, default_value = "msgpack", value_parser = ["msgpack", "protobuf"])]
    pub serializer: String,
    /// time to live of msgpack lists in seconds, as a gateway's storage_expiration_time; -1: none
    #[arg(long, default_value_t = 60, allow_negative_numbers = true)]
    pub ttl: i64,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            conf: None,
            redis: None,
            records: 100_000,
            rate: None,
            bodies: false,
            size: None,
            serials: false,
            errors: 0.05,
            seed: None,
            clients: 4,
            keys: "1".to_owned(),
            serializer: "msgpack".to_owned(),
            ttl: 60,
        }
    }
}

impl LoadOptions {
    /// Where to push: `--redis`, else what the caller read from the configuration, else Redis on this machine.
    pub fn target(&self, configured: Option<RedisSettings>) -> RedisSettings {
        match (&self.redis, configured) {
            (None, Some(settings)) => settings,
            (Some(address), _) => redis_at(address),
            (None, None) => redis_at("127.0.0.1:6379"),
        }
    }
}

/// A Redis without login, with the keys of a gateway.
fn redis_at(address: &str) -> RedisSettings {
    RedisSettings {
        topology: RedisTopology::Single,
        addrs: vec![address.to_owned()],
        username: String::new(),
        password: Secret::default(),
        database: 0,
        timeout: Duration::from_secs(5),
        key_prefix: "analytics-".to_owned(),
        tls: None,
    }
}

/// What was pushed.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Records that Redis confirmed.
    pub records: u64,
    /// Bytes of their elements.
    pub bytes: u64,
    /// Lists that they went to.
    pub keys: usize,
    /// How long it took.
    pub elapsed: Duration,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.elapsed.as_secs_f64().max(1e-9);
        write!(
            f,
            "pushed {} records ({:.1} MB) to {} list{} in {:.2} s: {:.0} records/s",
            self.records,
            self.bytes as f64 / 1e6,
            self.keys,
            if self.keys == 1 { "" } else { "s" },
            seconds,
            self.records as f64 / seconds,
        )
    }
}

/// Runs `tyk-pump load`: pushes with a progress bar (on a terminal) and prints the report. `configured` is the Redis of
/// the configuration file, if one was read.
///
/// # Errors
/// An option makes no sense, or Redis cannot be reached or refuses; the text says how many records it confirmed.
pub async fn run(options: LoadOptions, configured: Option<RedisSettings>) -> anyhow::Result<()> {
    let bar = indicatif::ProgressBar::new(options.records);
    if let Ok(style) = indicatif::ProgressStyle::with_template("{bar:40} {human_pos}/{human_len} {per_sec} eta {eta}") {
        bar.set_style(style);
    }
    let counter = bar.clone();
    let result = push(&options, &options.target(configured), move |records| {
        counter.inc(records)
    })
    .await;
    bar.finish_and_clear();
    println!("{}", result?);
    Ok(())
}
