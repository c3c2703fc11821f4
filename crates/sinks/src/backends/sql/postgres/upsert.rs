//! Aggregate rows: one statement for any number of them, a parameter a column. Columns of counters that have nothing to add
//! (most response codes) are not sent.

use std::ops::Range;

use bytes::BytesMut;
use tokio_postgres::types::{IsNull, ToSql, Type, to_sql_checked};

use super::{
    super::{
        database::DatabaseError,
        merge::{Words, assignments},
        table::{Class, Column, Merge, Rows, Table, Value},
    },
    statement::{quote, quote_part},
    tuple::{self, Kind},
};

/// The statement that merges these rows into a table by its key.
pub(super) fn statement(table: &Table, arrays: &[Array]) -> String {
    let columns = &table.layout.columns;
    let (mut names, mut values) = (Vec::new(), Vec::new());
    let mut sent = 0;
    for (column, array) in columns.iter().zip(arrays) {
        names.push(quote_part(&column.name));
        if array.is_nothing() {
            values.push("0".to_owned());
        } else {
            sent += 1;
            values.push(format!("u.c{sent}"));
        }
    }
    let numbered = |prefix: &str| -> String {
        let all: Vec<String> = (1..=sent).map(|at| format!("{prefix}{at}")).collect();
        all.join(",")
    };
    let key: Vec<String> = table.layout.key.iter().map(|key| quote_part(key)).collect();
    let merges = assignments(
        columns,
        &Words {
            stored: &|column| format!("t.{}", quote_part(column)),
            proposed: &|column| format!("EXCLUDED.{}", quote_part(column)),
            quoted: &quote_part,
            larger: "GREATEST",
            smaller: "LEAST",
            double: &|number| format!("({number})::float8"),
        },
    );
    format!(
        "INSERT INTO {} AS t ({}) SELECT {} FROM unnest({}) AS u ({}) ON CONFLICT ({}) DO UPDATE SET {merges}",
        quote(&table.name),
        names.join(","),
        values.join(","),
        numbered("$"),
        numbered("c"),
        key.join(",")
    )
}

/// A column's values, each with its length, as an array carries them.
pub(super) struct Array {
    class: Class,
    len: usize,
    /// Empty while there are only zeros to be added.
    values: BytesMut,
}

impl Array {
    /// Whether the column has nothing to add to any row.
    fn is_nothing(&self) -> bool {
        self.values.is_empty()
    }

    /// Appends a value, behind those of so many rows. Zeros of a sum are put off until there is something else.
    fn add(&mut self, value: Value<'_>, column: &Column, rows: usize) -> Result<(), String> {
        let kind = kind_of(self.class);
        if self.is_nothing() && column.class == Class::Int && column.merge == Merge::Add {
            if value == Value::Int(0) {
                return Ok(());
            }
            for _ in 0..rows {
                tuple::write(&mut self.values, Value::Int(0), kind)?;
            }
        }
        tuple::write(&mut self.values, value, kind)
    }
}

/// The rows turned by 90 degrees.
pub(super) fn arrays(table: &Table, rows: &dyn Rows, range: Range<usize>) -> Result<Vec<Array>, DatabaseError> {
    let columns = &table.layout.columns;
    let mut arrays: Vec<Array> = columns
        .iter()
        .map(|column| Array {
            class: column.class,
            len: range.len(),
            values: BytesMut::new(),
        })
        .collect();
    for (written_before, index) in range.enumerate() {
        let mut column = 0;
        let mut failed = None;
        let written = rows.write(index, &mut |value: Value<'_>| {
            if let (Some(array), Some(shape)) = (arrays.get_mut(column), columns.get(column))
                && let Err(reason) = array.add(value, shape, written_before)
            {
                failed = Some((column, reason));
            }
            column += 1;
        });
        written.map_err(DatabaseError::Row)?;
        if let Some((column, reason)) = failed {
            let name = columns.get(column).map_or("", |column| &*column.name);
            return Err(DatabaseError::Row(format!("column {name}: {reason}")));
        }
    }
    Ok(arrays)
}

/// The arrays that are sent, as parameters with their types.
pub(super) fn parameters(arrays: &[Array]) -> Vec<(&(dyn ToSql + Sync), Type)> {
    let parameter = |array| {
        let array: &Array = array;
        (array as &(dyn ToSql + Sync), types_of(array.class).1)
    };
    arrays
        .iter()
        .filter(|array| !array.is_nothing())
        .map(parameter)
        .collect()
}

fn kind_of(class: Class) -> Kind {
    match class {
        Class::Text | Class::Json => Kind::Text,
        Class::Int | Class::Uint => Kind::Int8,
        Class::Float => Kind::Numeric,
        Class::Bool => Kind::Bool,
        Class::Time => Kind::Timestamp,
    }
}

/// Type of one value, and of an array of them. Columns of other types are cast to by the assignment.
fn types_of(class: Class) -> (Type, Type) {
    match class {
        Class::Text | Class::Json => (Type::TEXT, Type::TEXT_ARRAY),
        Class::Int | Class::Uint => (Type::INT8, Type::INT8_ARRAY),
        Class::Float => (Type::NUMERIC, Type::NUMERIC_ARRAY),
        Class::Bool => (Type::BOOL, Type::BOOL_ARRAY),
        Class::Time => (Type::TIMESTAMPTZ, Type::TIMESTAMPTZ_ARRAY),
    }
}

impl std::fmt::Debug for Array {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} values of {:?}", self.len, self.class)
    }
}

impl ToSql for Array {
    fn to_sql(&self, _: &Type, out: &mut BytesMut) -> Result<IsNull, Box<dyn std::error::Error + Sync + Send>> {
        use bytes::BufMut;
        // One dimension, no NULLs, type, length, lower bound.
        out.put_i32(1);
        out.put_i32(0);
        out.put_u32(types_of(self.class).0.oid());
        out.put_i32(self.len as i32);
        out.put_i32(1);
        out.put_slice(&self.values);
        Ok(IsNull::No)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}
