//! What a scrape shows, and its text form: version 0.0.4 as upstream's library writes it. (The crates for it have other rules
//! for names and numbers.)

use std::{
    cmp::Ordering,
    sync::{Arc, Mutex, PoisonError},
};

use analytics::gofloat;

use super::{
    label::{SEPARATOR, values},
    metric::{Kind, Metric},
    registry::{Registry, Table},
};

/// A metric with its series.
pub(super) struct Family {
    pub(super) name: Arc<str>,
    pub(super) help: Arc<str>,
    pub(super) form: Form,
    pub(super) labels: Vec<&'static str>,
    rows: Rows,
}

/// What a metric is.
#[derive(Clone)]
pub(super) enum Form {
    Counter,
    Gauge,
    Histogram(Arc<[f64]>),
}

enum Rows {
    /// These series of a table, in this order.
    Counted(Table, Vec<u32>, usize),
    Plain(Vec<(Vec<&'static str>, f64)>),
    Named(Vec<(Arc<str>, u64)>),
}

/// What a series stands at.
pub(super) enum Value<'a> {
    Number(f64),
    /// Counts of the buckets, and the sum.
    Histogram(&'a [u64], f64),
}

impl Family {
    /// One that is not made of records.
    pub(super) fn plain(
        name: &'static str,
        help: &'static str,
        form: Form,
        labels: Vec<&'static str>,
        rows: Vec<(Vec<&'static str>, f64)>,
    ) -> Family {
        Family {
            name: name.into(),
            help: help.into(),
            form,
            labels,
            rows: Rows::Plain(rows),
        }
    }

    /// A counter that counts by `label`.
    pub(super) fn named(
        name: &'static str,
        help: &'static str,
        label: &'static str,
        rows: Vec<(Arc<str>, u64)>,
    ) -> Family {
        Family {
            name: name.into(),
            help: help.into(),
            form: Form::Counter,
            labels: vec![label],
            rows: Rows::Named(rows),
        }
    }

    /// Whether there is nothing to show.
    pub(super) fn is_empty(&self) -> bool {
        match &self.rows {
            Rows::Counted(_, order, _) => order.is_empty(),
            Rows::Plain(rows) => rows.is_empty(),
            Rows::Named(rows) => rows.is_empty(),
        }
    }

    /// Every series: the values of its labels, and what it stands at.
    pub(super) fn each(&self, mut show: impl FnMut(&mut dyn Iterator<Item = &str>, Value<'_>)) {
        match &self.rows {
            Rows::Plain(rows) => {
                for (labels, value) in rows {
                    show(&mut labels.iter().copied(), Value::Number(*value));
                }
            }
            Rows::Named(rows) => {
                for (name, count) in rows {
                    show(&mut std::iter::once(&**name), Value::Number(*count as f64));
                }
            }
            Rows::Counted(table, order, width) => {
                for &series in order {
                    let start = series as usize * width;
                    let key = table.keys.get(series as usize);
                    let Some((key, numbers)) = key.zip(table.numbers.get(start..start + width)) else {
                        continue;
                    };
                    let value = match (&self.form, numbers) {
                        (Form::Histogram(_), [counts @ .., sum]) => Value::Histogram(counts, f64::from_bits(*sum)),
                        (_, [count, ..]) => Value::Number(*count as f64),
                        _ => continue,
                    };
                    // A metric without labels has a key without values, which is not one empty value.
                    let labels: &mut dyn Iterator<Item = &str> = match self.labels.is_empty() {
                        true => &mut std::iter::empty::<&str>(),
                        false => &mut values(key),
                    };
                    show(labels, value);
                }
            }
        }
    }
}

/// Orders of series that were found out before.
#[derive(Default)]
pub(super) struct Orders(Mutex<Vec<Order>>);

#[derive(Clone, Default)]
struct Order {
    epoch: u64,
    sorted: Arc<Vec<u32>>,
}

impl Orders {
    /// What the registry shows now.
    pub(super) fn families(&self, registry: &Registry) -> Vec<Family> {
        let oldest = registry.oldest();
        let tables = registry.snapshot();
        // Whoever comes meanwhile finds no orders and makes its own.
        let mut orders = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        orders.resize(registry.metrics.len(), Order::default());
        let mut families = Vec::with_capacity(registry.metrics.len());
        for ((metric, table), order) in registry.metrics.iter().zip(tables).zip(&mut orders) {
            if order.epoch != table.epoch || order.sorted.len() != table.keys.len() {
                *order = Order {
                    epoch: table.epoch,
                    sorted: Arc::new(sorted(&table)),
                };
            }
            let alive = |series: &u32| table.is_alive(*series, oldest);
            let shown = order.sorted.iter().copied().filter(alive).collect();
            families.push(family(metric, table, shown));
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = orders;
        families
    }
}

fn family(metric: &Metric, table: Table, order: Vec<u32>) -> Family {
    Family {
        name: metric.name.clone(),
        help: metric.help.clone(),
        form: match &metric.kind {
            Kind::Counter => Form::Counter,
            Kind::Histogram { bounds, .. } => Form::Histogram(bounds.clone()),
        },
        labels: metric.labels.iter().map(|label| label.name).collect(),
        rows: Rows::Counted(table, order, metric.width()),
    }
}

fn sorted(table: &Table) -> Vec<u32> {
    let mut keyed: Vec<(u32, &[u8])> = table.keys.iter().zip(0..).map(|(key, at)| (at, &**key)).collect();
    keyed.sort_unstable_by(|(_, a), (_, b)| by_values(a, b));
    keyed.into_iter().map(|(at, _)| at).collect()
}

/// Value by value: the end of one goes before everything.
fn by_values(a: &[u8], b: &[u8]) -> Ordering {
    let rank = |byte: u8| match byte {
        SEPARATOR => 0,
        byte => u16::from(byte) + 1,
    };
    let differing = a.iter().zip(b).find(|(a, b)| a != b);
    differing.map_or_else(|| a.len().cmp(&b.len()), |(&a, &b)| rank(a).cmp(&rank(b)))
}

/// The page of these metrics; those without a series are left out.
pub(super) fn text(families: &[Family]) -> Vec<u8> {
    let mut out = Vec::new();
    for family in families.iter().filter(|family| !family.is_empty()) {
        write_family(&mut out, family);
    }
    out
}

fn write_family(out: &mut Vec<u8>, family: &Family) {
    let name = family.name.as_bytes();
    put(out, &[b"# HELP ", name, b" "]);
    write_escaped(out, &family.help, false);
    let form: &[u8] = match family.form {
        Form::Counter => b"counter",
        Form::Gauge => b"gauge",
        Form::Histogram(_) => b"histogram",
    };
    put(out, &[b"\n# TYPE ", name, b" ", form, b"\n"]);
    let bounds: Vec<Vec<u8>> = match &family.form {
        Form::Histogram(bounds) => bounds.iter().chain(&[f64::INFINITY]).copied().map(number).collect(),
        _ => Vec::new(),
    };
    let mut pairs = Vec::new();
    family.each(|values, value| {
        pairs.clear();
        for (label, value) in family.labels.iter().zip(values) {
            let comma: &[u8] = if pairs.is_empty() { b"" } else { b"," };
            put(&mut pairs, &[comma, label.as_bytes(), b"=\""]);
            write_escaped(&mut pairs, value, true);
            pairs.push(b'"');
        }
        match value {
            Value::Number(value) => write_sample(out, &[name], &pairs, value),
            Value::Histogram(counts, sum) => {
                let mut total = 0;
                let comma: &[u8] = if pairs.is_empty() { b"" } else { b"," };
                for (bound, count) in bounds.iter().zip(counts) {
                    total += count;
                    put(out, &[name, b"_bucket{", &pairs, comma, b"le=\"", bound, b"\"} "]);
                    write_number(out, total as f64);
                    out.push(b'\n');
                }
                write_sample(out, &[name, b"_sum"], &pairs, sum);
                write_sample(out, &[name, b"_count"], &pairs, total as f64);
            }
        }
    });
}

fn put(out: &mut Vec<u8>, parts: &[&[u8]]) {
    for part in parts {
        out.extend_from_slice(part);
    }
}

fn write_sample(out: &mut Vec<u8>, name: &[&[u8]], pairs: &[u8], value: f64) {
    put(out, name);
    if !pairs.is_empty() {
        put(out, &[b"{", pairs, b"}"]);
    }
    out.push(b' ');
    write_number(out, value);
    out.push(b'\n');
}

fn number(value: f64) -> Vec<u8> {
    let mut out = Vec::new();
    write_number(&mut out, value);
    out
}

fn write_number(out: &mut Vec<u8>, value: f64) {
    if (0.0..1e6).contains(&value) && value.fract() == 0.0 && value.is_sign_positive() {
        out.extend_from_slice(itoa::Buffer::new().format(value as u32).as_bytes());
    } else {
        gofloat::write_value(out, value);
    }
}

fn write_escaped(out: &mut Vec<u8>, text: &str, quotes: bool) {
    for &byte in text.as_bytes() {
        match byte {
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'"' if quotes => out.extend_from_slice(b"\\\""),
            byte => out.push(byte),
        }
    }
}
