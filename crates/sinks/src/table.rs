//! Looking up sink types.

use crate::{OPTIONAL, SINKS, SinkSpec, UPTIME_SINKS};

/// The type of this name, in any case.
pub fn find(name: &str) -> Option<&'static SinkSpec> {
    SINKS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name))
}

/// The type of this name that takes uptime data, in any case.
pub fn find_uptime(name: &str) -> Option<&'static SinkSpec> {
    UPTIME_SINKS.iter().find(|spec| spec.name.eq_ignore_ascii_case(name))
}

/// The feature that has the type of this name, if a lean build leaves it out.
pub(crate) fn feature(name: &str) -> Option<&'static str> {
    let (_, feature) = OPTIONAL.iter().find(|(optional, _)| *optional == name)?;
    Some(feature)
}

/// The type that somebody who wrote `name` probably meant.
pub fn suggest(name: &str) -> Option<&'static str> {
    closest(name, SINKS.iter().map(|spec| spec.name))
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
    fn every_type_of_upstream_is_in_the_table_and_none_twice() {
        let upstream = "csv dogstatsd dummy elasticsearch graylog hybrid influx influx2 kafka kinesis logzio moesif \
                        mongo mongo-graph mongo-mcp mongo-mcp-aggregate mongo-pump-aggregate mongo-pump-selective \
                        prometheus resurfaceio segment splunk sql sql_aggregate sql-graph sql-graph-aggregate \
                        sql-mcp sql-mcp-aggregate sqs statsd stdout syslog timestream";
        for name in upstream.split_whitespace() {
            assert_eq!(SINKS.iter().filter(|spec| spec.name == name).count(), 1, "{name}");
        }
        let mut names: Vec<_> = SINKS.iter().map(|spec| spec.name.to_lowercase()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), SINKS.len());
    }

    #[test]
    fn the_end_of_a_long_key_is_a_good_guess() {
        let keys = ["collection_name", "mongo_url", "mongo_use_ssl"];
        assert_eq!(closest("url", keys.into_iter()), Some("mongo_url"));
        assert_eq!(closest("ur", keys.into_iter()), None);
    }

    #[test]
    fn a_full_build_has_every_optional_type_under_the_name_in_the_table() {
        for (name, feature) in OPTIONAL {
            let spec = find(name).filter(|spec| spec.name == *name);
            assert!(spec.is_some_and(SinkSpec::is_built), "{name} ({feature})");
        }
    }

    #[test]
    fn a_lean_build_names_the_feature_that_a_type_needs() {
        let left_out = SinkSpec::planned("mongo-graph", "mongo-graph", "mongo-graph", "");
        assert_eq!(
            left_out.absence().as_deref(),
            Some(
                "is not in this binary, which was built without the feature \"mongo\" – `cargo build --release` builds \
                 one with everything"
            )
        );
        let planned = SinkSpec::planned("kafka", "Kafka Pump", "kafka-pump", "");
        assert_eq!(planned.absence().as_deref(), Some("is planned but not built yet"));
        assert_eq!(crate::csv::SPEC.absence(), None);
    }

    #[test]
    fn a_type_is_found_in_any_case() {
        assert_eq!(find("CSV").map(|spec| spec.title), Some("CSV Pump"));
        assert_eq!(
            find("Sql-Graph-AGGREGATE").map(|spec| spec.log_prefix),
            Some("SQL-aggregate-pump")
        );
        assert!(find("sqlite").is_none());
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
