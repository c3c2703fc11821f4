//! The encoding of Go's package `encoding/gob`, as far as remote calls need it.
//!
//! | Kind | Bytes |
//! |---|---|
//! | unsigned | below 128 the byte itself; else 256 − *k* and *k* bytes, highest first |
//! | signed | unsigned of 2*i*, for negative ones of 2(−*i* − 1) + 1 |
//! | bool | unsigned 0 or 1 |
//! | float | the bits of a double, bytes reversed, as unsigned |
//! | text, bytes | unsigned length and the bytes |
//! | structure | for each field that is not zero: distance from the field before and the value; then 0 |
//! | list, map | unsigned count, then elements, or keys and values in turn |
//! | interface | name of the type, its number, length of the value, value; nil is the empty name |
//!
//! A definition is the negative number of the type and its description. Values that are not structures have a 0 before
//! them at the top and inside interfaces.
//!
//! [`Frames`] cuts a stream into messages, [`Decoder`] makes [`Value`]s of messages, and the functions `write_*` append.
//! Nothing that a peer sends makes them panic, recurse without end, or use much more memory than the message is long.

mod cursor;
mod decoder;
mod error;
mod frames;
mod types;
mod value;
mod write;

pub use decoder::Decoder;
pub use error::{Fault, GobError};
pub use frames::Frames;
pub use value::{Basic, Value};
pub use write::{write_basic, write_message, write_signed, write_struct_type, write_text, write_unsigned};

/// Type numbers that every stream knows.
pub mod ids {
    /// `bool`
    pub const BOOL: i64 = 1;
    /// `int` and all signed ones
    pub const INT: i64 = 2;
    /// `uint` and all unsigned ones
    pub const UINT: i64 = 3;
    /// `float64`
    pub const FLOAT: i64 = 4;
    /// `[]byte`
    pub const BYTES: i64 = 5;
    /// `string`
    pub const TEXT: i64 = 6;
    /// `complex128`
    pub const COMPLEX: i64 = 7;
    /// Any interface
    pub const INTERFACE: i64 = 8;
    /// The first one that a sender may define.
    pub const FIRST_USER: i64 = 64;
}

/// Bytes of a message that a peer may send.
pub const MAX_MESSAGE: usize = 64 << 20;
/// Types that a peer may define on a stream.
pub const MAX_TYPES: usize = 1024;
/// Structures, lists and interfaces inside each other.
pub const MAX_DEPTH: usize = 64;
/// Values inside one value.
pub const MAX_VALUES: usize = 1 << 20;
/// Messages that one value may be split into.
pub const MAX_PARTS: usize = 64;
