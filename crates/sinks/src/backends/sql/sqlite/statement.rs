//! SQL in the words of SQLite.

use crate::backends::sql::{
    merge::{Words, assignments, plus_zero},
    table::{Class, Column, Index, Table, split_name},
};

/// `a` or `a.b`, in quotes.
pub(super) fn quoted(name: &str) -> String {
    match split_name(name) {
        (Some(schema), table) => format!("{}.{}", quoted_part(schema), quoted_part(table)),
        (None, table) => quoted_part(table),
    }
}

pub(super) fn quoted_part(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Name and type of a column.
pub(super) fn column(column: &Column) -> String {
    let kind = match column.class {
        Class::Text | Class::Json => "text",
        Class::Int | Class::Uint => "integer",
        Class::Float => "real",
        Class::Bool => "numeric",
        Class::Time => "datetime",
    };
    format!("{} {kind}", quoted_part(&column.name))
}

fn list<'a>(columns: impl IntoIterator<Item = &'a str>) -> String {
    columns.into_iter().map(quoted_part).collect::<Vec<_>>().join(",")
}

/// `CREATE TABLE` with its primary key; indexes are statements of their own.
pub(super) fn create_table(table: &Table) -> String {
    let mut parts: Vec<String> = table.layout.columns.iter().map(column).collect();
    if !table.layout.key.is_empty() {
        parts.push(format!("PRIMARY KEY ({})", list(table.layout.key.iter().copied())));
    }
    format!("CREATE TABLE {} ({})", quoted(&table.name), parts.join(","))
}

/// An index belongs to the schema that its own name has, not the table's.
pub(super) fn create_index(table: &Table, index: &Index) -> String {
    let (schema, name) = table.parts();
    let schema = schema.map_or(String::new(), |schema| format!("{}.", quoted_part(schema)));
    format!(
        "CREATE INDEX {schema}{} ON {} ({})",
        quoted_part(&index.name),
        quoted_part(name),
        list(index.columns.iter().copied())
    )
}

/// One row.
pub(super) fn insert(table: &Table) -> String {
    let columns = &table.layout.columns;
    format!(
        "INSERT INTO {} ({}) VALUES ({})",
        quoted(&table.name),
        list(columns.iter().map(|column| &*column.name)),
        vec!["?"; columns.len()].join(",")
    )
}

/// One row, merged into the one with the same key.
pub(super) fn upsert(table: &Table) -> String {
    let assigned = assignments(
        &table.layout.columns,
        &Words {
            stored: &quoted_part,
            proposed: &|column| format!("excluded.{}", quoted_part(column)),
            quoted: &quoted_part,
            larger: "max",
            smaller: "min",
            double: &plus_zero,
        },
    );
    format!(
        "{} ON CONFLICT ({}) DO UPDATE SET {assigned}",
        insert(table),
        list(table.layout.key.iter().copied())
    )
}
