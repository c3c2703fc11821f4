//! A record as a CSV row, as Go's `encoding/csv` writes it.

use std::sync::LazyLock;

use crate::{
    Int, RecordView,
    field::{LEAVES, Store},
    gofloat::{TWO_TO_63, to_int},
    gotext::first_char,
    gotime, scan,
};

/// The header row, line end included.
pub static HEADER: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let names: Vec<&str> = LEAVES.iter().filter_map(|info| info.csv).collect();
    let mut header = names.join(",").into_bytes();
    header.push(b'\n');
    header
});

static COLUMNS: LazyLock<Vec<Store>> = LazyLock::new(|| {
    let columns = LEAVES.iter().filter(|info| info.csv.is_some());
    columns.map(|info| info.store).collect()
});

/// Appends the record's row, line end included. Every record has one.
pub fn write_row(out: &mut Vec<u8>, view: &RecordView<'_>) {
    write_cells(out, view, Formulas::AsTheyAre);
}

/// The same, but a text that a spreadsheet would run as a formula has an apostrophe before it.
pub fn write_row_for_spreadsheets(out: &mut Vec<u8>, view: &RecordView<'_>) {
    write_cells(out, view, Formulas::Escaped);
}

/// What becomes of texts that begin as formulas do.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Formulas {
    AsTheyAre,
    Escaped,
}

impl Formulas {
    /// Whether an apostrophe must stand before a text.
    fn guards(self, text: &[u8]) -> bool {
        self == Formulas::Escaped && matches!(text.first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r'))
    }
}

fn write_cells(out: &mut Vec<u8>, view: &RecordView<'_>, formulas: Formulas) {
    for (position, column) in COLUMNS.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        write_column(out, view, *column, formulas);
    }
    out.push(b'\n');
}

fn write_column(out: &mut Vec<u8>, view: &RecordView<'_>, column: Store, formulas: Formulas) {
    match column {
        Store::Text(text) => {
            let text = view.text(text);
            match formulas.guards(&text) {
                true => write_field(out, &[b"'", &*text].concat()),
                false => write_field(out, &text),
            }
        }
        Store::Int(Int::Month, _) => gotime::write_month(out, view.int(Int::Month)),
        Store::Int(int @ (Int::LatencyTotal | Int::LatencyUpstream | Int::LatencyGateway), _) => {
            out.extend_from_slice(itoa::Buffer::new().format(view.int(int)).as_bytes());
        }
        // The reference prints these as unsigned numbers, so that -1 reads 18446744073709551615.
        Store::Int(int, _) => write_unsigned(out, view.int(int) as u64),
        Store::Float(float) => write_unsigned(out, float_bits(view.float(float))),
        Store::Time(when) => gotime::write_text(out, view.time(when)),
        Store::Flag(flag) => out.extend_from_slice(if view.flag(flag) { b"true" } else { b"false" }),
        // Some spreadsheets take the semicolon between two items for the end of a cell.
        Store::Tags => write_joined(out, view.tags(), |out, tag| {
            if formulas.guards(tag) {
                out.push(b'\'');
            }
            out.extend_from_slice(tag);
        }),
        Store::CityNames => write_joined(out, view.city_names(), |out, (language, name)| {
            if formulas.guards(language) {
                out.push(b'\'');
            }
            out.extend_from_slice(language);
            out.push(b':');
            out.extend_from_slice(name);
        }),
        Store::RootFields | Store::Types | Store::Errors | Store::Nothing | Store::Struct(_) => {}
    }
}

fn write_unsigned(out: &mut Vec<u8>, value: u64) {
    // Most numbers of a record are 0.
    if value == 0 {
        out.push(b'0');
        return;
    }
    out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
}

/// A float as an unsigned integer, the way the reference's amd64 build converts it: in two signed conversions.
fn float_bits(value: f64) -> u64 {
    if value < TWO_TO_63 {
        to_int(value) as u64
    } else {
        (to_int(value - TWO_TO_63) | i64::MIN) as u64
    }
}

fn write_joined<T>(out: &mut Vec<u8>, items: Option<impl Iterator<Item = T>>, write_item: impl Fn(&mut Vec<u8>, T)) {
    let start = out.len();
    for (position, item) in items.into_iter().flatten().enumerate() {
        if position > 0 {
            out.push(b';');
        }
        write_item(out, item);
    }
    if out.get(start..).is_some_and(needs_quotes) {
        let joined = out.split_off(start);
        write_quoted(out, &joined);
    }
}

fn write_field(out: &mut Vec<u8>, text: &[u8]) {
    if text.is_empty() {
        return;
    }
    if needs_quotes(text) {
        write_quoted(out, text);
    } else {
        out.extend_from_slice(text);
    }
}

fn write_quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for part in text.split_inclusive(|&byte| byte == b'"') {
        out.extend_from_slice(part);
        if part.ends_with(b"\"") {
            out.push(b'"');
        }
    }
    out.push(b'"');
}

fn needs_quotes(text: &[u8]) -> bool {
    let Some(&first) = text.first() else {
        return false;
    };
    let begins_with_space = match first {
        b'\t'..=b'\r' | b' ' => true,
        0x80.. => first_char(text).is_some_and(char::is_whitespace),
        _ => false,
    };
    begins_with_space || text == br"\." || scan::contains(text, is_special)
}

#[inline]
const fn is_special(byte: u8) -> bool {
    (byte == b',') | (byte == b'"') | (byte == b'\n') | (byte == b'\r')
}
