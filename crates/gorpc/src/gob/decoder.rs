//! Values from messages.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;

use super::{
    Basic, Fault, GobError, MAX_DEPTH, MAX_MESSAGE, MAX_PARTS, MAX_TYPES, MAX_VALUES, Value,
    cursor::{Cursor, Stop},
    ids,
    types::{self, Fields, Type},
};

/// Makes values of the messages of one stream.
#[derive(Debug, Default)]
pub struct Decoder {
    types: HashMap<i64, Arc<Type>>,
    /// The messages of a value that is not complete yet.
    pending: Vec<Bytes>,
    /// Messages before these.
    before: u64,
}

/// One attempt at the pending messages.
struct Attempt<'a> {
    cursor: Cursor<'a>,
    types: &'a mut HashMap<i64, Arc<Type>>,
    /// Types that this attempt has defined.
    defined: Vec<i64>,
    values: usize,
}

impl Decoder {
    /// Takes the next message. `None`: it was a definition, or the value goes on in further messages. After an error the
    /// stream is of no use.
    pub fn push(&mut self, message: Bytes) -> Result<Option<Value>, GobError> {
        self.pending.push(message);
        let mut attempt = Attempt {
            cursor: Cursor::new(&self.pending, self.before),
            types: &mut self.types,
            defined: Vec::new(),
            values: 0,
        };
        let outcome = attempt.run();
        let defined = attempt.defined;
        match outcome {
            Err(Stop::Bad(error)) => Err(error),
            Err(Stop::More) => {
                // A value that was begun is decoded anew from its beginning, and defines its types again.
                for id in defined {
                    self.types.remove(&id);
                }
                let bytes: usize = self.pending.iter().map(Bytes::len).sum();
                let fault = match (self.pending.len(), bytes) {
                    (parts, _) if parts >= MAX_PARTS => Fault::ManyParts,
                    (_, bytes) if bytes > MAX_MESSAGE => Fault::LongMessage(bytes as u64),
                    _ => return Ok(None),
                };
                Err(GobError {
                    message: self.before + self.pending.len() as u64,
                    offset: 0,
                    fault,
                })
            }
            Ok(value) => {
                self.before += self.pending.len() as u64;
                self.pending.clear();
                Ok(value)
            }
        }
    }

    /// Whether the stream may end here.
    pub fn is_at_boundary(&self) -> bool {
        self.pending.is_empty()
    }
}

impl Attempt<'_> {
    /// A value with all its messages; `None`: a definition.
    fn run(&mut self) -> Result<Option<Value>, Stop> {
        let id = self.cursor.signed()?;
        if id < 0 {
            self.define(id)?;
            return match self.cursor.left() {
                0 => Ok(None),
                left => Err(self.cursor.bad(Fault::Trailing(left))),
            };
        }
        let value = self.top(id, 0)?;
        match self.cursor.left() {
            0 if !self.cursor.has_next() => Ok(Some(value)),
            left => Err(self.cursor.bad(Fault::Trailing(left))),
        }
    }

    /// The rest of a definition of type `-negative`.
    fn define(&mut self, negative: i64) -> Result<(), Stop> {
        let id = negative.checked_neg().unwrap_or(0);
        if id < ids::FIRST_USER {
            return Err(self.cursor.bad(Fault::ReservedType(id)));
        }
        if self.types.contains_key(&id) {
            return Err(self.cursor.bad(Fault::TypeTwice(id)));
        }
        if self.types.len() >= MAX_TYPES {
            return Err(self.cursor.bad(Fault::ManyTypes));
        }
        let read = types::read(&mut self.cursor, id)?;
        self.types.insert(id, Arc::new(read));
        self.defined.push(id);
        Ok(())
    }

    /// The number of the type inside an interface, behind definitions.
    fn type_of_interface(&mut self) -> Result<i64, Stop> {
        loop {
            if self.cursor.left() == 0 {
                self.cursor.next_message()?;
            }
            let id = self.cursor.signed()?;
            if id >= 0 {
                return Ok(id);
            }
            self.define(id)?;
            if self.cursor.left() > 0 {
                // Inside another interface the message does not end here; its length stands again.
                self.cursor.unsigned()?;
            }
        }
    }

    /// A value at the top or inside an interface.
    fn top(&mut self, id: i64, depth: usize) -> Result<Value, Stop> {
        let is_struct = matches!(self.types.get(&id).map(|known| &**known), Some(Type::Struct { .. }));
        if !is_struct {
            match self.cursor.unsigned()? {
                0 => {}
                other => return Err(self.cursor.bad(Fault::NoZero(other))),
            }
        }
        self.value(id, depth)
    }

    fn value(&mut self, id: i64, depth: usize) -> Result<Value, Stop> {
        if depth > MAX_DEPTH {
            return Err(self.cursor.bad(Fault::Deep));
        }
        self.values += 1;
        if self.values > MAX_VALUES {
            return Err(self.cursor.bad(Fault::ManyValues));
        }
        let cursor = &mut self.cursor;
        Ok(match id {
            ids::BOOL => Value::Basic(Basic::Bool(cursor.bool()?)),
            ids::INT => Value::Basic(Basic::Int(cursor.signed()?)),
            ids::UINT => Value::Basic(Basic::Uint(cursor.unsigned()?)),
            ids::FLOAT => Value::Basic(Basic::Float(cursor.float()?)),
            ids::BYTES => Value::Basic(Basic::Bytes(cursor.bytes()?)),
            ids::TEXT => Value::Basic(Basic::Text(cursor.bytes()?)),
            ids::COMPLEX => Value::Complex(cursor.float()?, cursor.float()?),
            ids::INTERFACE => self.interface(depth)?,
            _ => match self.types.get(&id).cloned().as_deref() {
                None => return Err(cursor.bad(Fault::UnknownType(id))),
                Some(Type::Custom) => Value::Basic(Basic::Bytes(cursor.bytes()?)),
                Some(&Type::List(element)) => {
                    let count = cursor.unsigned()?;
                    let mut elements = Vec::new();
                    for _ in 0..count {
                        elements.push(self.value(element, depth + 1)?);
                    }
                    Value::List(elements)
                }
                Some(&Type::Map(key, value)) => {
                    let count = cursor.unsigned()?;
                    let mut pairs = Vec::new();
                    for _ in 0..count {
                        pairs.push((self.value(key, depth + 1)?, self.value(value, depth + 1)?));
                    }
                    Value::Map(pairs)
                }
                Some(Type::Struct { name, fields }) => self.structure(name, fields, depth)?,
            },
        })
    }

    fn structure(&mut self, name: &str, known: &[(Arc<str>, i64)], depth: usize) -> Result<Value, Stop> {
        let mut fields = Fields::new();
        let mut values = Vec::new();
        while let Some(field) = fields.next(&mut self.cursor)? {
            let Some((name, id)) = usize::try_from(field).ok().and_then(|field| known.get(field)) else {
                return Err(self.cursor.bad(Fault::UnknownField {
                    field,
                    name: name.to_owned(),
                    count: known.len(),
                }));
            };
            values.push((name.clone(), self.value(*id, depth + 1)?));
        }
        Ok(Value::Struct(values))
    }

    fn interface(&mut self, depth: usize) -> Result<Value, Stop> {
        let name = self.cursor.name()?;
        if name.is_empty() {
            return Ok(Value::Nil);
        }
        let id = self.type_of_interface()?;
        // The value's length, for those who do not know its type.
        self.cursor.unsigned()?;
        let value = self.top(id, depth + 1)?;
        Ok(Value::Interface(name, Box::new(value)))
    }
}
