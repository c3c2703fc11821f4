//! What gateways talk to: RESP2 and RESP3 over TCP, with or without TLS.

mod commands;
mod connection;
mod crowd;
pub mod gate;
mod glob;
mod information;
mod reply;
mod session;
mod strings;
mod tls;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use anyhow::Context;
use crowd::Crowd;
use session::Session;
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use crate::{
    Settings, Store,
    log::{Change, Log},
};

const HANDSHAKE: Duration = Duration::from_secs(10);
/// How often strings whose time is over are removed.
const SWEEP: Duration = Duration::from_secs(10);
/// After an error of the listener, such as too many open files.
const PAUSE: Duration = Duration::from_millis(100);

/// A server that has its port and does not answer yet.
pub struct Server {
    listener: TcpListener,
    local: SocketAddr,
    settings: Arc<Settings>,
    tls: Option<TlsAcceptor>,
    store: Arc<Log>,
}

impl Server {
    /// Takes the port.
    ///
    /// # Errors
    /// The port is taken or may not be used, or the files of TLS cannot.
    pub async fn bind(settings: &Settings, store: &Store) -> anyhow::Result<Self> {
        let tls = settings.tls.as_ref().map(tls::acceptor).transpose()?;
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("embedded_storage.listen {}", settings.listen))?;
        Ok(Self {
            local: listener.local_addr()?,
            listener,
            settings: Arc::new(settings.clone()),
            tls,
            store: store.log().clone(),
        })
    }

    /// The address that was taken.
    pub fn address(&self) -> SocketAddr {
        self.local
    }

    /// Answers until `stop` is cancelled. Connections end with it.
    pub async fn serve(self, stop: CancellationToken) {
        tracing::info!(
            prefix = "embedded",
            "Gateways can push to {}; records wait in {}",
            self.local,
            self.store.folder().display()
        );
        let crowd = Arc::new(Crowd::default());
        let mut sweep = tokio::time::interval(SWEEP);
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                _ = sweep.tick() => {
                    self.sweep();
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            match accepted {
                Ok((stream, peer)) => self.welcome(stream, peer, &crowd, &stop),
                Err(error) => {
                    tracing::warn!(prefix = "embedded", "cannot accept a connection: {error}");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    fn welcome(&self, mut stream: TcpStream, peer: SocketAddr, crowd: &Arc<Crowd>, stop: &CancellationToken) {
        let Some(seat) = crowd.enter(self.settings.max_clients) else {
            tokio::spawn(async move {
                let refused = stream.write_all(b"-ERR max number of clients reached\r\n");
                drop(timeout(PAUSE, refused).await);
            });
            return;
        };
        // It only costs time when it cannot be set.
        drop(stream.set_nodelay(true));
        let session = Session::new(seat.id, self.settings.clone());
        let (store, tls, stop) = (self.store.clone(), self.tls.clone(), stop.clone());
        tokio::spawn(async move {
            let serving = async {
                match tls {
                    None => connection::serve(stream, session, seat, store).await,
                    Some(tls) => match timeout(HANDSHAKE, tls.accept(stream)).await {
                        Ok(Ok(stream)) => connection::serve(stream, session, seat, store).await,
                        Ok(Err(error)) => {
                            tracing::debug!(prefix = "embedded", "TLS with {peer} failed: {error}");
                        }
                        Err(_) => {}
                    },
                }
            };
            tokio::select! {
                () = serving => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Removes strings whose time is over. Lists never go that way.
    fn sweep(&self) {
        self.store.with(|locked| {
            for key in strings::expired(locked) {
                if locked.change(Change::Remove { key }).is_err() {
                    return;
                }
            }
        });
    }
}
