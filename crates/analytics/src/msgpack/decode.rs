//! Traffic records.
//!
//! Encoders write every key in declaration order, so each structure's decoder first walks through its rows and compares
//! the next bytes with the row's encoded key; only keys that come in another order are looked up by name.

use std::sync::LazyLock;

use super::{
    encode::encode,
    read::{Head, Reader, invalid},
};
use crate::{
    DecodeError, FIELDS, Field, Record, RecordView, Span, Time, Transform,
    field::{FieldInfo, Shape, Store, graph_error},
    record::{GraphError, PathItem, Rare},
};

/// How deep lists and maps may nest inside the path of a GraphQL error.
const MAX_PATH_DEPTH: usize = 128;

/// Decodes one traffic record. Its spans are positions in `buffer`, as `element` is.
pub fn decode(buffer: &[u8], element: Span) -> Result<Record, DecodeError> {
    let mut record = Record::default();
    decode_into(buffer, element, &mut record)?;
    Ok(record)
}

/// As [`decode`], in place: a record is half a kilobyte, and moving it costs a tenth of decoding it. `record` is one
/// without values.
pub(crate) fn decode_into(buffer: &[u8], element: Span, record: &mut Record) -> Result<(), DecodeError> {
    record_fields(&mut Reader::new(buffer, element), record)?;
    if let Some(rare) = &mut record.rare {
        rare.sort(buffer);
    }
    Ok(())
}

/// Something that rows of a table are decoded into.
pub(super) trait Target {
    /// Row of the table.
    type Row: 'static;
    /// The row's key.
    fn key(row: &Self::Row) -> &'static str;
    /// Decodes the row's value.
    fn read(&mut self, reader: &mut Reader<'_>, row: &Self::Row) -> Result<(), DecodeError>;
}

impl Target for Record {
    type Row = FieldInfo;

    fn key(row: &FieldInfo) -> &'static str {
        row.go
    }

    fn read(&mut self, reader: &mut Reader<'_>, row: &FieldInfo) -> Result<(), DecodeError> {
        value(reader, self, row.store)
    }
}

/// Decodes `pairs` keys and values, looking up each key among `rows`.
pub(super) fn by_name<T: Target>(
    reader: &mut Reader<'_>,
    target: &mut T,
    rows: &'static [T::Row],
    pairs: u32,
) -> Result<(), DecodeError> {
    let mut expected = 0;
    for _ in 0..pairs {
        let key = reader.string()?;
        let key = reader.text(key);
        let (before, after) = rows.split_at(expected);
        let is_it = |row: &T::Row| T::key(row).as_bytes() == key;
        let found = match after.iter().position(is_it) {
            Some(at) => Some(expected + at),
            None => before.iter().position(is_it),
        };
        let Some((at, row)) = found.and_then(|at| Some((at, rows.get(at)?))) else {
            reader.skip()?;
            continue;
        };
        target.read(reader, row)?;
        expected = at + 1;
    }
    Ok(())
}

/// Decodes a structure that was written as an array: values in declaration order, later ones of a newer writer skipped.
pub(super) fn by_position<T: Target>(
    reader: &mut Reader<'_>,
    target: &mut T,
    rows: &'static [T::Row],
    items: u32,
) -> Result<(), DecodeError> {
    let mut rows = rows.iter();
    for _ in 0..items {
        match rows.next() {
            Some(row) => target.read(reader, row)?,
            None => reader.skip()?,
        }
    }
    Ok(())
}

/// A row's key as encoders write it.
const fn encoded<const N: usize>(name: &str) -> [u8; N] {
    let name = name.as_bytes();
    let mut key = [0xa0 + name.len() as u8; N];
    let mut at = 0;
    while at < name.len() {
        key[at + 1] = name[at];
        at += 1;
    }
    key
}

/// What encoders write for a structure none of whose fields has a value, by [`Field`]; empty for other fields. Most
/// records carry several such structures, and one comparison is cheaper than reading their fields one by one.
static ZEROS: LazyLock<[Vec<u8>; Field::COUNT]> = LazyLock::new(|| {
    let mut bytes = Vec::new();
    encode(&mut bytes, &RecordView::new(&[], &Record::default(), &Transform::NONE));
    let element = Span {
        start: 0,
        len: bytes.len() as u32,
    };
    let mut reader = Reader::new(&bytes, element);
    let mut zeros = [const { Vec::new() }; Field::COUNT];
    if let Ok(Head::Map(_)) = reader.head() {
        for (zero, row) in zeros.iter_mut().zip(FIELDS) {
            let value = reader.string().and_then(|_| reader.skipped());
            if let (Store::Struct(_), Ok(value)) = (row.store, value) {
                *zero = value.to_vec();
            }
        }
    }
    zeros
});

macro_rules! structure {
    ($name:ident, $rows:expr, $($index:literal)*) => {
        structure!(@ $name, $rows, |_: &mut Reader<'_>, _: usize| false, $($index)*);
    };
    // `is_zero` steps over the value of a row if it is without values. Only where a structure occurs for the first time
    // does that leave the record as it must be.
    (@ $name:ident, $rows:expr, $is_zero:expr, $($index:literal)*) => {
        fn $name(reader: &mut Reader<'_>, record: &mut Record) -> Result<(), DecodeError> {
            const ROWS: &[FieldInfo] = $rows;
            const { assert!([$($index),*].len() == ROWS.len()) };
            let mut left = match reader.head()? {
                Head::Map(pairs) => pairs,
                Head::Array(items) => return by_position(reader, record, ROWS, items),
                Head::Nil => {
                    clear(record, ROWS);
                    return Ok(());
                }
            };
            $({
                const ROW: FieldInfo = ROWS[$index];
                const KEY: [u8; ROW.go.len() + 1] = encoded(ROW.go);
                if left > 0 && reader.next_is(&KEY) {
                    left -= 1;
                    let zero = matches!(ROW.store, Store::Struct(_)) && $is_zero(reader, $index);
                    if !zero {
                        value(reader, record, ROW.store)?;
                    }
                }
            })*
            if left > 0 {
                by_name(reader, record, ROWS, left)?;
            }
            Ok(())
        }
    };
}

structure!(@ record_fields, FIELDS, |reader: &mut Reader<'_>, field: usize| reader.next_are(&ZEROS[field]), 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34);
structure!(geo, Shape::Geo.fields(), 0 1 2);
structure!(country, Shape::Country.fields(), 0);
structure!(city, Shape::City.fields(), 0 1);
structure!(location, Shape::Location.fields(), 0 1 2);
structure!(network, Shape::Network.fields(), 0 1 2 3);
structure!(latency, Shape::Latency.fields(), 0 1 2);
structure!(graphql_stats, Shape::GraphQlStats.fields(), 0 1 2 3 4 5 6);
structure!(mcp_stats, Shape::McpStats.fields(), 0 1 2 3);

/// Decodes one value. Inlined where `store` is a constant, which leaves one arm of the match.
#[inline(always)]
fn value(reader: &mut Reader<'_>, record: &mut Record, store: Store) -> Result<(), DecodeError> {
    match store {
        Store::Text(text) => record.text[text as usize] = reader.string()?,
        Store::Int(int, _) => record.int[int as usize] = reader.int()?,
        Store::Float(float) => record.float[float as usize] = reader.float()?,
        Store::Time(when) => record.time[when as usize] = reader.time()?,
        Store::Flag(flag) => record.flag[flag as usize] = reader.bool()?,
        Store::Tags => tags(reader, record)?,
        Store::CityNames => city_names(reader, record)?,
        Store::RootFields => root_fields(reader, record)?,
        Store::Types => types(reader, record)?,
        Store::Errors => errors(reader, record)?,
        Store::Nothing => {
            reader.string()?;
        }
        Store::Struct(Shape::Geo) => geo(reader, record)?,
        Store::Struct(Shape::Country) => country(reader, record)?,
        Store::Struct(Shape::City) => city(reader, record)?,
        Store::Struct(Shape::Location) => location(reader, record)?,
        Store::Struct(Shape::Network) => network(reader, record)?,
        Store::Struct(Shape::Latency) => latency(reader, record)?,
        Store::Struct(Shape::GraphQlStats) => graphql_stats(reader, record)?,
        Store::Struct(Shape::McpStats) => mcp_stats(reader, record)?,
    }
    Ok(())
}

/// A nil in the place of a structure takes back what an earlier occurrence of its key brought.
#[cold]
fn clear(record: &mut Record, rows: &[FieldInfo]) {
    for row in rows {
        match row.store {
            Store::Text(text) => record.text[text as usize] = Span::default(),
            Store::Int(int, _) => record.int[int as usize] = 0,
            Store::Float(float) => record.float[float as usize] = 0.0,
            Store::Time(when) => record.time[when as usize] = Time::ZERO,
            Store::Flag(flag) => record.flag[flag as usize] = false,
            Store::Tags => record.tags = None,
            Store::CityNames => edit(record, |rare| rare.city_names = None),
            Store::RootFields => edit(record, |rare| rare.root_fields = None),
            Store::Types => edit(record, |rare| rare.types = None),
            Store::Errors => edit(record, |rare| rare.errors = None),
            Store::Nothing => {}
            Store::Struct(shape) => clear(record, shape.fields()),
        }
    }
}

fn edit(record: &mut Record, change: impl FnOnce(&mut Rare)) {
    if let Some(rare) = &mut record.rare {
        change(rare);
    }
}

fn tags(reader: &mut Reader<'_>, record: &mut Record) -> Result<(), DecodeError> {
    // A second occurrence replaces the first one, but nil leaves it, as in the reference.
    let Some(items) = reader.array_len()? else {
        return Ok(());
    };
    let tags = record.tags.insert(Default::default());
    for _ in 0..items {
        tags.push(reader.string()?);
    }
    Ok(())
}

fn strings(reader: &mut Reader<'_>) -> Result<Option<Vec<Span>>, DecodeError> {
    let Some(items) = reader.array_len()? else {
        return Ok(None);
    };
    let mut strings = Vec::new();
    for _ in 0..items {
        strings.push(reader.string()?);
    }
    Ok(Some(strings))
}

fn root_fields(reader: &mut Reader<'_>, record: &mut Record) -> Result<(), DecodeError> {
    if let Some(fields) = strings(reader)? {
        record.rare.get_or_insert_default().root_fields = Some(fields);
    }
    Ok(())
}

fn city_names(reader: &mut Reader<'_>, record: &mut Record) -> Result<(), DecodeError> {
    let Some(pairs) = reader.map_len()? else {
        edit(record, |rare| rare.city_names = None);
        return Ok(());
    };
    let names = record.rare.get_or_insert_default().city_names.get_or_insert_default();
    for _ in 0..pairs {
        names.push((reader.string()?, reader.string()?));
    }
    Ok(())
}

fn types(reader: &mut Reader<'_>, record: &mut Record) -> Result<(), DecodeError> {
    let Some(pairs) = reader.map_len()? else {
        edit(record, |rare| rare.types = None);
        return Ok(());
    };
    let types = record.rare.get_or_insert_default().types.get_or_insert_default();
    for _ in 0..pairs {
        types.push((reader.string()?, strings(reader)?));
    }
    Ok(())
}

fn errors(reader: &mut Reader<'_>, record: &mut Record) -> Result<(), DecodeError> {
    let Some(items) = reader.array_len()? else {
        edit(record, |rare| rare.errors = None);
        return Ok(());
    };
    let errors = record.rare.get_or_insert_default().errors.insert(Vec::new());
    for _ in 0..items {
        let mut error = GraphError::default();
        match reader.head()? {
            Head::Nil => {}
            Head::Map(pairs) => by_name(reader, &mut error, ERROR_FIELDS, pairs)?,
            Head::Array(items) => by_position(reader, &mut error, ERROR_FIELDS, items)?,
        }
        errors.push(error);
    }
    Ok(())
}

/// Fields of a GraphQL error.
pub(super) enum ErrorField {
    Message,
    Path,
}

const ERROR_FIELDS: &[ErrorField] = &[ErrorField::Message, ErrorField::Path];

impl Target for GraphError {
    type Row = ErrorField;

    fn key(row: &ErrorField) -> &'static str {
        match row {
            ErrorField::Message => graph_error::MESSAGE,
            ErrorField::Path => graph_error::PATH,
        }
    }

    fn read(&mut self, reader: &mut Reader<'_>, row: &ErrorField) -> Result<(), DecodeError> {
        match row {
            ErrorField::Message => self.message = reader.string()?,
            ErrorField::Path => {
                self.path = match reader.array_len()? {
                    Some(items) => Some(path_items(reader, items, 0)?),
                    None => None,
                }
            }
        }
        Ok(())
    }
}

fn path_items(reader: &mut Reader<'_>, items: u32, depth: usize) -> Result<Vec<PathItem>, DecodeError> {
    if depth > MAX_PATH_DEPTH {
        return Err(DecodeError::TooDeep(MAX_PATH_DEPTH));
    }
    let mut list = Vec::new();
    for _ in 0..items {
        list.push(path_item(reader, depth)?);
    }
    Ok(list)
}

fn path_pairs(reader: &mut Reader<'_>, pairs: u32, depth: usize) -> Result<Vec<(PathItem, PathItem)>, DecodeError> {
    if depth > MAX_PATH_DEPTH {
        return Err(DecodeError::TooDeep(MAX_PATH_DEPTH));
    }
    let mut map = Vec::new();
    for _ in 0..pairs {
        map.push((path_item(reader, depth)?, path_item(reader, depth)?));
    }
    Ok(map)
}

fn path_item(reader: &mut Reader<'_>, depth: usize) -> Result<PathItem, DecodeError> {
    match reader.peek()? {
        0x90..=0x9f | 0xdc | 0xdd => {
            let items = reader.array_len()?.unwrap_or(0);
            return path_items(reader, items, depth + 1).map(PathItem::List);
        }
        0x80..=0x8f | 0xde | 0xdf => {
            let pairs = reader.map_len()?.unwrap_or(0);
            return path_pairs(reader, pairs, depth + 1).map(PathItem::Map);
        }
        0xa0..=0xbf | 0xd9..=0xdb => return reader.string().map(PathItem::Text),
        0xc4..=0xc6 => return reader.string().map(PathItem::Bytes),
        0xc2 | 0xc3 => return reader.bool().map(PathItem::Bool),
        _ => {}
    }
    let code = reader.byte()?;
    if code == super::read::NIL {
        return Ok(PathItem::Null);
    }
    if let Some(value) = reader.float_after(code)? {
        return Ok(PathItem::Float(value));
    }
    match reader.int_after(code)? {
        Some((value, true)) => Ok(PathItem::Uint(value as u64)),
        Some((value, false)) => Ok(PathItem::Int(value)),
        None => Err(invalid(code, "value")),
    }
}
