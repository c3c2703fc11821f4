//! How file, environment and secrets become settings.

use serde_json::{Value, json};
use tyk_pump::config::{Loaded, Request, Settings, Severity, check::check, env::Environment, load};

fn request(file: &str, variables: &[(&str, &str)]) -> (tempfile::TempDir, Request) {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("pump.conf");
    std::fs::write(&conf, file).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    let request = Request {
        conf,
        environment: Environment::new(variables),
        debug: false,
        host: "host".to_owned(),
    };
    (folder, request)
}

fn load_with(file: &str, variables: &[(&str, &str)]) -> Loaded {
    let (_folder, request) = request(file, variables);
    load(&request)
}

fn settings(file: &str, variables: &[(&str, &str)]) -> Settings {
    let loaded = load_with(file, variables);
    loaded.settings.unwrap_or_else(|| panic!("{:?}", loaded.findings))
}

fn texts(loaded: &Loaded) -> Vec<String> {
    loaded.findings.iter().map(|finding| finding.text.clone()).collect()
}

fn names(settings: &Settings) -> Vec<(String, String)> {
    settings
        .pumps
        .iter()
        .map(|pump| (pump.name.to_string(), pump.kind.clone()))
        .collect()
}

const CSV: &str = r#"{"dont_purge_uptime_data": true, "pumps": {"csv": {"type": "csv", "meta": {"csv_dir": "file"}}}}"#;

#[test]
fn a_bad_variable_never_hides_the_others() {
    let variables = [
        ("TYK_PMP_PURGECHUNK", "many"),
        ("TYK_PMP_PURGEDELAY", "5"),
        ("TYK_PMP_DONTPURGEUPTIMEDATA", "yes"),
        ("TYK_PMP_MAXRECORDSIZE", ""),
        ("TYK_PMP_STORAGEEXPIRATIONTIME", "1__0"),
        ("TYK_PMP_PUMPS_CSV_TIMEOUT", "5s"),
        ("TYK_PMP_PUMPS_CSV_IGNOREFIELDS", "api_key"),
    ];
    let loaded = load_with(CSV, &variables);
    let found = texts(&loaded);
    for text in [
        "TYK_PMP_PURGECHUNK is \"many\" – write a number",
        "TYK_PMP_DONTPURGEUPTIMEDATA is \"yes\" – write true or false",
        "TYK_PMP_MAXRECORDSIZE is empty – ignored; remove it or give it a value",
        "TYK_PMP_STORAGEEXPIRATIONTIME is \"1__0\" – write 1",
        "TYK_PMP_PUMPS_CSV_TIMEOUT is \"5s\" – write 5",
    ] {
        assert!(found.iter().any(|other| other == text), "{text}: {found:?}");
    }
    assert_eq!(found.len(), 5, "{found:?}");
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.purge_delay.as_secs(), 5);
    assert!(settings.pumps[0].transform.ignores(analytics::Field::ApiKey));
}

#[test]
fn a_variable_that_nothing_reads_is_named_with_its_neighbour() {
    let variables = [
        ("TYK_PMP_PURGEDALEY", "5"),
        ("TYK_PMP_PUMPS_CSV_META_CSVDRI", "x"),
        ("tyk_pmp_purgedelay", "9"),
    ];
    let loaded = load_with(CSV, &variables);
    assert_eq!(
        texts(&loaded),
        [
            "TYK_PMP_PUMPS_CSV_META_CSVDRI is not read – did you mean TYK_PMP_PUMPS_CSV_META_CSVDIR?",
            "TYK_PMP_PURGEDALEY is not read – did you mean TYK_PMP_PURGEDELAY?",
        ]
    );
    assert!(
        loaded
            .findings
            .iter()
            .all(|finding| finding.severity == Severity::Mistake)
    );
}

#[test]
fn a_filter_that_a_variable_breaks_keeps_the_pump_from_starting() {
    let loaded = settings(CSV, &[("TYK_PMP_PUMPS_CSV_FILTERS_RESPONSECODES", "200,ok")]);
    assert!(
        loaded.pumps[0]
            .refused
            .as_ref()
            .unwrap()
            .contains("filters.response_codes")
    );
    let file = CSV.replace("\"meta\"", "\"filters\": {\"response_codes\": [\"ok\"]}, \"meta\"");
    assert!(settings(&file, &[]).pumps[0].refused.is_some());
    let mended = settings(&file, &[("TYK_PMP_PUMPS_CSV_FILTERS_RESPONSECODES", "200")]);
    assert_eq!(
        (mended.pumps[0].refused.as_ref(), &mended.pumps[0].filter.response_codes),
        (None, &vec![200])
    );
}

#[test]
fn a_filter_that_can_mean_one_thing_alone_means_it() {
    let filters = |filters: &str| {
        let settings = settings(
            &CSV.replace("\"meta\"", &format!("\"filters\": {{{filters}}}, \"meta\"")),
            &[],
        );
        let pump = &settings.pumps[0];
        (
            pump.refused.is_none(),
            pump.filter.response_codes.clone(),
            pump.filter.org_ids.clone(),
        )
    };
    let org = |id: &str| vec![id.to_owned()];
    for (text, codes) in [
        (r#""response_codes": "200""#, vec![200]),
        (r#""response_codes": 200"#, vec![200]),
        (r#""response_codes": ["200", 404]"#, vec![200, 404]),
        (r#""response_codes": "200, 404""#, vec![200, 404]),
    ] {
        assert_eq!(filters(text), (true, codes, vec![]), "{text}");
    }
    assert_eq!(filters(r#""org_ids": "acme""#), (true, vec![], org("acme")));
    assert_eq!(filters(r#""org_ids": [17]"#), (true, vec![], org("17")));
    for text in [
        r#""response_codes": "ok""#,
        r#""response_codes": [true]"#,
        r#""response_codes": {"a": 1}"#,
        r#""org_ids": "a,b""#,
    ] {
        assert!(!filters(text).0, "{text}");
    }
}

#[test]
fn the_global_omission_holds_for_every_pump_with_and_without_compat() {
    for compat in [false, true] {
        let file = serde_json::json!({
            "omit_detailed_recording": true,
            "compat": compat,
            "pumps": {"a": {"type": "dummy"}, "b": {"type": "stdout", "compat": true, "meta": {}}},
        });
        let loaded = load_with(&file.to_string(), &[]);
        assert!(
            texts(&loaded)
                .iter()
                .any(|text| text.starts_with("omit_detailed_recording: "))
        );
        let pumps = loaded.settings.unwrap().pumps;
        assert!(pumps.iter().all(|pump| pump.transform.omit_detailed), "compat {compat}");
    }
}

#[test]
fn a_variable_that_had_no_effect_before_is_named_at_the_start() {
    let variables = [
        ("TYK_PMP_PUMPS_CSV_FILTERS_ORGIDS", "org"),
        ("TYK_PMP_PURGE_DELAY", "5"),
        ("TYK_PMP_ANALYTICS_STORAGE_CONFIG_KEY_PREFIX", "analytics-"),
        ("TYK_PMP_PUMPS_CSV_META_CSV_DIR", "x"),
        ("TYK_PMP_MAXRECORDSIZE", "5"),
        ("TYK_PMP_DELIVERY_SPOOL_DIR", "/s"),
    ];
    let loaded = load_with(CSV, &variables);
    let named = variables[..4].iter().map(|(name, _)| *name);
    let mut expected: Vec<String> = named
        .map(|name| format!("{name} counts – Tyk Pump ignores this name: remove it if it is a leftover"))
        .collect();
    let mut found = texts(&loaded);
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
    assert!(
        loaded
            .findings
            .iter()
            .all(|finding| finding.severity == Severity::Warning)
    );
}

#[test]
fn a_broken_file_beside_a_pump_in_the_environment_is_an_error() {
    let variables = [("TYK_PMP_PUMPS_CSV_META_CSVDIR", "x")];
    let loaded = load_with("{\"pumps\": {},}", &variables);
    let errors: Vec<_> = loaded
        .findings
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    assert_eq!(errors.len(), 1, "{:?}", loaded.findings);
    assert!(
        errors[0].text.contains("line 1") && errors[0].text.contains("the environment alone"),
        "{}",
        errors[0]
    );
    assert_eq!(&*loaded.settings.unwrap().pumps[0].name, "CSV");
    assert!(
        load_with("{\"pumps\": {},}", &[("TYK_PMP_PURGEDELAY", "1")])
            .settings
            .is_none()
    );
}

#[test]
fn a_hybrid_pump_reads_the_variables_of_its_type_and_then_its_own() {
    let file = r#"{"pumps": {"edge": {"type": "hybrid", "meta": {"api_key": "file", "rpc_key": "file"}}}}"#;
    let variables = [
        ("TYK_PMP_PUMPS_HYBRID_META_APIKEY", "type"),
        ("TYK_PMP_PUMPS_HYBRID_META_CONNECTION_STRING", "type:1"),
        ("TYK_PMP_PUMPS_EDGE_META_CONNECTIONSTRING", "own:1"),
    ];
    let settings = settings(file, &variables);
    let edge = settings.pumps.iter().find(|pump| &*pump.name == "EDGE").unwrap();
    let meta = |key: &str| edge.meta.get(key).and_then(|value| value.as_str().map(str::to_owned));
    assert_eq!(meta("connection_string").as_deref(), Some("own:1"));
    assert_eq!(meta("api_key").as_deref(), Some("type"));
    assert_eq!(meta("rpc_key").as_deref(), Some("file"));
}

#[test]
fn a_list_of_objects_is_json_in_a_variable() {
    let file = r#"{"pumps": {"prom": {"type": "prometheus", "meta": {"custom_metrics": [{"name": "a", "help": "h"}, {"name": "b"}]}}}}"#;
    let name = "TYK_PMP_PUMPS_PROM_META_CUSTOMMETRICS";
    let metrics = |text: &str| settings(file, &[(name, text)]).pumps[0].meta["custom_metrics"].clone();
    assert_eq!(metrics(r#" [{"name": "c"}] "#), json!([{"name": "c"}]));
    assert_eq!(metrics("[]"), json!([]));
    for kept in ["null", "not json", "{}", "5", ""] {
        assert_eq!(metrics(kept).as_array().map(Vec::len), Some(2), "{kept:?}");
    }
    let said = texts(&load_with(file, &[(name, "a,b")])).join("\n");
    assert!(
        said.contains(name) && said.contains("write a JSON list of objects"),
        "{said}"
    );
}

#[test]
fn pumps_are_found_in_the_environment() {
    let named = |variables: &[(&str, &str)]| names(&settings(CSV, variables));
    let csv = || ("CSV".to_owned(), "csv".to_owned());
    let and = |name: &str, kind: &str| vec![csv(), (name.to_owned(), kind.to_owned())];
    assert_eq!(named(&[("TYK_PMP_PUMPS_PROD_TYPE", "STDOUT")]), and("PROD", "stdout"));
    assert_eq!(
        named(&[("TYK_PMP_PUMPS_STDOUT_META_FORMAT", "json")]),
        and("STDOUT", "stdout")
    );
    // A name that is a type is the type.
    assert_eq!(named(&[("TYK_PMP_PUMPS_CSV_TYPE", "stdout")]), [csv()]);
    // The name ends at the first underscore of the variable's name; its value is not looked at.
    assert_eq!(named(&[("TYK_PMP_PUMPS_FILES", "a_b")]), [csv()]);
    assert_eq!(named(&[("TYK_PMP_PUMPS_MY_CSV_TYPE", "csv")]), [csv()]);
    // A type with an underscore in its name is one.
    assert_eq!(
        named(&[("TYK_PMP_PUMPS_SQL_AGGREGATE_META_TYPE", "postgres")]),
        and("SQL_AGGREGATE", "sql_aggregate")
    );
    assert_eq!(named(&[("TYK_PMP_PUMPS_MY-FILES_TYPE", "csv")]), and("MY-FILES", "csv"));
    // Without a type there is no pump, and the reason is said.
    let loaded = load_with(CSV, &[("TYK_PMP_PUMPS_PROD_META_CSVDIR", "x")]);
    assert_eq!(names(loaded.settings.as_ref().unwrap()), [csv()]);
    assert!(
        texts(&loaded)[0].contains("the pump \"PROD\" has no type"),
        "{:?}",
        loaded.findings
    );
    // These would wipe what the file says.
    let loaded = load_with(
        CSV,
        &[("TYK_PMP_PUMPS", "csv:x"), ("TYK_PMP_PUMPS_CSV_META", "csv_dir:x")],
    );
    assert_eq!(loaded.findings.len(), 2, "{:?}", loaded.findings);
    assert_eq!(loaded.settings.unwrap().pumps[0].meta["csv_dir"], "file");
}

#[test]
fn options_are_overridden_under_the_prefix_that_belongs_to_the_pump() {
    let meta = |file: &str, variables: &[(&str, &str)]| settings(file, variables).pumps[0].meta["csv_dir"].clone();
    let named = r#"{"pumps": {"files": {"type": "csv", "meta": {"CSV_Dir": "file"}}}}"#;
    let prefixed = r#"{"pumps": {"files": {"type": "csv", "meta": {"csv_dir": "file", "meta_env_prefix": "MINE"}}}}"#;
    assert_eq!(meta(named, &[]), "file");
    assert_eq!(meta(named, &[("TYK_PMP_PUMPS_CSV_META_CSVDIR", "type")]), "type");
    assert_eq!(meta(named, &[("TYK_PMP_PUMPS_FILES_META_CSVDIR", "name")]), "name");
    assert_eq!(meta(named, &[("TYK_PMP_PUMPS_FILES_META_CSV_DIR", "name")]), "name");
    assert_eq!(
        meta(
            prefixed,
            &[("MINE_CSVDIR", "mine"), ("TYK_PMP_PUMPS_CSV_META_CSVDIR", "type")]
        ),
        "mine"
    );
    // The names of variables are in capitals, however the prefix is written.
    assert_eq!(
        meta(&prefixed.replace("MINE", "mine"), &[("MINE_CSVDIR", "mine")]),
        "mine"
    );
    let own = [("MINE_CSVDIR", "mine"), ("TYK_PMP_PUMPS_FILES_TIMEOUT", "5")];
    assert_eq!(meta(prefixed, &own), "file");
    assert_eq!(meta(CSV, &[("TYK_PMP_PUMPS_CSV_META_CSVDIR", "")]), "");
    assert_eq!(settings(prefixed, &[]).pumps[0].meta, json!({"csv_dir": "file"}));
}

#[test]
fn hosts_without_a_port_leave_host_and_port() {
    for name in ["TYK_PMP_REDIS_HOSTS", "TYK_PMP_ANALYTICSSTORAGECONFIG_HOSTS"] {
        let loaded = load_with(CSV, &[(name, "localhost"), ("TYK_PMP_REDIS_PORT", "5")]);
        assert!(texts(&loaded).iter().any(|text| text.contains(name)), "{name}");
        assert_eq!(loaded.settings.unwrap().redis.addrs, ["127.0.0.1:5"], "{name}");
    }
}

#[test]
fn null_is_an_empty_value_also_in_lists_and_after_another_value() {
    let filter = |list: &str| {
        let file = format!(r#"{{"pumps": {{"csv": {{"type": "csv", "filters": {{"api_ids": {list}}}}}}}}}"#);
        settings(&file, &[]).pumps.len()
    };
    assert_eq!(filter(r#"["a", null]"#), 1);
    let twice = r#"{"pumps": {"csv": {"type": "csv"}}, "pumps": null}"#;
    assert!(settings(twice, &[]).pumps.is_empty());
    let twice = r#"{"pumps": {"csv": {"type": "csv", "meta": {"csv_dir": "x"}, "meta": null}}}"#;
    assert_eq!(settings(twice, &[]).pumps[0].meta, json!({}));
}

#[test]
fn later_prefixes_of_the_storage_win_and_their_bad_values_end_the_process() {
    let port = |variables: &[(&str, &str)]| settings(CSV, variables).redis.addrs[0].clone();
    let all = [
        ("TYK_PMP_TEMPORAL_STORAGE_PORT", "3"),
        ("TYK_PMP_REDIS_PORT", "2"),
        ("TYK_PMP_ANALYTICSSTORAGECONFIG_PORT", "1"),
    ];
    assert_eq!(port(&all), "127.0.0.1:3");
    assert_eq!(port(&all[1..]), "127.0.0.1:2");
    assert_eq!(port(&all[2..]), "127.0.0.1:1");
    for (name, fatal) in [
        ("TYK_PMP_REDIS_PORT", true),
        ("TYK_PMP_ANALYTICSSTORAGECONFIG_PORT", false),
    ] {
        let loaded = load_with(CSV, &[(name, "redis"), ("TYK_PMP_REDIS_HOST", "h")]);
        assert_eq!(loaded.settings.is_none(), fatal, "{name}");
        let text = texts(&loaded).into_iter().find(|text| text.contains(name)).unwrap();
        assert_eq!(
            text.starts_with("Error connecting to Temporal Storage: "),
            fatal,
            "{text}"
        );
    }
}

#[test]
fn a_missing_file_is_no_obstacle_when_the_environment_has_a_configuration() {
    let (folder, mut request) = request("{}", &[("TYK_PMP_PUMPS_CSV_TYPE", "csv")]);
    request.conf = folder.path().join("absent.conf");
    let loaded = load(&request);
    assert_eq!(loaded.settings.unwrap().pumps.len(), 1);
    assert!(
        loaded.findings[0]
            .text
            .contains("absent.conf: no such file or directory")
    );
    assert_eq!(loaded.findings[0].severity, Severity::Warning);
    request.environment = Environment::new([("PATH".to_owned(), "/bin".to_owned())]);
    let loaded = load(&request);
    assert!(loaded.settings.is_none() && loaded.findings[0].text.contains("examples/minimal-csv.conf"));
}

#[test]
fn every_spelling_of_true_leaves_the_file_unread() {
    for text in ["true", "TRUE", "tRuE", "1", "t"] {
        let loaded = load_with("no json", &[("TYK_PMP_OMITCONFIGFILE", text)]);
        assert!(loaded.settings.unwrap().pumps.is_empty(), "{text}");
    }
    for text in ["false", "0", ""] {
        assert!(
            load_with("no json", &[("TYK_PMP_OMITCONFIGFILE", text)])
                .settings
                .is_none(),
            "{text}"
        );
    }
}

#[test]
fn null_and_empty_documents_are_empty_configurations() {
    for file in ["", "  \n", "null", "{}", "\u{feff}{}"] {
        let loaded = load_with(file, &[("TYK_PMP_DONTPURGEUPTIMEDATA", "true")]);
        let empty = usize::from(file.trim().is_empty());
        assert_eq!(loaded.findings.len(), empty, "{file:?}: {:?}", loaded.findings);
        assert!(loaded.settings.unwrap().pumps.is_empty());
    }
    let nulls = r#"{"purge_chunk": null, "log_level": null, "uptime_pump_config": null, "analytics_storage_config": null,
        "pumps": {"dummy": null, "csv": {"filters": null, "timeout": null, "meta": {}}}, "dont_purge_uptime_data": true}"#;
    let loaded = load_with(nulls, &[]);
    assert_eq!(texts(&loaded), Vec::<String>::new());
    let found = names(&loaded.settings.unwrap());
    assert_eq!(
        found,
        [
            ("DUMMY".to_owned(), "dummy".to_owned()),
            ("CSV".to_owned(), "csv".to_owned())
        ]
    );
}

#[test]
fn values_of_the_wrong_type_are_left_out_and_the_rest_counts() {
    let file = r#"{"purge_chunk": "5", "purge_delay": 3, "max_record_size": true, "storage_expiration_time": 1e1,
        "log_level": 5, "dont_purge_uptime_data": true, "health_check_endpoint_port": 9223372036854775808,
        "pumps": {"csv": {"timeout": "5", "ignore_fields": ["api_key", 7], "meta": {}}, "other": "csv"}}"#;
    let loaded = load_with(file, &[]);
    let found = texts(&loaded);
    for text in [
        "purge_chunk is the text \"5\" – write 5 without quotes",
        "max_record_size is the switch true – write a whole number",
        "storage_expiration_time is 1e1 – write a whole number: 10",
        "log_level is the number 5 – write \"5\"",
        "health_check_endpoint_port is 9223372036854775808 – it is too large",
        "pump \"csv\": timeout is the text \"5\" – write 5 without quotes",
        "pump \"csv\": ignore_fields has the number 7 – write \"7\"",
        "pump \"other\": it is a text – it must be an object",
        "pump \"other\": unknown type \"other\"",
    ] {
        assert!(found.iter().any(|other| other.starts_with(text)), "{text}: {found:?}");
    }
    assert!(
        loaded
            .findings
            .iter()
            .any(|finding| finding.to_string().ends_with("(line 1)"))
    );
    let settings = loaded.settings.unwrap();
    assert_eq!(
        (
            settings.purge_delay.as_secs(),
            settings.purge_chunk,
            settings.health_port
        ),
        (3, 0, 8083)
    );
    assert!(settings.pumps[0].transform.ignores(analytics::Field::ApiKey));
}

#[test]
fn keys_match_in_any_case_and_the_last_of_two_counts() {
    let file = r#"{"Purge_Delay": 4, "dont_purge_uptime_data": true, "PUMPS": {"CsV": {"Type": "csv", "Meta": {"csv_dir": "a"}}},
        "purge_delay": 5, "pumps": {"second": {"type": "csv", "meta": {"csv_dir": "b"}}}}"#;
    let loaded = load_with(file, &[]);
    let lines: Vec<_> = texts(&loaded);
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines.iter().all(|line| line.contains("stands twice (lines 1 and 2)")),
        "{lines:?}"
    );
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.purge_delay.as_secs(), 5);
    assert_eq!(names(&settings).len(), 2);
    let capitals = settings_of_name("Straße ŉ ǆ ÿ");
    assert_eq!(capitals, "STRAßE ŉ Ǆ Ÿ");
}

fn settings_of_name(name: &str) -> String {
    let file = json!({"pumps": {name: {"type": "dummy"}}}).to_string();
    settings(&file, &[]).pumps[0].name.to_string()
}

#[test]
fn secrets_are_resolved_everywhere_and_never_shown() {
    let file = json!({
        "kv": {"stores": {"in": {"type": "inline", "config": {"data": {"pw": "s3cret", "dir": "kv://in/pw"}}}}},
        "analytics_storage_config": {"password": "kv://in/pw", "addrs": ["$kv{in:pw}:1"]},
        "dont_purge_uptime_data": true,
        "pumps": {"csv": {"type": "csv", "filters": {"api_ids": ["kv://in/pw"]}, "meta": {"csv_dir": "/x/$kv{in:dir}"}}},
    });
    let variables = [
        (
            "TYK_PMP_KV_STORES",
            r#"{"env": {"type": "env", "config": {"prefix": "SEC_"}}}"#,
        ),
        ("SEC_USER", "me"),
        ("TYK_PMP_REDIS_USERNAME", "kv://env/USER"),
        ("TYK_PMP_PUMPS_OUT_TYPE", "stdout"),
        ("TYK_PMP_PUMPS_OUT_META_LOGFIELDNAME", "kv://env/USER"),
    ];
    let loaded = load_with(&file.to_string(), &variables);
    assert_eq!(texts(&loaded), Vec::<String>::new());
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.redis.password.reveal(), "s3cret");
    assert_eq!(
        (settings.redis.username.as_str(), settings.redis.addrs[0].as_str()),
        ("me", "s3cret:1")
    );
    assert_eq!(settings.pumps[0].filter.api_ids, ["s3cret"]);
    assert_eq!(settings.pumps[0].meta["csv_dir"], "/x/kv://in/pw");
    assert_eq!(settings.pumps[1].meta["log_field_name"], "me");
    assert!(!format!("{:?}", settings.redis.password).contains("s3cret"));
    assert!(!format!("{:?}", settings.pumps).contains("/x/"));

    for (broken, text) in [
        (
            json!({"pumps": {"csv": {"meta": {"csv_dir": "a kv://b"}}}}),
            "pump \"csv\": meta.csv_dir: config contains KV references but no stores are configured",
        ),
        (
            json!({"kv": file["kv"], "analytics_storage_config": {"password": "kv://in/nope"}}),
            "analytics_storage_config.password: store \"in\": \"nope\" is not in its data",
        ),
    ] {
        let loaded = load_with(&broken.to_string(), &[]);
        let fatal = loaded
            .findings
            .iter()
            .find(|finding| finding.severity == Severity::Fatal)
            .unwrap();
        assert!(
            fatal.text.starts_with(&format!("Failed to resolve config: {text}")),
            "{}",
            fatal.text
        );
    }
}

#[test]
fn the_timeout_of_kafka_is_read_whatever_the_prefix_and_makes_no_pump() {
    const NAME: &str = "TYK_PMP_PUMPS_KAFKA_META_TIMEOUT";
    let timeouts = |variables: &[(&str, &str)]| -> Vec<(String, Value)> {
        let file = json!({"pumps": {"events": {"type": "kafka", "meta": {"timeout": 3}}}}).to_string();
        let pumps = settings(&file, variables).pumps;
        pumps
            .iter()
            .map(|pump| (pump.name.to_string(), pump.meta["timeout"].clone()))
            .collect()
    };
    let events = |timeout: Value| vec![("EVENTS".to_owned(), timeout)];
    assert_eq!(timeouts(&[]), events(json!(3)));
    assert_eq!(timeouts(&[(NAME, "7s")]), events(json!("7s")));
    assert_eq!(timeouts(&[(NAME, "")]), events(json!(3)));
    let own = ("TYK_PMP_PUMPS_EVENTS_META_TIMEOUT", "2s");
    assert_eq!(timeouts(&[(NAME, "7s"), own]), events(json!("2s")));
}

#[test]
fn the_uptime_pump_runs_when_a_destination_is_named() {
    let uptime = |config: Value, variables: &[(&str, &str)]| {
        let file = json!({"uptime_pump_config": config}).to_string();
        settings(&file, variables).uptime.map(|pump| (pump.kind, pump.meta))
    };
    assert_eq!(uptime(json!({}), &[]), None);
    assert_eq!(uptime(json!({"uptime_type": "sql"}), &[]), None);
    let (kind, meta) = uptime(json!({"mongo_url": "m"}), &[("MONGO_DB_TYPE", "1")]).unwrap();
    assert_eq!(
        (kind.as_str(), &meta),
        (
            "mongo",
            &json!({"collection_name": "tyk_uptime_analytics", "mongo_url": "m", "mongo_db_type": 1})
        )
    );
    let sql = json!({"uptime_type": "sql", "type": "postgres", "connection_string": "c"});
    assert_eq!(uptime(sql, &[]).unwrap().0, "sql");
    assert_eq!(
        uptime(json!({"mongo_url": "m"}), &[("TYK_PMP_DONTPURGEUPTIMEDATA", "true")]),
        None
    );
    // Documented for the original pump, which never read it.
    let (_, meta) = uptime(json!({}), &[("TYK_PMP_PUMPS_UPTIME_META_MONGOURL", "m")]).unwrap();
    assert_eq!(meta["mongo_url"], "m");
}

#[test]
fn the_log_follows_variables_then_the_file() {
    let log = |file: &str, variables: &[(&str, &str)]| {
        let log = load_with(file, variables).log;
        format!("{:?} {:?}", log.format, log.level)
    };
    let file = r#"{"log_level": "ERROR", "log_format": "legacy"}"#;
    assert_eq!(log(file, &[]), "Legacy Error");
    assert_eq!(
        log(file, &[("TYK_LOGLEVEL", "nonsense"), ("TYK_LOGFORMAT", "json")]),
        "Json Info"
    );
    assert_eq!(
        log(file, &[("TYK_PMP_LOGLEVEL", "warn"), ("TYK_PMP_LOGFORMAT", "")]),
        "Text Warning"
    );
    let nonsense = r#"{"log_level": "Nonsense"}"#;
    let fatal = load_with(nonsense, &[]);
    let text = "Invalid log level \"nonsense\" specified in config, must be error, warn, debug or info. ";
    assert!(fatal.settings.is_none() && texts(&fatal).iter().any(|other| other == text));
    assert!(load_with(nonsense, &[("TYK_LOGLEVEL", "info")]).settings.is_some());
}

#[test]
fn check_names_file_line_and_column_and_fails_on_errors_alone() {
    let answer = |file: &str, variables: &[(&str, &str)]| {
        let (folder, request) = request(file, variables);
        let mut out = Vec::new();
        let right = check(&request, &mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        (right, text.replace(&format!("{}/", folder.path().display()), ""))
    };
    assert_eq!(answer(CSV, &[]), (true, "0 errors, 0 warnings\n".to_owned()));
    let (right, text) = answer(
        "{\n  \"purge_dealy\": 1,\n  \"pumps\": {\"csv\": {\"meta\": {}}}\n}",
        &[("TYK_PMP_X", "1")],
    );
    assert!(!right);
    let expected = "pump.conf:2:3: error: unknown key \"purge_dealy\" – did you mean \"purge_delay\"?\n";
    assert!(
        text.starts_with(expected) && text.contains("environment: error: TYK_PMP_X is not read"),
        "{text}"
    );
    assert!(text.ends_with("2 errors, 1 warning\n"), "{text}");
    let (right, text) = answer("{,}", &[]);
    assert!(!right && text.contains("pump.conf:1:2: error: "), "{text}");
    assert!(
        answer("{\"dont_purge_uptime_data\": true}", &[])
            .1
            .contains("No pumps configured")
    );
}

#[test]
fn two_configurations_on_one_host_are_two_instances() {
    let (folder, mut request) = request(CSV, &[]);
    let first = load(&request).settings.unwrap().delivery.instance_id;
    assert_eq!(load(&request).settings.unwrap().delivery.instance_id, first);
    assert!(first.starts_with("host-"), "{first}");
    request.conf = folder.path().join("other.conf");
    std::fs::write(&request.conf, CSV).unwrap();
    assert_ne!(load(&request).settings.unwrap().delivery.instance_id, first);
}
