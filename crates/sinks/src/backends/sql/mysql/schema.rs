//! What a table lacks, from the server's catalogue: neither `IF NOT EXISTS` for columns nor for indexes is known to every
//! server.

use std::collections::HashMap;

use mysql_async::Value;

use super::{
    connect::Connection,
    statement::{column_type, create_table, index_columns, quoted, quoted_part},
};
use crate::backends::sql::{
    database::{DatabaseError, Statement},
    options,
    table::{Class, Table},
};

/// A table as the catalogue shows it.
struct Found {
    /// InnoDB or another engine; none for a view.
    engine: Option<String>,
    /// By name in lower case, as the server compares them.
    columns: HashMap<String, FoundColumn>,
    /// Names in lower case.
    indexes: Vec<String>,
}

struct FoundColumn {
    kind: String,
    /// Characters that a text holds.
    length: Option<u64>,
}

/// The engine of an existing table that has no transactions, if it is one.
pub(super) type EngineWithoutTransactions = Option<String>;

/// Statements that give `table` its shape.
pub(super) async fn plan(
    connection: &mut Connection,
    table: &Table,
    options: &options::Mysql,
) -> Result<(Vec<Statement>, EngineWithoutTransactions), DatabaseError> {
    let now = |sql: String| Statement { sql, concurrent: false };
    let Some(found) = find(connection, table).await? else {
        let charset = !has_utf8mb4(connection, table).await?;
        let sql = create_table(table, options, &connection.server, charset);
        return Ok((vec![now(sql)], None));
    };
    let mut statements = Vec::new();
    let changes = changed_columns(&found, table, options, connection);
    if !changes.is_empty() {
        statements.push(now(format!(
            "ALTER TABLE {} {}",
            quoted(&table.name),
            changes.join(", ")
        )));
    }
    for index in &table.indexes {
        if found.indexes.contains(&index.name.to_lowercase()) {
            continue;
        }
        // A column that is added just now has the length that it is declared with, at most.
        let length = |name: &str| match found.columns.get(&name.to_lowercase()) {
            Some(column) => column.length,
            None => declared(table, name),
        };
        statements.push(Statement {
            sql: format!(
                "CREATE INDEX {} ON {} {}",
                quoted_part(&index.name),
                quoted(&table.name),
                index_columns(index, &length)
            ),
            // InnoDB lets writers go on while it builds an index.
            concurrent: index.concurrent,
        });
    }
    let engine = found.engine.filter(|engine| !has_transactions(engine));
    Ok((statements, engine))
}

/// Whether a table of this engine can be rolled back.
fn has_transactions(engine: &str) -> bool {
    ["innodb", "ndbcluster", "ndb", "rocksdb", "tokudb"].contains(&engine.to_lowercase().as_str())
}

fn declared(table: &Table, name: &str) -> Option<u64> {
    let column = table.layout.columns.iter().find(|column| column.name == name)?;
    matches!(column.class, Class::Text | Class::Json).then_some(u64::MAX)
}

/// Columns to add, and with `default_string_size` text columns to widen. None is made shorter: that would cut what it holds.
fn changed_columns(found: &Found, table: &Table, options: &options::Mysql, connection: &Connection) -> Vec<String> {
    let mut changes = Vec::new();
    for column in &table.layout.columns {
        let kind = column_type(column, &table.layout, options, &connection.server);
        let name = quoted_part(&column.name);
        let Some(there) = found.columns.get(&column.name.to_lowercase()) else {
            changes.push(format!("ADD {name} {kind}"));
            continue;
        };
        let is_text = matches!(column.class, Class::Text | Class::Json);
        let is_key = table.layout.key.contains(&&*column.name);
        let wanted = options.default_string_size;
        if is_text && !is_key && there.kind == "varchar" && there.length.is_some_and(|length| length < wanted) {
            changes.push(format!("MODIFY COLUMN {name} {kind}"));
        }
    }
    changes
}

async fn find(connection: &mut Connection, table: &Table) -> Result<Option<Found>, DatabaseError> {
    let name = parameters(table);
    let engines: Vec<Option<String>> = connection
        .select(
            "SELECT engine FROM information_schema.tables \
             WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?",
            name.clone(),
        )
        .await?;
    let Some(engine) = engines.into_iter().next() else {
        return Ok(None);
    };
    let columns: Vec<(String, String, Option<u64>)> = connection
        .select(
            "SELECT column_name, data_type, character_maximum_length FROM information_schema.columns \
             WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?",
            name.clone(),
        )
        .await?;
    let indexes: Vec<String> = connection
        .select(
            "SELECT DISTINCT index_name FROM information_schema.statistics \
             WHERE table_schema = COALESCE(?, DATABASE()) AND table_name = ?",
            name,
        )
        .await?;
    Ok(Some(Found {
        engine,
        columns: columns
            .into_iter()
            .map(|(name, kind, length)| {
                let kind = kind.to_lowercase();
                (name.to_lowercase(), FoundColumn { kind, length })
            })
            .collect(),
        indexes: indexes.into_iter().map(|name| name.to_lowercase()).collect(),
    }))
}

/// Whether a new table can hold every character without saying so.
async fn has_utf8mb4(connection: &mut Connection, table: &Table) -> Result<bool, DatabaseError> {
    let (schema, _) = table.parts();
    let charsets: Vec<String> = connection
        .select(
            "SELECT default_character_set_name FROM information_schema.schemata \
             WHERE schema_name = COALESCE(?, DATABASE())",
            vec![schema.into()],
        )
        .await?;
    Ok(charsets.iter().any(|charset| charset == "utf8mb4"))
}

/// Names of the tables in `schema` (`None`: the current one).
pub(super) async fn tables(connection: &mut Connection, schema: Option<&str>) -> Result<Vec<String>, DatabaseError> {
    connection
        .select(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = COALESCE(?, DATABASE())",
            vec![schema.into()],
        )
        .await
}

fn parameters(table: &Table) -> Vec<Value> {
    let (schema, name) = table.parts();
    vec![schema.into(), name.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_without_transactions_are_known() {
        for (engine, yes) in [
            ("InnoDB", true),
            ("ROCKSDB", true),
            ("MyISAM", false),
            ("Aria", false),
            ("MEMORY", false),
        ] {
            assert_eq!(has_transactions(engine), yes, "{engine}");
        }
    }
}
