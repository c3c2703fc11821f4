//! What every dialect must do: the same tests on each database that is there. SQLite always is.

mod counters;
mod ledger;
mod merges;
mod migration;
mod mysql;
mod place;
mod poison;
mod raw;
mod shape;
mod sqlite;
mod writers;

use std::{borrow::Cow, ops::Range, sync::Arc};

use analytics::Time;

use self::place::Place;
use super::{
    database::{Access, Database, DatabaseError},
    table::{Class, Column, Index, Layout, Merge, Rows, Table, Value},
};

/// A value that a test's row holds.
#[derive(Clone, Debug, PartialEq)]
enum Cell {
    Text(Cow<'static, str>),
    Int(i64),
    Float(f64),
    Time(Time),
}

/// Rows of a test.
struct Cells(Vec<Vec<Cell>>);

impl Rows for Cells {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn write(&self, index: usize, out: &mut dyn FnMut(Value<'_>)) -> Result<(), String> {
        for cell in &self.0[index] {
            out(match cell {
                Cell::Text(text) => Value::Text(text.as_bytes()),
                Cell::Int(number) => Value::Int(*number),
                Cell::Float(number) => Value::Float(*number),
                Cell::Time(time) => Value::Time(*time),
            });
        }
        Ok(())
    }
}

fn cells(rows: Vec<Vec<Cell>>) -> Arc<dyn Rows> {
    Arc::new(Cells(rows))
}

fn text(text: impl Into<Cow<'static, str>>) -> Cell {
    Cell::Text(text.into())
}

/// A table without a key: a serial number, a text and an instant.
fn log_table() -> Table {
    Table {
        name: "log".to_owned(),
        layout: Arc::new(Layout {
            columns: vec![
                Column::new("serial", Class::Int),
                Column::new("note", Class::Text),
                Column::new("expireAt", Class::Time),
            ],
            key: &[],
        }),
        indexes: Vec::new(),
    }
}

fn log_rows(serials: Range<i64>) -> Arc<dyn Rows> {
    let row = |serial: i64| {
        let time = Time {
            seconds: 1_700_000_000 + serial,
            ..Time::ZERO
        };
        vec![Cell::Int(serial), text(format!("note {serial}")), Cell::Time(time)]
    };
    cells(serials.map(row).collect())
}

/// A table with a key and a column for every way of merging.
fn sums_table() -> Table {
    let average = Merge::Average {
        total: "total",
        hits: "hits",
    };
    Table {
        name: "sums".to_owned(),
        layout: Arc::new(Layout {
            columns: vec![
                Column::new("id", Class::Text),
                Column::new("hits", Class::Int).merged(Merge::Add),
                Column::new("total", Class::Float).merged(Merge::Add),
                Column::new("average", Class::Float).merged(average),
                Column::new("least", Class::Int).merged(Merge::Min),
                Column::new("most", Class::Int).merged(Merge::Max),
                Column::new("last", Class::Time).merged(Merge::Replace),
                Column::new("value", Class::Text),
            ],
            key: &["id"],
        }),
        indexes: vec![Index {
            name: "sums_idx_value".to_owned(),
            columns: &["value", "hits", "id"],
            concurrent: false,
        }],
    }
}

/// Gives a table its shape, as the pumps do: what has been done is looked at once more.
async fn make(database: &dyn Database, table: &Table) -> Result<(), DatabaseError> {
    loop {
        let statements = database.plan(table).await?;
        if statements.is_empty() {
            return Ok(());
        }
        for statement in statements {
            database.execute(&statement).await?;
        }
    }
}

/// Runs a test on every database, each of which is empty at the start.
async fn everywhere<F: Future<Output = ()>>(test: impl Fn(Arc<Place>) -> F) {
    for place in Place::all().await {
        let place = Arc::new(place);
        test(place.clone()).await;
        place.remove().await;
    }
}
