//! What a group does to one metric: a page of the book.

use std::{collections::BTreeMap, sync::Arc};

use hashbrown::HashMap;

use super::{
    budget::{Budget, fold},
    metric::{Kind, Metric},
    registry::Table,
};

/// What one group does to one metric, before it is shown.
pub(super) struct Page {
    /// Where the series are in the table.
    index: HashMap<Arc<[u8]>, u32>,
    /// Series that are not in the table yet.
    pub(super) fresh: Vec<Arc<[u8]>>,
    marks: Vec<Mark>,
    /// Sums and numbers of observations of the batch.
    averages: HashMap<u32, (u64, u64)>,
    budget: Budget,
    /// Observations that are counted in other series than their own.
    pub(super) folded: u64,
    scratch: Vec<u8>,
}

/// One observation.
struct Mark {
    series: u32,
    bucket: u32,
    value: f64,
}

impl Page {
    /// Of a metric with these series.
    pub(super) fn new(keys: &[Arc<[u8]>], max_series: usize) -> Page {
        Page {
            index: keys.iter().cloned().zip(0..).collect(),
            fresh: Vec::new(),
            marks: Vec::new(),
            averages: HashMap::new(),
            budget: Budget::new(max_series),
            folded: 0,
            scratch: Vec::new(),
        }
    }

    /// Takes back what a group left that could not be kept. Series that it has made stay.
    pub(super) fn clear(&mut self) {
        self.marks.clear();
        self.averages.clear();
        self.folded = 0;
    }

    /// Whether there is anything to bring into the table.
    pub(super) fn is_change(&self) -> bool {
        !self.marks.is_empty() || !self.fresh.is_empty()
    }

    /// The series with this key, or the one that counts for it.
    pub(super) fn series(&mut self, metric: &Metric, key: &[u8]) -> u32 {
        if let Some(series) = self.index.get(key) {
            return *series;
        }
        if self.budget.has_room(self.index.len()) {
            return self.add(key);
        }
        let keys = self.index.keys().map(|key| &**key);
        let order = self.budget.folds_next(&metric.labels, keys).to_vec();
        if order.is_empty() {
            // Without labels there is only this one.
            return self.add(key);
        }
        self.folded += 1;
        let mut folded = std::mem::take(&mut self.scratch);
        let mut found = None;
        for depth in 1..=order.len() {
            fold(&mut folded, key, order.get(..depth).unwrap_or_default());
            found = self.index.get(&*folded).copied();
            let may_be_added = depth == order.len() || self.budget.has_room_for_folded(self.index.len());
            if found.is_some() || may_be_added {
                break;
            }
        }
        let series = found.unwrap_or_else(|| self.add(&folded));
        self.scratch = folded;
        series
    }

    fn add(&mut self, key: &[u8]) -> u32 {
        let key: Arc<[u8]> = key.into();
        let series = self.index.len() as u32;
        self.index.insert(key.clone(), series);
        self.fresh.push(key);
        series
    }

    /// Counts in a series.
    pub(super) fn observe(&mut self, metric: &Metric, series: u32, value: i64, aggregate: bool) {
        match &metric.kind {
            Kind::Histogram { .. } if aggregate => {
                let (sum, number) = self.averages.entry(series).or_default();
                // A negative time is a clock that was set back.
                *sum = sum.saturating_add(value.max(0) as u64);
                *number += 1;
            }
            Kind::Histogram { bounds, .. } => self.marks.push(Mark::new(bounds, series, value as f64)),
            Kind::Counter => self.marks.push(Mark {
                series,
                bucket: 0,
                value: 0.0,
            }),
        }
    }

    /// Averages are made of one batch.
    pub(super) fn end_batch(&mut self, metric: &Metric) {
        let Kind::Histogram { bounds, .. } = &metric.kind else {
            return;
        };
        for (series, (sum, number)) in self.averages.drain() {
            let average = sum / number.max(1);
            self.marks.push(Mark::new(bounds, series, average as f64));
        }
    }

    /// Brings everything into the table.
    pub(super) fn post(&mut self, metric: &Metric, table: &mut Table, now: Option<u32>) {
        let width = metric.width();
        if !self.fresh.is_empty() {
            Arc::make_mut(&mut table.keys).append(&mut self.fresh);
            Arc::make_mut(&mut table.numbers).resize(table.keys.len() * width, 0);
            if let Some(now) = now {
                Arc::make_mut(&mut table.touched).resize(table.keys.len(), now);
            }
        }
        table.folded += std::mem::take(&mut self.folded);
        table.full = self.budget.worst().and_then(|(at, values)| {
            let label = metric.labels.get(at)?;
            Some((label.name, values))
        });
        if self.marks.is_empty() {
            return;
        }
        let numbers = Arc::make_mut(&mut table.numbers);
        for mark in &self.marks {
            let start = mark.series as usize * width;
            if let Some(row) = numbers.get_mut(start..start + width) {
                mark.apply(row);
            }
        }
        if let Some(now) = now {
            let touched = Arc::make_mut(&mut table.touched);
            for mark in &self.marks {
                if let Some(touched) = touched.get_mut(mark.series as usize) {
                    *touched = now;
                }
            }
        }
        self.marks.clear();
    }

    /// What the series that the group counts in are going to stand at.
    pub(super) fn changed(&self, metric: &Metric, table: &Table) -> BTreeMap<u32, Vec<u64>> {
        let width = metric.width();
        let mut changed = BTreeMap::new();
        for mark in &self.marks {
            let numbers = changed.entry(mark.series).or_insert_with(|| {
                let start = mark.series as usize * width;
                let row = table.numbers.get(start..start + width);
                row.map_or_else(|| vec![0; width], <[u64]>::to_vec)
            });
            mark.apply(numbers);
        }
        changed
    }

    /// Takes series out that were last counted in before; whether there were any.
    pub(super) fn drop_old(&mut self, metric: &Metric, table: &mut Table, oldest: u32) -> bool {
        if table.touched.iter().all(|touched| *touched >= oldest) {
            return false;
        }
        let width = metric.width();
        let mut kept = Table {
            epoch: table.epoch + 1,
            folded: table.folded,
            ..Table::default()
        };
        let (mut keys, mut numbers, mut touched) = (Vec::new(), Vec::new(), Vec::new());
        self.index.clear();
        let rows = table
            .keys
            .iter()
            .zip(table.touched.iter())
            .zip(table.numbers.chunks(width));
        for ((key, &seen), row) in rows.filter(|((_, seen), _)| **seen >= oldest) {
            self.index.insert(key.clone(), keys.len() as u32);
            keys.push(key.clone());
            touched.push(seen);
            numbers.extend_from_slice(row);
        }
        (kept.keys, kept.numbers, kept.touched) = (Arc::new(keys), Arc::new(numbers), Arc::new(touched));
        *table = kept;
        self.budget.reset();
        true
    }
}

impl Mark {
    fn new(bounds: &[f64], series: u32, value: f64) -> Mark {
        Mark {
            series,
            bucket: bounds.partition_point(|bound| *bound < value) as u32,
            value,
        }
    }

    /// Counts in a series' numbers.
    fn apply(&self, numbers: &mut [u64]) {
        if let Some(count) = numbers.get_mut(self.bucket as usize) {
            *count += 1;
        }
        if let [_, .., sum] = numbers {
            *sum = (f64::from_bits(*sum) + self.value).to_bits();
        }
    }
}
