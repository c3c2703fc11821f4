//! Metrics about this process, sent to StatsD as upstream sends them.
//!
//! `cadence` packs and sends the datagrams. The lines are written here: upstream's timings have two decimals below ten
//! milliseconds, which a StatsD client that sends integers cannot produce, and every event goes out twice.

use std::{
    fmt::Write,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use cadence::{BufferedUdpMetricSink, MetricSink};

use crate::config::StatsdSettings;

/// Largest datagram.
const DATAGRAM: usize = 1440;

/// How often lines that have gathered are sent.
const FLUSH: Duration = Duration::from_millis(100);

/// Up to this many records a flush are counted as upstream counts them, one `record:1|c` each; more become a single
/// line with their number, which StatsD adds up to the same.
const SINGLE_LINES: u64 = 100;

/// The name under which upstream groups its events, with its dot.
const JOB: &str = "PumpRecordsPurge.";

/// How often a server is looked up whose name is not known yet.
const LOOK_UP: Duration = Duration::from_secs(10);

/// Why the metrics cannot be sent; ends the process.
#[derive(Debug, thiserror::Error)]
#[error("Failed to start StatsD check: {text}; statsd_connection_string is host:port of a StatsD server")]
pub struct StartError {
    text: String,
    /// The name may be known later.
    is_name: bool,
}

impl StartError {
    fn new(text: String) -> Self {
        Self { text, is_name: false }
    }
}

/// The process' own metrics; does nothing when switched off. Cheap to clone. What has gathered is sent when the last
/// clone goes.
#[derive(Clone)]
pub struct Instrumentation {
    client: Option<Arc<Client>>,
}

/// Whether the environment asks for metrics: `TYK_INSTRUMENTATION` is exactly `1`.
pub fn wanted() -> bool {
    std::env::var_os("TYK_INSTRUMENTATION").is_some_and(|value| value == "1")
}

impl Instrumentation {
    /// Metrics that go nowhere.
    pub fn off() -> Self {
        Self { client: None }
    }

    /// Starts sending to the configured server; `wanted` without a server is an error in the log and nothing more, and so is
    /// a server whose name is not known: it is looked up again later, unless `compat` wants upstream's end of the process.
    /// Must be called within the runtime.
    ///
    /// # Errors
    /// The address is none, or there is no socket for it.
    pub fn start(wanted: bool, statsd: Option<&StatsdSettings>, compat: bool) -> Result<Self, StartError> {
        if !wanted {
            return Ok(Self::off());
        }
        let Some(statsd) = statsd.filter(|statsd| !statsd.address.is_empty()) else {
            tracing::error!("Instrumentation is enabled, but no connectionstring set for statsd");
            return Ok(Self::off());
        };
        tracing::info!("Sending stats to: {} with prefix: {}", statsd.address, statsd.prefix);
        let client = Arc::new(Client::new(statsd));
        match connect(&statsd.address) {
            Ok(sink) => client.use_sink(sink),
            Err(error) if error.is_name && !compat => {
                tracing::error!(
                    prefix = "main",
                    "{error}; it is looked up again, the metrics begin then"
                );
                tokio::spawn(look_up(Arc::downgrade(&client), statsd.address.clone()));
            }
            Err(error) => return Err(error),
        }
        tokio::spawn(flush_regularly(Arc::downgrade(&client)));
        tracing::info!("Starting application monitoring...");
        Ok(Self { client: Some(client) })
    }

    /// Counts decoded records.
    pub fn record(&self, records: u64) {
        if let Some(client) = &self.client {
            client.records.fetch_add(records, Ordering::Relaxed);
        }
    }

    /// A pump has written: `title` is its display name, `elapsed` the time since its cycle began.
    pub fn pump_write(&self, title: &str, elapsed: Duration) {
        if let Some(client) = &self.client {
            client.timing(&format!("purge_time_{title}"), elapsed);
        }
    }

    /// A cycle is over.
    pub fn cycle(&self, elapsed: Duration) {
        if let Some(client) = &self.client {
            client.timing("purge_time_all", elapsed);
        }
    }
}

async fn flush_regularly(client: Weak<Client>) {
    let mut tick = tokio::time::interval(FLUSH);
    loop {
        tick.tick().await;
        match client.upgrade() {
            Some(client) => client.flush(),
            None => return,
        }
    }
}

/// Looks the server up until its name is known.
async fn look_up(client: Weak<Client>, address: String) {
    loop {
        tokio::time::sleep(LOOK_UP).await;
        let asked = address.clone();
        let found = tokio::task::spawn_blocking(move || connect(&asked)).await;
        let Some(client) = client.upgrade() else { return };
        if let Ok(Ok(sink)) = found {
            return client.use_sink(sink);
        }
    }
}

fn connect(address: &str) -> Result<BufferedUdpMetricSink, StartError> {
    let resolved = resolve(address)?;
    let local: SocketAddr = match resolved {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let broken = |error: &dyn std::fmt::Display| StartError::new(format!("address {address}: {error}"));
    let socket = UdpSocket::bind(local).map_err(|error| broken(&error))?;
    // A full socket buffer must never hold up delivery.
    socket.set_nonblocking(true).map_err(|error| broken(&error))?;
    BufferedUdpMetricSink::with_capacity(resolved, socket, DATAGRAM).map_err(|error| broken(&error))
}

struct Client {
    /// Empty until the server's address is known; what is counted meanwhile is sent then, what is timed is gone.
    sink: OnceLock<BufferedUdpMetricSink>,
    /// Prefix with its dot, or empty.
    prefix: String,
    records: AtomicU64,
}

impl Client {
    fn new(statsd: &StatsdSettings) -> Self {
        let dot = if statsd.prefix.is_empty() { "" } else { "." };
        Self {
            sink: OnceLock::new(),
            prefix: format!("{}{dot}", statsd.prefix),
            records: AtomicU64::new(0),
        }
    }

    fn use_sink(&self, sink: BufferedUdpMetricSink) {
        // Only one look-up is under way.
        let _ = self.sink.set(sink);
        tracing::info!("StatsD instrumentation sink started");
    }

    /// Sends an event under its own name and under that of its job.
    fn event(&self, name: &str, value: &str) {
        for job in ["", JOB] {
            let mut line: String = [&self.prefix, job, name]
                .iter()
                .flat_map(|part| part.bytes())
                .map(allowed)
                .collect();
            line.push_str(value);
            // One byte for the newline. Metrics are best effort: a datagram that cannot be sent is gone.
            if line.len() < DATAGRAM
                && let Some(sink) = self.sink.get()
            {
                let _ = sink.emit(&line);
            }
        }
    }

    fn timing(&self, name: &str, elapsed: Duration) {
        self.event(name, &timing_value(elapsed));
    }

    fn flush(&self) {
        if self.sink.get().is_none() {
            return;
        }
        let records = self.records.swap(0, Ordering::Relaxed);
        if records > SINGLE_LINES {
            self.event("record", &format!(":{records}|c"));
        } else {
            (0..records).for_each(|_| self.event("record", ":1|c"));
        }
        if let Some(sink) = self.sink.get() {
            let _ = sink.flush();
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.flush();
    }
}

/// `$` for what StatsD servers do not take in a name: one for each byte, as upstream has it.
fn allowed(byte: u8) -> char {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-') {
        char::from(byte)
    } else {
        '$'
    }
}

fn timing_value(elapsed: Duration) -> String {
    let mut value = String::from(":");
    // Writing to a String cannot fail.
    let _ = if elapsed >= Duration::from_millis(10) {
        write!(value, "{}", elapsed.as_millis())
    } else {
        write!(value, "{:.2}", elapsed.as_secs_f64() * 1000.0)
    };
    value.push_str("|ms");
    value
}

fn resolve(address: &str) -> Result<SocketAddr, StartError> {
    if !address.contains(':') {
        return Err(StartError::new(format!("address {address}: missing port in address")));
    }
    // A missing host is this machine, as in Go.
    let full = if address.starts_with(':') {
        format!("127.0.0.1{address}")
    } else {
        address.to_owned()
    };
    let found = full.to_socket_addrs().map(|addresses| addresses.collect::<Vec<_>>());
    let unknown = |text: &dyn std::fmt::Display| StartError {
        text: format!("address {address}: {text}"),
        // A port that is no number will never be one.
        is_name: full.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()),
    };
    let addresses = found.map_err(|error| unknown(&error))?;
    // Go prefers IPv4 too.
    let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    first.copied().ok_or_else(|| unknown(&"no such host"))
}

#[cfg(test)]
mod tests {
    use std::{net::UdpSocket, time::Duration};

    use super::{Instrumentation, timing_value};
    use crate::config::StatsdSettings;

    fn receiver() -> (UdpSocket, String) {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        let address = socket.local_addr().unwrap().to_string();
        (socket, address)
    }

    fn datagram(socket: &UdpSocket) -> String {
        let mut buffer = [0; 4096];
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    }

    fn start(address: String, prefix: &str) -> Instrumentation {
        let prefix = prefix.to_owned();
        Instrumentation::start(true, Some(&StatsdSettings { address, prefix }), false).unwrap()
    }

    #[tokio::test]
    async fn every_event_is_sent_twice_and_lines_end_with_a_newline() {
        let (socket, address) = receiver();
        let metrics = start(address, "prod");
        metrics.pump_write("CSV Pump", Duration::from_millis(12));
        metrics.cycle(Duration::from_micros(3456));
        metrics.record(2);
        drop(metrics);
        assert_eq!(
            datagram(&socket),
            "prod.purge_time_CSV$Pump:12|ms\nprod.PumpRecordsPurge.purge_time_CSV$Pump:12|ms\n\
             prod.purge_time_all:3.46|ms\nprod.PumpRecordsPurge.purge_time_all:3.46|ms\n\
             prod.record:1|c\nprod.PumpRecordsPurge.record:1|c\nprod.record:1|c\nprod.PumpRecordsPurge.record:1|c\n"
        );
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn lines_are_sent_without_waiting_for_the_end() {
        let (socket, address) = receiver();
        let metrics = start(address, "");
        metrics.record(1);
        assert_eq!(datagram(&socket), "record:1|c\nPumpRecordsPurge.record:1|c\n");
        metrics.record(1);
        assert_eq!(datagram(&socket), "record:1|c\nPumpRecordsPurge.record:1|c\n");
    }

    #[tokio::test]
    async fn every_byte_that_no_name_may_have_is_a_dollar() {
        let (socket, address) = receiver();
        let metrics = start(address, "münchen");
        metrics.record(1);
        drop(metrics);
        assert_eq!(
            datagram(&socket),
            "m$$nchen.record:1|c\nm$$nchen.PumpRecordsPurge.record:1|c\n"
        );
    }

    #[tokio::test]
    async fn a_name_that_is_not_known_yet_ends_the_process_of_upstream_alone() {
        let statsd = StatsdSettings {
            address: "statsd.invalid:8125".to_owned(),
            prefix: String::new(),
        };
        let metrics = Instrumentation::start(true, Some(&statsd), false).unwrap();
        metrics.record(1);
        metrics.cycle(Duration::ZERO);
        let error = Instrumentation::start(true, Some(&statsd), true).err().unwrap();
        assert!(error.to_string().contains("address statsd.invalid:8125: "), "{error}");
    }

    #[tokio::test]
    async fn many_records_are_one_line_with_their_number() {
        let (socket, address) = receiver();
        let metrics = start(address, "p");
        metrics.record(1_000_000);
        metrics.record(1);
        drop(metrics);
        assert_eq!(
            datagram(&socket),
            "p.record:1000001|c\np.PumpRecordsPurge.record:1000001|c\n"
        );
    }

    #[tokio::test]
    async fn datagrams_stay_below_the_limit_and_lines_whole() {
        let (socket, address) = receiver();
        let metrics = start(address, "a.prefix.of.some.length");
        metrics.record(100);
        metrics.pump_write(&"x".repeat(1500), Duration::ZERO);
        drop(metrics);
        let mut lines = Vec::new();
        while lines.len() < 200 {
            let text = datagram(&socket);
            assert!(text.len() <= 1440 && text.ends_with('\n'), "{} bytes", text.len());
            lines.extend(text.lines().map(str::to_owned));
        }
        assert!(lines.iter().all(|line| line.ends_with("record:1|c")));
    }

    #[test]
    fn timings_have_decimals_below_ten_milliseconds_only() {
        for (micros, text) in [
            (0, ":0.00|ms"),
            (1_234, ":1.23|ms"),
            (10_000, ":10|ms"),
            (12_999, ":12|ms"),
        ] {
            assert_eq!(timing_value(Duration::from_micros(micros)), text);
        }
    }

    #[test]
    fn an_address_without_port_ends_the_start_and_a_missing_one_does_not() {
        let statsd = |address: &str| StatsdSettings {
            address: address.to_owned(),
            prefix: String::new(),
        };
        let error = Instrumentation::start(true, Some(&statsd("127.0.0.1")), false)
            .err()
            .unwrap();
        assert!(
            error
                .to_string()
                .starts_with("Failed to start StatsD check: address 127.0.0.1: missing port in address")
        );
        assert!(Instrumentation::start(true, Some(&statsd("127.0.0.1:nix")), false).is_err());
        assert!(Instrumentation::start(true, Some(&statsd("")), false).is_ok());
        assert!(Instrumentation::start(true, None, false).is_ok());
        assert!(Instrumentation::start(false, Some(&statsd("127.0.0.1")), false).is_ok());
    }
}
