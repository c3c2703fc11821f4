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

/// How often a name that does not resolve is looked up again.
const LOOKUP: Duration = Duration::from_secs(5);

/// Up to this many records a flush are counted as upstream counts them, one `record:1|c` each; more become a single
/// line with their number, which StatsD adds up to the same.
const SINGLE_LINES: u64 = 100;

/// The name under which upstream groups its events, with its dot.
const JOB: &str = "PumpRecordsPurge.";

/// Why the metrics cannot be sent; ends the process.
#[derive(Debug, thiserror::Error)]
#[error("Failed to start StatsD check: {0}; statsd_connection_string is host:port of a StatsD server")]
pub struct StartError(String);

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

    /// Starts sending to the configured server; `wanted` without a server is an error in the log and nothing more. A name
    /// that does not resolve is looked up again in the background. Must be called within the runtime.
    ///
    /// # Errors
    /// The address is none.
    pub fn start(wanted: bool, statsd: Option<&StatsdSettings>) -> Result<Self, StartError> {
        if !wanted {
            return Ok(Self::off());
        }
        let Some(statsd) = statsd.filter(|statsd| !statsd.address.is_empty()) else {
            tracing::error!("Instrumentation is enabled, but no connectionstring set for statsd");
            return Ok(Self::off());
        };
        tracing::info!("Sending stats to: {} with prefix: {}", statsd.address, statsd.prefix);
        let client = Arc::new(Client::new(statsd)?);
        match client.connect() {
            Ok(()) => {
                tracing::info!("StatsD instrumentation sink started");
                tokio::spawn(flush_regularly(Arc::downgrade(&client)));
            }
            Err(error) => {
                tracing::warn!(
                    "StatsD instrumentation: {error}; looked up again every {} s; timings are lost until then",
                    LOOKUP.as_secs()
                );
                tokio::spawn(connect_later(Arc::downgrade(&client)));
            }
        }
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

async fn connect_later(client: Weak<Client>) {
    loop {
        tokio::time::sleep(LOOKUP).await;
        let Some(client) = client.upgrade() else { return };
        // A name server may take its time.
        let connected = tokio::task::spawn_blocking(move || client.connect().is_ok()).await;
        if matches!(connected, Ok(true)) {
            break;
        }
    }
    tracing::info!("StatsD instrumentation sink started");
    flush_regularly(client).await;
}

struct Client {
    address: String,
    /// Empty until the address is known.
    sink: OnceLock<BufferedUdpMetricSink>,
    /// Prefix with its dot, or empty.
    prefix: String,
    records: AtomicU64,
}

impl Client {
    fn new(statsd: &StatsdSettings) -> Result<Self, StartError> {
        let dot = if statsd.prefix.is_empty() { "" } else { "." };
        Ok(Self {
            address: complete(&statsd.address)?,
            sink: OnceLock::new(),
            prefix: format!("{}{dot}", statsd.prefix),
            records: AtomicU64::new(0),
        })
    }

    /// Looks the address up and opens a socket.
    fn connect(&self) -> Result<(), StartError> {
        let broken = |error: &dyn std::fmt::Display| StartError(format!("address {}: {error}", self.address));
        let found = self.address.to_socket_addrs().map_err(|error| broken(&error))?;
        let addresses: Vec<SocketAddr> = found.collect();
        // Go prefers IPv4 too.
        let first = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
        let address = *first.ok_or_else(|| broken(&"no such host"))?;
        let local: SocketAddr = match address {
            SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let socket = UdpSocket::bind(local).map_err(|error| broken(&error))?;
        // A full socket buffer must never hold up delivery.
        socket.set_nonblocking(true).map_err(|error| broken(&error))?;
        let sink = BufferedUdpMetricSink::with_capacity(address, socket, DATAGRAM).map_err(|error| broken(&error))?;
        self.sink.get_or_init(|| sink);
        Ok(())
    }

    /// Sends an event under its own name and under that of its job.
    fn event(&self, name: &str, value: &str) {
        let Some(sink) = self.sink.get() else { return };
        for job in ["", JOB] {
            let mut line: String = [&self.prefix, job, name]
                .iter()
                .flat_map(|part| part.bytes())
                .map(allowed)
                .collect();
            line.push_str(value);
            // One byte for the newline. Metrics are best effort: a datagram that cannot be sent is gone.
            if line.len() < DATAGRAM {
                let _ = sink.emit(&line);
            }
        }
    }

    fn timing(&self, name: &str, elapsed: Duration) {
        self.event(name, &timing_value(elapsed));
    }

    fn flush(&self) {
        let Some(sink) = self.sink.get() else { return };
        let records = self.records.swap(0, Ordering::Relaxed);
        if records > SINGLE_LINES {
            self.event("record", &format!(":{records}|c"));
        } else {
            (0..records).for_each(|_| self.event("record", ":1|c"));
        }
        let _ = sink.flush();
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.flush();
    }
}

/// `$` for what StatsD servers do not take in a name. A letter beyond ASCII is as many as it has bytes, as upstream
/// writes it.
fn allowed(byte: u8) -> char {
    match byte {
        b'_' | b'.' | b'-' => char::from(byte),
        _ if byte.is_ascii_alphanumeric() => char::from(byte),
        _ => '$',
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

/// The address with a host and a port.
fn complete(address: &str) -> Result<String, StartError> {
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err(StartError(format!("address {address}: missing port in address")));
    };
    if port.parse::<u16>().is_err() {
        return Err(StartError(format!("address {address}: unknown port")));
    }
    // A missing host is this machine, as in Go.
    Ok(match host {
        "" => format!("127.0.0.1{address}"),
        _ => address.to_owned(),
    })
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
        Instrumentation::start(true, Some(&StatsdSettings { address, prefix })).unwrap()
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
    async fn a_letter_of_several_bytes_is_as_many_signs() {
        let (socket, address) = receiver();
        let metrics = start(address, "süd.a b");
        metrics.cycle(Duration::from_millis(12));
        drop(metrics);
        assert_eq!(
            datagram(&socket),
            "s$$d.a$b.purge_time_all:12|ms\ns$$d.a$b.PumpRecordsPurge.purge_time_all:12|ms\n"
        );
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_keeps_nobody_from_starting() {
        let metrics = start("no-such-host.invalid:8125".to_owned(), "p");
        metrics.record(1);
        metrics.pump_write("CSV Pump", Duration::ZERO);
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
        let error = Instrumentation::start(true, Some(&statsd("127.0.0.1"))).err().unwrap();
        assert!(
            error
                .to_string()
                .starts_with("Failed to start StatsD check: address 127.0.0.1: missing port in address")
        );
        assert!(Instrumentation::start(true, Some(&statsd("127.0.0.1:nix"))).is_err());
        assert!(Instrumentation::start(true, Some(&statsd(""))).is_ok());
        assert!(Instrumentation::start(true, None).is_ok());
        assert!(Instrumentation::start(false, Some(&statsd("127.0.0.1"))).is_ok());
    }
}
