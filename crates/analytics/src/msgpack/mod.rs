//! MessagePack as `msgpack.v2` of Go writes it: what gateways push, one value a list element.
//!
//! The decoder is as liberal as the reference's: structures may be maps or positional arrays, keys and strings may be
//! of any width and of the str or bin family, unknown keys are skipped, bytes after the value are ignored.

mod decode;
mod encode;
mod read;
mod skip;
mod uptime;

pub use decode::decode;
pub(crate) use decode::decode_into;
pub use encode::{encode, encode_uptime};
pub use uptime::decode_uptime;
