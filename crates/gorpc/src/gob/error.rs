//! What is wrong with a stream, and where.

/// A stream that cannot be decoded. It cannot be continued.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("message {message} of the stream, byte {offset}: {fault}")]
pub struct GobError {
    /// Number of the message, from 1.
    pub message: u64,
    /// Byte in the message, from 0 after its length.
    pub offset: usize,
    /// What is wrong there.
    pub fault: Fault,
}

/// What can be wrong with a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// A number begins with a byte of 128 to 247.
    #[error("a number of {0} bytes; no more than 8 are possible")]
    LongNumber(u8),
    /// A value goes on behind its message.
    #[error("{wanted} bytes are needed and {left} are left in the message")]
    Short {
        /// Bytes that are needed.
        wanted: u64,
        /// Bytes that are there.
        left: usize,
    },
    /// A message is too long.
    #[error("a message of {0} bytes; no more than {max} are accepted", max = super::MAX_MESSAGE)]
    LongMessage(u64),
    /// The message has more than one value.
    #[error("{0} bytes follow the value")]
    Trailing(usize),
    /// A number of a type that was not defined.
    #[error("type {0} is not defined on this stream")]
    UnknownType(i64),
    /// A definition of a type that cannot be defined.
    #[error("type {0} cannot be defined: user types begin at 64")]
    ReservedType(i64),
    /// A second definition.
    #[error("type {0} is defined already")]
    TypeTwice(i64),
    /// Too many definitions.
    #[error("more than {max} types are defined", max = super::MAX_TYPES)]
    ManyTypes,
    /// A description of a type that makes no sense.
    #[error("the description of type {0} is not one: {1}")]
    Description(i64, &'static str),
    /// A field that the type does not have.
    #[error("field {field} of type \"{name}\", which has {count}")]
    UnknownField {
        /// The field's number.
        field: u64,
        /// The type's name.
        name: String,
        /// The fields it has.
        count: usize,
    },
    /// A value that is no structure has a byte before it that is not 0.
    #[error("a value that is no structure begins with {0} instead of 0")]
    NoZero(u64),
    /// A truth that is neither.
    #[error("{0} is no bool")]
    NoBool(u64),
    /// A name that is too long or no text.
    #[error("a name of {0} bytes is too long or no UTF-8")]
    Name(usize),
    /// Nested too deeply.
    #[error("values are nested more than {max} deep", max = super::MAX_DEPTH)]
    Deep,
    /// Too many values.
    #[error("more than {max} values in one", max = super::MAX_VALUES)]
    ManyValues,
    /// Too many parts.
    #[error("a value in more than {max} messages", max = super::MAX_PARTS)]
    ManyParts,
}
