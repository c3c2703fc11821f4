//! Quoting.

/// An identifier in quotes; `a.b` stays two.
pub(super) fn quote(name: &str) -> String {
    let part = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
    match super::super::table::split_name(name) {
        (Some(schema), table) => format!("{}.{}", part(schema), part(table)),
        (None, table) => part(table),
    }
}

/// A column or index in quotes.
pub(super) fn quote_part(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A string literal, whatever `standard_conforming_strings` is.
pub(super) fn literal(text: &str) -> String {
    let text = text.replace('\'', "''").replace('\0', "");
    match text.contains('\\') {
        true => format!("E'{}'", text.replace('\\', "\\\\")),
        false => format!("'{text}'"),
    }
}
