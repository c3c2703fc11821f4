//! What an upsert assigns, for the dialects that differ only in words.

use super::table::{Column, Merge};

/// Words of a dialect.
pub(crate) struct Words<'a> {
    /// A column of the stored row.
    pub stored: &'a dyn Fn(&str) -> String,
    /// A column of the proposed row.
    pub proposed: &'a dyn Fn(&str) -> String,
    /// A column's name on the left of an assignment.
    pub quoted: &'a dyn Fn(&str) -> String,
    /// Function: the larger of two.
    pub larger: &'static str,
    /// Function: the smaller of two.
    pub smaller: &'static str,
    /// A number as double.
    pub double: &'a dyn Fn(&str) -> String,
}

/// `column = value` for those of the columns that a conflict changes. Averages come first, then extremes, then sums: MySQL lets
/// later assignments see earlier ones, and an average is made of the old sums.
pub(crate) fn assignments<'a>(columns: impl IntoIterator<Item = &'a Column>, words: &Words<'_>) -> String {
    let mut columns: Vec<&Column> = columns.into_iter().filter(|c| c.merge != Merge::Keep).collect();
    columns.sort_by_key(|column| match column.merge {
        Merge::Average { .. } => 0,
        Merge::Max | Merge::Min | Merge::AnsweredMin { .. } => 1,
        Merge::Add | Merge::Replace | Merge::Keep => 2,
    });
    let mut sql = String::new();
    for column in columns {
        if !sql.is_empty() {
            sql.push_str(", ");
        }
        sql.push_str(&(words.quoted)(&column.name));
        sql.push_str(" = ");
        sql.push_str(&value(column, words));
    }
    sql
}

fn value(column: &Column, words: &Words<'_>) -> String {
    let stored = |name: &str| format!("COALESCE({}, 0)", (words.stored)(name));
    let sum = |name: &str| format!("{} + {}", stored(name), (words.proposed)(name));
    let chosen = |function: &str| {
        // Nothing stored is no extreme: the proposed value is.
        let (stored, proposed) = ((words.stored)(&column.name), (words.proposed)(&column.name));
        format!("{function}(COALESCE({stored}, {proposed}), {proposed})")
    };
    match column.merge {
        Merge::Keep => (words.stored)(&column.name),
        Merge::Replace => (words.proposed)(&column.name),
        Merge::Add => sum(&column.name),
        Merge::Max => chosen(words.larger),
        Merge::Min => chosen(words.smaller),
        Merge::AnsweredMin { hits, errors } => {
            let old = rank(&stored(hits), &stored(errors));
            let new = rank(&(words.proposed)(hits), &(words.proposed)(errors));
            format!(
                "CASE WHEN {old} > {new} THEN {} WHEN {old} < {new} THEN {} ELSE {} END",
                stored(&column.name),
                (words.proposed)(&column.name),
                chosen(words.smaller)
            )
        }
        Merge::Average { total, hits } => {
            format!(
                "COALESCE({} / NULLIF({}, 0), 0)",
                (words.double)(&sum(total)),
                sum(hits)
            )
        }
    }
}

/// What a minimum is worth: nothing without hits, little when all of them are errors.
fn rank(hits: &str, errors: &str) -> String {
    format!("CASE WHEN {hits} = 0 THEN 0 WHEN {hits} = {errors} THEN 1 ELSE 2 END")
}

/// [`Words::double`] of SQLite and MySQL: of integers the one would cut the fraction off, and the other keep 4 digits of it.
pub(crate) fn plus_zero(number: &str) -> String {
    format!("(0e0 + {number})")
}
