//! SQL in the words of MySQL.

use std::fmt::Write;

use super::server::Server;
use crate::backends::sql::{
    ledger,
    merge::{Words, assignments, plus_zero},
    options,
    table::{Class, Column, Index, Layout, Table, split_name},
};

/// Characters of a text that is part of a key or of an index. 191 characters of four bytes fit into the 767 bytes that
/// the oldest servers and row formats allow for a column.
pub(super) const KEY_LENGTH: u64 = 191;

/// `a` or `a.b`, in backticks.
pub(super) fn quoted(name: &str) -> String {
    match split_name(name) {
        (Some(schema), table) => format!("{}.{}", quoted_part(schema), quoted_part(table)),
        (None, table) => quoted_part(table),
    }
}

pub(super) fn quoted_part(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// Type of a column.
pub(super) fn column_type(column: &Column, layout: &Layout, options: &options::Mysql, server: &Server) -> String {
    match column.class {
        Class::Int => "bigint".to_owned(),
        Class::Uint => "bigint unsigned".to_owned(),
        Class::Float => "double".to_owned(),
        Class::Bool => "boolean".to_owned(),
        Class::Time if options.disable_datetime_precision || !server.has_fractions() => "datetime NULL".to_owned(),
        Class::Time => "datetime(3) NULL".to_owned(),
        // Compared byte by byte: ids that differ in case are different ids.
        Class::Text | Class::Json if layout.key.contains(&&*column.name) => format!(
            "varchar({}) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL",
            key_length(options)
        ),
        Class::Text | Class::Json => text_type(options.default_string_size),
    }
}

fn text_type(size: u64) -> String {
    match size {
        0 => "longtext".to_owned(),
        1..65_536 => format!("varchar({size})"),
        65_536..=16_777_216 => "mediumtext".to_owned(),
        _ => "longtext".to_owned(),
    }
}

/// Characters that fit into a text of the primary key.
pub(super) fn key_length(options: &options::Mysql) -> u64 {
    match options.default_string_size {
        0 => KEY_LENGTH,
        size => size.min(KEY_LENGTH),
    }
}

/// Whether an index on `column` takes only its beginning. `length`: characters that the column holds, for a text.
fn is_cut(length: Option<u64>) -> bool {
    length.is_some_and(|length| length > KEY_LENGTH)
}

/// Columns of an index in brackets. `length` says how many characters a text column holds; `None`: it is no text.
pub(super) fn index_columns(index: &Index, length: &dyn Fn(&str) -> Option<u64>) -> String {
    let columns = index.columns.iter().map(|column| match is_cut(length(column)) {
        true => format!("{}({KEY_LENGTH})", quoted_part(column)),
        false => quoted_part(column),
    });
    format!("({})", columns.collect::<Vec<_>>().join(","))
}

/// How many characters a text column holds that was made by [`column_type`]; `None`: it is no text.
fn declared_length(table: &Table, options: &options::Mysql, name: &str) -> Option<u64> {
    let column = table.layout.columns.iter().find(|column| column.name == name)?;
    match column.class {
        Class::Text | Class::Json if table.layout.key.contains(&name) => Some(key_length(options)),
        Class::Text | Class::Json => match options.default_string_size {
            0 => Some(u64::MAX),
            size => Some(size),
        },
        _ => None,
    }
}

/// `CREATE TABLE` with its keys and indexes. `charset`: declare utf8mb4, because the database's default is another.
pub(super) fn create_table(table: &Table, options: &options::Mysql, server: &Server, charset: bool) -> String {
    let mut parts: Vec<String> = Vec::new();
    for column in &table.layout.columns {
        let kind = column_type(column, &table.layout, options, server);
        parts.push(format!("{} {kind}", quoted_part(&column.name)));
    }
    if !table.layout.key.is_empty() {
        let key: Vec<String> = table.layout.key.iter().map(|column| quoted_part(column)).collect();
        parts.push(format!("PRIMARY KEY ({})", key.join(",")));
    }
    for index in &table.indexes {
        let columns = index_columns(index, &|name| declared_length(table, options, name));
        parts.push(format!("INDEX {} {columns}", quoted_part(&index.name)));
    }
    let charset = if charset { " DEFAULT CHARSET=utf8mb4" } else { "" };
    format!(
        "CREATE TABLE {} ({}) ENGINE=InnoDB{charset}",
        quoted(&table.name),
        parts.join(",")
    )
}

/// Rows of one `INSERT`, up to the placeholders.
pub(super) fn insert(table: &Table, rows: usize, upsert: bool, server: &Server) -> String {
    let columns = &table.layout.columns;
    let mut sql = String::with_capacity(1024 + rows * (2 * columns.len() + 2));
    let _ = write!(sql, "INSERT INTO {} (", quoted(&table.name));
    for (number, column) in columns.iter().enumerate() {
        let comma = if number == 0 { "" } else { "," };
        let _ = write!(sql, "{comma}{}", quoted_part(&column.name));
    }
    sql.push_str(") VALUES ");
    write_placeholders(&mut sql, rows, columns.len());
    if upsert {
        sql.push_str(&on_duplicate(&table.layout, &quoted(&table.name), server));
    }
    sql
}

pub(super) fn write_placeholders(sql: &mut String, rows: usize, columns: usize) {
    for row in 0..rows {
        sql.push_str(if row == 0 { "(" } else { ",(" });
        for column in 0..columns {
            sql.push_str(if column == 0 { "?" } else { ",?" });
        }
        sql.push(')');
    }
}

/// What happens to rows whose key is there: the proposed row is called `excluded` where the server knows row aliases.
fn on_duplicate(layout: &Layout, table: &str, server: &Server) -> String {
    let alias = if server.has_row_alias() { " AS excluded" } else { "" };
    let assigned = assignments(
        &layout.columns,
        &Words {
            stored: &|column| format!("{table}.{}", quoted_part(column)),
            proposed: &|column| server.proposed(column),
            quoted: &quoted_part,
            larger: "GREATEST",
            smaller: "LEAST",
            double: &plus_zero,
        },
    );
    format!("{alias} ON DUPLICATE KEY UPDATE {assigned}")
}

/// Makes the missing ledger entries of `claims` claims, and locks all of them: an entry that is there is locked for writing
/// when the insert runs into it. Parameters: pump, claim, fleet of each.
pub(super) fn lock_ledger(claims: usize) -> String {
    let mut sql = format!(
        "INSERT INTO `{}` (`pump`,`claim`,`fleet`,`applied`,`at`,`done`) VALUES ",
        ledger::NAME
    );
    for claim in 0..claims {
        let comma = if claim == 0 { "" } else { "," };
        let _ = write!(sql, "{comma}(?,?,?,'',UTC_TIMESTAMP(),0)");
    }
    sql.push_str(" ON DUPLICATE KEY UPDATE `done` = `done`");
    sql
}

/// Parameters: pump, claims.
pub(super) fn read_ledger(claims: usize) -> String {
    let list = vec!["?"; claims].join(",");
    format!(
        "SELECT `claim`, `applied` FROM `{}` WHERE `pump` = ? AND `claim` IN ({list})",
        ledger::NAME
    )
}

/// Parameters: applied, pump, claim.
pub(super) fn store_ledger() -> String {
    format!(
        "UPDATE `{}` SET `applied` = ?, `at` = UTC_TIMESTAMP(), `done` = 0 WHERE `pump` = ? AND `claim` = ?",
        ledger::NAME
    )
}

/// Parameters: pump, claims.
pub(super) fn finish_ledger(claims: usize) -> String {
    let list = vec!["?"; claims].join(",");
    format!(
        "UPDATE `{}` SET `done` = 1 WHERE `pump` = ? AND `claim` IN ({list})",
        ledger::NAME
    )
}

/// Keys of entries that nobody needs any more; read without locks, and deleted one by one. Parameter: fleet.
pub(super) fn old_ledger() -> String {
    format!(
        "SELECT `pump`, `claim` FROM `{}` WHERE `fleet` = ? AND `done` = 1 AND `at` < UTC_TIMESTAMP() - INTERVAL 7 DAY \
         ORDER BY `pump`, `claim` LIMIT 10000",
        ledger::NAME
    )
}

/// Parameters: pump, claim. Only if it is still old: it may have been written to in between.
pub(super) fn delete_ledger() -> String {
    format!(
        "DELETE FROM `{}` WHERE `pump` = ? AND `claim` = ? AND `done` = 1 AND `at` < UTC_TIMESTAMP() - INTERVAL 7 DAY",
        ledger::NAME
    )
}

#[cfg(test)]
mod tests;
