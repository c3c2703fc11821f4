//! The back-end of the MongoDB pumps: a database of its own on a real server, behind a proxy that breaks things.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use analytics::{Flag, RecordKind};
use async_trait::async_trait;
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use mongodb::{
    Client, Collection, Database,
    bson::{RawDocument, RawDocumentBuf, doc},
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use super::{BackEnd, Reason, flagged::Flagged, rows, rows::Alter, server};
use crate::{BuildContext, BuildError, Sink, SinkSpec, mongo};

/// See [`super::Harness`].
pub fn start_records() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::SPEC, "records", &[])
}

/// See [`super::Harness`].
pub fn start_graph() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::GRAPH, "records", &[Flag::IsGraphQl])
}

/// See [`super::Harness`].
pub fn start_mcp() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::MCP, "records", &[Flag::IsMcp])
}

/// See [`super::Harness`].
pub fn start_selective() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::SELECTIVE, "z_tyk_analyticz_o1", &[])
}

/// See [`super::Harness`]: endpoints are counted by path, so that the path of every row is found again.
pub fn start_aggregate() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::AGGREGATE, "z_tyk_analyticz_aggregate_o1", &[Flag::TrackPath])
}

/// See [`super::Harness`].
pub fn start_mcp_aggregate() -> BoxFuture<'static, Box<dyn BackEnd>> {
    let flags = &[Flag::IsMcp, Flag::TrackPath];
    start(&mongo::MCP_AGGREGATE, "z_tyk_mcp_analyticz_aggregate_o1", flags)
}

/// See [`super::Harness`].
pub fn start_uptime() -> BoxFuture<'static, Box<dyn BackEnd>> {
    start(&mongo::UPTIME, "tyk_uptime_analytics", &[])
}

fn start(
    spec: &'static SinkSpec,
    collection: &'static str,
    flags: &'static [Flag],
) -> BoxFuture<'static, Box<dyn BackEnd>> {
    async move {
        let store = Store::start(collection).await;
        Box::new(Server { spec, store, flags }) as Box<dyn BackEnd>
    }
    .boxed()
}

const MISSING: Reason = "no MongoDB server: PUMP_TEST_MONGO is not set";

struct Server {
    spec: &'static SinkSpec,
    store: Option<Store>,
    /// What its records are.
    flags: &'static [Flag],
}

/// A database that nobody else uses, and the way to it.
pub struct Store {
    /// The database, past the proxy.
    pub database: Database,
    /// What breaks on the way.
    pub proxy: Proxy,
    credentials: String,
    collection: &'static str,
}

impl Store {
    /// `None`: there is no server.
    pub async fn start(collection: &'static str) -> Option<Store> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let address = server::address("mongo")?;
        let rest = address.strip_prefix("mongodb://")?.trim_end_matches('/');
        let (credentials, host) = rest
            .rsplit_once('@')
            .map_or(("", rest), |(credentials, host)| (credentials, host));
        let client = Client::with_uri_str(&address).await.ok()?;
        let name = format!("pump_test_{}_{}", std::process::id(), NUMBER.fetch_add(1, SeqCst));
        let database = client.database(&name);
        database.drop().await.ok()?;
        let to = tokio::net::lookup_host(host).await.ok()?.next()?;
        Some(Store {
            database,
            proxy: Proxy::start(to).await?,
            credentials: if credentials.is_empty() {
                String::new()
            } else {
                format!("{credentials}@")
            },
            collection,
        })
    }

    /// Address of the database behind the proxy.
    pub fn url(&self) -> String {
        format!(
            "mongodb://{}{}/{}?authSource=admin&serverSelectionTimeoutMS=2000&timeoutMS=60000",
            self.credentials,
            self.proxy.address,
            self.database.name()
        )
    }

    /// The documents in natural order.
    ///
    /// # Panics
    /// When the server does not give them.
    pub async fn documents(&self, collection: &str) -> Vec<RawDocumentBuf> {
        let collection: Collection<RawDocumentBuf> = self.database.collection(collection);
        let found = async { collection.find(doc! {}).batch_size(1).await?.try_collect().await };
        match found.await {
            Ok(documents) => documents,
            Err(error) => panic!("{}: {error}", collection.name()),
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.proxy.set(Trouble::Dead);
        let database = self.database.clone();
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { database.drop().await });
        }
    }
}

#[async_trait]
impl BackEnd for Server {
    fn options(&self) -> Value {
        let url = self.store.as_ref().map(Store::url).unwrap_or_default();
        match self.spec.name {
            _ if self.spec.records == RecordKind::Uptime => json!({"mongo_url": url}),
            // Their index would let the suite's records expire at once, which have no time for that.
            "mongo-pump-selective" => json!({"mongo_url": url, "omit_index_creation": true}),
            "mongo-pump-aggregate" | "mongo-mcp-aggregate" => json!({"mongo_url": url, "omit_index_creation": true}),
            _ => json!({"mongo_url": url, "collection_name": "records"}),
        }
    }

    async fn build(&self, context: BuildContext) -> Result<Box<dyn Sink>, BuildError> {
        let sink = (self.spec.build)(context).await?;
        Ok(match self.flags {
            [] => sink,
            flags => Box::new(Flagged { sink, flags }),
        })
    }

    fn present(&self) -> Result<(), Reason> {
        self.store.as_ref().map(|_| ()).ok_or(MISSING)
    }

    fn keeps_order(&self) -> bool {
        false
    }

    async fn rows(&self) -> Result<Vec<u64>, Reason> {
        let store = self.store.as_ref().ok_or(MISSING)?;
        let documents = store.documents(store.collection).await;
        if self.flags.contains(&Flag::TrackPath) {
            return Ok(documents.iter().flat_map(|document| counted(document)).collect());
        }
        let field = match self.spec.records {
            RecordKind::Traffic => "path",
            RecordKind::Uptime => "url",
        };
        let paths = documents.iter().filter_map(|document| document.get_str(field).ok());
        Ok(paths
            .filter_map(|path| rows::serials(path.as_bytes()).first().copied())
            .collect())
    }

    async fn fail(&self) -> Result<(), Reason> {
        self.store.as_ref().ok_or(MISSING)?.proxy.set(Trouble::Refuse);
        Ok(())
    }

    async fn stall(&self) -> Result<(), Reason> {
        self.store.as_ref().ok_or(MISSING)?.proxy.set(Trouble::Stall);
        Ok(())
    }

    async fn heal(&self) {
        if let Some(store) = &self.store {
            store.proxy.set(Trouble::None);
        }
    }

    fn refused(&self) -> Result<Alter, Reason> {
        Err(
            "what a server refuses depends on indexes and rules of others: a_document_that_breaks_a_unique_index_costs_only_itself",
        )
    }

    fn poison(&self) -> Result<Alter, Reason> {
        Err("every document is inserted or refused by itself")
    }

    fn deaths(&self) -> Result<&'static [&'static str], Reason> {
        Ok(&["before the server has the insert", "before its answer arrives"])
    }

    async fn die_at(&self, death: usize) {
        if let Some(store) = &self.store {
            store.proxy.set(if death == 0 {
                Trouble::DiesBefore
            } else {
                Trouble::DiesAfter
            });
        }
    }
}

/// The serial numbers of an aggregate's endpoints, each as often as it was counted.
fn counted(document: &RawDocument) -> Vec<u64> {
    let mut serials = Vec::new();
    let Ok(endpoints) = document.get_document("endpoints") else {
        return serials;
    };
    for (path, counter) in endpoints.iter().filter_map(Result::ok) {
        let hits = counter.as_document().and_then(|counter| counter.get_i32("hits").ok());
        for serial in rows::serials(path.as_str().as_bytes()) {
            serials.extend((0..hits.unwrap_or_default()).map(|_| serial));
        }
    }
    serials
}

/// What happens to writes on their way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// They arrive.
    None,
    /// The connection is closed instead.
    Refuse,
    /// They wait until the trouble ends.
    Stall,
    /// The next one does not arrive, and nothing after it.
    DiesBefore,
    /// The next one arrives, its answer does not, nor does anything after it.
    DiesAfter,
    /// Every connection is closed.
    Dead,
    /// Every third answer to a write is lost: the connection is closed instead.
    LosesAnswers,
}

/// Forwards connections to a server and breaks those that write.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    trouble: Arc<watch::Sender<Trouble>>,
    /// Writes whose answers may have been lost.
    pub lost: Arc<AtomicUsize>,
}

impl Proxy {
    async fn start(to: SocketAddr) -> Option<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0").await.ok()?;
        let address = listener.local_addr().ok()?;
        let trouble = Arc::new(watch::Sender::new(Trouble::None));
        let lost = Arc::new(AtomicUsize::new(0));
        let (shared, count) = (trouble.clone(), lost.clone());
        tokio::spawn(async move {
            while let Ok((peer, _)) = listener.accept().await {
                let (trouble, lost) = (shared.clone(), count.clone());
                tokio::spawn(async move {
                    if *trouble.borrow() != Trouble::Dead {
                        relay(peer, to, &trouble, &lost).await;
                    }
                });
            }
        });
        Some(Proxy { address, trouble, lost })
    }

    /// From now on.
    pub fn set(&self, trouble: Trouble) {
        self.trouble.send_replace(trouble);
    }
}

/// One connection; ends when either side does, or the trouble says so.
async fn relay(peer: TcpStream, to: SocketAddr, trouble: &watch::Sender<Trouble>, lost: &AtomicUsize) -> Option<()> {
    let (mut from_peer, mut to_peer) = peer.into_split();
    let (mut from_server, mut to_server) = TcpStream::connect(to).await.ok()?.into_split();
    let mut watched = trouble.subscribe();
    loop {
        let request = tokio::select! {
            request = read_message(&mut from_peer) => request?,
            _ = watched.wait_for(|trouble| *trouble == Trouble::Dead) => return None,
        };
        let writes = is_write(&request);
        let mut lose = false;
        if writes {
            let now = *watched.borrow_and_update();
            match now {
                Trouble::None => {}
                Trouble::Refuse => return None,
                Trouble::Stall => {
                    let _ = watched.wait_for(|trouble| *trouble != Trouble::Stall).await;
                }
                Trouble::DiesBefore | Trouble::Dead => {
                    trouble.send_replace(Trouble::Dead);
                    return None;
                }
                Trouble::DiesAfter => lose = true,
                Trouble::LosesAnswers => lose = lost.fetch_add(1, SeqCst).is_multiple_of(3),
            }
        }
        let answer = exchange(&mut to_server, &mut from_server, &request).await?;
        if lose {
            if *watched.borrow() == Trouble::DiesAfter {
                trouble.send_replace(Trouble::Dead);
            }
            return None;
        }
        to_peer.write_all(&answer).await.ok()?;
    }
}

async fn exchange(to: &mut OwnedWriteHalf, from: &mut OwnedReadHalf, request: &[u8]) -> Option<Vec<u8>> {
    to.write_all(request).await.ok()?;
    read_message(from).await
}

async fn read_message(from: &mut OwnedReadHalf) -> Option<Vec<u8>> {
    let mut message = vec![0; 16];
    from.read_exact(&mut message).await.ok()?;
    let length = u32::from_le_bytes(message.get(..4)?.try_into().ok()?) as usize;
    message.resize(length, 0);
    from.read_exact(message.get_mut(16..)?).await.ok()?;
    Some(message)
}

/// Whether a message is a command that writes documents: the name is the key of its first element.
fn is_write(message: &[u8]) -> bool {
    const NAME: usize = 16 + 4 + 1 + 4 + 1;
    let name = message.get(NAME..).unwrap_or_default();
    [&b"insert\0"[..], b"update\0", b"findAndModify\0"]
        .iter()
        .any(|command| name.starts_with(command))
}
