//! A database of its own on a real MongoDB server, behind a proxy that breaks things.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst},
    },
};

use futures::TryStreamExt;
use mongodb::{
    Client, Collection, Database,
    bson::{RawDocumentBuf, doc},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::watch,
};

use crate::server;

/// A database that nobody else uses, and the way to it.
pub struct Store {
    /// The database, past the proxy.
    pub database: Database,
    /// What breaks on the way.
    pub proxy: Proxy,
    credentials: String,
}

impl Store {
    /// `None`: there is no server.
    pub async fn start() -> Option<Store> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let address = server::address("mongo")?;
        let rest = address.strip_prefix("mongodb://")?.trim_end_matches('/');
        let (credentials, host) = rest.rsplit_once('@').unwrap_or(("", rest));
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
