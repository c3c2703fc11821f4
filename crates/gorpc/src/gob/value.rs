//! Decoded values.

use std::sync::Arc;

use bytes::Bytes;

/// Any value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// One that has no parts.
    Basic(Basic),
    /// Real and imaginary part.
    Complex(f64, f64),
    /// An interface that holds nothing.
    Nil,
    /// An interface: registered name of the type, and the value.
    Interface(Arc<str>, Box<Value>),
    /// Fields by name; those with zero values are missing.
    Struct(Vec<(Arc<str>, Value)>),
    /// Elements of a slice or an array.
    List(Vec<Value>),
    /// Keys and values.
    Map(Vec<(Value, Value)>),
}

/// A value without parts: what the calls of gorpc take and return.
#[derive(Clone, Debug, PartialEq)]
pub enum Basic {
    /// `bool`
    Bool(bool),
    /// `int` and all signed ones
    Int(i64),
    /// `uint` and all unsigned ones
    Uint(u64),
    /// `float64`
    Float(f64),
    /// `[]byte`, and what types with an encoder of their own have written
    Bytes(Bytes),
    /// `string`, which need not be UTF-8
    Text(Bytes),
}

impl Basic {
    /// A text.
    pub fn text(text: impl Into<Bytes>) -> Basic {
        Basic::Text(text.into())
    }

    /// Name under which Go registers the type.
    pub fn type_name(&self) -> &'static str {
        match self {
            Basic::Bool(_) => "bool",
            Basic::Int(_) => "int",
            Basic::Uint(_) => "uint",
            Basic::Float(_) => "float64",
            Basic::Bytes(_) => "[]uint8",
            Basic::Text(_) => "string",
        }
    }
}

impl Value {
    /// The field of a structure; `None` also where its value is zero.
    pub fn field(&self, name: &str) -> Option<&Value> {
        let Value::Struct(fields) = self else {
            return None;
        };
        fields
            .iter()
            .find(|(field, _)| **field == *name)
            .map(|(_, value)| value)
    }

    /// What kind of value it is, for errors.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Basic(basic) => basic.type_name(),
            Value::Complex(..) => "complex128",
            Value::Nil => "nil",
            Value::Interface(..) => "interface",
            Value::Struct(_) => "struct",
            Value::List(_) => "list",
            Value::Map(_) => "map",
        }
    }
}
