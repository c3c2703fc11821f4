//! Names that mean something without being what they seem: pumps without underscores, options of related types.

use std::path::Path;

use tyk_pump::config::{Loaded, Request, Severity, env::Environment, load};

fn load_with(text: &str, variables: &[(&str, &str)]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("pump.conf");
    std::fs::write(&conf, text).unwrap();
    load(&Request {
        environment: Environment::new(
            variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
        ),
        debug: false,
        host: "host".to_owned(),
        conf: Path::new(&conf).to_owned(),
    })
}

fn said(loaded: &Loaded) -> Vec<(Severity, &str)> {
    let findings = loaded.findings.iter();
    findings
        .map(|finding| (finding.severity, finding.text.as_str()))
        .collect()
}

const AGGREGATE: &str = r#"{"dont_purge_uptime_data": true, "pumps": {"sql_aggregate": {"type": "sql_aggregate", "meta":
    {"type": "postgres", "connection_string": "host=file", "track_all_paths": true}}}}"#;

#[test]
fn variables_without_underscores_are_about_the_pump_of_the_file() {
    let variables = [
        ("TYK_PMP_PUMPS_SQLAGGREGATE_TYPE", "sql_aggregate"),
        ("TYK_PMP_PUMPS_SQLAGGREGATE_TIMEOUT", "7"),
        ("TYK_PMP_PUMPS_SQLAGGREGATE_META_CONNECTIONSTRING", "host=env"),
    ];
    let pumps = |variables: &[(&str, &str)]| {
        let settings = load_with(AGGREGATE, variables).settings.unwrap();
        let pumps = settings.pumps.iter();
        pumps
            .map(|pump| {
                (
                    pump.name.to_string(),
                    pump.meta["connection_string"].clone(),
                    pump.timeout.is_some(),
                )
            })
            .collect::<Vec<_>>()
    };
    let merged = [("SQL_AGGREGATE".to_owned(), "host=env".into(), true)];
    assert_eq!(pumps(&variables), merged);
    // The name alone says enough.
    assert_eq!(pumps(&variables[1..]), merged);
    assert_eq!(said(&load_with(AGGREGATE, &variables)), []);
    let other = [
        ("TYK_PMP_PUMPS_SQLAGGREGATE_TYPE", "csv"),
        ("TYK_PMP_PUMPS_SQLAGGREGATE_META_CSVDIR", "x"),
    ];
    assert_eq!(pumps(&other).len(), 2, "another type is another pump");
    let compat = [variables.as_slice(), &[("TYK_PMP_COMPAT", "true")]].concat();
    assert_eq!(pumps(&compat).len(), 2, "as upstream");
    let file = AGGREGATE.replace("\"sql_aggregate\": {", "\"my-counts_1\": {");
    let named = load_with(&file, &[("TYK_PMP_PUMPS_MYCOUNTS1_TIMEOUT", "7")]);
    assert_eq!(
        (said(&named), named.settings.as_ref().unwrap().pumps.len()),
        (vec![], 1)
    );
}

#[test]
fn options_of_related_types_are_warnings_and_only_near_names_are_suggested() {
    let file = r#"{"dont_purge_uptime_data": true, "pumps": {
        "counts": {"type": "mongo-pump-aggregate", "meta": {"mongo_url": "mongodb://h/d", "collection_name": "a"}},
        "selective": {"type": "mongo-pump-selective", "use_mixed_collection": true,
                      "meta": {"mongo_url": "mongodb://h/d", "use_mixed_collection": true, "colection_name": "a"}}}}"#;
    let variables = [
        ("TYK_PMP_PUMPS_COUNTS_META_COLLECTIONNAME", "a"),
        ("TYK_PMP_PUMPS_COUNTS_META_MONGOULR", "mongodb://h/d"),
        ("TYK_PMP_PUMPS_COUNTS_META_SOMETHINGELSE", "a"),
    ];
    let loaded = load_with(file, &variables);
    let without =
        "has no effect on pumps of type mongo-pump-aggregate: it is an option of mongo, mongo-graph, mongo-mcp";
    let mixed = "has no effect on pumps of type mongo-pump-selective: it is an option of mongo-mcp-aggregate, mongo-pump-aggregate";
    let expected = [
        (
            Severity::Warning,
            format!("pump \"counts\": meta.collection_name {without} – remove it"),
        ),
        (
            Severity::Warning,
            format!("TYK_PMP_PUMPS_COUNTS_META_COLLECTIONNAME {without} – remove it"),
        ),
        (
            Severity::Warning,
            format!("pump \"selective\": meta.use_mixed_collection {mixed} – remove it"),
        ),
        (
            Severity::Mistake,
            "pump \"selective\": unknown key meta.colection_name".to_owned(),
        ),
        (
            Severity::Warning,
            format!("pump \"selective\": \"use_mixed_collection\" {mixed} – remove it"),
        ),
        (
            Severity::Mistake,
            "TYK_PMP_PUMPS_COUNTS_META_MONGOULR is not read – did you mean TYK_PMP_PUMPS_COUNTS_META_MONGOURL?"
                .to_owned(),
        ),
        (
            Severity::Mistake,
            "TYK_PMP_PUMPS_COUNTS_META_SOMETHINGELSE is not read".to_owned(),
        ),
    ];
    let expected: Vec<(Severity, &str)> = expected
        .iter()
        .map(|(severity, text)| (*severity, text.as_str()))
        .collect();
    assert_eq!(said(&loaded), expected);
}

#[test]
fn a_pump_whose_options_are_no_object_does_not_start() {
    let file = r#"{"dont_purge_uptime_data": true, "pumps": {"csv": {"type": "csv", "meta": ["csv_dir"]}}}"#;
    let loaded = load_with(file, &[]);
    assert!(
        said(&loaded)[0].1.contains("meta is a list – it must be an object"),
        "{:?}",
        loaded.findings
    );
    let settings = loaded.settings.unwrap();
    let refused = settings.pumps[0].refused.as_deref();
    assert_eq!(
        refused,
        Some("pump \"csv\": it does not start, because meta cannot be used – correct it")
    );
}

#[test]
fn a_login_in_an_address_of_redis_is_refused_and_not_repeated() {
    for storage in [
        r#"{"addrs": ["u:geheim@h:6379"]}"#,
        r#"{"host": "u:geheim@h", "port": 6379}"#,
        r#"{"addrs": ["redis://u:ge/heim@h:6379"]}"#,
        r#"{"host": "redis://u:geheim@h:6379"}"#,
    ] {
        let loaded = load_with(&format!("{{\"analytics_storage_config\": {storage}}}"), &[]);
        assert!(loaded.settings.is_none(), "{storage}");
        for (_, text) in said(&loaded) {
            assert!(!text.contains("heim"), "{storage}: {text}");
        }
        assert!(
            said(&loaded).iter().any(|(_, text)| text.contains("write ")),
            "{storage}"
        );
    }
}
