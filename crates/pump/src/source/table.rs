//! The sources that a configuration can choose, in one table: what `analytics_storage_type` means is said here alone.

use std::sync::Arc;

use anyhow::Context;
use async_trait::async_trait;
use futures::future::BoxFuture;
use store::server::Server;
use tokio_util::sync::CancellationToken;

use super::{
    Claims, Source,
    embedded::EmbeddedSource,
    redis::{ListSettings, RedisSource},
};
use crate::config::{RedisSettings, RedisTopology, Settings, TlsSettings, TlsVersion, values::from_here};

/// Something that is being made.
pub type Making<'a, T> = BoxFuture<'a, anyhow::Result<T>>;

/// A kind of source.
pub struct SourceSpec {
    /// Field `prefix` of the line that says why it cannot start.
    pub log_prefix: &'static str,
    /// Whether a configuration chooses it. The first one of the table that says so is it.
    pub chosen: fn(&Settings) -> bool,
    /// Whether it belongs to the process that runs on it, so that operators must ask that process.
    pub exclusive: bool,
    /// What becomes of records that were put back into their lists, for operators.
    pub after_restore: &'static str,
    /// Where gateways push to, as a client needs to know.
    pub pushed_to: fn(&Settings) -> RedisSettings,
    /// Makes it for a running pump. `true`: uptime data is read as well.
    pub start: fn(&Settings, bool) -> Making<'_, Started>,
    /// Makes it for operators, who neither claim nor listen, and opens it.
    pub visit: fn(&Settings, bool) -> Making<'_, Arc<dyn Source>>,
}

/// A source, and what must run beside it.
pub struct Started {
    /// The source; [`Claims::open`] is still to be called.
    pub source: Arc<dyn Source>,
    /// What gateways talk to, where that is this process itself.
    pub service: Option<Box<dyn Service>>,
}

/// Something that runs as long as the source does.
#[async_trait]
pub trait Service: Send {
    /// Runs until `stop`, and leaves everything durable.
    async fn serve(self: Box<Self>, stop: CancellationToken);
}

/// Every source that a configuration can choose.
pub const SOURCES: &[SourceSpec] = &[EMBEDDED, REDIS];

const REDIS: SourceSpec = SourceSpec {
    log_prefix: "main",
    chosen: |_| true,
    exclusive: false,
    after_restore: "they have no time to live until a gateway pushes to the same list, which sets its own (60 s by \
                    default): start the pump that is to take them before that",
    pushed_to: |settings| settings.redis.clone(),
    start: |settings, uptime| {
        Box::pin(async move {
            Ok(Started {
                source: Arc::new(redis(settings, uptime)?),
                service: None,
            })
        })
    },
    visit: |settings, uptime| {
        Box::pin(async move {
            let source = redis(settings, uptime)?;
            source.open().await.context("Redis")?;
            Ok(Arc::new(source) as Arc<dyn Source>)
        })
    },
};

const EMBEDDED: SourceSpec = SourceSpec {
    log_prefix: "embedded",
    chosen: |settings| settings.embedded.is_some(),
    exclusive: true,
    after_restore: "they wait there, whatever time to live gateways have set",
    pushed_to: store_address,
    start: |settings, uptime| {
        Box::pin(async move {
            let embedded = settings.embedded.as_ref().context("embedded_storage is missing")?;
            let source = store(settings, uptime)?;
            let server = source.listen(embedded).await?;
            Ok(Started {
                source: Arc::new(source.clone()),
                service: Some(Box::new(StoreService { server, source })),
            })
        })
    },
    visit: |settings, uptime| Box::pin(async move { Ok(Arc::new(store(settings, uptime)?) as Arc<dyn Source>) }),
};

/// The source that these settings choose.
pub fn of(settings: &Settings) -> &'static SourceSpec {
    SOURCES.iter().find(|spec| (spec.chosen)(settings)).unwrap_or(&REDIS)
}

fn redis(settings: &Settings, uptime: bool) -> anyhow::Result<RedisSource> {
    let lists = ListSettings {
        uptime,
        purge_chunk: settings.purge_chunk,
        expiration: settings.storage_expiration_time,
    };
    RedisSource::new(&settings.redis, &settings.delivery, lists)
}

fn store(settings: &Settings, uptime: bool) -> anyhow::Result<EmbeddedSource> {
    let embedded = settings.embedded.as_ref().context("embedded_storage is missing")?;
    let source = EmbeddedSource::open(embedded, &settings.redis.key_prefix, uptime)?;
    Ok(source.instance(&settings.delivery.instance_id, settings.delivery.lease))
}

/// The pump's own server, as gateways on this machine reach it.
fn store_address(settings: &Settings) -> RedisSettings {
    let Some(embedded) = &settings.embedded else {
        return settings.redis.clone();
    };
    RedisSettings {
        topology: RedisTopology::Single,
        addrs: vec![from_here(embedded.listen).to_string()],
        username: embedded.username.clone(),
        password: embedded.password.clone(),
        database: 0,
        // Its certificate is for the names that gateways use, not for this address.
        tls: embedded.tls.as_ref().map(|_| TlsSettings {
            skip_verify: true,
            ca_file: None,
            identity: None,
            min_version: TlsVersion::V1_2,
            max_version: TlsVersion::V1_3,
        }),
        ..settings.redis.clone()
    }
}

/// The server that gateways push to, with the store behind it.
struct StoreService {
    server: Server,
    source: EmbeddedSource,
}

#[async_trait]
impl Service for StoreService {
    async fn serve(self: Box<Self>, stop: CancellationToken) {
        self.server.serve(stop).await;
        self.source.close().await;
    }
}
