//! Definitions of types.

use std::sync::Arc;

use super::{
    Fault,
    cursor::{Cursor, Stop},
};

/// Fields that a structure may have.
const MAX_FIELDS: u64 = 4096;

/// A type that a peer has defined.
#[derive(Debug)]
pub(super) enum Type {
    /// Type of the elements of a slice or an array.
    List(i64),
    /// Types of keys and values.
    Map(i64, i64),
    Struct {
        name: Arc<str>,
        /// Names and types.
        fields: Vec<(Arc<str>, i64)>,
    },
    /// Written by an encoder of its own: bytes.
    Custom,
}

/// Fields of a structure in the order of their numbers, until its end.
pub(super) struct Fields(i128);

impl Fields {
    pub(super) fn new() -> Fields {
        Fields(-1)
    }

    pub(super) fn next(&mut self, cursor: &mut Cursor<'_>) -> Result<Option<u64>, Stop> {
        match cursor.unsigned()? {
            0 => Ok(None),
            delta => {
                self.0 += i128::from(delta);
                Ok(Some(u64::try_from(self.0).unwrap_or(u64::MAX)))
            }
        }
    }
}

/// Reads the description of type `id`.
pub(super) fn read(cursor: &mut Cursor<'_>, id: i64) -> Result<Type, Stop> {
    let mut fields = Fields::new();
    let mut found = None;
    while let Some(kind) = fields.next(cursor)? {
        if found.is_some() {
            return Err(cursor.bad(Fault::Description(id, "it is of two kinds")));
        }
        found = Some(match kind {
            0 | 1 => read_list(cursor, id)?,
            2 => read_struct(cursor, id)?,
            3 => read_map(cursor, id)?,
            4..=6 => read_custom(cursor, id)?,
            _ => return Err(cursor.bad(Fault::Description(id, "its kind is unknown"))),
        });
    }
    found.ok_or_else(|| cursor.bad(Fault::Description(id, "it is empty")))
}

fn unknown_part(cursor: &Cursor<'_>, id: i64) -> Stop {
    cursor.bad(Fault::Description(id, "it has an unknown part"))
}

/// Name and number, which every description begins with. Returns the name.
fn read_common(cursor: &mut Cursor<'_>, id: i64) -> Result<Arc<str>, Stop> {
    let mut fields = Fields::new();
    let mut name = Arc::from("");
    while let Some(field) = fields.next(cursor)? {
        match field {
            0 => name = cursor.name()?,
            1 => drop(cursor.signed()?),
            _ => return Err(unknown_part(cursor, id)),
        }
    }
    Ok(name)
}

/// Arrays have a length behind what slices have.
fn read_list(cursor: &mut Cursor<'_>, id: i64) -> Result<Type, Stop> {
    let mut fields = Fields::new();
    let mut element = 0;
    while let Some(field) = fields.next(cursor)? {
        match field {
            0 => drop(read_common(cursor, id)?),
            1 => element = cursor.signed()?,
            2 => drop(cursor.signed()?),
            _ => return Err(unknown_part(cursor, id)),
        }
    }
    Ok(Type::List(element))
}

fn read_map(cursor: &mut Cursor<'_>, id: i64) -> Result<Type, Stop> {
    let mut fields = Fields::new();
    let (mut key, mut value) = (0, 0);
    while let Some(field) = fields.next(cursor)? {
        match field {
            0 => drop(read_common(cursor, id)?),
            1 => key = cursor.signed()?,
            2 => value = cursor.signed()?,
            _ => return Err(unknown_part(cursor, id)),
        }
    }
    Ok(Type::Map(key, value))
}

fn read_custom(cursor: &mut Cursor<'_>, id: i64) -> Result<Type, Stop> {
    let mut fields = Fields::new();
    while let Some(field) = fields.next(cursor)? {
        match field {
            0 => drop(read_common(cursor, id)?),
            _ => return Err(unknown_part(cursor, id)),
        }
    }
    Ok(Type::Custom)
}

fn read_struct(cursor: &mut Cursor<'_>, id: i64) -> Result<Type, Stop> {
    let mut parts = Fields::new();
    let mut name = Arc::from("");
    let mut fields = Vec::new();
    while let Some(part) = parts.next(cursor)? {
        match part {
            0 => name = read_common(cursor, id)?,
            1 => {
                let count = cursor.unsigned()?;
                if count > MAX_FIELDS {
                    return Err(cursor.bad(Fault::Description(id, "it has too many fields")));
                }
                for _ in 0..count {
                    fields.push(read_field(cursor, id)?);
                }
            }
            _ => return Err(unknown_part(cursor, id)),
        }
    }
    Ok(Type::Struct { name, fields })
}

fn read_field(cursor: &mut Cursor<'_>, id: i64) -> Result<(Arc<str>, i64), Stop> {
    let mut parts = Fields::new();
    let (mut name, mut field_type) = (Arc::from(""), 0);
    while let Some(part) = parts.next(cursor)? {
        match part {
            0 => name = cursor.name()?,
            1 => field_type = cursor.signed()?,
            _ => return Err(unknown_part(cursor, id)),
        }
    }
    Ok((name, field_type))
}
