//! The metrics of a pump: upstream's base ones, and those of the configuration.

use std::sync::Arc;

use super::{
    label::{Label, TYPE},
    options::{CustomMetric, Options},
};

/// Buckets of every histogram that names none, in milliseconds.
const BOUNDS: &[f64] = &[
    1., 2., 5., 7., 10., 15., 20., 25., 30., 40., 50., 60., 70., 80., 90., 100., 200., 300., 400., 500., 1000., 2000.,
    5000., 10_000., 30_000., 60_000.,
];

/// The histogram that has three observations of a record; a custom one may take its place.
const LATENCY: &str = "tyk_latency";

/// Characters of an obfuscated key that are shown unless the configuration says how many.
const SHOWN: usize = 4;

/// Names of base metrics, with help and labels.
const BASE: &[(&str, &str, &[&str])] = &[
    ("tyk_http_status", "Responses by status code and API.", &["code", "api"]),
    (
        "tyk_http_status_per_path",
        "Responses by status code, API, path and method.",
        &["code", "api", "path", "method"],
    ),
    (
        "tyk_http_status_per_key",
        "Responses by status code and API key.",
        &["code", "key"],
    ),
    (
        "tyk_http_status_per_oauth_client",
        "Responses by status code and OAuth client.",
        &["code", "client_id"],
    ),
    (
        LATENCY,
        "Latency of requests in milliseconds: total, of the upstream, of the gateway.",
        &[TYPE, "api"],
    ),
];

/// What a metric measures.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Kind {
    Counter,
    Histogram {
        /// Upper bounds of the buckets; the last bucket has none.
        bounds: Arc<[f64]>,
        /// Three observations a record instead of one.
        is_latency: bool,
    },
}

/// A metric.
#[derive(Clone, Debug)]
pub(super) struct Metric {
    pub(super) name: Arc<str>,
    pub(super) help: Arc<str>,
    pub(super) kind: Kind,
    /// Sorted by name, as they are shown.
    pub(super) labels: Vec<Label>,
    /// How many characters of an API key are shown, if not all of them.
    pub(super) shown: Option<usize>,
    pub(super) mcp_only: bool,
}

impl Metric {
    /// Numbers that a series has: a counter one, a histogram one a bucket and the sum.
    pub(super) fn width(&self) -> usize {
        match &self.kind {
            Kind::Counter => 1,
            Kind::Histogram { bounds, .. } => bounds.len() + 2,
        }
    }
}

/// The metrics that `options` ask for. `refuse` hears of those that cannot be, `warn` of what has no effect.
pub(super) fn metrics(
    options: &Options,
    taken: &[&str],
    mut refuse: impl FnMut(String),
    mut warn: impl FnMut(String),
) -> Vec<Metric> {
    for name in &options.disabled_metrics {
        // The documentation's way to write an empty list in a variable.
        if !BASE.iter().any(|(base, ..)| base == name) && name != "[]" {
            warn(format!(
                "meta.disabled_metrics: there is no base metric \"{name}\" – write one of {}",
                base_names()
            ));
        }
    }
    let mut metrics: Vec<Metric> = BASE
        .iter()
        .filter(|(name, ..)| !options.disabled_metrics.iter().any(|disabled| disabled == name))
        .map(|&(name, help, labels)| base(name, help, labels))
        .collect();
    for (at, custom) in options.custom_metrics.iter().enumerate() {
        match self::custom(custom, &metrics, taken) {
            Ok(metric) => metrics.push(metric),
            Err(problem) => refuse(format!(
                "meta.custom_metrics[{at}] \"{}\" is left out: {problem}",
                custom.name
            )),
        }
    }
    metrics
}

fn base_names() -> String {
    let names: Vec<_> = BASE.iter().map(|(name, ..)| *name).collect();
    names.join(", ")
}

fn base(name: &'static str, help: &'static str, labels: &[&'static str]) -> Metric {
    let labels = labels.iter().filter_map(|label| match *label {
        TYPE => Some(Label::TYPE),
        name => Label::named(name),
    });
    let kind = match name {
        LATENCY => Kind::Histogram {
            bounds: BOUNDS.into(),
            is_latency: true,
        },
        _ => Kind::Counter,
    };
    Metric {
        name: name.into(),
        help: help.into(),
        kind,
        labels: sorted(labels.collect()),
        shown: None,
        mcp_only: false,
    }
}

fn sorted(mut labels: Vec<Label>) -> Vec<Label> {
    labels.sort_by_key(|label| label.name);
    labels
}

fn custom(custom: &CustomMetric, others: &[Metric], taken: &[&str]) -> Result<Metric, String> {
    let name = custom.name.as_str();
    let is_letter = |c: char| c.is_ascii_alphabetic() || c == '_' || c == ':';
    if !name.starts_with(is_letter) || !name.chars().all(|c| is_letter(c) || c.is_ascii_digit()) {
        return Err("a name has letters, digits, _ and :, and begins with no digit – write another one".to_owned());
    }
    let mut labels = Vec::new();
    let kind = match custom.metric_type.as_str() {
        "counter" => Kind::Counter,
        "histogram" => {
            labels.push(Label::TYPE);
            Kind::Histogram {
                bounds: bounds(&custom.buckets)?,
                is_latency: name == LATENCY,
            }
        }
        other => {
            return Err(format!(
                "metric_type is \"{other}\", expected counter or histogram – write one of them"
            ));
        }
    };
    for label in &custom.labels {
        if label == TYPE && kind != Kind::Counter {
            continue;
        }
        let Some(known) = Label::named(label) else {
            let near = Label::near(label).map(|near| format!(" – did you mean \"{near}\"?"));
            return Err(format!("there is no label \"{label}\"{}", near.unwrap_or_default()));
        };
        if labels.contains(&known) {
            return Err(format!("the label \"{label}\" is there twice – remove one"));
        }
        labels.push(known);
    }
    let is_histogram = kind != Kind::Counter;
    let others = others
        .iter()
        .map(|other| (&*other.name, other.kind != Kind::Counter))
        .chain(taken.iter().map(|name| (*name, false)));
    for (other, other_is_histogram) in others {
        if other == name {
            return Err("another metric has this name – write another one".to_owned());
        }
        if (is_histogram && is_part_of(other, name)) || (other_is_histogram && is_part_of(name, other)) {
            return Err(format!(
                "\"{other}\" and a part of a histogram would have the same name – write another one"
            ));
        }
    }
    let help = match custom.help.as_str() {
        "" => &custom.description,
        _ => &custom.help,
    };
    let shown = usize::try_from(custom.obfuscate_api_keys_length).unwrap_or_default();
    Ok(Metric {
        name: name.into(),
        help: help.as_str().into(),
        kind,
        labels: sorted(labels),
        shown: custom
            .obfuscate_api_keys
            .then_some(if shown == 0 { SHOWN } else { shown }),
        mcp_only: custom.mcp_only,
    })
}

/// Whether `name` is what a histogram called `histogram` shows.
fn is_part_of(name: &str, histogram: &str) -> bool {
    let part = name.strip_prefix(histogram);
    part.is_some_and(|part| ["_bucket", "_sum", "_count"].contains(&part))
}

fn bounds(buckets: &[f64]) -> Result<Arc<[f64]>, String> {
    if buckets.is_empty() {
        return Ok(BOUNDS.into());
    }
    let is_ascending = buckets.iter().zip(buckets.iter().skip(1)).all(|(low, high)| low < high);
    if !is_ascending || !buckets.iter().all(|bound| bound.is_finite()) {
        return Err("buckets must ascend, each once – write for instance [10, 100, 1000]".to_owned());
    }
    Ok(buckets.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(custom: serde_json::Value) -> (Vec<Metric>, Vec<String>) {
        let options = serde_json::json!({ "custom_metrics": custom });
        let options: Options = crate::options::decode(&options).unwrap();
        let mut said = Vec::new();
        let metrics = metrics(
            &options,
            &["process_open_fds"],
            |text| said.push(text),
            |text| panic!("{text}"),
        );
        (metrics, said)
    }

    #[test]
    fn what_cannot_be_is_left_out_with_a_reason_and_the_others_are_there() {
        let (metrics, said) = with(serde_json::json!([
            {"name": "acme_total", "metric_type": "counter", "labels": ["code"]},
            {"name": "acme_total", "metric_type": "counter", "labels": ["method"]},
            {"name": "9", "metric_type": "counter"},
            {"name": "acme-total", "metric_type": "counter"},
            {"name": "", "metric_type": "counter"},
            {"name": "tyk_http_status", "metric_type": "counter"},
            {"name": "process_open_fds", "metric_type": "counter"},
            {"name": "tyk_latency_count", "metric_type": "counter"},
            {"name": "a", "metric_type": "gauge"},
            {"name": "a", "metric_type": "counter", "labels": ["apiid"]},
            {"name": "a", "metric_type": "counter", "labels": ["type"]},
            {"name": "a", "metric_type": "counter", "labels": ["colour"]},
            {"name": "a", "metric_type": "counter", "labels": ["api", "code", "api"]},
            {"name": "a", "metric_type": "histogram", "buckets": [1, 1]},
            {"name": "acme", "metric_type": "histogram", "labels": ["type", "host", "type"], "buckets": [0.5, 10], "description": "d"},
            {"name": "last_total", "metric_type": "counter", "help": "h", "description": "d"},
        ]));
        let names: Vec<_> = metrics.iter().skip(5).map(|metric| &*metric.name).collect();
        assert_eq!(names, ["acme_total", "acme", "last_total"]);
        let helps: Vec<_> = metrics.iter().skip(6).map(|metric| &*metric.help).collect();
        assert_eq!(helps, ["d", "h"]);
        let acme = &metrics[6];
        let labels: Vec<_> = acme.labels.iter().map(|label| label.name).collect();
        assert_eq!(labels, ["host", "type"]);
        assert_eq!((acme.width(), metrics[4].width(), metrics[5].width()), (4, 28, 1));
        assert_eq!(said.len(), 13);
        assert_eq!(
            said[0],
            "meta.custom_metrics[1] \"acme_total\" is left out: another metric has this name – write another one"
        );
        assert_eq!(
            said[8],
            "meta.custom_metrics[9] \"a\" is left out: there is no label \"apiid\" – did you mean \"api_id\"?"
        );
        assert!(said[6].contains("part of a histogram"));
    }

    #[test]
    fn base_metrics_can_be_left_out_and_replaced() {
        let options = serde_json::json!({
            "disabled_metrics": ["tyk_latency", "[]", "tyk_latencies"],
            "custom_metrics": [{"name": "tyk_latency", "metric_type": "histogram", "labels": ["api_name"]}],
        });
        let options: Options = crate::options::decode(&options).unwrap();
        let mut warned = Vec::new();
        let metrics = metrics(&options, &[], |text| panic!("{text}"), |text| warned.push(text));
        let latency = metrics.last().unwrap();
        assert!(matches!(latency.kind, Kind::Histogram { is_latency: true, .. }));
        assert_eq!((metrics.len(), warned.len()), (5, 1));
        assert!(warned[0].contains("\"tyk_latencies\""));
    }
}
