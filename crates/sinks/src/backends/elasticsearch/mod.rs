//! Type `elasticsearch`: records as documents of Elasticsearch or OpenSearch, each exactly once.

mod bulk;
mod cluster;
mod document;
mod id;
mod options;
mod single;
mod template;

use std::sync::Arc;

use analytics::{Selection, Zone};
use async_trait::async_trait;
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::OnceCell;

pub use self::options::Options;
use self::{
    bulk::{Encoder, Ids},
    cluster::{Call, Cluster, Server},
    document::Template,
    template::IndexTemplate,
};
use crate::{
    Applied, BuildContext, BuildError, Guarantee, Sink, SinkSpec, WriteError, Written,
    transport::{
        http::Method,
        outbox::{Outbox, Pace, Packing, Parcel, Parcels, Reply},
    },
};

/// Bytes of an answer that is expected at most, and of one about many documents for each of them.
const ANSWER: usize = 8 << 20;
const ANSWER_PER_DOCUMENT: usize = 2 << 10;

/// The type `elasticsearch`.
pub const SPEC: SinkSpec = SinkSpec {
    guarantee: Guarantee::ExactlyOnce,
    options: crate::options::schema::<Options>,
    ..SinkSpec::new(
        "elasticsearch",
        "Elasticsearch Pump",
        "elasticsearch-pump",
        "TYK_PMP_PUMPS_ELASTICSEARCH_META",
        build,
    )
};

fn build(context: BuildContext) -> BoxFuture<'static, Result<Box<dyn Sink>, BuildError>> {
    async move { Ok(Box::new(Elasticsearch::new(&context)?) as Box<dyn Sink>) }.boxed()
}

/// A way to talk to servers, named after the first version that takes it.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Dialect {
    Three,
    Five,
    Six,
    /// Without mapping types: Elasticsearch 7 and later, every OpenSearch.
    Seven,
}

impl Dialect {
    /// `None`: none is configured.
    fn of(version: &str, compat: bool) -> Result<Option<Dialect>, BuildError> {
        match version.trim() {
            "" if compat => Ok(Some(Dialect::Three)),
            "" => Ok(None),
            "3" => Ok(Some(Dialect::Three)),
            "5" => Ok(Some(Dialect::Five)),
            "6" => Ok(Some(Dialect::Six)),
            "7" | "8" | "9" => Ok(Some(Dialect::Seven)),
            other => Err(BuildError::Options(format!(
                "meta.version is \"{other}\" – write 3, 5, 6, 7, 8 or 9 in quotes, or leave it out: the server is asked"
            ))),
        }
    }
}

/// What indices are called.
struct Naming {
    index: String,
    /// Of MCP records; empty: the same.
    mcp_index: String,
    /// Whether the day is part of the name.
    rolling: bool,
    /// Whether that day is the one of writing, not the record's own.
    by_clock: bool,
    /// Where the day begins: in the zone of the process, or in UTC.
    zone: Zone,
    document_type: String,
}

/// One pump's way to a cluster.
struct Elasticsearch {
    encoder: Arc<Encoder>,
    cluster: Cluster,
    /// As configured; `None`: upstream's, and as the server says once it has refused that.
    dialect: Option<Dialect>,
    template: Option<IndexTemplate>,
    /// What the server has said; known once it was asked and its template is there.
    ready: OnceCell<Dialect>,
    /// Whether a row that is written again is known by its id.
    keeps_rows_apart: bool,
    single: bool,
    counted_bytes: usize,
    outbox: Outbox,
}

impl Elasticsearch {
    fn new(context: &BuildContext) -> Result<Elasticsearch, BuildError> {
        let options: Options = context.options()?;
        let options = options.with_defaults();
        let warn = |text: &str| tracing::warn!(prefix = SPEC.log_prefix, pump = %context.pump, "{text}");
        let dialect = Dialect::of(&options.version, context.compat)?;
        let cluster = Cluster::new(&options, warn)?;
        if options.rolling_index && options.data_stream {
            warn("rolling_index has no effect with data_stream, which rolls over by itself");
        }
        let naming = Naming {
            index: options.index_name.clone(),
            mcp_index: options.mcp_index_name.clone(),
            rolling: options.rolling_index && !options.data_stream,
            by_clock: context.compat,
            zone: match options.rolling_utc && !context.compat {
                true => Zone::UTC,
                false => Zone::LOCAL,
            },
            document_type: options.document_type.clone(),
        };
        let single = options.disable_bulk;
        let ids = match (options.generate_id, context.compat) {
            (true, true) => Ids::ContentBytes,
            (true, false) => Ids::Content,
            (false, true) if single => Ids::Server,
            (false, _) => match options.ids.as_str() {
                "" | "row" => Ids::Row,
                "server" => Ids::Server,
                other => {
                    return Err(BuildError::Options(format!(
                        "meta.ids is \"{other}\" – write \"row\" or \"server\", or leave it out"
                    )));
                }
            },
        };
        let creates = options.creates(ids == Ids::Row)?;
        let keeps_rows_apart = ids == Ids::Row && !(naming.rolling && naming.by_clock);
        if !keeps_rows_apart {
            warn(
                "with generate_id, compat or \"ids\": \"server\" a record may be written twice after a crash, or overwrite \
                 another",
            );
        }
        let template = IndexTemplate::new(&options, &naming)?;
        tracing::info!(
            prefix = SPEC.log_prefix,
            "Elasticsearch URL: {}",
            cluster.shown_addresses()
        );
        tracing::info!(prefix = SPEC.log_prefix, "Elasticsearch Index: {}", naming.index);
        if naming.rolling {
            tracing::info!(
                prefix = SPEC.log_prefix,
                "Index will have date appended to it in the format {}-YYYY.MM.DD",
                naming.index
            );
        }
        tracing::info!(prefix = SPEC.log_prefix, "Elasticsearch Pump Initialized");
        Ok(Elasticsearch {
            encoder: Arc::new(Encoder {
                pump: context.pump.clone(),
                template: Template::new(options.extended_stats, options.extended_stats && options.decode_base64),
                naming,
                ids,
                creates,
            }),
            cluster,
            dialect,
            template,
            ready: OnceCell::new(),
            keeps_rows_apart,
            single,
            counted_bytes: options.bulk_config.bytes(),
            outbox: Outbox::new(
                SPEC.log_prefix,
                Packing {
                    separator: b"",
                    rows: options.bulk_config.documents(),
                    bytes: usize::MAX,
                },
                Pace::AtOnce(options.bulk_config.workers()),
            ),
        })
    }

    /// How the server is spoken to. Without `version` as upstream does it, until the server refuses that: who may write
    /// need not be allowed to ask.
    async fn dialect(&self) -> Result<Dialect, WriteError> {
        if self.ready.initialized() || self.template.is_some() || self.cluster.sniffs() {
            return self.ask().await;
        }
        Ok(self.dialect.unwrap_or(Dialect::Three))
    }

    /// Asks the server who it is and sees to the template, once.
    async fn ask(&self) -> Result<Dialect, WriteError> {
        let prepare = || async {
            if let (Some(dialect), None) = (self.dialect, &self.template) {
                return Ok(dialect);
            }
            let server = Server::ask(&self.cluster).await?;
            if let Some(template) = &self.template {
                template.install(&self.cluster, &server).await?;
            }
            let (major, minor) = server.version;
            tracing::info!(
                prefix = SPEC.log_prefix,
                "connected to {} {major}.{minor}",
                server.product
            );
            Ok(self.dialect.unwrap_or_else(|| server.dialect()))
        };
        self.ready.get_or_try_init(prepare).await.copied()
    }

    /// Whether a refusal may mean that the server is spoken to in the wrong way; it is asked then.
    async fn is_misunderstood(&self, dialect: Dialect, status: u16) -> Result<bool, WriteError> {
        if self.dialect.is_some() || !matches!(status, 400 | 404 | 405 | 406 | 415) {
            return Ok(false);
        }
        match self.ask().await {
            Ok(known) => Ok(known != dialect),
            // It does not tell this user, and may mean the document.
            Err(WriteError::Config(_)) if status < 406 => Ok(false),
            Err(error) => Err(error),
        }
    }

    async fn write_as(
        &self,
        dialect: Dialect,
        group: &[Selection],
        applied: &Arc<Applied>,
    ) -> Result<Written, WriteError> {
        self.cluster.sniff(dialect).await?;
        match self.single {
            true => self.write_singly(dialect, group, applied).await,
            false => self.write_bulks(dialect, group, applied).await,
        }
    }

    async fn write_bulks(
        &self,
        dialect: Dialect,
        group: &[Selection],
        applied: &Arc<Applied>,
    ) -> Result<Written, WriteError> {
        let (encoder, counted_bytes) = (self.encoder.clone(), self.counted_bytes);
        let pack =
            move |group: &[Selection], parcels: &mut Parcels| encoder.bulks(dialect, group, counted_bytes, parcels);
        let send = |parcel| self.send_bulk(dialect, parcel);
        self.outbox.deliver(group, applied, pack, send).await
    }

    async fn send_bulk(&self, dialect: Dialect, parcel: Parcel) -> Result<Reply, WriteError> {
        let content_type = match dialect {
            Dialect::Three => None,
            _ => Some("application/x-ndjson"),
        };
        let call = Call {
            method: Method::POST,
            path: "_bulk",
            content_type,
            body: parcel.body,
            answer_limit: ANSWER.max(parcel.rows.len().saturating_mul(ANSWER_PER_DOCUMENT)),
        };
        let answer = self.cluster.send(call).await?;
        if self.is_misunderstood(dialect, answer.status.as_u16()).await? {
            return Err(WriteError::retry(answer.describe()));
        }
        match answer.status.as_u16() {
            413 => Ok(Reply::TooLarge(answer.describe())),
            406 => {
                let advice = "this server does not speak the dialect of meta.version – leave the version out";
                Err(WriteError::Config(format!("{} – {advice}", answer.describe()).into()))
            }
            _ => {
                let answer = answer.accepted()?;
                bulk::read_answer(&answer.body, parcel.rows.len(), self.encoder.creates)
                    .map(Reply::Each)
                    .ok_or_else(|| WriteError::retry(format!("no answer to a bulk request: {}", answer.describe())))
            }
        }
    }
}

#[async_trait]
impl Sink for Elasticsearch {
    async fn write(&self, group: &[Selection], applied: &Arc<Applied>) -> Result<Written, WriteError> {
        if group.iter().all(Selection::is_empty) {
            return Ok(Written::default());
        }
        let dialect = self.dialect().await?;
        match (self.write_as(dialect, group, applied).await, self.ready.get()) {
            // It has said who it is on the way.
            (Err(_), Some(&known)) if known != dialect => self.write_as(known, group, applied).await,
            (written, _) => written,
        }
    }

    fn guarantee(&self) -> Option<Guarantee> {
        (!self.keeps_rows_apart).then_some(Guarantee::AtLeastOnce)
    }
}

#[cfg(test)]
mod tests;
