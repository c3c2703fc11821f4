//! What the tables of SQL pumps look like, without any dialect.

use std::{borrow::Cow, sync::Arc};

use analytics::Time;

/// What a column holds. Each dialect has one type for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// A string: `text`, `longtext` or `varchar(n)`.
    Text,
    /// A list or map as JSON text; the same types as [`Class::Text`].
    Json,
    /// A signed integer of 64 bits.
    Int,
    /// An unsigned integer: `bigint` except on MySQL.
    Uint,
    /// A float: `decimal` on Postgres.
    Float,
    /// A boolean.
    Bool,
    /// An instant.
    Time,
}

/// What an upsert makes of a stored value T and a proposed one E. Every right-hand side sees the old T; a T that is NULL
/// counts as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Merge {
    /// T stays.
    Keep,
    /// T + E
    Add,
    /// E
    Replace,
    /// The larger one.
    Max,
    /// The smaller one.
    Min,
    /// The smaller one of what answered requests made. One of errors alone counts only where both are, one without hits
    /// never: in whatever groups the same records come, the result is the same.
    AnsweredMin {
        /// Column of the number of requests.
        hits: &'static str,
        /// Column of the number of errors among them.
        errors: &'static str,
    },
    /// Sum of the column `total` divided by the sum of the column `hits`, as double; 0 when that sum is 0.
    Average {
        /// Column of the sum.
        total: &'static str,
        /// Column of the number of summands.
        hits: &'static str,
    },
}

/// A column. All are nullable and without a default, but those of the primary key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Column {
    /// Its name, to be quoted: `expireAt` is mixed-case.
    pub name: Cow<'static, str>,
    /// What it holds.
    pub class: Class,
    /// What an upsert makes of it.
    pub merge: Merge,
}

impl Column {
    pub(crate) fn new(name: impl Into<Cow<'static, str>>, class: Class) -> Column {
        Column {
            name: name.into(),
            class,
            merge: Merge::Keep,
        }
    }

    pub(crate) fn merged(self, merge: Merge) -> Column {
        Column { merge, ..self }
    }
}

/// Columns and primary key that several tables share: the base table and its shards.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    /// In the order of `CREATE TABLE` and of every row's values.
    pub columns: Vec<Column>,
    /// Columns of the primary key; none for raw tables.
    pub key: &'static [&'static str],
}

/// An index that a table is to have.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Index {
    /// Its name. On Postgres and SQLite names are unique in a schema, not in a table.
    pub name: String,
    /// Columns in order.
    pub columns: &'static [&'static str],
    /// Build it without blocking writers where the dialect can: the table may be large and in use.
    pub concurrent: bool,
}

/// One table that a pump writes to.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Table {
    /// `table` or `schema.table`; always quoted in SQL, part by part.
    pub name: String,
    /// Its columns.
    pub layout: Arc<Layout>,
    /// Its indexes, the primary key's apart.
    pub indexes: Vec<Index>,
}

impl Table {
    /// Schema and table.
    pub(crate) fn parts(&self) -> (Option<&str>, &str) {
        split_name(&self.name)
    }
}

/// Schema and table of a name: one dot separates them.
pub(crate) fn split_name(name: &str) -> (Option<&str>, &str) {
    match name.split_once('.') {
        Some((schema, table)) if !schema.is_empty() && !table.is_empty() && !table.contains('.') => {
            (Some(schema), table)
        }
        _ => (None, name),
    }
}

/// The value of one column of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    /// [`Class::Text`] and [`Class::Json`]: any bytes. Dialects make them valid with [`clean`].
    Text(&'a [u8]),
    /// [`Class::Int`]
    Int(i64),
    /// [`Class::Uint`]
    Uint(u64),
    /// [`Class::Float`]
    Float(f64),
    /// [`Class::Bool`]
    Bool(bool),
    /// [`Class::Time`]; [`Time::ZERO`] is the year 1 on Postgres and SQLite, NULL on MySQL.
    Time(Time),
}

/// Rows that are ready to be written: a number, and the values of each in the order of the layout's columns.
pub(crate) trait Rows: Send + Sync {
    /// Number of rows.
    fn len(&self) -> usize;

    /// Hands every value of row `index` to `out`, in the order of the columns. The text is the reason why there is no such
    /// row (a map inside the path of a GraphQL error has no JSON form).
    fn write(&self, index: usize, out: &mut dyn FnMut(Value<'_>)) -> Result<(), String>;
}

/// `text` as a text column can hold it: bytes that are no UTF-8 become U+FFFD, and so does NUL, which Postgres refuses.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub(crate) fn clean(text: &[u8]) -> Cow<'_, [u8]> {
    let is_plain = || !analytics::scan::contains(text, |byte| byte == 0 || byte > 127);
    if is_plain() || (std::str::from_utf8(text).is_ok() && !text.contains(&0)) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(String::from_utf8_lossy(text).replace('\0', "\u{fffd}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_that_no_column_can_hold_is_made_valid() {
        assert!(matches!(clean(b"/orders"), Cow::Borrowed(b"/orders")));
        assert!(matches!(clean("é".as_bytes()), Cow::Borrowed(text) if text == "é".as_bytes()));
        assert_eq!(&*clean(b"a\0b\xffc"), "a\u{fffd}b\u{fffd}c".as_bytes());
        assert_eq!(&*clean(b"a NUL \0 alone"), "a NUL \u{fffd} alone".as_bytes());
    }

    #[test]
    fn one_dot_separates_schema_and_table() {
        assert_eq!(split_name("a.b"), (Some("a"), "b"));
        assert_eq!(split_name("rand-table"), (None, "rand-table"));
        assert_eq!(split_name("a.b.c"), (None, "a.b.c"));
    }
}
