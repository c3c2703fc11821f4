//! What an analytics record is: its fields, its two wire formats, its renderings, and the filters and
//! transformations that a pump applies to it. Pure data: no I/O, no async.
//!
//! One window of a Redis list becomes one [`Batch`]: the bytes as they came, and a [`Record`] a row that only holds
//! positions in those bytes. Every sink sees the same batch through its own [`Selection`]: which rows, and with which
//! [`Transform`]. Nothing is copied per sink.

pub mod aggregate;
pub mod batch;
pub mod csv;
pub mod dump;
pub mod field;
pub mod filter;
pub mod flatten;
pub mod gofloat;
pub mod gotext;
pub mod gotime;
pub mod json;
pub mod logrus;
pub mod msgpack;
pub mod protobuf;
pub mod ranges;
pub mod record;
pub mod scan;
pub mod transform;
pub mod uptime;
pub mod view;
pub mod zone;

pub use batch::{Batch, ClaimId, Decoded, Key, RecordKind, RowId, Selection, Wire};
pub use field::{FIELDS, Field, Flag, Float, Int, Text, When};
pub use filter::Filter;
pub use ranges::RowRanges;
pub use record::{DecodeError, Record, Span, Time};
pub use transform::Transform;
pub use uptime::{UptimeRecord, UptimeView};
pub use view::{BASE64, RecordView};
pub use zone::Zone;
