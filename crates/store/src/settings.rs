//! What the store is told.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

/// How a store behaves.
#[derive(Clone)]
pub struct Settings {
    /// Where clients connect.
    pub listen: SocketAddr,
    /// The folder.
    pub dir: PathBuf,
    /// Name that clients log in with, normally `default`.
    pub username: String,
    /// Their password; empty: none.
    pub password: String,
    /// Certificates; `None`: clear text.
    pub tls: Option<ServerTls>,
    /// Bytes on disk at which clients are refused.
    pub max_bytes: u64,
    /// When a client gets its reply.
    pub fsync: Fsync,
    /// Connections at a time.
    pub max_clients: usize,
    /// Bytes of one command.
    pub max_command: usize,
    /// A client that says nothing for so long is gone.
    pub idle_timeout: Duration,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // Without the password.
        f.debug_struct("Settings")
            .field("listen", &self.listen)
            .field("dir", &self.dir)
            .field("max_bytes", &self.max_bytes)
            .field("fsync", &self.fsync)
            .finish_non_exhaustive()
    }
}

/// When a client gets its reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fsync {
    /// After a flush that it may share with others.
    Group,
    /// After a flush of its own.
    Always,
    /// When the operating system has the data.
    Never,
}

/// Files of TLS, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerTls {
    /// Certificate, with what is between it and its authority.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of clients' certificates; `None`: clients need none.
    pub client_ca: Option<PathBuf>,
}
