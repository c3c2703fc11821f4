//! The pump's own store: what it promises as a source, as a server, and when it dies.

mod encrypted;
mod kills;
mod redis_answers;

use std::{net::SocketAddr, path::Path, sync::Arc};

use crate::support::{
    lists::store_settings,
    promises::{self, LEASE, World},
};
use async_trait::async_trait;
use bytes::Bytes;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;
use tyk_pump::{
    config::EmbeddedSettings,
    source::{Claims, Source, embedded::EmbeddedSource},
};

const KEY: &str = "analytics-tyk-system-analytics";

fn settings(dir: &Path) -> EmbeddedSettings {
    store_settings(dir, 0)
}

fn open(settings: &EmbeddedSettings) -> EmbeddedSource {
    EmbeddedSource::open(settings, "analytics-", true).unwrap()
}

/// A store that answers on a port.
struct Served {
    source: EmbeddedSource,
    address: SocketAddr,
    stop: CancellationToken,
    folder: TempDir,
}

impl Served {
    async fn start(change: impl FnOnce(&mut EmbeddedSettings)) -> Served {
        let folder = TempDir::new().unwrap();
        let mut settings = settings(folder.path());
        change(&mut settings);
        let source = open(&settings);
        let server = source.listen(&settings).await.unwrap();
        let (address, stop) = (server.address(), CancellationToken::new());
        tokio::spawn(server.serve(stop.clone()));
        Served {
            source,
            address,
            stop,
            folder,
        }
    }

    async fn stop(self) -> TempDir {
        self.stop.cancel();
        self.source.close().await;
        self.folder
    }
}

struct InStore(EmbeddedSource, #[allow(dead_code)] Arc<TempDir>);

#[async_trait]
impl World for InStore {
    async fn instance(&self, id: &str) -> Box<dyn Source> {
        let instance = self.0.instance(id, LEASE);
        instance.open().await.unwrap();
        Box::new(instance)
    }

    async fn push(&self, key: usize, elements: Vec<Bytes>) {
        let key = self.0.keys()[key].name.clone();
        // As pipelines come: in several frames.
        for part in elements.chunks(777) {
            self.0.push(&key, part).await.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_store_keeps_what_sources_promise() {
    promises::hold(async || {
        let folder = TempDir::new().unwrap();
        InStore(open(&settings(folder.path())), Arc::new(folder))
    })
    .await;
}
