//! What is there, and what is missing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{
    super::{
        database::Statement,
        table::{Class, Table},
    },
    statement::{literal, quote, quote_part},
    tuple::Kind,
};

/// The oid of a table in its schema, or in the first one of the search path.
fn oid(table: &Table) -> String {
    format!("to_regclass({})", literal(&quote(&table.name)))
}

/// Name and type's oid of every column.
pub(super) fn columns_query(table: &Table) -> String {
    format!(
        "SELECT attname, atttypid FROM pg_catalog.pg_attribute \
         WHERE attrelid = {} AND attnum > 0 AND NOT attisdropped",
        oid(table)
    )
}

/// Name of those of the table's indexes that its schema has, whatever table they are of, and whether they are complete
/// or being built.
pub(super) fn indexes_query(table: &Table) -> String {
    let names: Vec<String> = table.indexes.iter().map(|index| literal(cut(&index.name))).collect();
    let schema = match table.parts().0 {
        Some(schema) => format!("{}::regnamespace", literal(&quote_part(schema))),
        None => "current_schema()::regnamespace".to_owned(),
    };
    let building = match table.indexes.iter().any(|index| index.concurrent) {
        true => "OR EXISTS (SELECT 1 FROM pg_catalog.pg_stat_progress_create_index p WHERE p.index_relid = c.oid)",
        false => "",
    };
    format!(
        "SELECT c.relname, (i.indisvalid {building}) FROM pg_catalog.pg_class c \
         JOIN pg_catalog.pg_index i ON c.oid = i.indexrelid \
         WHERE c.relname IN ({}) AND c.relnamespace = COALESCE( \
         (SELECT relnamespace FROM pg_catalog.pg_class WHERE oid = {}), {schema})",
        names.join(", "),
        oid(table)
    )
}

/// An identifier as Postgres keeps it: 63 bytes.
fn cut(name: &str) -> &str {
    let mut end = name.len().min(63);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    &name[..end]
}

/// Names of the tables of a schema, or the current one, that begin with `prefix`.
pub(super) fn tables_query(schema: Option<&str>, prefix: &str) -> String {
    let schema = schema.map_or("current_schema()".to_owned(), literal);
    format!(
        "SELECT c.relname FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         WHERE n.nspname = {schema} AND c.relkind IN ('r', 'p') AND starts_with(c.relname, {}) ORDER BY 1",
        literal(prefix)
    )
}

/// A table as it is.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Name and type of each column; empty: no table.
    columns: HashMap<String, u32>,
    /// Name of each index, and whether it is complete.
    indexes: HashMap<String, bool>,
}

impl Found {
    pub(super) fn read(columns: &[Vec<Option<String>>], indexes: &[Vec<Option<String>>]) -> Found {
        let pair = |row: &Vec<Option<String>>| match row.as_slice() {
            [Some(name), Some(value)] => Some((name.clone(), value.clone())),
            _ => None,
        };
        let columns = columns.iter().filter_map(pair);
        let indexes = indexes.iter().filter_map(pair);
        Found {
            columns: columns
                .filter_map(|(name, oid)| Some((name, oid.parse().ok()?)))
                .collect(),
            indexes: indexes.map(|(name, valid)| (name, valid == "t")).collect(),
        }
    }
}

fn type_of(class: Class) -> &'static str {
    match class {
        Class::Text | Class::Json => "text",
        Class::Int | Class::Uint => "bigint",
        Class::Float => "decimal",
        Class::Bool => "boolean",
        Class::Time => "timestamptz",
    }
}

/// Rows with a key are counters, updated again and again. While a page has room for the new version of every row in it, no
/// index needs another entry.
const ROOM_FOR_UPDATES: &str = " WITH (fillfactor = 50)";

/// The statements that give `table` its shape.
pub(super) fn plan(table: &Table, found: &Found) -> Vec<Statement> {
    let name = quote(&table.name);
    let statement = |sql| Statement { sql, concurrent: false };
    let mut statements = Vec::new();
    let columns = &table.layout.columns;
    if found.columns.is_empty() {
        let mut parts: Vec<String> = columns
            .iter()
            .map(|column| format!("{} {}", quote_part(&column.name), type_of(column.class)))
            .collect();
        let mut storage = "";
        if !table.layout.key.is_empty() {
            let key: Vec<String> = table.layout.key.iter().map(|key| quote_part(key)).collect();
            parts.push(format!("PRIMARY KEY ({})", key.join(",")));
            storage = ROOM_FOR_UPDATES;
        }
        statements.push(statement(format!("CREATE TABLE {name} ({}){storage}", parts.join(","))));
    } else {
        let mut changes = Vec::new();
        for column in columns {
            let wanted = type_of(column.class);
            let quoted = quote_part(&column.name);
            let kind = found.columns.get(column.name.as_ref()).map(|&oid| Kind::of(oid));
            match kind {
                None => changes.push(format!("ADD {quoted} {wanted}")),
                Some(Some(Kind::Int4 | Kind::Int2)) if wanted == "bigint" => {
                    changes.push(format!("ALTER COLUMN {quoted} TYPE bigint USING {quoted}::bigint"));
                }
                Some(_) => {}
            }
        }
        if !changes.is_empty() {
            statements.push(statement(format!("ALTER TABLE {name} {}", changes.join(", "))));
        }
    }
    for index in &table.indexes {
        let columns: Vec<String> = index.columns.iter().map(|column| quote_part(column)).collect();
        // Nobody has rows in a table that is about to be created.
        let concurrent = index.concurrent && !found.columns.is_empty();
        let how = if concurrent { "CONCURRENTLY " } else { "" };
        let create = Statement {
            sql: format!(
                "CREATE INDEX {how}IF NOT EXISTS {} ON {name} ({})",
                quote_part(&index.name),
                columns.join(",")
            ),
            concurrent,
        };
        match found.indexes.get(cut(&index.name)) {
            Some(true) => {}
            // What a CONCURRENTLY that was interrupted leaves behind.
            Some(false) => {
                let schema = table
                    .parts()
                    .0
                    .map_or(String::new(), |schema| format!("{}.", quote_part(schema)));
                statements.push(Statement {
                    sql: format!("DROP INDEX CONCURRENTLY IF EXISTS {schema}{}", quote_part(&index.name)),
                    concurrent: true,
                });
                statements.push(create);
            }
            None => statements.push(create),
        }
    }
    statements
}

/// Types of the columns of the tables that were looked at, in the order of their layouts.
#[derive(Clone, Default)]
pub(super) struct Shapes(Arc<Mutex<HashMap<String, Shape>>>);

/// The kinds of a table's columns.
type Shape = Arc<[Option<Kind>]>;

impl Shapes {
    pub(super) fn note(&self, table: &Table, found: Found) {
        let columns = table.layout.columns.iter();
        let kinds = columns.map(|column| Kind::of(*found.columns.get(column.name.as_ref())?));
        let kinds = kinds.collect();
        let mut shapes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shapes.insert(table.name.clone(), kinds);
    }

    pub(super) fn of(&self, table: &Table) -> Option<Arc<[Option<Kind>]>> {
        let shapes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shapes.get(&table.name).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backends::sql::table::{Column, Layout};

    fn creation(key: &'static [&'static str]) -> String {
        let layout = Layout {
            columns: vec![Column::new("id", Class::Text), Column::new("hits", Class::Int)],
            key,
        };
        let table = Table {
            name: "counters".to_owned(),
            layout: layout.into(),
            indexes: Vec::new(),
        };
        let statements = plan(&table, &Found::read(&[], &[]));
        statements.into_iter().map(|statement| statement.sql).collect()
    }

    #[test]
    fn counter_tables_leave_room_for_new_versions() {
        assert_eq!(
            creation(&["id"]),
            "CREATE TABLE \"counters\" (\"id\" text,\"hits\" bigint,PRIMARY KEY (\"id\")) WITH (fillfactor = 50)"
        );
        assert_eq!(creation(&[]), "CREATE TABLE \"counters\" (\"id\" text,\"hits\" bigint)");
    }
}
