//! Encodings that several sinks share.

#[cfg(feature = "http")]
pub(crate) mod body;
pub(crate) mod clock;
#[cfg(any(feature = "kafka", feature = "mysql"))]
pub(crate) mod duration;
#[cfg(any(feature = "aws", feature = "kafka"))]
pub(crate) mod flat;
#[cfg(feature = "http")]
pub(crate) mod go_json;
#[cfg(feature = "http")]
pub(crate) mod http_body;
#[cfg(feature = "http")]
pub(crate) mod row_uuid;
#[cfg(any(feature = "http", feature = "hybrid"))]
pub(crate) mod uuid;
