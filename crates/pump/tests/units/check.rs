//! `tyk-pump check` refuses what a start refuses: every type, with file, key, value and remedy, and without reaching out to
//! anything.

use std::{path::Path, time::Duration};

use futures::FutureExt;
use sinks::{BuildError, SinkSpec};
use tyk_pump::{
    config::{Loaded, Request, check, env::Environment, load},
    plan::PumpPlan,
};

/// Type, `meta`, and what is said: what is wrong and what to do about it. `DIR` is a folder with the files of [`write_files`].
const WRONG: &[(&str, &str, &[&str])] = &[
    (
        "dogstatsd",
        r#"{"address": 5}"#,
        &["meta.address is the number 5", "in quotes"],
    ),
    ("dogstatsd", r#"{}"#, &["meta.address"]),
    (
        "dogstatsd",
        r#"{"address": "localhost:8125", "tags": ["nonsense"]}"#,
        &["meta.tags", "nonsense"],
    ),
    ("influx", r#"{}"#, &["meta.address", "is missing"]),
    (
        "influx",
        r#"{"address": "http://influx:8086"}"#,
        &["meta.database_name is missing"],
    ),
    ("influx2", r#"{}"#, &["meta.address", "is missing"]),
    (
        "influx2",
        r#"{"address": "http://influx:8086"}"#,
        &["meta.bucket is missing"],
    ),
    ("kafka", r#"{"broker": [], "topic": "t"}"#, &["meta.broker"]),
    ("kafka", r#"{"broker": ["kafka:9092"], "topic": ""}"#, &["meta.topic"]),
    (
        "kafka",
        r#"{"broker": ["kafka:9092"], "topic": "t", "sasl_mechanism": "GSSAPI"}"#,
        &["meta.sasl_mechanism"],
    ),
    (
        "kinesis",
        r#"{"stream_name": 5}"#,
        &["meta.stream_name is the number 5", "in quotes"],
    ),
    (
        "kinesis",
        r#"{"stream_name": "s", "region": "eu-west-1", "aws_endpoint": "localhost"}"#,
        &["meta.aws_endpoint"],
    ),
    ("prometheus", r#"{}"#, &["meta.listen_address is missing"]),
    (
        "prometheus",
        r#"{"listen_address": "9090"}"#,
        &["meta.listen_address is \"9090\"", "write for instance"],
    ),
    (
        "sqs",
        r#"{"aws_queue_name": 5}"#,
        &["meta.aws_queue_name is the number 5", "in quotes"],
    ),
    (
        "sqs",
        r#"{"aws_queue_name": "q", "aws_region": "eu-west-1", "aws_endpoint": "localhost"}"#,
        &["meta.aws_endpoint"],
    ),
    ("statsd", r#"{"address": "localhost"}"#, &["meta.address"]),
    (
        "timestream",
        r#"{"aws_region": 5}"#,
        &["meta.aws_region is the number 5", "in quotes"],
    ),
    (
        "timestream",
        r#"{"aws_region": "eu-west-1"}"#,
        &["meta.dimensions is missing", "name at least one"],
    ),
    (
        "csv",
        r#"{"csv_dir": 5}"#,
        &["meta.csv_dir is the number 5", "write \"5\" in quotes"],
    ),
    (
        "csv",
        r#"{"escape_formulas": "yes"}"#,
        &["meta.escape_formulas is the text \"yes\"", "write true without quotes"],
    ),
    (
        "elasticsearch",
        r#"{"version": 7}"#,
        &["meta.version is the number 7", "write \"7\" in quotes"],
    ),
    (
        "elasticsearch",
        r#"{"version": "4"}"#,
        &["meta.version is \"4\"", "write 3, 5, 6, 7, 8 or 9"],
    ),
    (
        "elasticsearch",
        r#"{"elasticsearch_url": "localhost:9200"}"#,
        &["meta.elasticsearch_url", "\"localhost\" is not http", "write https://"],
    ),
    (
        "elasticsearch",
        r#"{"elasticsearch_url": ","}"#,
        &["meta.elasticsearch_url names no node", "write https://"],
    ),
    (
        "elasticsearch",
        r#"{"op_type": "upsert"}"#,
        &["meta.op_type is \"upsert\"", "write \"create\" or \"index\""],
    ),
    (
        "elasticsearch",
        r#"{"op_type": "index", "data_stream": true}"#,
        &["meta.op_type is \"index\"", "only takes \"create\""],
    ),
    (
        "elasticsearch",
        r#"{"index_template_file": "DIR/none.json"}"#,
        &["meta.index_template_file", "DIR/none.json", "name a JSON file"],
    ),
    (
        "elasticsearch",
        r#"{"index_template_file": "DIR/text.pem"}"#,
        &["meta.index_template_file", "DIR/text.pem", "name a JSON file"],
    ),
    (
        "elasticsearch",
        r#"{"elasticsearch_url": "https://h:9200", "use_ssl": true, "ssl_ca_file": "DIR/none.pem"}"#,
        &["ssl_ca_file DIR/none.pem", "name a PEM file"],
    ),
    (
        "elasticsearch",
        r#"{"bulk_config": {"workers": "two"}}"#,
        &["meta.bulk_config.workers is the text \"two\"", "write a whole number"],
    ),
    (
        "graylog",
        r#"{"port": 70000}"#,
        &["meta.port is 70000", "write the port of the GELF input"],
    ),
    (
        "graylog",
        r#"{"transport": "http"}"#,
        &["meta.transport is \"http\"", "udp, tcp or tls"],
    ),
    (
        "graylog",
        r#"{"transport": "tls", "ssl_ca_file": "DIR/text.pem"}"#,
        &["ssl_ca_file DIR/text.pem: no certificate", "name a PEM file"],
    ),
    (
        "graylog",
        r#"{"tags": "method"}"#,
        &["meta.tags is the text \"method\"", "write [\"method\"]"],
    ),
    (
        "hybrid",
        "{}",
        &["empty connection_string", "set meta.connection_string to host:port"],
    ),
    (
        "hybrid",
        r#"{"connection_string": "mdcb"}"#,
        &["meta.connection_string", "as in mdcb.example.com:9091"],
    ),
    (
        "hybrid",
        r#"{"connection_string": "mdcb:9091", "use_ssl": true, "ssl_min_version": "1.1"}"#,
        &["meta.ssl_min_version is \"1.1\"", "write \"1.2\" or \"1.3\""],
    ),
    (
        "hybrid",
        r#"{"connection_string": "mdcb:9091", "use_ssl": true, "ssl_min_version": "1.3", "ssl_max_version": "1.2"}"#,
        &["meta.ssl_min_version is above", "exchange them"],
    ),
    (
        "hybrid",
        r#"{"connection_string": "mdcb:9091", "use_ssl": true, "ssl_ca_file": "DIR/none.pem"}"#,
        &["ssl_ca_file DIR/none.pem", "name a PEM file"],
    ),
    (
        "hybrid",
        r#"{"connection_string": "mdcb:9091", "call_timeout": "10s"}"#,
        &["meta.call_timeout is the text \"10s\"", "write a whole number"],
    ),
    ("logzio", "{}", &["meta.token is missing", "write the shipping token"]),
    (
        "logzio",
        r#"{"token": "t0ken", "drain_duration": "3"}"#,
        &["meta.drain_duration is \"3\"", "write for instance \"3s\""],
    ),
    (
        "logzio",
        r#"{"token": "t0ken", "disk_threshold": 101}"#,
        &["meta.disk_threshold is 101", "remove it"],
    ),
    (
        "logzio",
        r#"{"token": "t0ken", "url": "ftp://h"}"#,
        &["meta.url", "\"ftp\" is not http", "write https://"],
    ),
    (
        "moesif",
        r#"{"enable_bulk": true, "bulk_config": {"batch_size": -1}}"#,
        &["meta.bulk_config.batch_size is -1", "write for instance 200"],
    ),
    (
        "moesif",
        r#"{"enable_bulk": true, "bulk_config": {"api_endpoint": "api.moesif.net"}}"#,
        &["meta.bulk_config.api_endpoint: not a URL", "write https://"],
    ),
    (
        "moesif",
        r#"{"request_header_masks": "Authorization"}"#,
        &["meta.request_header_masks is the text", "write [\"Authorization\"]"],
    ),
    (
        "mongo",
        r#"{"collection_name": "a"}"#,
        &["meta.mongo_url is missing", "write mongodb://"],
    ),
    (
        "mongo",
        r#"{"mongo_url": "mongodb://h/d"}"#,
        &["meta.collection_name is missing", "Write \"tyk_analytics\""],
    ),
    (
        "mongo",
        r#"{"mongo_url": "h/d", "collection_name": "a"}"#,
        &["meta.mongo_url must begin with mongodb://", "write mongodb://"],
    ),
    (
        "mongo",
        r#"{"mongo_url": "mongodb://h", "collection_name": "a"}"#,
        &["meta.mongo_url names no database", "write mongodb://"],
    ),
    (
        "mongo",
        r#"{"mongo_url": "mongodb://h:port/d", "collection_name": "a"}"#,
        &["meta.mongo_url cannot be used", "write mongodb://"],
    ),
    (
        "mongo",
        r#"{"mongo_url": "mongodb://h1,h2/d?directConnection=true", "collection_name": "a"}"#,
        &["meta.mongo_url cannot be used", "write mongodb://"],
    ),
    (
        "mongo",
        r#"{"mongo_url": "mongodb://h/d", "collection_name": "a", "driver": "node"}"#,
        &["meta.driver is \"node\"", "write \"mongo-go\""],
    ),
    (
        "mongo",
        r#"{"mongo_url": "mongodb://h/d", "collection_name": "a", "collection_cap_enable": true, "retention_days": 3}"#,
        &["meta.collection_cap_enable cannot go with", "choose one"],
    ),
    (
        "mongo",
        r#"{"mongo_url": "mongodb://h/d", "collection_name": "a", "mongo_use_ssl": true, "mongo_ssl_ca_file": "DIR/none.pem"}"#,
        &["meta.mongo_ssl_ca_file: DIR/none.pem cannot be read", "name a PEM file"],
    ),
    (
        "mongo",
        r#"{"mongo_url": "mongodb://h/d?tls=true&tlsCAFile=DIR/none.pem", "collection_name": "a"}"#,
        &[
            "meta.mongo_url: tlsCAFile: DIR/none.pem cannot be read",
            "name a PEM file",
        ],
    ),
    (
        "mongo",
        r#"{"mongo_url": "mongodb://h/d", "collection_name": "a", "mongo_use_ssl": true, "mongo_ssl_pem_keyfile": "DIR/ca.pem"}"#,
        &[
            "meta.mongo_ssl_pem_keyfile: DIR/ca.pem has no usable private key",
            "name a PEM file",
        ],
    ),
    (
        "mongo-graph",
        r#"{"mongo_url": "mongodb://h/d", "collection_name": "a", "mongo_db_type": 2, "retention_days": 3}"#,
        &[
            "meta.retention_days",
            "have no effect with meta.mongo_db_type 2",
            "in Cosmos DB",
        ],
    ),
    (
        "mongo-mcp",
        r#"{"mongo_url": "mongodb://h/d"}"#,
        &["meta.collection_name is missing", "Write \"tyk_analytics\""],
    ),
    (
        "mongo-pump-aggregate",
        "{}",
        &["meta.mongo_url is missing", "write mongodb://"],
    ),
    (
        "mongo-pump-aggregate",
        r#"{"mongo_url": "mongodb://h/d", "aggregation_time": "60"}"#,
        &["meta.aggregation_time is the text \"60\"", "write 60 without quotes"],
    ),
    (
        "mongo-pump-selective",
        r#"{"mongo_url": "postgres://h/d"}"#,
        &["meta.mongo_url must begin with mongodb://", "write mongodb://"],
    ),
    (
        "mongo-mcp-aggregate",
        r#"{"mongo_url": 5}"#,
        &["meta.mongo_url is a number", "write one text in quotes"],
    ),
    (
        "resurfaceio",
        "{}",
        &["meta.capture_url is missing", "write the address of the collector"],
    ),
    (
        "resurfaceio",
        r#"{"capture_url": "http://h/message"}"#,
        &["meta.capture_url is plain http", "use https"],
    ),
    (
        "resurfaceio",
        r#"{"capture_url": "https://h/message", "rules": "include debug\nkeep everything"}"#,
        &["meta.rules: the rule \"keep everything\"", "correct the rule"],
    ),
    (
        "resurfaceio",
        r#"{"capture_url": "https://h/message", "rules": "file://DIR/none.rules"}"#,
        &[
            "meta.rules: the file DIR/none.rules cannot be read",
            "name a file of rules",
        ],
    ),
    (
        "segment",
        r#"{"endpoint": "api.segment.io"}"#,
        &["meta.endpoint: not a URL", "write https://"],
    ),
    (
        "splunk",
        "{}",
        &[
            "meta.collector_token and meta.collector_url are required",
            "write the token",
        ],
    ),
    (
        "splunk",
        r#"{"collector_token": "t0ken", "collector_url": "h:8088"}"#,
        &["meta.collector_url", "\"h\" is not http", "write https://"],
    ),
    (
        "splunk",
        r#"{"collector_token": "t0ken", "collector_url": "https://h:8088", "ssl_cert_file": "DIR/ca.pem", "ssl_key_file": "DIR/text.pem"}"#,
        &["ssl_key_file DIR/text.pem: private key", "name a PEM file"],
    ),
    (
        "splunk",
        r#"{"collector_token": "t0ken", "collector_url": "https://h:8088", "ssl_cert_file": "DIR/ca.pem", "ssl_key_file": "DIR/key.pem"}"#,
        &[
            "ssl_cert_file DIR/ca.pem: does not go with ssl_key_file",
            "name a PEM file",
        ],
    ),
    (
        "splunk",
        r#"{"collector_token": 5, "collector_url": "https://h:8088"}"#,
        &["meta.collector_token is a number", "write one text in quotes"],
    ),
    (
        "sql",
        "{}",
        &["`config_storage.type` value:", "meta.type is postgres, mysql or sqlite"],
    ),
    (
        "sql",
        r#"{"type": "oracle", "connection_string": "x"}"#,
        &["value:oracle", "meta.type is postgres, mysql or sqlite"],
    ),
    (
        "sql",
        r#"{"type": "postgres", "connection_string": "host=h sslmode=sometimes"}"#,
        &["meta.connection_string: sslmode is", "sometimes", "disable"],
    ),
    (
        "sql",
        r#"{"type": "postgres", "connection_string": "host=h sslmode=verify-full sslrootcert=DIR/none.pem"}"#,
        &["meta.connection_string: sslrootcert DIR/none.pem", "name a PEM file"],
    ),
    (
        "sql",
        r#"{"type": "mysql", "connection_string": "u:p4ss@tcp(h:3306)"}"#,
        &[
            "meta.connection_string: the slash before the database",
            "expected user:password@tcp",
        ],
    ),
    (
        "sql",
        r#"{"type": "mysql", "connection_string": "u:p4ss@tcp(h:3306)/d?tls=custom"}"#,
        &["tls=custom is unknown", "write true, false"],
    ),
    (
        "sql",
        r#"{"type": "sqlite"}"#,
        &["meta.connection_string: it is empty", "write the name of a file"],
    ),
    (
        "sql",
        r#"{"type": "sqlite", "connection_string": "DIR/a.db?_journal_mode=fast"}"#,
        &["_journal_mode=fast", "expected"],
    ),
    (
        "sql_aggregate",
        r#"{"type": "postgres", "connection_string": 5}"#,
        &["meta.connection_string is a number", "write one text in quotes"],
    ),
    (
        "sql-graph",
        r#"{"type": "mysql", "connection_string": "u@tcp(h)/d?loc=Nowhere"}"#,
        &["loc=Nowhere is no time zone", "write a name such as UTC"],
    ),
    (
        "sql-mcp",
        r#"{"type": "postgresql"}"#,
        &["value:postgresql", "meta.type is postgres, mysql or sqlite"],
    ),
    (
        "sql-graph-aggregate",
        r#"{"type": "postgres", "connection_string": "connect_timeout=soon"}"#,
        &["connect_timeout is \"soon\"", "write whole seconds"],
    ),
    (
        "sql-mcp-aggregate",
        r#"{"type": "postgres", "batch_size": "many"}"#,
        &["meta.batch_size is the text \"many\"", "write a whole number"],
    ),
    (
        "stdout",
        r#"{"format": 5}"#,
        &["meta.format is the number 5", "write \"5\" in quotes"],
    ),
    (
        "stdout",
        r#"{"log_field_name": ["record"]}"#,
        &["meta.log_field_name is a list", "write one text in quotes"],
    ),
    (
        "syslog",
        r#"{"transport": "http"}"#,
        &["meta.transport is \"http\"", "udp, tcp or tls"],
    ),
    (
        "syslog",
        r#"{"network_addr": "localhost"}"#,
        &[
            "meta.network_addr is \"localhost\"",
            "write for instance \"localhost:5140\"",
        ],
    ),
    (
        "syslog",
        r#"{"log_level": 200}"#,
        &["meta.log_level is 200", "write for instance 6 or 134"],
    ),
    (
        "syslog",
        r#"{"format": "xml"}"#,
        &["meta.format is \"xml\"", "write one of them"],
    ),
    (
        "syslog",
        r#"{"framing": "lf"}"#,
        &["meta.framing is \"lf\"", "write one of them"],
    ),
    (
        "syslog",
        r#"{"max_message_size": 100}"#,
        &["meta.max_message_size is 100", "raise it"],
    ),
    (
        "syslog",
        r#"{"transport": "tls", "ssl_server_name": "-not a name-"}"#,
        &["the server name \"-not a name-\" is none", "set ssl_server_name"],
    ),
];

/// Connection strings with a password, `geheim4711`, that are written wrongly or as another program has them.
const PASSWORDS: &[(&str, &str)] = &[
    (
        "elasticsearch",
        r#"{"elasticsearch_url": "https://u:geheim/4711@h:9200"}"#,
    ),
    (
        "elasticsearch",
        r#"{"elasticsearch_url": "https://u:geheim#4711@h:9200"}"#,
    ),
    (
        "splunk",
        r#"{"collector_token": "t0ken", "collector_url": "https://u:geheim?4711@h:8088"}"#,
    ),
    ("logzio", r#"{"token": "t0ken", "url": "https://u:geheim/4711@h"}"#),
    ("segment", r#"{"endpoint": "https://u:geheim/4711@h"}"#),
    ("resurfaceio", r#"{"capture_url": "https://u:geheim#4711@h/message"}"#),
    (
        "moesif",
        r#"{"enable_bulk": true, "bulk_config": {"api_endpoint": "https://u:geheim/4711@h"}}"#,
    ),
    (
        "mongo",
        r#"{"mongo_url": "mongodb://u:geheim?4711@h/d", "collection_name": "a"}"#,
    ),
    (
        "mongo",
        r#"{"mongo_url": "jdbc:mongodb://u:geheim4711@h/d", "collection_name": "a"}"#,
    ),
    (
        "sql",
        r#"{"type": "postgres", "connection_string": "postgres://u:geheim/4711@h/d"}"#,
    ),
    (
        "sql",
        r#"{"type": "postgres", "connection_string": "postgres://u:geheim?4711@h/d"}"#,
    ),
    (
        "sql",
        r#"{"type": "postgres", "connection_string": "postgres://u:geheim#4711/@h/d"}"#,
    ),
    (
        "sql",
        r#"{"type": "postgres", "connection_string": "jdbc:postgresql://h/d?user=u&password=geheim4711"}"#,
    ),
    (
        "sql",
        r#"{"type": "postgres", "connection_string": "Server=h;Database=d;User Id=u;Password=geheim4711"}"#,
    ),
    (
        "sql",
        r#"{"type": "mysql", "connection_string": "mysql://u:geheim/4711@h/d"}"#,
    ),
    (
        "sql",
        r#"{"type": "mysql", "connection_string": "jdbc:mysql://h:3306/d?user=u&password=geheim4711"}"#,
    ),
    (
        "sql",
        r#"{"type": "mysql", "connection_string": "Server=h;Database=d;Uid=u;Pwd=geheim4711"}"#,
    ),
];

/// Types whose options cannot be wrong.
const HARMLESS: &[&str] = &["dummy"];

fn request(conf: &Path) -> Request {
    Request {
        conf: conf.to_owned(),
        environment: Environment::new([]),
        debug: false,
        host: "host".to_owned(),
    }
}

fn checked(request: &Request) -> (bool, String) {
    let mut out = Vec::new();
    let right = check(request, &mut out).unwrap();
    (right, String::from_utf8(out).unwrap())
}

/// A certificate, a key of another one, and a file that is neither.
fn write_files(folder: &Path) {
    let certificates = fakes::certificates::Certificates::make().unwrap();
    std::fs::copy(certificates.path("ca.crt"), folder.join("ca.pem")).unwrap();
    std::fs::copy(certificates.path("rogue.key"), folder.join("key.pem")).unwrap();
    std::fs::write(folder.join("text.pem"), "text\n").unwrap();
}

/// A configuration with one pump, named on line 2, whose options follow on line 3.
fn with_pump(folder: &Path, kind: &str, meta: &str) -> Loaded {
    let meta = meta.replace("DIR", &folder.display().to_string());
    let text = format!(
        "{{\"dont_purge_uptime_data\": true, \"pumps\": {{\n\"p\": {{\"type\": \"{kind}\", \"meta\":\n{meta}\n}}}}}}"
    );
    let conf = folder.join("pump.conf");
    std::fs::write(&conf, text).unwrap();
    load(&request(&conf))
}

/// What a start says of the only pump.
async fn start(loaded: Loaded) -> Option<String> {
    let settings = loaded.settings.unwrap();
    let plan = PumpPlan::of(&settings);
    let pump = &plan.traffic[0];
    let built = (pump.spec.build)(pump.context(settings.log, &Default::default()));
    match tokio::time::timeout(Duration::from_secs(20), built).await {
        Ok(Err(BuildError::Options(text))) => Some(text),
        Ok(Err(other)) => panic!("it reached out: {other}"),
        _ => None,
    }
}

#[tokio::test]
async fn what_the_start_refuses_check_refuses_with_file_key_value_and_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    write_files(folder);
    let conf = folder.join("pump.conf");
    for (kind, meta, parts) in WRONG {
        let loaded = with_pump(folder, kind, meta);
        assert_eq!(loaded.findings, [], "{kind} {meta}");
        let (right, text) = checked(&request(&conf));
        assert!(!right, "{kind} {meta}: {text}");
        let line = text.lines().find(|line| line.contains(": error: ")).unwrap();
        for part in *parts {
            let part = part.replace("DIR", &folder.display().to_string());
            assert!(line.contains(&part), "{kind} {meta}: {line:?} lacks {part:?}");
        }
        // Line 2 is the pump's, where what is wrong is missing in its options.
        let line_number = if line.contains(&format!("{}:3:", conf.display())) {
            3
        } else {
            2
        };
        let begin = format!("{}:{line_number}:", conf.display());
        assert!(line.starts_with(&begin), "{kind} {meta}: {line}");
        let refused = start(loaded).await;
        let refused = refused.unwrap_or_else(|| panic!("{kind} {meta}: the start is content, {line}"));
        assert!(line.contains(&refused), "{kind} {meta}: {line:?} is not {refused:?}");
    }
    let covered =
        |spec: &SinkSpec| WRONG.iter().any(|(kind, _, _)| *kind == spec.name) || HARMLESS.contains(&spec.name);
    let forgotten: Vec<&str> = sinks::SINKS
        .iter()
        .filter(|spec| !covered(spec))
        .map(|spec| spec.name)
        .collect();
    assert_eq!(forgotten, Vec::<&str>::new(), "types without a line in WRONG");
}

#[tokio::test]
async fn a_password_in_a_wrong_connection_string_is_refused_with_the_remedy_and_never_shown() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("pump.conf");
    for (kind, meta) in PASSWORDS {
        let loaded = with_pump(folder.path(), kind, meta);
        let (right, text) = checked(&request(&conf));
        assert!(!right, "{kind} {meta}: {text}");
        let refused = start(loaded)
            .await
            .unwrap_or_else(|| panic!("{kind} {meta}: the start is content"));
        for said in [&text, &refused] {
            assert!(
                !said.contains("geheim") && !said.contains("4711"),
                "{kind} {meta}: {said}"
            );
            assert!(
                said.contains("write ") || said.contains("expected "),
                "{kind} {meta}: {said}"
            );
        }
    }
}

/// A sink without [`SinkSpec::check`] is made to be checked: whatever it waits for, it reaches out to.
#[tokio::test]
async fn types_without_a_check_of_their_own_open_nothing_when_they_are_made() {
    let folder = tempfile::tempdir().unwrap();
    for spec in sinks::SINKS.iter().filter(|spec| spec.check.is_none()) {
        let loaded = with_pump(folder.path(), spec.name, "{}");
        let settings = loaded.settings.unwrap();
        let plan = PumpPlan::of(&settings);
        let context = plan.traffic[0].context(settings.log, &Default::default());
        let built = (spec.build)(context).now_or_never();
        assert!(built.is_some(), "{} waits for something: give it a check", spec.name);
    }
}

#[tokio::test]
async fn uptime_data_and_variables_are_checked_like_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("pump.conf");
    std::fs::write(
        &conf,
        "{\"pumps\": {\"csv\": {\"meta\": {}}},\n\"uptime_pump_config\": {\"uptime_type\": \"sql\",\n\"type\": \"oracle\", \
         \"connection_string\": \"x\"}}",
    )
    .unwrap();
    let (right, text) = checked(&request(&conf));
    let expected = format!(
        "{}:3:9: error: Unsupported `config_storage.type` value:oracle – uptime_pump_config.type is postgres",
        conf.display()
    );
    assert!(!right && text.contains(&expected), "{text}");

    std::fs::write(
        &conf,
        "{\"dont_purge_uptime_data\": true, \"pumps\": {\"es\": {\"type\": \"elasticsearch\", \"meta\": {}}}}",
    )
    .unwrap();
    let mut request = request(&conf);
    request.environment = Environment::new([("TYK_PMP_PUMPS_ELASTICSEARCH_META_VERSION".to_owned(), "4".to_owned())]);
    let (right, text) = checked(&request);
    assert!(
        !right && text.starts_with("environment: error: pump \"es\": meta.version is \"4\""),
        "{text}"
    );
}

#[tokio::test]
async fn what_a_start_warns_of_check_warns_of() {
    let folder = tempfile::tempdir().unwrap();
    with_pump(folder.path(), "syslog", r#"{"log_level": 0}"#);
    let conf = folder.path().join("pump.conf");
    let (right, text) = checked(&request(&conf));
    assert!(right, "{text}");
    let expected = format!("{}:3:2: warning: pump \"p\": meta.log_level is 0: ", conf.display());
    assert!(
        text.starts_with(&expected) && text.ends_with("0 errors, 1 warning\n"),
        "{text}"
    );
}

/// What is true of a configuration that upstream takes as it is: files that are not on this machine.
fn is_true(line: &str) -> bool {
    line.contains("No such file or directory")
}

#[tokio::test]
async fn configurations_as_users_write_them_get_no_false_word() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conf");
    let mut files: Vec<_> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|path| path.is_file());
    assert!(files.len() >= 24, "{}", files.len());
    for path in files {
        let mut request = request(&path);
        if path.extension().is_some_and(|extension| extension == "env") {
            let text = std::fs::read_to_string(&path).unwrap();
            let pairs = text.lines().filter(|line| !line.starts_with('#'));
            let pairs = pairs.filter_map(|line| line.split_once('='));
            request.environment = Environment::new(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
        let (_, text) = checked(&request);
        let lines: Vec<&str> = text.lines().collect();
        let (_, lines) = lines.split_last().unwrap();
        let false_words: Vec<&&str> = lines
            .iter()
            .filter(|line| line.contains(": error: ") && !is_true(line))
            .collect();
        assert_eq!(false_words, Vec::<&&str>::new(), "{}", path.display());
    }
}
