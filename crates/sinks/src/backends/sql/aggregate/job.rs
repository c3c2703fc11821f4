//! Records to aggregates to rows, table by table.

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use analytics::{
    ClaimId, Selection, Time, When,
    aggregate::{Aggregator, Engine, Rules, UptimeAggregator},
    gotime::Civil,
};
use async_trait::async_trait;

use super::{
    super::{
        database::{DatabaseError, Transaction},
        poison::{self, Way},
        shard,
        store::Job,
        table::{Layout, Rows, Table, split_name},
    },
    layout::{IndexRule, Shape},
    rows::AggregateRows,
};
use crate::{BuildContext, Rejected, SinkSpec};

/// Bytes of a key that every database can index. Rows with longer ones may be refused, and are written last.
const SAFE_KEY: usize = 2600;

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Traffic records.
    Traffic(Engine),
    /// Uptime checks.
    Uptime,
}

/// Where the aggregates of one pump go. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AggregateJob {
    pub kind: Kind,
    pub rules: Arc<Rules>,
    /// The table, or what the names of its shards begin with.
    pub base: &'static str,
    pub shape: Shape,
    pub layout: Arc<Layout>,
    pub index: IndexRule,
    pub sharded: bool,
    pub log_prefix: &'static str,
    pub pump: Arc<str>,
    /// Rows that the database refused since the start.
    pub left_out: Arc<AtomicU64>,
}

/// Rows for one table.
struct Part {
    /// `None` when not sharded.
    date: Option<String>,
    /// To be written one after the other.
    lists: Vec<AggregateRows>,
}

impl AggregateJob {
    /// Counters of one table without an index.
    pub(crate) fn new(
        context: &BuildContext,
        spec: &SinkSpec,
        kind: Kind,
        rules: Rules,
        shape: Shape,
        base: &'static str,
    ) -> AggregateJob {
        AggregateJob {
            kind,
            layout: shape.layout(rules.answered_minima),
            rules: Arc::new(rules),
            base,
            shape,
            index: IndexRule::None,
            sharded: false,
            log_prefix: spec.log_prefix,
            pump: context.pump.clone(),
            left_out: Arc::default(),
        }
    }

    /// Rows of a group by table, in order.
    fn aggregate(&self, group: &[Selection]) -> Vec<Part> {
        let mut runs = Runs {
            job: self,
            parts: Vec::new(),
        };
        for selection in group {
            let claim = selection.batch().claim;
            match self.kind {
                Kind::Traffic(_) => {
                    for (_, record) in selection.records() {
                        if let Counting::Traffic(aggregator) = runs.of(claim, record.time(When::TimeStamp)) {
                            aggregator.add(&record);
                        }
                    }
                }
                Kind::Uptime => {
                    for (_, check) in selection.uptime() {
                        if let Counting::Uptime(aggregator) = runs.of(claim, check.time(When::TimeStamp)) {
                            aggregator.add(&check);
                        }
                    }
                }
            }
        }
        runs.finish()
    }

    /// Writes rows that are sorted by key, but those that the database refuses: their number, with the first reason.
    async fn upsert(
        &self,
        transaction: &mut dyn Transaction,
        table: &Table,
        rows: AggregateRows,
    ) -> Result<Option<Refused>, DatabaseError> {
        let rows = Arc::new(rows);
        let as_rows: Arc<dyn Rows> = rows.clone();
        let refused = poison::write_accepted(transaction, table, &as_rows, Way::Upsert, usize::MAX).await?;
        Ok(refused.first().map(|(index, reason)| Refused {
            count: refused.len(),
            table: table.name.clone(),
            dimension: rows.dimension(*index),
            reason: reason.clone(),
        }))
    }
}

/// Rows that the database does not take.
struct Refused {
    count: usize,
    table: String,
    dimension: &'static str,
    reason: String,
}

#[async_trait]
impl Job for AggregateJob {
    fn base(&self) -> &str {
        self.base
    }

    fn table(&self, date: Option<&str>) -> Table {
        let name = match date {
            Some(date) => shard::name(self.base, date),
            None => self.base.to_owned(),
        };
        let indexes = self.index.indexes(split_name(&name).1, date.is_some());
        Table {
            name,
            layout: self.layout.clone(),
            indexes,
        }
    }

    fn tables(&self, group: &[Selection]) -> Vec<Table> {
        if !self.sharded {
            return vec![self.table(None)];
        }
        let mut dates = BTreeSet::new();
        let mut last = None;
        for selection in group {
            let traffic = selection.records().map(|(_, record)| record.time(When::TimeStamp));
            let uptime = selection.uptime().map(|(_, check)| check.time(When::TimeStamp));
            for time in traffic.chain(uptime) {
                if last.replace(day(time)) != Some(day(time)) {
                    dates.insert(shard::date(time));
                }
            }
        }
        dates.iter().map(|date| self.table(Some(date))).collect()
    }

    async fn write(
        &self,
        transaction: &mut dyn Transaction,
        fresh: &[Selection],
    ) -> Result<Vec<Rejected>, DatabaseError> {
        let (job, group) = (self.clone(), fresh.to_vec());
        // Tens of milliseconds of work for a full group.
        let parts = tokio::task::spawn_blocking(move || job.aggregate(&group)).await;
        let (mut written, mut first, mut refused) = (0, None, 0);
        for part in parts.map_err(DatabaseError::retry)? {
            let table = self.table(part.date.as_deref());
            for rows in part.lists {
                written += rows.len();
                if let Some(some) = self.upsert(transaction, &table, rows).await? {
                    refused += some.count;
                    first = first.or(Some(some));
                }
            }
        }
        let Some(first) = first else {
            return Ok(Vec::new());
        };
        if refused == written {
            // Not the fault of a few keys.
            return Err(DatabaseError::Config(
                format!("{} refuses every row: {}", first.table, first.reason).into(),
            ));
        }
        let since_start = self.left_out.fetch_add(refused as u64, Ordering::Relaxed) + refused as u64;
        tracing::warn!(
            prefix = self.log_prefix,
            pump = %self.pump,
            "{refused} aggregate rows left out that the database refuses ({since_start} since the start); the first is \
             of dimension \"{}\" in {}: {}",
            first.dimension,
            first.table,
            first.reason
        );
        Ok(Vec::new())
    }
}

/// An aggregator of either kind.
enum Counting<'r> {
    Traffic(Aggregator<'r>),
    Uptime(UptimeAggregator),
}

/// Year, month and day in the zone of the time.
type Day = (i64, u8, u8);

fn day(time: Time) -> Day {
    let civil = Civil::of(time);
    (civil.year, civil.month, civil.day)
}

/// A run of records that are aggregated together.
struct Run<'r> {
    claim: ClaimId,
    /// `None` when not sharded.
    day: Option<Day>,
    date: Option<String>,
    counting: Counting<'r>,
}

/// The records of a table are aggregated together. With `compat`, as upstream does it, only neighbours of the same
/// claim and day are: the first of them chooses the bucket.
struct Runs<'r> {
    job: &'r AggregateJob,
    parts: Vec<Run<'r>>,
}

impl<'r> Runs<'r> {
    fn of(&mut self, claim: ClaimId, time: Time) -> &mut Counting<'r> {
        let day = self.job.sharded.then(|| day(time));
        let compat = self.job.rules.compat;
        let mut candidates = self.parts.iter().enumerate().rev();
        let found = if compat {
            candidates
                .next()
                .filter(|(_, run)| run.claim == claim && run.day == day)
        } else {
            candidates.find(|(_, run)| run.day == day)
        };
        let at = found.map(|(at, _)| at).unwrap_or_else(|| {
            self.parts.push(Run {
                claim,
                day,
                date: day.map(|_| shard::date(time)),
                counting: match self.job.kind {
                    Kind::Traffic(engine) => Counting::Traffic(Aggregator::new(engine, &self.job.rules)),
                    Kind::Uptime => Counting::Uptime(UptimeAggregator::new(compat)),
                },
            });
            self.parts.len() - 1
        });
        #[allow(clippy::indexing_slicing)] // Found or just pushed.
        &mut self.parts[at].counting
    }

    fn finish(self) -> Vec<Part> {
        let mut parts = Vec::with_capacity(self.parts.len());
        for run in self.parts {
            let aggregates = match run.counting {
                Counting::Traffic(aggregator) => aggregator.finish(),
                Counting::Uptime(aggregator) => aggregator.finish(),
            };
            parts.push(Part {
                date: run.date,
                lists: AggregateRows::lists(self.job.shape, aggregates, SAFE_KEY),
            });
        }
        if !self.job.rules.compat {
            // The same order of tables in every process: no deadlocks.
            parts.sort_by(|a, b| a.date.cmp(&b.date));
        }
        parts
    }
}
