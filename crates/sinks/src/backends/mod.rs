//! The back-ends, a file or a folder each.

pub mod csv;
pub mod dummy;
#[cfg(feature = "http")]
pub mod elasticsearch;
#[cfg(feature = "graylog")]
pub mod graylog;
#[cfg(feature = "hybrid")]
pub mod hybrid;
#[cfg(feature = "kafka")]
pub mod kafka;
#[cfg(feature = "http")]
pub mod logzio;
#[cfg(feature = "http")]
pub mod moesif;
#[cfg(feature = "mongo")]
pub mod mongo;
#[cfg(feature = "http")]
pub mod resurfaceio;
#[cfg(feature = "http")]
pub mod segment;
#[cfg(feature = "http")]
pub mod splunk;
pub mod sql;
pub mod stdout;
pub mod syslog;
