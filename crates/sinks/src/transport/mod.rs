//! Ways to a back-end: HTTP, TLS, sockets, files.

#[cfg(feature = "aws")]
pub(crate) mod aws;
pub mod durable;
#[cfg(feature = "http")]
pub mod http;
#[cfg(any(feature = "http", feature = "mongo", feature = "mysql", feature = "postgres"))]
pub(crate) mod login;
#[cfg(feature = "http")]
pub(crate) mod outbox;
pub mod serve;
pub mod tls;
pub mod wire;
#[cfg(any(feature = "http", feature = "mongo", feature = "mysql", feature = "postgres"))]
pub(crate) mod words;
