//! Raw tables: one row a record.

use std::{
    borrow::Cow,
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use analytics::{
    Decoded, Flag, Int, RecordView, RowId, Selection, Text, When,
    field::{LEAVES, Store as Kept, Width},
    json,
};
use async_trait::async_trait;

use super::{
    database::{DatabaseError, Transaction},
    poison::{self, Way},
    shard,
    store::Job,
    table::{Class, Column, Index, Layout, Rows, Table, Value, split_name},
};
use crate::Rejected;

/// More refused rows than this are not looked for at once.
const MOST_REFUSED: usize = 100;

/// Where the value of a column comes from.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Source {
    /// A field of the record.
    Field(Kept),
    /// `Query`, `Mutation`, `Subscription` or nothing.
    Operation,
    /// The flag of the GraphQL statistics, or a response code of 400 and above.
    HasErrors,
}

/// A raw table's columns and where their values come from.
pub(crate) struct RawLayout {
    pub(crate) layout: Arc<Layout>,
    sources: Vec<Source>,
}

impl RawLayout {
    fn of(columns: Vec<(Column, Source)>) -> Arc<RawLayout> {
        let (columns, sources) = columns.into_iter().unzip();
        Arc::new(RawLayout {
            layout: Arc::new(Layout { columns, key: &[] }),
            sources,
        })
    }

    /// `tyk_analytics`: 52 columns.
    pub(crate) fn plain() -> Arc<RawLayout> {
        Self::of(analytics_columns(""))
    }

    /// `tyk_analytics_graph`: 58 columns.
    pub(crate) fn graph() -> Arc<RawLayout> {
        let mut columns = vec![field("types", Kept::Types)];
        columns.extend(analytics_columns("analytics_"));
        columns.extend([
            (Column::new("operation_type", Class::Text), Source::Operation),
            field("variables", Kept::Text(Text::GraphVariables)),
            field("root_fields", Kept::RootFields),
            field("errors", Kept::Errors),
            (Column::new("has_errors", Class::Bool), Source::HasErrors),
        ]);
        Self::of(columns)
    }

    /// `tyk_analytics_mcp`: 55 columns.
    pub(crate) fn mcp() -> Arc<RawLayout> {
        let mut columns = vec![
            field("jsonrpc_method", Kept::Text(Text::McpJsonRpcMethod)),
            field("primitive_type", Kept::Text(Text::McpPrimitiveType)),
            field("primitive_name", Kept::Text(Text::McpPrimitiveName)),
        ];
        columns.extend(analytics_columns("analytics_"));
        Self::of(columns)
    }

    /// Hands every value of a record's row to `out`. `scratch` is for JSON.
    fn write(
        &self,
        record: &RecordView<'_>,
        scratch: &mut Vec<u8>,
        out: &mut dyn FnMut(Value<'_>),
    ) -> Result<(), String> {
        for source in &self.sources {
            match *source {
                Source::Field(Kept::Text(text)) => out(Value::Text(&record.text(text))),
                Source::Field(Kept::Int(int, Width::Unsigned)) => out(Value::Uint(record.int(int) as u64)),
                Source::Field(Kept::Int(int, _)) => out(Value::Int(record.int(int))),
                Source::Field(Kept::Float(float)) => out(Value::Float(record.float(float))),
                Source::Field(Kept::Time(when)) => out(Value::Time(record.time(when))),
                Source::Field(Kept::Flag(flag)) => out(Value::Bool(record.flag(flag))),
                Source::Field(list) => {
                    scratch.clear();
                    json::write_column(scratch, record, list).map_err(|error| error.to_string())?;
                    out(Value::Text(scratch));
                }
                Source::Operation => out(Value::Text(operation(record).as_bytes())),
                Source::HasErrors => out(Value::Bool(
                    record.flag(Flag::GraphHasErrors) || record.int(Int::ResponseCode) >= 400,
                )),
            }
        }
        Ok(())
    }
}

fn operation(record: &RecordView<'_>) -> &'static str {
    match record.int(Int::GraphOperationType) {
        1 => "Query",
        2 => "Mutation",
        3 => "Subscription",
        _ => "",
    }
}

fn field(name: impl Into<Cow<'static, str>>, kept: Kept) -> (Column, Source) {
    let class = match kept {
        Kept::Text(_) => Class::Text,
        Kept::Int(_, Width::Unsigned) => Class::Uint,
        Kept::Int(_, _) => Class::Int,
        Kept::Float(_) => Class::Float,
        Kept::Time(_) => Class::Time,
        Kept::Flag(_) => Class::Bool,
        _ => Class::Json,
    };
    (Column::new(name, class), Source::Field(kept))
}

/// The columns of the analytics field table.
fn analytics_columns(prefix: &str) -> Vec<(Column, Source)> {
    let named = LEAVES.iter().filter_map(|info| Some((info.sql?, info.store)));
    named
        .map(|(name, kept)| match prefix {
            "" => field(name, kept),
            prefix => field(format!("{prefix}{name}"), kept),
        })
        .collect()
}

/// The single-column indexes of the shards of `sql`.
pub(crate) fn shard_indexes(table: &str) -> Vec<Index> {
    const COLUMNS: [&[&str]; 6] = [
        &["responsecode"],
        &["apikey"],
        &["timestamp"],
        &["apiid"],
        &["orgid"],
        &["oauthid"],
    ];
    let index = |columns: &'static [&'static str]| Index {
        name: format!("{table}_idx_{}", columns.concat()),
        columns,
        concurrent: true,
    };
    COLUMNS.into_iter().map(index).collect()
}

/// Where one raw pump's rows go.
pub(crate) struct RawJob {
    pub raw: Arc<RawLayout>,
    /// The table, or what the names of the shards begin with.
    pub base: String,
    pub sharded: bool,
    /// Shards have the six indexes.
    pub indexed_shards: bool,
    /// Which records the pump takes.
    pub takes: fn(&RecordView<'_>) -> bool,
}

impl RawJob {
    /// Rows by shard, in order; one part without a date when not sharded.
    fn parts(&self, group: &[Selection]) -> BTreeMap<Option<String>, Vec<(usize, usize)>> {
        let rows = group.iter().enumerate().flat_map(|(position, selection)| {
            let first_row = selection.batch().first_row;
            let place = move |row: RowId| (position, (row.row - first_row) as usize);
            selection.records().map(move |(row, record)| (place(row), record))
        });
        if !self.sharded {
            let places: Vec<_> = rows.map(|(place, _)| place).collect();
            return BTreeMap::from([(None, places)]);
        }
        let mut parts: BTreeMap<Option<String>, Vec<(usize, usize)>> = BTreeMap::new();
        for (place, record) in rows {
            let date = shard::date(record.time(When::TimeStamp));
            parts.entry(Some(date)).or_default().push(place);
        }
        parts
    }
}

#[async_trait]
impl Job for RawJob {
    fn base(&self) -> &str {
        &self.base
    }

    fn table(&self, date: Option<&str>) -> Table {
        let name = match date {
            Some(date) => shard::name(&self.base, date),
            None => self.base.clone(),
        };
        let indexes = match date.is_some() && self.indexed_shards {
            true => shard_indexes(split_name(&name).1),
            false => Vec::new(),
        };
        Table {
            name,
            layout: self.raw.layout.clone(),
            indexes,
        }
    }

    fn taken(&self, selection: &Selection) -> Selection {
        let batch = selection.batch();
        selection.retain(|index| match batch.rows.get(index) {
            Some(Decoded::Record(record)) => {
                (self.takes)(&RecordView::new(&batch.buffer, record, selection.transform()))
            }
            _ => false,
        })
    }

    fn tables(&self, group: &[Selection]) -> Vec<Table> {
        if !self.sharded {
            return vec![self.table(None)];
        }
        let parts = self.parts(group);
        parts.keys().map(|date| self.table(date.as_deref())).collect()
    }

    async fn write(
        &self,
        transaction: &mut dyn Transaction,
        fresh: &[Selection],
    ) -> Result<Vec<Rejected>, DatabaseError> {
        let mut rejected = Vec::new();
        for (date, places) in self.parts(fresh) {
            let table = self.table(date.as_deref());
            let rows = Arc::new(RecordRows {
                raw: self.raw.clone(),
                group: fresh.to_vec(),
                places,
                scratch: Mutex::default(),
            });
            let as_rows: Arc<dyn Rows> = rows.clone();
            for (index, reason) in
                poison::write_accepted(transaction, &table, &as_rows, Way::Insert, MOST_REFUSED).await?
            {
                if let Some(row) = rows.id(index) {
                    rejected.push(Rejected { row, reason });
                }
            }
        }
        Ok(rejected)
    }
}

/// Records as rows of a raw table.
struct RecordRows {
    raw: Arc<RawLayout>,
    group: Vec<Selection>,
    /// Selection, and index in its batch.
    places: Vec<(usize, usize)>,
    scratch: Mutex<Vec<u8>>,
}

impl RecordRows {
    fn id(&self, index: usize) -> Option<RowId> {
        let &(selection, row) = self.places.get(index)?;
        Some(self.group.get(selection)?.batch().row_id(row))
    }
}

impl Rows for RecordRows {
    fn len(&self) -> usize {
        self.places.len()
    }

    fn write(&self, index: usize, out: &mut dyn FnMut(Value<'_>)) -> Result<(), String> {
        let missing = || "no such row".to_owned();
        let &(selection, row) = self.places.get(index).ok_or_else(missing)?;
        let selection = self.group.get(selection).ok_or_else(missing)?;
        let Some(Decoded::Record(record)) = selection.batch().rows.get(row) else {
            return Err(missing());
        };
        let view = RecordView::new(&selection.batch().buffer, record, selection.transform());
        let mut scratch = self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        self.raw.write(&view, &mut scratch, out)
    }
}
