//! The table of sink types, and how to look one up.

use crate::{Absent, MissingFeature, SinkSpec, backends::*};

/// Every type that this binary has, in the order of the documentation.
pub static SINKS: &[SinkSpec] = &[
    csv::SPEC,
    dogstatsd::SPEC,
    dummy::SPEC,
    #[cfg(feature = "http")]
    elasticsearch::SPEC,
    #[cfg(feature = "graylog")]
    graylog::SPEC,
    #[cfg(feature = "hybrid")]
    hybrid::SPEC,
    #[cfg(feature = "http")]
    influx::SPEC,
    #[cfg(feature = "http")]
    influx::TWO,
    #[cfg(feature = "kafka")]
    kafka::SPEC,
    #[cfg(feature = "aws")]
    kinesis::SPEC,
    #[cfg(feature = "http")]
    logzio::SPEC,
    #[cfg(feature = "http")]
    moesif::SPEC,
    #[cfg(feature = "mongo")]
    mongo::SPEC,
    #[cfg(feature = "mongo")]
    mongo::GRAPH,
    #[cfg(feature = "mongo")]
    mongo::MCP,
    #[cfg(feature = "mongo")]
    mongo::MCP_AGGREGATE,
    #[cfg(feature = "mongo")]
    mongo::AGGREGATE,
    #[cfg(feature = "mongo")]
    mongo::SELECTIVE,
    #[cfg(feature = "prometheus")]
    prometheus::SPEC,
    #[cfg(feature = "http")]
    resurfaceio::SPEC,
    #[cfg(feature = "http")]
    segment::SPEC,
    #[cfg(feature = "http")]
    splunk::SPEC,
    sql::SPEC,
    sql::AGGREGATE,
    sql::GRAPH,
    sql::GRAPH_AGGREGATE,
    sql::MCP,
    sql::MCP_AGGREGATE,
    #[cfg(feature = "aws")]
    sqs::SPEC,
    statsd::SPEC,
    stdout::SPEC,
    syslog::SPEC,
    #[cfg(feature = "aws")]
    timestream::SPEC,
];

/// Types that a lean build leaves out. They stand here in every build.
pub static ABSENT: &[Absent] = &[
    absent(
        "elasticsearch",
        "Elasticsearch Pump",
        "elasticsearch-pump",
        "TYK_PMP_PUMPS_ELASTICSEARCH_META",
        MissingFeature("http"),
    ),
    absent(
        "graylog",
        "Graylog Pump",
        "graylog-pump",
        "TYK_PMP_PUMPS_GRAYLOG_META",
        MissingFeature("graylog"),
    ),
    absent(
        "hybrid",
        "Hybrid pump",
        "hybrid-pump",
        "TYK_PMP_PUMPS_HYBRID_META",
        MissingFeature("hybrid"),
    ),
    absent(
        "influx",
        "InfluxDB Pump",
        "influx-pump",
        "TYK_PMP_PUMPS_INFLUX_META",
        MissingFeature("http"),
    ),
    absent(
        "influx2",
        "InfluxDB2 Pump",
        "influx2-pump",
        "TYK_PMP_PUMPS_INFLUX2_META",
        MissingFeature("http"),
    ),
    absent(
        "kafka",
        "Kafka Pump",
        "kafka-pump",
        "TYK_PMP_PUMPS_KAFKA_META",
        MissingFeature("kafka"),
    ),
    absent(
        "kinesis",
        "Kinesis Pump",
        "kinesis-pump",
        "TYK_PMP_PUMPS_KINESIS_META",
        MissingFeature("aws"),
    ),
    absent(
        "logzio",
        "Logzio Pump",
        "logzio-pump",
        "TYK_PMP_PUMPS_LOGZIO_META",
        MissingFeature("http"),
    ),
    absent(
        "moesif",
        "Moesif Pump",
        "moesif-pump",
        "TYK_PMP_PUMPS_MOESIF_META",
        MissingFeature("http"),
    ),
    absent(
        "mongo",
        "MongoDB Pump",
        "mongo-pump",
        "TYK_PMP_PUMPS_MONGO_META",
        MissingFeature("mongo"),
    ),
    absent(
        "mongo-graph",
        "MongoDB Graph Pump",
        "mongo-graph-pump",
        "TYK_PMP_PUMPS_MONGOGRAPH_META",
        MissingFeature("mongo"),
    ),
    absent(
        "mongo-mcp",
        "MongoDB MCP Pump",
        "mongo-mcp-pump",
        "TYK_PMP_PUMPS_MONGOMCP_META",
        MissingFeature("mongo"),
    ),
    absent(
        "mongo-mcp-aggregate",
        "MongoDB MCP Aggregate Pump",
        "mongo-mcp-aggregate-pump",
        "TYK_PMP_PUMPS_MONGOMCPAGGREGATE_META",
        MissingFeature("mongo"),
    ),
    absent(
        "mongo-pump-aggregate",
        "MongoDB Aggregate Pump",
        "mongo-pump-aggregate",
        "TYK_PMP_PUMPS_MONGOAGGREGATE_META",
        MissingFeature("mongo"),
    ),
    absent(
        "mongo-pump-selective",
        "MongoDB Selective Pump",
        "mongo-pump-selective",
        "TYK_PMP_PUMPS_MONGOSELECTIVE_META",
        MissingFeature("mongo"),
    ),
    absent(
        "prometheus",
        "Prometheus Pump",
        "prometheus-pump",
        "TYK_PMP_PUMPS_PROMETHEUS_META",
        MissingFeature("prometheus"),
    ),
    absent(
        "resurfaceio",
        "Resurface Pump",
        "resurface-pump",
        "TYK_PMP_PUMPS_RESURFACEIO_META",
        MissingFeature("http"),
    ),
    absent(
        "segment",
        "Segment Pump",
        "segment-pump",
        "TYK_PMP_PUMPS_SEGMENT_META",
        MissingFeature("http"),
    ),
    absent(
        "splunk",
        "Splunk Pump",
        "splunk-pump",
        "TYK_PMP_PUMPS_SPLUNK_META",
        MissingFeature("http"),
    ),
    absent(
        "sqs",
        "SQS Pump",
        "sqs-pump",
        "TYK_PMP_PUMPS_SQS_META",
        MissingFeature("aws"),
    ),
    absent(
        "timestream",
        "Timestream Pump",
        "timestream-pump",
        "TYK_PMP_PUMPS_TIMESTREAM_META",
        MissingFeature("aws"),
    ),
];

/// The types that `uptime_pump_config` can have, in place of the traffic sinks of the same names.
pub static UPTIME_SINKS: &[SinkSpec] = &[
    #[cfg(feature = "mongo")]
    mongo::UPTIME,
    sql::UPTIME,
];

const fn absent(
    name: &'static str,
    title: &'static str,
    log_prefix: &'static str,
    env_prefix: &'static str,
    missing: MissingFeature,
) -> Absent {
    Absent {
        name,
        title,
        log_prefix,
        env_prefix,
        missing,
    }
}

/// A type that configurations may name.
#[derive(Clone, Copy)]
pub enum Known {
    /// Its pumps run.
    Built(&'static SinkSpec),
    /// Its pumps are reported and do not start.
    Absent(&'static Absent),
}

impl Known {
    /// Value of `type`.
    pub fn name(self) -> &'static str {
        match self {
            Known::Built(spec) => spec.name,
            Known::Absent(absent) => absent.name,
        }
    }

    /// Display name.
    pub fn title(self) -> &'static str {
        match self {
            Known::Built(spec) => spec.title,
            Known::Absent(absent) => absent.title,
        }
    }

    /// Default prefix of its environment variables; empty: no options.
    pub fn env_prefix(self) -> &'static str {
        match self {
            Known::Built(spec) => spec.env_prefix,
            Known::Absent(absent) => absent.env_prefix,
        }
    }

    /// The schema of its options. That of an absent type accepts everything.
    pub fn options(self) -> schemars::Schema {
        match self {
            Known::Built(spec) => (spec.options)(),
            Known::Absent(_) => crate::options::any(),
        }
    }

    /// The type itself, if this binary has it.
    pub fn built(self) -> Option<&'static SinkSpec> {
        match self {
            Known::Built(spec) => Some(spec),
            Known::Absent(_) => None,
        }
    }
}

/// Every type that configurations may name, each once, in alphabetical order.
pub fn known() -> impl Iterator<Item = Known> {
    let absent = ABSENT.iter().filter(|absent| find(absent.name).is_none());
    let mut known: Vec<Known> = SINKS
        .iter()
        .map(Known::Built)
        .chain(absent.map(Known::Absent))
        .collect();
    known.sort_by_key(|known| known.name().replace('_', "-"));
    known.into_iter()
}

/// The type of this name that this binary has, in any case.
pub fn find(name: &str) -> Option<&'static SinkSpec> {
    SINKS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name))
}

/// The type of this name that configurations may have, in any case.
pub fn find_known(name: &str) -> Option<Known> {
    let absent = || ABSENT.iter().find(|absent| absent.name.eq_ignore_ascii_case(name));
    find(name).map(Known::Built).or_else(|| absent().map(Known::Absent))
}

/// The type of this name that takes uptime data, in any case.
pub fn find_uptime(name: &str) -> Option<&'static SinkSpec> {
    UPTIME_SINKS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name))
}

/// The type that somebody who wrote `name` probably meant.
pub fn suggest(name: &str) -> Option<&'static str> {
    closest(name, known().map(Known::name))
}

/// The candidate that looks most like `given`, if any looks like it.
pub(crate) fn closest<'a>(given: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let given = plain(given);
    let mut best: Option<(f64, &str)> = None;
    for candidate in candidates {
        let score = likeness(&given, &plain(candidate));
        if score >= 0.7 && best.is_none_or(|(so_far, _)| score > so_far) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// 1.0: equal apart from case and separators. A beginning or an end of three letters or more counts as a good guess.
fn likeness(given: &str, candidate: &str) -> f64 {
    let score = strsim::normalized_damerau_levenshtein(given, candidate);
    if given.len() < 3 {
        return score;
    }
    if candidate.starts_with(given) {
        return score.max(0.8);
    }
    // `url` for `mongo_url`
    if candidate.ends_with(given) {
        return score.max(0.75);
    }
    if given.starts_with(candidate) {
        return score.max(0.7);
    }
    score
}

/// Lower case, without separators and the word that says nothing.
fn plain(name: &str) -> String {
    let letters = name.chars().filter(|c| c.is_alphanumeric());
    let name: String = letters.flat_map(char::to_lowercase).collect();
    name.replace("pump", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_of_upstream_is_known_once() {
        let upstream = "csv dogstatsd dummy elasticsearch graylog hybrid influx influx2 kafka kinesis logzio moesif \
                        mongo mongo-graph mongo-mcp mongo-mcp-aggregate mongo-pump-aggregate mongo-pump-selective \
                        prometheus resurfaceio segment splunk sql sql_aggregate sql-graph sql-graph-aggregate \
                        sql-mcp sql-mcp-aggregate sqs statsd stdout syslog timestream";
        let mut names: Vec<_> = known().map(Known::name).collect();
        for name in upstream.split_whitespace() {
            assert_eq!(names.iter().filter(|known| **known == name).count(), 1, "{name}");
        }
        let all = names.len();
        names.dedup_by_key(|name| name.to_lowercase());
        assert_eq!(names.len(), all);
        let mut absent: Vec<_> = ABSENT.iter().map(|absent| absent.name).collect();
        absent.sort_unstable();
        absent.dedup();
        assert_eq!(absent.len(), ABSENT.len());
    }

    #[test]
    fn the_end_of_a_long_key_is_a_good_guess() {
        let keys = ["collection_name", "mongo_url", "mongo_use_ssl"];
        assert_eq!(closest("url", keys.into_iter()), Some("mongo_url"));
        assert_eq!(closest("ur", keys.into_iter()), None);
    }

    /// What a lean build says of a type is what a full one says.
    #[test]
    fn a_full_build_has_every_optional_type_as_the_table_of_absent_ones_describes_it() {
        for absent in ABSENT {
            let spec = find(absent.name).unwrap_or_else(|| panic!("{}", absent.name));
            assert_eq!(
                (spec.name, spec.title, spec.log_prefix, spec.env_prefix),
                (absent.name, absent.title, absent.log_prefix, absent.env_prefix)
            );
        }
    }

    #[test]
    fn a_lean_build_names_the_feature_that_a_type_needs() {
        assert_eq!(
            MissingFeature("mongo").to_string(),
            "is not in this binary, which was built without the feature \"mongo\" – `cargo build --release` builds one \
             with everything"
        );
        assert!(find_known("csv").unwrap().built().is_some());
    }

    #[test]
    fn a_type_is_found_in_any_case() {
        assert_eq!(find("CSV").map(|spec| spec.title), Some("CSV Pump"));
        assert_eq!(
            find("Sql-Graph-AGGREGATE").map(|spec| spec.log_prefix),
            Some("SQL-aggregate-pump")
        );
        assert_eq!(find_known("HyBrid").map(Known::title), Some("Hybrid pump"));
        assert!(find_known("sqlite").is_none());
    }

    #[test]
    fn a_misspelled_type_finds_the_one_that_was_meant() {
        for (given, meant) in [
            ("elastic", "elasticsearch"),
            ("sql-aggregate", "sql_aggregate"),
            ("SQL_Graph", "sql-graph"),
            ("mongodb", "mongo"),
            ("stout", "stdout"),
            ("kafak", "kafka"),
            ("mongo_pump_aggregate", "mongo-pump-aggregate"),
            ("mongo_aggregate", "mongo-pump-aggregate"),
            ("csv-pump", "csv"),
        ] {
            assert_eq!(suggest(given), Some(meant), "{given}");
        }
        assert_eq!(suggest("banana"), None);
        assert_eq!(suggest(""), None);
    }
}
