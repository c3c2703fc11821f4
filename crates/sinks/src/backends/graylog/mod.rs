//! Type `graylog`: records as GELF messages.

mod message;

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use analytics::Selection;
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    Applied, BuildContext, BuildError, Guarantee, Rejected, Sink, SinkSpec, WriteError, Written, options,
    table::closest,
    transport::tls::SslOptions,
    transport::wire::{Address, Connect, Outgoing, Wire},
};
use message::{Encoder, Packer, VALUES};

/// Sends every record to a GELF input of Graylog. The message is a JSON object with the values that `tags` selects, as a
/// text. Over UDP it is compressed, and cut into chunks of 1,420 bytes if it is longer; nobody tells whether datagrams
/// arrive. Over `tcp` and `tls` messages are not compressed, and a receiver that goes away loses at most what was under way.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(example = &serde_json::json!({"host": "graylog.example.com", "port": 12201, "tags": ["method", "path", "response_code", "api_name"]}))]
pub struct Options {
    /// Name or IP address of the Graylog server.
    #[schemars(extend("x-env" = "GRAYLOGHOST"))]
    pub host: String,
    /// Port of its input. Graylog itself suggests 12201.
    #[schemars(extend("x-env" = "GRAYLOGPORT"))]
    pub port: i64,
    /// Values of a record that are sent: `method`, `path`, `response_code`, `api_key`, `api_version`, `api_name`,
    /// `api_id`, `org_id`, `oauth_id`, `raw_request`, `request_time`, `ip_address`, `raw_response`. The raw request and
    /// response are sent as text, not as base64.
    pub tags: Vec<String>,
    /// `udp`, `tcp` or `tls`.
    pub transport: String,
    /// Makes messages of GELF 1.1: with `version`, with a `short_message` (method, path and status), and with each value
    /// of `tags` as a field of its own beside the text (`_method`, `_path` …).
    pub additional_fields: bool,
    #[allow(missing_docs)]
    #[serde(flatten)]
    pub ssl: SslOptions,
    /// Transport `tls`: name that the server's certificate is made out to, if it is not `host`.
    pub ssl_server_name: String,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 1000,
            tags: Vec::new(),
            transport: "udp".to_owned(),
            additional_fields: false,
            ssl: SslOptions::default(),
            ssl_server_name: String::new(),
        }
    }
}

/// The type `graylog`.
pub const SPEC: SinkSpec = SinkSpec {
    guarantee: Guarantee::BestEffort,
    options: options::schema::<Options>,
    ..SinkSpec::new(
        "graylog",
        "Graylog Pump",
        "graylog-pump",
        "TYK_PMP_PUMPS_GRAYLOG_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Graylog::new(&context, None)?) as Box<dyn Sink>) }.boxed()
}

/// One pump's way to a GELF input.
pub struct Graylog {
    worker: Arc<tokio::sync::Mutex<Worker>>,
    wire: Wire,
}

impl Graylog {
    /// `peer` replaces the connection of the transports `tcp` and `tls`.
    pub fn new(context: &BuildContext, peer: Option<Connect>) -> Result<Graylog, BuildError> {
        let mut options: Options = context.options()?;
        if options.transport.is_empty() {
            options.transport = Options::default().transport;
        }
        let wire = Wire::new(
            &options.transport,
            address(&options)?,
            (&options.ssl, &options.ssl_server_name),
            peer,
            |warning| {
                tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{warning}");
            },
        )?;
        let values = VALUES
            .iter()
            .filter(|(name, _)| options.tags.iter().any(|tag| tag == name))
            .copied()
            .collect();
        for tag in &options.tags {
            let names = VALUES.iter().map(|(name, _)| *name);
            if names.clone().any(|name| name == tag) {
                continue;
            }
            let remedy = match closest(tag, names) {
                Some(name) => format!("write \"{name}\", or remove it"),
                None => "remove it".to_owned(),
            };
            tracing::warn!(
                prefix = SPEC.log_prefix, pump = %context.pump,
                "meta.tags has \"{tag}\", which is no value of a record that can be sent – {remedy}"
            );
        }
        tracing::info!(prefix = SPEC.log_prefix, "Graylog Pump Initialized");
        let seed = RandomState::new().hash_one(&*context.pump);
        Ok(Graylog {
            worker: Arc::new(tokio::sync::Mutex::new(Worker {
                encoder: Encoder::new(values, options.additional_fields),
                packer: wire.is_datagrams().then(|| Packer::new(seed)),
                message: Vec::new(),
            })),
            wire,
        })
    }
}

fn address(options: &Options) -> Result<Address, BuildError> {
    let port = match options.port {
        0 => Options::default().port,
        port => port,
    };
    let Some(port) = u16::try_from(port).ok() else {
        return Err(BuildError::Options(format!(
            "meta.port is {port}, expected a port from 1 to 65535 – write the port of the GELF input, such as 12201"
        )));
    };
    let host = match options.host.trim() {
        "" => "localhost",
        host => host.trim_start_matches('[').trim_end_matches(']'),
    };
    Ok(Address {
        host: host.to_owned(),
        port,
    })
}

struct Worker {
    encoder: Encoder,
    /// `None` where messages travel as they are, with a zero byte behind each.
    packer: Option<Packer>,
    message: Vec<u8>,
}

impl Worker {
    fn encode(&mut self, group: &[Selection]) -> Outgoing {
        let mut out = Outgoing::default();
        for (row, record) in group.iter().flat_map(Selection::records) {
            let Some(packer) = &mut self.packer else {
                self.encoder.write(&mut out.bytes, &record);
                out.bytes.push(0);
                continue;
            };
            self.message.clear();
            self.encoder.write(&mut self.message, &record);
            if let Err(reason) = packer.pack(&self.message, &mut out.bytes, &mut out.ends) {
                out.rejected.push(Rejected { row, reason });
            }
        }
        out
    }
}

#[async_trait]
impl Sink for Graylog {
    async fn write(&self, group: &[Selection], _applied: &Arc<Applied>) -> Result<Written, WriteError> {
        let mut worker = self.worker.clone().lock_owned().await;
        let group = group.to_vec();
        let out = tokio::task::spawn_blocking(move || worker.encode(&group))
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
