//! Configurations as users write them, without and with mistakes.

use std::path::{Path, PathBuf};

use tyk_pump::config::{Loaded, Request, Severity, env::Environment, load};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf")
}

/// What is noticed about a file: a `.conf` alone, or the variables of an `.env` alone.
fn load_file(path: &Path) -> Loaded {
    let mut variables = Vec::new();
    if path.extension().is_some_and(|extension| extension == "env") {
        for line in std::fs::read_to_string(path)
            .unwrap()
            .lines()
            .filter(|line| !line.starts_with('#'))
        {
            let (name, value) = line.split_once('=').unwrap();
            variables.push((name.to_owned(), value.to_owned()));
        }
    }
    load(&Request {
        conf: path.to_owned(),
        environment: Environment::new(variables),
        debug: false,
        host: "host".to_owned(),
    })
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    files.sort();
    files
}

fn name(path: &Path) -> String {
    path.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn good_configurations_load_without_a_warning() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    let all: Vec<PathBuf> = files(&folder()).into_iter().chain(files(&examples)).collect();
    assert!(all.len() >= 27, "{}", all.len());
    for path in all {
        let loaded = load_file(&path);
        let mut findings = loaded.findings.clone();
        // Files that are named in these configurations do not exist here.
        findings.retain(|finding| !(name(&path) == "redis-cluster-tls.conf" && finding.text.contains("cannot open")));
        assert_eq!(findings, [], "{}", path.display());
    }
}

#[test]
fn examples_have_pumps_that_can_start() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples");
    for path in files(&examples) {
        let settings = load_file(&path).settings.unwrap();
        assert!(
            settings.usable_pumps().count() == settings.pumps.len() && !settings.pumps.is_empty(),
            "{}",
            path.display()
        );
    }
}

/// File, what the first line says, and whether the pump goes on.
const MISTAKES: &[(&str, &[&str], bool)] = &[
    (
        "trailing-comma.conf",
        &["line 6", "a comma before \"}\" – remove it"],
        false,
    ),
    (
        "comment.conf",
        &["line 6", "JSON has no comments – remove \"// all traffic\""],
        false,
    ),
    (
        "missing-brace.conf",
        &["the file ends inside the object that starts in line 1 – a \"}\" is missing"],
        false,
    ),
    (
        "single-quotes.conf",
        &["line 1", "names and texts need double quotes"],
        false,
    ),
    (
        "pumps-as-list.conf",
        &["pumps is a list – it must be an object: {\"pumps\": {\"csv\": {…}}}"],
        true,
    ),
    (
        "duplicate-pump.conf",
        &["pumps has \"csv\" twice (lines 6 and 7) – only the last counts"],
        true,
    ),
    (
        "duplicate-pump-case.conf",
        &["pumps \"csv\" and \"CSV\" are the same name", "only the last counts"],
        true,
    ),
    (
        "typo-in-key.conf",
        &["unknown key \"purge_dealy\" – did you mean \"purge_delay\"?"],
        true,
    ),
    (
        "typo-in-meta.conf",
        &["pump \"csv\": unknown key meta.csv_directory – did you mean \"csv_dir\"?"],
        true,
    ),
    (
        "filter-wrong-name.conf",
        &["pump \"csv\": unknown key filters.skip_apis – did you mean \"skip_api_ids\"?"],
        true,
    ),
    (
        "filters-in-meta.conf",
        &["pump \"csv\"", "\"filters\" belongs beside \"meta\", not inside"],
        true,
    ),
    (
        "ignore-fields-wrong-name.conf",
        &[
            "pump \"csv\": ignore_fields: \"APIKey\" is no field",
            "did you mean \"api_key\"?",
        ],
        true,
    ),
    (
        "meta-beside.conf",
        &["pump \"csv\"", "\"csv_dir\" belongs inside \"meta\""],
        true,
    ),
    ("meta-missing.conf", &["pump \"csv\": meta is missing"], true),
    (
        "unknown-type.conf",
        &["pump \"elastic\": unknown type \"elastic\" – did you mean \"elasticsearch\"?"],
        true,
    ),
    (
        "hyphen-for-underscore.conf",
        &["unknown type \"sql-aggregate\" – did you mean \"sql_aggregate\"?"],
        true,
    ),
    (
        "name-instead-of-type.conf",
        &["pump \"my-files\": \"name\" is ignored – write \"type\": \"csv\""],
        true,
    ),
    (
        "health-name-slash.conf",
        &["health_check_endpoint_name is \"/health\" – using \"health\"; drop the slash"],
        true,
    ),
    (
        "delay-as-string.conf",
        &["purge_delay is the text \"10s\" – write 10"],
        true,
    ),
    ("delay-zero.conf", &["purge_delay is 0 – using 1 s"], true),
    ("delay-negative.conf", &["purge_delay is -10 – using 1 s"], true),
    (
        "bool-as-string.conf",
        &["dont_purge_uptime_data is the text \"true\" – write true without quotes"],
        true,
    ),
    (
        "record-size-negative.conf",
        &["max_record_size is -1 – no limit is 0"],
        true,
    ),
    (
        "log-format-unknown.conf",
        &["log_format \"logfmt\" is unknown – using text (text, json, legacy)"],
        true,
    ),
    (
        "filter-id-as-number.conf",
        &["pump \"csv\": filters.api_ids is read as [\"17\"] – write it so"],
        true,
    ),
    (
        "filter-code-as-string.conf",
        &["pump \"csv\": filters.response_codes is read as [200] – write it so"],
        true,
    ),
    (
        "filter-single-value.conf",
        &["pump \"csv\": filters.response_codes is read as [200] – write it so"],
        true,
    ),
    (
        "storage-type.conf",
        &[
            "analytics_storage_type",
            "mongo",
            "\"redis\"; sinks belong into \"pumps\"",
        ],
        false,
    ),
    (
        "uptime-not-configured.conf",
        &[
            "uptime data is on, but uptime_pump_config",
            "is missing",
            "\"dont_purge_uptime_data\": true",
        ],
        true,
    ),
    (
        "uptime-type-postgres.conf",
        &["uptime_pump_config.uptime_type is \"postgres\" – write \"uptime_type\": \"sql\" and \"type\": \"postgres\""],
        true,
    ),
    (
        "redis-port-as-string.conf",
        &["analytics_storage_config.port is the text \"6379\" – write 6379"],
        true,
    ),
    (
        "redis-host-with-port.conf",
        &["analytics_storage_config.host is \"localhost:6379\" – write \"host\": \"localhost\", \"port\": 6379"],
        true,
    ),
    (
        "redis-hosts-port-number.conf",
        &["analytics_storage_config.hosts.localhost is the number 6379 – write \"6379\""],
        false,
    ),
    (
        "redis-addrs-as-string.conf",
        &["analytics_storage_config.addrs is the text \"localhost:6379\" – write [\"localhost:6379\"]"],
        false,
    ),
    (
        "redis-url.conf",
        &["analytics_storage_config.addrs has a URL – write host:port: \"localhost:6379\""],
        false,
    ),
    (
        "redis-tls-file-missing.conf",
        &[
            "analytics_storage_config.ssl_ca_file",
            "/etc/tyk/no-such-ca.pem",
            "No such file",
        ],
        false,
    ),
    (
        "env-pump-name-underscore.env",
        &[
            "TYK_PMP_PUMPS_MY_CSV_",
            "the pump \"MY\" has no type",
            "ends at its first underscore",
        ],
        true,
    ),
    (
        "mongo-url-missing.conf",
        &["pump \"mongo\": unknown key meta.url"],
        true,
    ),
    ("env-type-missing.env", &["set TYK_PMP_PUMPS_FILES_TYPE=csv"], true),
    (
        "env-bool-yes.env",
        &["TYK_PMP_DONTPURGEUPTIMEDATA is \"yes\" – write true or false"],
        true,
    ),
    (
        "env-number-with-unit.env",
        &["TYK_PMP_PURGEDELAY is \"10s\" – write 10"],
        true,
    ),
    (
        "env-quotes.env",
        &["TYK_PMP_PUMPS_CSV_META_CSVDIR is in quotes – they are part of the value"],
        true,
    ),
];

/// What counts here and did not in the original pump.
const WITHOUT_EFFECT_BEFORE: &[&str] = &[
    "env-names-with-underscores.env",
    "env-org-filter-name.env",
    "omit-detailed-global.conf",
];

/// What the reference calls a mistake and is simply understood here.
const UNDERSTOOD: &[&str] = &[
    "byte-order-mark.conf",
    "env-list-with-blanks.env",
    "log-level-warning.conf",
    "mongo-password-not-escaped.conf",
    "sql-sqlite.conf",
];

/// Mistakes that the sink finds when it is made, and what it says.
const NAMED_BY_THE_SINK: &[(&str, &[&str])] = &[
    (
        "es-version-as-number.conf",
        &["meta.version is the number 7", "write \"7\" in quotes"],
    ),
    (
        "kafka-broker-as-string.conf",
        &[
            "meta.broker is the text \"localhost:9092\"",
            "write [\"localhost:9092\"]",
        ],
    ),
    ("prometheus-address-missing.conf", &["meta.listen_address is missing"]),
    ("splunk-ca-file-missing.conf", &["ssl_ca_file /etc/tyk/no-such-ca.pem"]),
    (
        "sql-type-missing.conf",
        &["`config_storage.type` value:", "meta.type is postgres, mysql or sqlite"],
    ),
];

/// Options that upstream refuses, and half an identity, which the sink warns of.
const ACCEPTED_BY_THE_SINK: &[&str] = &["es-version-unknown.conf", "splunk-only-certificate.conf"];

#[test]
fn every_mistake_gets_a_line_that_names_key_value_and_remedy() {
    let folder = folder().join("mistakes");
    for (file, parts, goes_on) in MISTAKES {
        let loaded = load_file(&folder.join(file));
        let text = loaded
            .findings
            .first()
            .map(|finding| finding.text.clone())
            .unwrap_or_default();
        for part in *parts {
            assert!(text.contains(part), "{file}: {text:?} lacks {part:?}");
        }
        assert_eq!(loaded.settings.is_some(), *goes_on, "{file}: {:?}", loaded.findings);
        let strict = loaded
            .findings
            .iter()
            .any(|finding| finding.severity != Severity::Warning);
        assert!(
            strict || ["meta-missing.conf", "uptime-not-configured.conf"].contains(file),
            "{file}"
        );
    }
    for file in UNDERSTOOD {
        assert_eq!(load_file(&folder.join(file)).findings, [], "{file}");
    }
    let known = MISTAKES
        .iter()
        .map(|(file, _, _)| *file)
        .chain(UNDERSTOOD.iter().copied())
        .chain(NAMED_BY_THE_SINK.iter().map(|(file, _)| *file))
        .chain(ACCEPTED_BY_THE_SINK.iter().copied())
        .chain(WITHOUT_EFFECT_BEFORE.iter().copied());
    let mut known: Vec<&str> = known.collect();
    known.sort_unstable();
    let found: Vec<String> = files(&folder).iter().map(|path| name(path)).collect();
    assert_eq!(found, known);
}

/// Makes the sink of the file's first pump.
async fn make_sink(file: &str) -> Result<(), String> {
    let loaded = load_file(&folder().join("mistakes").join(file));
    assert_eq!(loaded.findings, [], "{file}");
    let settings = loaded.settings.unwrap();
    let pump = &settings.pumps[0];
    let context = sinks::BuildContext {
        pump: pump.name.clone(),
        meta: pump.meta.clone(),
        compat: pump.compat,
        log: settings.log,
        fleet: Default::default(),
    };
    let build = sinks::find(&pump.kind).unwrap().build;
    build(context).await.map(drop).map_err(|error| error.to_string())
}

#[tokio::test]
async fn mistakes_in_the_options_of_a_sink_name_option_and_remedy() {
    for (file, parts) in NAMED_BY_THE_SINK {
        let error = make_sink(file).await.unwrap_err();
        for part in *parts {
            assert!(error.contains(part), "{file}: {error}");
        }
    }
    for file in ACCEPTED_BY_THE_SINK {
        assert_eq!(make_sink(file).await, Ok(()), "{file}");
    }
}

#[test]
fn a_filter_that_can_mean_one_thing_alone_keeps_no_pump_from_starting() {
    for file in [
        "filter-id-as-number.conf",
        "filter-code-as-string.conf",
        "filter-single-value.conf",
    ] {
        let settings = load_file(&folder().join("mistakes").join(file)).settings.unwrap();
        assert_eq!(settings.usable_pumps().count(), 1, "{file}");
        assert!(!settings.pumps[0].filter.is_empty(), "{file}");
    }
}

#[test]
fn what_had_no_effect_in_the_original_pump_is_named_once() {
    for file in WITHOUT_EFFECT_BEFORE {
        let loaded = load_file(&folder().join("mistakes").join(file));
        assert!(loaded.settings.is_some() && !loaded.findings.is_empty(), "{file}");
        for finding in &loaded.findings {
            assert_eq!(finding.severity, Severity::Warning, "{file}");
            assert!(finding.text.contains("Tyk Pump"), "{file}: {finding}");
        }
    }
}
