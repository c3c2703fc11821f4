//! Type `syslog`: records as messages to a syslog daemon.

mod message;

use std::sync::Arc;

use analytics::Selection;
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Applied, BuildContext, BuildError, Guarantee, Rejected, Sink, SinkSpec, WriteError, Written, options,
    transport::tls::SslOptions,
    transport::wire::{Address, Connect, MAX_DATAGRAM, Outgoing, Wire},
};
use message::{Encoder, Format};

/// The smallest limit that leaves room for every field of a message.
const SMALLEST_LIMIT: i64 = 2048;

/// Sends every record as one message to a syslog daemon. Nobody tells whether datagrams arrive; over `tcp` and `tls` a
/// daemon that goes away loses at most what was under way.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"transport": "tls", "network_addr": "logs.example.com:6514", "log_level": 134, "tag": "tyk", "format": "rfc5424", "framing": "octet_counting"}))]
pub struct Options {
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    /// Host and port of the daemon.
    pub network_addr: String,
    /// Priority of the messages: 8 × facility + severity. 6 is "kernel, informational", 134 "local0, informational". 0,
    /// the default, means "kernel, emergency", which many daemons print on every console.
    pub log_level: i64,
    /// Name of the program that writes.
    pub tag: String,
    /// `map` (`map[key:value …]` behind a header with an RFC 3339 time), `json` (the same header, then a JSON object),
    /// `rfc5424` (the header of RFC 5424 with the record's own time, then a JSON object) or `cef` (Common Event Format).
    pub format: String,
    /// How messages on a connection are told apart: `newline`, or `octet_counting` (RFC 6587, and what RFC 5425 asks for
    /// with `tls`).
    pub framing: String,
    /// Format `map`: write line ends in any text as `\\n` and `\\r`, so that no path or user agent splits a message or forges
    /// one. Otherwise, as in Tyk Pump, only line feeds in the raw request and response are. The other formats always do.
    pub escape_line_ends: bool,
    /// The most bytes that a message may have, at least 2048; 0 is no limit over `tcp` and `tls`, and 65,507 over `udp`.
    /// In a longer message every long text is cut and ends in `...[truncated]`. Daemons have a limit of their own
    /// (rsyslog: `maxMessageSize`, 8 KiB unless set) beyond which they cut, split or drop messages.
    pub max_message_size: i64,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub ssl: SslOptions,
    /// Transport `tls`: name that the daemon's certificate is made out to, if it is not the host of `network_addr`.
    pub ssl_server_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            transport: "udp".to_owned(),
            network_addr: "localhost:5140".to_owned(),
            log_level: 0,
            tag: "syslog-pump".to_owned(),
            format: "map".to_owned(),
            framing: "newline".to_owned(),
            escape_line_ends: false,
            max_message_size: 0,
            ssl: SslOptions::default(),
            ssl_server_name: String::new(),
        }
    }
}

/// The type `syslog`.
pub const SPEC: SinkSpec = SinkSpec {
    guarantee: Guarantee::BestEffort,
    options: options::schema::<Options>,
    ..SinkSpec::new(
        "syslog",
        "Syslog Pump",
        "syslog-pump",
        "TYK_PMP_PUMPS_SYSLOG_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Syslog::new(&context, None)?) as Box<dyn Sink>) }.boxed()
}

/// One pump's way to a daemon.
pub struct Syslog {
    encoder: Arc<Encoder>,
    framing: Framing,
    wire: Wire,
}

#[derive(Clone, Copy)]
enum Framing {
    Newline,
    OctetCounting,
}

impl Syslog {
    /// `peer` replaces the connection of the transports `tcp` and `tls`.
    pub fn new(context: &BuildContext, peer: Option<Connect>) -> Result<Syslog, BuildError> {
        let mut options: Options = context.options()?;
        let defaults = Options::default();
        for (text, default) in [
            (&mut options.transport, defaults.transport),
            (&mut options.network_addr, defaults.network_addr),
            (&mut options.tag, defaults.tag),
            (&mut options.format, defaults.format),
            (&mut options.framing, defaults.framing),
        ] {
            if text.is_empty() {
                *text = default;
            }
        }
        let warn = |warning: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{warning}");
        let (format, framing) = (format(&options.format)?, framing(&options.framing)?);
        let Some(address) = Address::parse(&options.network_addr) else {
            return wrong(format!(
                "meta.network_addr is \"{}\", expected host:port – write for instance \"localhost:5140\"",
                options.network_addr
            ));
        };
        if !(0..=191).contains(&options.log_level) {
            return wrong(format!(
                "meta.log_level is {}, expected 8 × facility + severity, from 0 to 191 – write for instance 6 or 134",
                options.log_level
            ));
        }
        if options.log_level == 0 {
            warn(
                "meta.log_level is 0: to the daemon every record is an emergency of the kernel – write for instance 134 \
                 (local0, informational)",
            );
        }
        let limit = options.max_message_size;
        if limit != 0 && limit < SMALLEST_LIMIT {
            return wrong(format!(
                "meta.max_message_size is {limit}, expected {SMALLEST_LIMIT} or more, or 0 for no limit – raise it"
            ));
        }
        let wire = Wire::new(
            &options.transport,
            address,
            (&options.ssl, &options.ssl_server_name),
            peer,
            warn,
        )?;
        let limit = match (wire.is_datagrams(), limit as usize) {
            // One byte is for the line feed at the end.
            (true, 0) => MAX_DATAGRAM - 1,
            (true, limit) => limit.min(MAX_DATAGRAM - 1),
            (false, limit) => limit,
        };
        tracing::info!(prefix = SPEC.log_prefix, "Syslog Pump active");
        Ok(Syslog {
            encoder: Arc::new(Encoder {
                format,
                priority: options.log_level,
                tag: options.tag,
                host: host(),
                process: std::process::id(),
                limit,
                raw_line_ends: !options.escape_line_ends || context.compat,
            }),
            framing,
            wire,
        })
    }
}

fn wrong<T>(text: String) -> Result<T, BuildError> {
    Err(BuildError::Options(text))
}

fn format(name: &str) -> Result<Format, BuildError> {
    match name {
        "map" => Ok(Format::Map),
        "json" => Ok(Format::Json),
        "rfc5424" => Ok(Format::Rfc5424),
        "cef" => Ok(Format::Cef),
        _ => wrong(format!(
            "meta.format is \"{name}\", expected map, json, rfc5424 or cef – write one of them"
        )),
    }
}

fn framing(name: &str) -> Result<Framing, BuildError> {
    match name {
        "newline" => Ok(Framing::Newline),
        "octet_counting" => Ok(Framing::OctetCounting),
        _ => wrong(format!(
            "meta.framing is \"{name}\", expected newline or octet_counting – write one of them"
        )),
    }
}

fn host() -> String {
    match rustix::system::uname().nodename().to_str() {
        Ok(name) if !name.is_empty() => name.to_owned(),
        _ => "localhost".to_owned(),
    }
}

fn encode(encoder: &Encoder, framing: Framing, group: &[Selection]) -> Outgoing {
    let mut out = Outgoing::default();
    let mut message = Vec::new();
    for (row, record) in group.iter().flat_map(Selection::records) {
        message.clear();
        if let Err(error) = encoder.write(&mut message, &record) {
            out.rejected.push(Rejected {
                row,
                reason: error.to_string(),
            });
            continue;
        }
        if let Framing::OctetCounting = framing {
            out.bytes
                .extend_from_slice(itoa::Buffer::new().format(message.len()).as_bytes());
            out.bytes.push(b' ');
            out.bytes.extend_from_slice(&message);
        } else {
            out.bytes.extend_from_slice(&message);
            out.bytes.push(b'\n');
        }
        out.ends.push(out.bytes.len());
    }
    out
}

#[async_trait]
impl Sink for Syslog {
    async fn write(&self, group: &[Selection], _applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let (encoder, framing, group) = (self.encoder.clone(), self.framing, group.to_vec());
        let out = tokio::task::spawn_blocking(move || encode(&encoder, framing, &group))
            .await
            .map_err(WriteError::retry)?;
        self.wire.deliver(out).await
    }

    async fn close(&self) -> Result<(), WriteError> {
        self.wire.close().await;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
