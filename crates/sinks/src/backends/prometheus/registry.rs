//! What is counted. A group is counted in a book of its own and then shown at once.
//!
//! A scrape takes a copy that costs nothing (the tables are copied on the next write, if anybody still reads them): it never
//! waits for a write, nor a write for it.

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use analytics::{ClaimId, Flag, Int, RowRanges, Selection};

use super::{
    SPEC,
    budget::OTHER,
    label::Seen,
    metric::{Kind, Metric},
    page::Page,
    state::{Change, Standing, State, Store},
};
use crate::contract::ledger::Ledger;

/// The metrics of a pump and what they stand at.
pub(super) struct Registry {
    pub(super) metrics: Vec<Metric>,
    pub(super) rules: Rules,
    started: Instant,
    /// One table a metric.
    tables: Mutex<Vec<Table>>,
}

/// How records are counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Rules {
    pub(super) all_paths: bool,
    /// One observation a batch and series.
    pub(super) aggregate: bool,
    /// Series of a metric; 0: no limit.
    pub(super) max_series: usize,
    /// How long a series lives without a record.
    pub(super) ttl: Option<Duration>,
}

/// The series of a metric.
#[derive(Clone, Debug, Default)]
pub(super) struct Table {
    /// The values of their labels.
    pub(super) keys: Arc<Vec<Arc<[u8]>>>,
    /// What they stand at, as many numbers each as the metric is wide: a counter's count; a histogram's counts, one a
    /// bucket, and the bits of its sum.
    pub(super) numbers: Arc<Vec<u64>>,
    /// When they were last counted in, seconds since the registry began. Empty unless series end.
    pub(super) touched: Arc<Vec<u32>>,
    /// Changes when series have gone; while it stays, the first keys stay, too.
    pub(super) epoch: u64,
    /// The label that has too many values, and how many.
    pub(super) full: Option<(&'static str, usize)>,
    /// Observations that are counted in other series than their own.
    pub(super) folded: u64,
}

impl Table {
    /// Whether a series is shown, `oldest` being [`Registry::oldest`].
    pub(super) fn is_alive(&self, series: u32, oldest: u32) -> bool {
        self.touched
            .get(series as usize)
            .is_none_or(|touched| *touched >= oldest)
    }
}

/// The side of whoever counts: only one does at a time.
pub(super) struct Book {
    pages: Vec<Page>,
    /// Rows that are counted.
    ledger: Ledger,
    /// Where all of it is kept, if it is.
    pub(super) store: Option<Store>,
    /// Claims that the store need not know any more.
    forgotten: Vec<ClaimId>,
    /// Series have gone: the store has to be written anew.
    is_stale: bool,
    swept: Instant,
}

impl Registry {
    /// Counters that go on where `state` says; without one they begin at 0.
    pub(super) fn new(metrics: Vec<Metric>, rules: Rules, state: State, store: Option<Store>) -> (Registry, Book) {
        let mut standings = state.standings.into_iter();
        let (mut pages, mut tables) = (Vec::new(), Vec::new());
        for metric in &metrics {
            let standing = standings.next().unwrap_or_default();
            let mut numbers = standing.numbers;
            numbers.resize(standing.keys.len() * metric.width(), 0);
            pages.push(Page::new(&standing.keys, rules.max_series));
            tables.push(Table {
                touched: Arc::new(rules.ttl.map_or_else(Vec::new, |_| vec![0; standing.keys.len()])),
                keys: Arc::new(standing.keys),
                numbers: Arc::new(numbers),
                folded: standing.folded,
                ..Table::default()
            });
        }
        let book = Book {
            pages,
            ledger: state.ledger,
            store,
            forgotten: Vec::new(),
            is_stale: false,
            swept: Instant::now(),
        };
        let registry = Registry {
            metrics,
            rules,
            started: Instant::now(),
            tables: Mutex::new(tables),
        };
        (registry, book)
    }

    fn tables(&self) -> MutexGuard<'_, Vec<Table>> {
        // Tables are whole between two calls.
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Every table as it is now.
    pub(super) fn snapshot(&self) -> Vec<Table> {
        self.tables().clone()
    }

    /// Which metrics have too many series.
    pub(super) fn notice(&self) -> Option<String> {
        let tables = self.tables();
        let full: Vec<String> = self.metrics.iter().zip(tables.iter()).filter_map(full).collect();
        if full.is_empty() {
            return None;
        }
        Some(format!(
            "{} – raise max_series ({}), set series_ttl, or leave the metric or the label out",
            full.join("; "),
            self.rules.max_series
        ))
    }

    fn now(&self) -> u32 {
        u32::try_from(self.started.elapsed().as_secs()).unwrap_or(u32::MAX)
    }

    /// Series that were last counted in before are over.
    pub(super) fn oldest(&self) -> u32 {
        let ttl = self.rules.ttl.map_or(u32::MAX, |ttl| ttl.as_secs() as u32);
        self.now().saturating_sub(ttl)
    }

    /// Counts the rows of a group that are not counted yet, and shows all of them at once.
    ///
    /// # Errors
    /// They cannot be kept; then none of them is counted.
    pub(super) fn count(&self, book: &mut Book, group: &[Selection]) -> io::Result<()> {
        book.pages.iter_mut().for_each(Page::clear);
        for selection in group {
            self.gather(book, selection);
        }
        self.keep(book, group)?;
        self.show(book);
        for selection in group {
            book.ledger.insert_selection(selection);
        }
        self.sweep(book);
        Ok(())
    }

    /// Stores what the group is going to change.
    fn keep(&self, book: &mut Book, group: &[Selection]) -> io::Result<()> {
        let Some(store) = &mut book.store else { return Ok(()) };
        if book.is_stale {
            store.rewrite(&self.metrics, &self.state(&book.ledger))?;
            book.is_stale = false;
        }
        if !book.pages.iter().any(Page::is_change) {
            return Ok(());
        }
        let mut change = Change::default();
        for ((metric, page), table) in self.metrics.iter().zip(&book.pages).zip(self.snapshot()) {
            let changed = page.changed(metric, &table);
            let changed = changed.iter().map(|(series, numbers)| (*series, &**numbers));
            change.metric(&page.fresh, changed, table.folded + page.folded);
        }
        let rows = group.iter().flat_map(|selection| {
            let (claim, covered) = (selection.batch().claim, selection.covered());
            covered.iter().map(|rows| (claim, rows.clone())).collect::<Vec<_>>()
        });
        store.append(&change.finish(rows, &book.forgotten))?;
        book.forgotten.clear();
        Ok(())
    }

    /// Everything that is shown and known.
    fn state(&self, ledger: &Ledger) -> State {
        let standings = self.snapshot().into_iter().map(|table| Standing {
            keys: table.keys.to_vec(),
            numbers: table.numbers.to_vec(),
            folded: table.folded,
        });
        State {
            standings: standings.collect(),
            ledger: ledger.clone(),
        }
    }

    fn gather(&self, book: &mut Book, selection: &Selection) {
        let mut key = Vec::new();
        let counted = book.ledger.ranges(selection.batch().claim);
        for (row, record) in selection.records() {
            if !counted.is_empty() && counted.contains(row.row) {
                continue;
            }
            let is_mcp = record.flag(Flag::IsMcp);
            let seen = Seen::new(record, self.rules.all_paths);
            for (metric, page) in self.metrics.iter().zip(&mut book.pages) {
                if metric.mcp_only && !is_mcp {
                    continue;
                }
                let mut count = |latency: &str, value: i64| {
                    seen.write_key(&mut key, &metric.labels, metric.shown, latency);
                    let series = page.series(metric, &key);
                    page.observe(metric, series, value, self.rules.aggregate);
                };
                match metric.kind {
                    Kind::Counter => count("", 1),
                    Kind::Histogram { is_latency, .. } => {
                        count("total", record.int(Int::RequestTime));
                        if is_latency {
                            count("upstream", record.int(Int::LatencyUpstream));
                            count("gateway", record.int(Int::LatencyGateway));
                        }
                    }
                }
            }
        }
        for (metric, page) in self.metrics.iter().zip(&mut book.pages) {
            page.end_batch(metric);
        }
    }

    fn show(&self, book: &mut Book) {
        let now = self.now();
        let mut tables = self.tables();
        for ((metric, page), table) in self.metrics.iter().zip(&mut book.pages).zip(tables.iter_mut()) {
            page.post(metric, table, self.rules.ttl.map(|_| now));
        }
    }

    /// Takes series out that are over, and makes a long file short.
    fn sweep(&self, book: &mut Book) {
        if let Some(store) = book.store.as_mut().filter(|store| store.is_long())
            && let Err(error) = store.rewrite(&self.metrics, &self.state(&book.ledger))
        {
            let path = store.path().display();
            tracing::warn!(
                prefix = SPEC.log_prefix,
                "{path} cannot be written anew and grows: {error}"
            );
        }
        let Some(ttl) = self.rules.ttl else { return };
        if book.swept.elapsed() < (ttl / 4).clamp(Duration::from_secs(1), Duration::from_secs(60)) {
            return;
        }
        book.swept = Instant::now();
        let oldest = self.oldest();
        let mut tables = self.tables();
        for ((metric, page), table) in self.metrics.iter().zip(&mut book.pages).zip(tables.iter_mut()) {
            book.is_stale |= page.drop_old(metric, table, oldest);
        }
    }
}

impl Book {
    /// These claims will not come again.
    pub(super) fn forget(&mut self, claims: &[ClaimId]) {
        self.ledger.forget(claims);
        if self.store.is_some() {
            self.forgotten.extend_from_slice(claims);
        }
    }

    /// Rows of a claim that are counted and kept; `None`: nothing is kept.
    pub(super) fn kept(&self, claim: ClaimId) -> Option<RowRanges> {
        self.store.as_ref().map(|_| self.ledger.ranges(claim))
    }
}

fn full((metric, table): (&Metric, &Table)) -> Option<String> {
    let (label, values) = table.full?;
    Some(format!(
        "{} has too many series: {values} values of the label {label}; {} observations are counted as {label}=\"{OTHER}\"",
        metric.name, table.folded
    ))
}
