//! What a table lacks, from the file's own catalogue.

use std::collections::HashSet;

use rusqlite::Connection;

use super::{
    error::classify,
    statement::{column, create_index, create_table, quoted, quoted_part},
};
use crate::backends::sql::{
    database::{DatabaseError, Statement},
    table::Table,
};

/// Statements that give `table` its shape.
pub(super) fn plan(connection: &Connection, table: &Table) -> Result<Vec<Statement>, DatabaseError> {
    let (schema, name) = table.parts();
    let mut statements = Vec::new();
    let columns: HashSet<String> = texts(
        connection,
        "SELECT lower(name) FROM pragma_table_info(?1, ?2)",
        &[name, schema.unwrap_or("main")],
    )?
    .into_iter()
    .collect();
    if columns.is_empty() {
        statements.push(create_table(table));
    } else {
        let missing = table.layout.columns.iter();
        let missing = missing.filter(|column| !columns.contains(&column.name.to_lowercase()));
        statements
            .extend(missing.map(|missing| format!("ALTER TABLE {} ADD {}", quoted(&table.name), column(missing))));
    }
    if !table.indexes.is_empty() {
        let catalogue = catalogue(schema);
        let names: HashSet<String> = texts(
            connection,
            &format!("SELECT lower(name) FROM {catalogue} WHERE type = 'index'"),
            &[],
        )?
        .into_iter()
        .collect();
        let missing = table.indexes.iter();
        // An index of that name may belong to another table: names are unique in a schema.
        let missing = missing.filter(|index| !names.contains(&index.name.to_lowercase()));
        statements.extend(missing.map(|index| create_index(table, index)));
    }
    // Nobody can write while SQLite builds an index: in the background it would not take less time.
    Ok(statements
        .into_iter()
        .map(|sql| Statement { sql, concurrent: false })
        .collect())
}

/// Names of the tables of a schema.
pub(super) fn tables(connection: &Connection, schema: Option<&str>) -> Result<Vec<String>, DatabaseError> {
    let catalogue = catalogue(schema);
    texts(
        connection,
        &format!("SELECT name FROM {catalogue} WHERE type = 'table'"),
        &[],
    )
}

fn catalogue(schema: Option<&str>) -> String {
    match schema {
        Some(schema) => format!("{}.sqlite_master", quoted_part(schema)),
        None => "sqlite_master".to_owned(),
    }
}

fn texts(connection: &Connection, sql: &str, parameters: &[&str]) -> Result<Vec<String>, DatabaseError> {
    let mut statement = connection.prepare(sql).map_err(classify)?;
    let rows = statement
        .query_map(rusqlite::params_from_iter(parameters), |row| row.get(0))
        .map_err(classify)?;
    rows.collect::<Result<_, _>>().map_err(classify)
}
