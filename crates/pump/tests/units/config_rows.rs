//! Every setting, from the file and from every spelling of its variable, has its effect. Names, values and effects are
//! written here independently of the table in the program.

use std::{collections::BTreeSet, path::PathBuf};

use tyk_pump::config::{
    Loaded, RedisTopology, Request, Settings,
    env::Environment,
    load,
    schema::{PUMP, SECTIONS},
};

/// One setting: its key, a value in the file, its variable with a value, what of the settings shows it, what that
/// shows without it and with it.
struct Row {
    key: &'static str,
    json: &'static str,
    variable: &'static str,
    text: &'static str,
    shows: fn(&Settings) -> String,
    without: &'static str,
    with: &'static str,
}

const fn row(
    key: &'static str,
    json: &'static str,
    variable: &'static str,
    text: &'static str,
    shows: fn(&Settings) -> String,
    without: &'static str,
    with: &'static str,
) -> Row {
    Row {
        key,
        json,
        variable,
        text,
        shows,
        without,
        with,
    }
}

fn nothing(_: &Settings) -> String {
    String::new()
}

/// An option of the uptime pump; the prefix of the row's key is gone.
macro_rules! uptime {
    ($pointer:literal) => {
        |s| {
            s.uptime
                .as_ref()
                .and_then(|pump| pump.meta.pointer($pointer))
                .map(ToString::to_string)
                .unwrap_or_default()
        }
    };
}

macro_rules! pump {
    ($read:expr) => {
        |s| {
            let read: fn(&tyk_pump::config::PumpSettings) -> String = $read;
            s.pumps
                .iter()
                .find(|pump| &*pump.name == "P")
                .map(read)
                .unwrap_or_default()
        }
    };
}

macro_rules! embedded {
    ($read:expr) => {
        |s| {
            let read: fn(&tyk_pump::config::EmbeddedSettings) -> String = $read;
            s.embedded.as_ref().map(read).unwrap_or_default()
        }
    };
}

macro_rules! tls {
    ($read:expr) => {
        |s| {
            let read: fn(&tyk_pump::config::TlsSettings) -> String = $read;
            s.redis.tls.as_ref().map(read).unwrap_or_default()
        }
    };
}

#[rustfmt::skip]
const ROWS: &[Row] = &[
    row("purge_delay", "7", "TYK_PMP_PURGEDELAY", "0x7", |s| s.purge_delay.as_secs().to_string(), "1", "7"),
    row("purge_chunk", "100", "TYK_PMP_PURGECHUNK", "100", |s| s.purge_chunk.to_string(), "0", "100"),
    row("storage_expiration_time", "99", "TYK_PMP_STORAGEEXPIRATIONTIME", "99", |s| s.storage_expiration_time.to_string(), "0", "99"),
    row("analytics_storage_type", "\"redis\"", "TYK_PMP_ANALYTICSSTORAGETYPE", "redis", nothing, "", ""),
    row("max_record_size", "30", "TYK_PMP_MAXRECORDSIZE", "036", pump!(|p| p.transform.max_record_size.to_string()), "0", "30"),
    row("dont_purge_uptime_data", "true", "TYK_PMP_DONTPURGEUPTIMEDATA", "1", |s| s.uptime.is_some().to_string(), "true", "false"),
    row("omit_detailed_recording", "true", "TYK_PMP_OMITDETAILEDRECORDING", "t", pump!(|p| p.transform.omit_detailed.to_string()), "false", "true"),
    row("log_level", "\"debug\"", "TYK_PMP_LOGLEVEL", "DEBUG", |s| format!("{:?}", s.log.level), "Info", "Debug"),
    row("log_format", "\"legacy\"", "TYK_PMP_LOGFORMAT", "legacy", |s| format!("{:?}", s.log.format), "Text", "Legacy"),
    row("health_check_endpoint_name", "\"live\"", "TYK_PMP_HEALTHCHECKENDPOINTNAME", "live", |s| s.health_name.clone(), "health", "live"),
    row("health_check_endpoint_port", "99", "TYK_PMP_HEALTHCHECKENDPOINTPORT", "99", |s| s.health_port.to_string(), "8083", "99"),
    row("admin_listen", "\":99\"", "TYK_PMP_ADMIN_LISTEN", "0.0.0.0:99", |s| s.admin.listen.map(|address| address.to_string()).unwrap_or_default(), "", "0.0.0.0:99"),
    row("admin_token", "\"t0k\"", "TYK_PMP_ADMIN_TOKEN", "t0k", |s| s.admin.token.reveal().to_owned(), "", "t0k"),
    row("admin_hosts", "[\"a\", \"b\"]", "TYK_PMP_ADMIN_HOSTS", "a,b", |s| s.admin.hosts.join(" "), "", "a b"),
    row("enable_http_profiler", "true", "TYK_PMP_HTTPPROFILE", "True", |s| s.profiler.to_string(), "false", "true"),
    row("statsd_connection_string", "\"h:8125\"", "TYK_PMP_STATSDCONNECTIONSTRING", "h:8125", |s| s.statsd.as_ref().map(|s| s.address.clone()).unwrap_or_default(), "", "h:8125"),
    row("statsd_prefix", "\"pre\"", "TYK_PMP_STATSDPREFIX", "pre", |s| s.statsd.as_ref().map(|s| s.prefix.clone()).unwrap_or_default(), "", "pre"),
    row("omit_config_file", "true", "", "", nothing, "", ""),
    row("raw_request_decoded", "false", "TYK_PMP_DECODERAWREQUEST", "false", pump!(|p| p.transform.decode_request.to_string()), "false", "false"),
    row("raw_response_decoded", "false", "TYK_PMP_DECODERAWRESPONSE", "F", pump!(|p| p.transform.decode_response.to_string()), "false", "false"),
    row("compat", "true", "TYK_PMP_COMPAT", "true", |s| format!("{} {}", s.compat, s.pumps[0].compat), "false false", "true true"),

    row("analytics_storage_config.type", "\"redis\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_TYPE", "redis", nothing, "", ""),
    row("analytics_storage_config.host", "\"::1\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_HOST", "::1", |s| s.redis.addrs.join(" "), "127.0.0.1:6379", "[::1]:6379"),
    row("analytics_storage_config.port", "77", "TYK_PMP_ANALYTICSSTORAGECONFIG_PORT", "77", |s| s.redis.addrs.join(" "), "127.0.0.1:6379", "127.0.0.1:77"),
    row("analytics_storage_config.hosts", "{\"h\": \"5\"}", "TYK_PMP_ANALYTICSSTORAGECONFIG_HOSTS", "h:5,broken", |s| s.redis.addrs.join(" "), "127.0.0.1:6379", "h:5"),
    row("analytics_storage_config.addrs", "[\"a:1\"]", "TYK_PMP_ANALYTICSSTORAGECONFIG_ADDRS", "a:1", |s| s.redis.addrs.join(" "), "127.0.0.1:6379", "a:1"),
    row("analytics_storage_config.master_name", "\"m\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_MASTERNAME", "m", |s| match &s.redis.topology { RedisTopology::Sentinel { master, .. } => format!("{master} {}", s.redis.addrs[0]), _ => String::new() }, "", "m 127.0.0.1:26379"),
    row("analytics_storage_config.sentinel_password", "\"sp\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_SENTINELPASSWORD", "sp", nothing, "", ""),
    row("analytics_storage_config.username", "\"u\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_USERNAME", "u", |s| s.redis.username.clone(), "", "u"),
    row("analytics_storage_config.password", "\"p w\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_PASSWORD", "p w", |s| s.redis.password.reveal().to_owned(), "", "p w"),
    row("analytics_storage_config.database", "3", "TYK_PMP_ANALYTICSSTORAGECONFIG_DATABASE", "3", |s| s.redis.database.to_string(), "0", "3"),
    row("analytics_storage_config.timeout", "9", "TYK_PMP_ANALYTICSSTORAGECONFIG_TIMEOUT", "9", |s| s.redis.timeout.as_secs().to_string(), "5", "9"),
    row("analytics_storage_config.optimisation_max_idle", "9", "TYK_PMP_ANALYTICSSTORAGECONFIG_MAXIDLE", "9", nothing, "", ""),
    row("analytics_storage_config.optimisation_max_active", "9", "TYK_PMP_ANALYTICSSTORAGECONFIG_MAXACTIVE", "9", nothing, "", ""),
    row("analytics_storage_config.enable_cluster", "true", "TYK_PMP_ANALYTICSSTORAGECONFIG_ENABLECLUSTER", "true", |s| (s.redis.topology == RedisTopology::Cluster).to_string(), "false", "true"),
    row("analytics_storage_config.key_prefix", "\"k-\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_KEYPREFIX", "k-", |s| s.redis.key_prefix.clone(), "analytics-", "k-"),
    row("analytics_storage_config.redis_key_prefix", "\"r-\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_REDISKEYPREFIX", "r-", |s| s.redis.key_prefix.clone(), "analytics-", "r-"),
    row("analytics_storage_config.use_ssl", "true", "TYK_PMP_ANALYTICSSTORAGECONFIG_USESSL", "true", |s| s.redis.tls.is_some().to_string(), "false", "true"),
    row("analytics_storage_config.redis_use_ssl", "true", "TYK_PMP_ANALYTICSSTORAGECONFIG_REDISUSESSL", "true", |s| s.redis.tls.is_some().to_string(), "false", "true"),
    row("tls:analytics_storage_config.ssl_insecure_skip_verify", "true", "TYK_PMP_ANALYTICSSTORAGECONFIG_SSLINSECURESKIPVERIFY", "true", tls!(|t| t.skip_verify.to_string()), "false", "true"),
    row("tls:analytics_storage_config.redis_ssl_insecure_skip_verify", "true", "TYK_PMP_ANALYTICSSTORAGECONFIG_REDISSSLINSECURESKIPVERIFY", "true", tls!(|t| t.skip_verify.to_string()), "false", "true"),
    row("tls:analytics_storage_config.ssl_ca_file", "\"/dev/null\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_SSLCAFILE", "/dev/null", tls!(|t| format!("{:?}", t.ca_file)), "None", "Some(\"/dev/null\")"),
    row("tls:analytics_storage_config.ssl_min_version", "\"1.3\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_SSLMINVERSION", "1.3", tls!(|t| format!("{:?}", t.min_version)), "V1_2", "V1_3"),
    row("tls:analytics_storage_config.ssl_max_version", "\"1.2\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_SSLMAXVERSION", "1.2", tls!(|t| format!("{:?}", t.max_version)), "V1_3", "V1_2"),
    row("identity:analytics_storage_config.ssl_cert_file", "\"/dev/null\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_SSLCERTFILE", "/dev/null", tls!(|t| format!("{:?}", t.identity)), "None", "Some((\"/dev/null\", \"/dev/zero\"))"),
    row("certificate:analytics_storage_config.ssl_key_file", "\"/dev/zero\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_SSLKEYFILE", "/dev/zero", tls!(|t| format!("{:?}", t.identity)), "None", "Some((\"/dev/null\", \"/dev/zero\"))"),
    row("analytics_storage_config.iam_auth.enabled", "false", "TYK_PMP_ANALYTICSSTORAGECONFIG_IAMAUTH_ENABLED", "false", nothing, "", ""),
    row("analytics_storage_config.iam_auth.provider", "\"gcp\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_IAMAUTH_PROVIDER", "gcp", nothing, "", ""),
    row("analytics_storage_config.iam_auth.service_account", "\"a\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_IAMAUTH_SERVICEACCOUNT", "a", nothing, "", ""),
    row("analytics_storage_config.iam_auth.token_refresh_before_expiry", "\"5m\"", "TYK_PMP_ANALYTICSSTORAGECONFIG_IAMAUTH_TOKENREFRESHBEFOREEXPIRY", "5m", nothing, "", ""),

    row("delivery.mode", "\"peek\"", "TYK_PMP_DELIVERY_MODE", "peek", |s| format!("{:?}", s.delivery.mode), "Auto", "Peek"),
    row("delivery.lease", "\"1m30s\"", "TYK_PMP_DELIVERY_LEASE", "90", |s| s.delivery.lease.as_secs().to_string(), "30", "90"),
    row("delivery.instance_id", "\"i\"", "TYK_PMP_DELIVERY_INSTANCE_ID", "i", |s| (s.delivery.instance_id == "i").to_string(), "false", "true"),
    row("delivery.max_unacked", "1048576", "TYK_PMP_DELIVERY_MAX_UNACKED", "1MiB", |s| format!("{:?}", s.delivery.max_unacked), "None", "Some(1048576)"),
    row("delivery.max_backlog", "\"2 MB\"", "TYK_PMP_DELIVERY_MAX_BACKLOG", "2000000", |s| format!("{:?}", s.delivery.max_backlog), "None", "Some(2000000)"),
    row("delivery.memory_budget", "\"1GiB\"", "TYK_PMP_DELIVERY_MEMORY_BUDGET", "1g", |s| s.delivery.memory_budget.to_string(), "50331648", "1073741824"),
    row("delivery.spool_dir", "\"/s\"", "TYK_PMP_DELIVERY_SPOOL_DIR", "/s", |s| format!("{:?} {:?}", s.delivery.spool_dir, s.pumps[0].on_full), "None DropOldest", "Some(\"/s\") Spool"),
    row("delivery.write_stall", "\"500ms\"", "TYK_PMP_DELIVERY_WRITE_STALL", "0.5s", |s| s.delivery.write_stall.as_millis().to_string(), "60000", "500"),
    row("delivery.stop_deadline", "\"500ms\"", "TYK_PMP_DELIVERY_STOP_DEADLINE", "0.5s", |s| s.delivery.stop_deadline.as_millis().to_string(), "10000", "500"),
    row("delivery.dead_letter_max_count", "5", "TYK_PMP_DELIVERY_DEAD_LETTER_MAX_COUNT", "5", |s| s.delivery.dead_letter_max_count.to_string(), "100000", "5"),
    row("delivery.dead_letter_max_bytes", "5", "TYK_PMP_DELIVERY_DEAD_LETTER_MAX_BYTES", "5", |s| s.delivery.dead_letter_max_bytes.to_string(), "67108864", "5"),

    row("embedded:embedded_storage.listen", "\"127.0.0.1:7000\"", "TYK_PMP_EMBEDDEDSTORAGE_LISTEN", "127.0.0.1:7000", embedded!(|e| e.listen.to_string()), "127.0.0.1:6380", "127.0.0.1:7000"),
    row("embedded:embedded_storage.dir", "\"/d\"", "TYK_PMP_EMBEDDEDSTORAGE_DIR", "/d", embedded!(|e| e.dir.display().to_string()), "tyk-pump-store", "/d"),
    row("embedded:embedded_storage.password", "\"p\"", "TYK_PMP_EMBEDDEDSTORAGE_PASSWORD", "p", embedded!(|e| e.password.reveal().to_owned()), "", "p"),
    row("embedded:embedded_storage.username", "\"u\"", "TYK_PMP_EMBEDDEDSTORAGE_USERNAME", "u", embedded!(|e| e.username.clone()), "default", "u"),
    row("embedded-key:embedded_storage.tls.cert_file", "\"/dev/null\"", "TYK_PMP_EMBEDDEDSTORAGE_TLS_CERT_FILE", "/dev/null", embedded!(|e| format!("{:?}", e.tls.as_ref().map(|tls| &tls.cert))), "Some(\"/dev/zero\")", "Some(\"/dev/null\")"),
    row("embedded-key:embedded_storage.tls.key_file", "\"/dev/null\"", "TYK_PMP_EMBEDDEDSTORAGE_TLS_KEY_FILE", "/dev/null", embedded!(|e| format!("{:?}", e.tls.as_ref().map(|tls| &tls.key))), "Some(\"/dev/zero\")", "Some(\"/dev/null\")"),
    row("embedded-key:embedded_storage.tls.client_ca_file", "\"/dev/null\"", "TYK_PMP_EMBEDDEDSTORAGE_TLS_CLIENT_CA_FILE", "/dev/null", embedded!(|e| format!("{:?}", e.tls.as_ref().and_then(|tls| tls.client_ca.as_ref()))), "None", "Some(\"/dev/null\")"),
    row("embedded:embedded_storage.max_bytes", "\"1GiB\"", "TYK_PMP_EMBEDDEDSTORAGE_MAX_BYTES", "1GiB", embedded!(|e| e.max_bytes.to_string()), "10737418240", "1073741824"),
    row("embedded:embedded_storage.fsync", "\"always\"", "TYK_PMP_EMBEDDEDSTORAGE_FSYNC", "always", embedded!(|e| format!("{:?}", e.fsync)), "Group", "Always"),
    row("embedded:embedded_storage.max_clients", "5", "TYK_PMP_EMBEDDEDSTORAGE_MAX_CLIENTS", "5", embedded!(|e| e.max_clients.to_string()), "1000", "5"),
    row("embedded:embedded_storage.max_command_size", "\"1MiB\"", "TYK_PMP_EMBEDDEDSTORAGE_MAX_COMMAND_SIZE", "1MiB", embedded!(|e| e.max_command.to_string()), "67108864", "1048576"),
    row("embedded:embedded_storage.idle_timeout", "\"1m\"", "TYK_PMP_EMBEDDEDSTORAGE_IDLE_TIMEOUT", "60", embedded!(|e| e.idle_timeout.as_secs().to_string()), "600", "60"),

    row("uptime_pump_config.uptime_type", "\"sql\"", "TYK_PMP_UPTIMEPUMPCONFIG_UPTIMETYPE", "sql", |s| s.uptime.as_ref().map(|pump| pump.kind.clone()).unwrap_or_default(), "mongo", "sql"),
    row("uptime_pump_config.mongo_url", "\"mongodb://x\"", "TYK_PMP_UPTIMEPUMPCONFIG_MONGOURL", "mongodb://x", uptime!("/mongo_url"), "\"mongodb://h/db\"", "\"mongodb://x\""),
    row("uptime_pump_config.mongo_use_ssl", "true", "TYK_PMP_UPTIMEPUMPCONFIG_MONGOUSESSL", "true", uptime!("/mongo_use_ssl"), "", "true"),
    row("uptime_pump_config.mongo_ssl_insecure_skip_verify", "true", "TYK_PMP_UPTIMEPUMPCONFIG_MONGOSSLINSECURESKIPVERIFY", "true", uptime!("/mongo_ssl_insecure_skip_verify"), "", "true"),
    row("uptime_pump_config.mongo_ssl_allow_invalid_hostnames", "true", "TYK_PMP_UPTIMEPUMPCONFIG_MONGOSSLALLOWINVALIDHOSTNAMES", "true", uptime!("/mongo_ssl_allow_invalid_hostnames"), "", "true"),
    row("uptime_pump_config.mongo_ssl_ca_file", "\"f\"", "TYK_PMP_UPTIMEPUMPCONFIG_MONGOSSLCAFILE", "f", uptime!("/mongo_ssl_ca_file"), "", "\"f\""),
    row("uptime_pump_config.mongo_ssl_pem_keyfile", "\"f\"", "TYK_PMP_UPTIMEPUMPCONFIG_MONGOSSLPEMKEYFILE", "f", uptime!("/mongo_ssl_pem_keyfile"), "", "\"f\""),
    row("uptime_pump_config.mongo_db_type", "2", "TYK_PMP_UPTIMEPUMPCONFIG_MONGO_DB_TYPE", "2", uptime!("/mongo_db_type"), "", "2"),
    row("uptime_pump_config.omit_index_creation", "true", "TYK_PMP_UPTIMEPUMPCONFIG_OMITINDEXCREATION", "true", uptime!("/omit_index_creation"), "", "true"),
    row("uptime_pump_config.mongo_session_consistency", "\"weak\"", "TYK_PMP_UPTIMEPUMPCONFIG_MONGOSESSIONCONSISTENCY", "weak", uptime!("/mongo_session_consistency"), "", "\"weak\""),
    row("uptime_pump_config.driver", "\"mgo\"", "TYK_PMP_UPTIMEPUMPCONFIG_MONGODRIVERTYPE", "mgo", uptime!("/driver"), "", "\"mgo\""),
    row("uptime_pump_config.mongo_direct_connection", "true", "TYK_PMP_UPTIMEPUMPCONFIG_MONGODIRECTCONNECTION", "true", uptime!("/mongo_direct_connection"), "", "true"),
    row("uptime_pump_config.collection_name", "\"c\"", "TYK_PMP_UPTIMEPUMPCONFIG_COLLECTIONNAME", "c", uptime!("/collection_name"), "\"tyk_uptime_analytics\"", "\"c\""),
    row("uptime_pump_config.max_insert_batch_size_bytes", "8", "TYK_PMP_UPTIMEPUMPCONFIG_MAXINSERTBATCHSIZEBYTES", "010", uptime!("/max_insert_batch_size_bytes"), "", "8"),
    row("uptime_pump_config.max_document_size_bytes", "8", "TYK_PMP_UPTIMEPUMPCONFIG_MAXDOCUMENTSIZEBYTES", "0b1000", uptime!("/max_document_size_bytes"), "", "8"),
    row("uptime_pump_config.collection_cap_max_size_bytes", "8", "TYK_PMP_UPTIMEPUMPCONFIG_COLLECTIONCAPMAXSIZEBYTES", "0o10", uptime!("/collection_cap_max_size_bytes"), "", "8"),
    row("uptime_pump_config.collection_cap_enable", "true", "TYK_PMP_UPTIMEPUMPCONFIG_COLLECTIONCAPENABLE", "true", uptime!("/collection_cap_enable"), "", "true"),
    row("uptime_pump_config.retention_days", "5", "TYK_PMP_UPTIMEPUMPCONFIG_RETENTIONDAYS", "5", uptime!("/retention_days"), "", "5"),
    row("uptime_pump_config.expire_documents", "true", "TYK_PMP_UPTIMEPUMPCONFIG_EXPIREDOCUMENTS", "true", uptime!("/expire_documents"), "", "true"),
    row("uptime_pump_config.type", "\"mysql\"", "TYK_PMP_UPTIMEPUMPCONFIG_TYPE", "mysql", uptime!("/type"), "", "\"mysql\""),
    row("uptime_pump_config.connection_string", "\"c\"", "TYK_PMP_UPTIMEPUMPCONFIG_CONNECTIONSTRING", "c", uptime!("/connection_string"), "", "\"c\""),
    row("uptime_pump_config.postgres.prefer_simple_protocol", "true", "TYK_PMP_UPTIMEPUMPCONFIG_POSTGRES_PREFERSIMPLEPROTOCOL", "true", uptime!("/postgres/prefer_simple_protocol"), "", "true"),
    row("uptime_pump_config.mysql.default_string_size", "5", "TYK_PMP_UPTIMEPUMPCONFIG_MYSQL_DEFAULTSTRINGSIZE", "5", uptime!("/mysql/default_string_size"), "", "5"),
    row("uptime_pump_config.mysql.disable_datetime_precision", "true", "TYK_PMP_UPTIMEPUMPCONFIG_MYSQL_DISABLEDATETIMEPRECISION", "true", uptime!("/mysql/disable_datetime_precision"), "", "true"),
    row("uptime_pump_config.mysql.dont_support_rename_index", "true", "TYK_PMP_UPTIMEPUMPCONFIG_MYSQL_DONTSUPPORTRENAMEINDEX", "true", uptime!("/mysql/dont_support_rename_index"), "", "true"),
    row("uptime_pump_config.mysql.dont_support_rename_column", "true", "TYK_PMP_UPTIMEPUMPCONFIG_MYSQL_DONTSUPPORTRENAMECOLUMN", "true", uptime!("/mysql/dont_support_rename_column"), "", "true"),
    row("uptime_pump_config.mysql.skip_initialize_with_version", "true", "TYK_PMP_UPTIMEPUMPCONFIG_MYSQL_SKIPINITIALIZEWITHVERSION", "true", uptime!("/mysql/skip_initialize_with_version"), "", "true"),
    row("uptime_pump_config.table_sharding", "true", "TYK_PMP_UPTIMEPUMPCONFIG_TABLESHARDING", "true", uptime!("/table_sharding"), "", "true"),
    row("uptime_pump_config.log_level", "\"info\"", "TYK_PMP_UPTIMEPUMPCONFIG_LOGLEVEL", "info", uptime!("/log_level"), "", "\"info\""),
    row("uptime_pump_config.batch_size", "5", "TYK_PMP_UPTIMEPUMPCONFIG_BATCHSIZE", "5", uptime!("/batch_size"), "", "5"),
    row("uptime_pump_config.migrate_sharded_tables", "true", "TYK_PMP_UPTIMEPUMPCONFIG_MIGRATESHARDEDTABLES", "true", uptime!("/migrate_sharded_tables"), "", "true"),

    row("pumps.p.type", "\"stdout\"", "TYK_PMP_PUMPS_P_TYPE", "STDOUT", pump!(|p| p.kind.clone()), "dummy", "stdout"),
    row("pumps.p.name", "\"n\"", "TYK_PMP_PUMPS_P_NAME", "n", nothing, "", ""),
    row("pumps.p.filters.org_ids", "[\"o\", \"x\"]", "TYK_PMP_PUMPS_P_FILTERS_ORGSIDS", "o,x", pump!(|p| p.filter.org_ids.join("|")), "", "o|x"),
    row("pumps.p.filters.api_ids", "[\"o\"]", "TYK_PMP_PUMPS_P_FILTERS_APIIDS", "o", pump!(|p| p.filter.api_ids.join("|")), "", "o"),
    row("pumps.p.filters.response_codes", "[200, 401]", "TYK_PMP_PUMPS_P_FILTERS_RESPONSECODES", "200, 0x191", pump!(|p| format!("{:?}", p.filter.response_codes)), "[]", "[200, 401]"),
    row("pumps.p.filters.skip_org_ids", "[\"o\"]", "TYK_PMP_PUMPS_P_FILTERS_SKIPPEDORGSIDS", "o", pump!(|p| p.filter.skip_org_ids.join("|")), "", "o"),
    row("pumps.p.filters.skip_api_ids", "[\"o\"]", "TYK_PMP_PUMPS_P_FILTERS_SKIPPEDAPIIDS", "o", pump!(|p| p.filter.skip_api_ids.join("|")), "", "o"),
    row("pumps.p.filters.skip_response_codes", "[5]", "TYK_PMP_PUMPS_P_FILTERS_SKIPPEDRESPONSECODES", "5", pump!(|p| format!("{:?}", p.filter.skip_response_codes)), "[]", "[5]"),
    row("pumps.p.timeout", "5", "TYK_PMP_PUMPS_P_TIMEOUT", "5", pump!(|p| format!("{:?}", p.timeout)), "None", "Some(5s)"),
    row("pumps.p.omit_detailed_recording", "true", "TYK_PMP_PUMPS_P_OMITDETAILEDRECORDING", "true", pump!(|p| p.transform.omit_detailed.to_string()), "false", "true"),
    row("pumps.p.max_record_size", "5", "TYK_PMP_PUMPS_P_MAXRECORDSIZE", "5", pump!(|p| p.transform.max_record_size.to_string()), "0", "5"),
    row("pumps.p.ignore_fields", "[\"api_key\"]", "TYK_PMP_PUMPS_P_IGNOREFIELDS", "api_key", pump!(|p| p.transform.ignores(analytics::Field::ApiKey).to_string()), "false", "true"),
    row("pumps.p.raw_request_decoded", "true", "TYK_PMP_PUMPS_P_DECODERAWREQUEST", "true", pump!(|p| p.transform.decode_request.to_string()), "false", "true"),
    row("pumps.p.raw_response_decoded", "true", "TYK_PMP_PUMPS_P_DECODERAWRESPONSE", "true", pump!(|p| p.transform.decode_response.to_string()), "false", "true"),
    row("pumps.p.max_records_per_second", "5", "TYK_PMP_PUMPS_P_MAX_RECORDS_PER_SECOND", "5", pump!(|p| format!("{:?}", p.most_per_second)), "None", "Some(5)"),
    row("pumps.p.on_full", "\"block\"", "TYK_PMP_PUMPS_P_ON_FULL", "block", pump!(|p| format!("{:?}", p.on_full)), "DropOldest", "Block"),
    row("pumps.p.compat", "true", "TYK_PMP_PUMPS_P_COMPAT", "true", pump!(|p| p.compat.to_string()), "false", "true"),
];

/// What the row's setting needs beside it, and that setting's path.
fn surroundings(row: &Row) -> (serde_json::Value, &'static str) {
    let mut document = serde_json::json!({
        "uptime_pump_config": {"mongo_url": "mongodb://h/db"},
        "statsd_connection_string": "",
        "pumps": {"p": {"type": "dummy"}},
    });
    let (needs, path) = row.key.split_once(':').unwrap_or(("", row.key));
    let storage = match needs {
        "tls" => serde_json::json!({"use_ssl": true}),
        "identity" => serde_json::json!({"use_ssl": true, "ssl_key_file": "/dev/zero"}),
        "certificate" => serde_json::json!({"use_ssl": true, "ssl_cert_file": "/dev/null"}),
        _ => serde_json::json!({}),
    };
    document["analytics_storage_config"] = storage;
    if needs.starts_with("embedded") {
        document["analytics_storage_type"] = "embedded".into();
    }
    if needs == "embedded-key" {
        document["embedded_storage"] = serde_json::json!({"tls": {"cert_file": "/dev/zero", "key_file": "/dev/zero"}});
    }
    if path == "statsd_prefix" {
        document["statsd_connection_string"] = "h:1".into();
    }
    if path == "uptime_pump_config.uptime_type" {
        document["uptime_pump_config"]["type"] = "postgres".into();
    }
    (document, path)
}

fn load_document(document: &serde_json::Value, variables: &[(&str, &str)]) -> Loaded {
    let folder = tempfile::tempdir().unwrap();
    let conf = folder.path().join("pump.conf");
    std::fs::write(&conf, document.to_string()).unwrap();
    let mut variables: Vec<_> = variables
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect();
    variables.push(("TYK_INSTRUMENTATION".to_owned(), "1".to_owned()));
    load(&Request {
        conf,
        environment: Environment::new(variables),
        debug: false,
        host: "host".to_owned(),
    })
}

fn shown(row: &Row, document: &serde_json::Value, variables: &[(&str, &str)]) -> String {
    let loaded = load_document(document, variables);
    let settings = loaded
        .settings
        .unwrap_or_else(|| panic!("{}: {:?}", row.key, loaded.findings));
    let about = |text: &str| text.contains("is not read") || text.contains("unknown key") || text.contains("– write");
    for finding in &loaded.findings {
        let expected = finding.text.contains("port is missing") || finding.text.contains("uptime_type is");
        assert!(expected || !about(&finding.text), "{}: {}", row.key, finding.text);
    }
    (row.shows)(&settings)
}

/// The variable in the other spellings of the key: `TYK_PMP_PURGE_DELAY`, and `…PUMPS_P_FILTERS_ORGIDS`.
fn spellings(row: &Row, path: &str) -> BTreeSet<String> {
    let upper = path.to_uppercase().replace("PUMPS.P.", "PUMPS_P_");
    let (section, key) = match upper.split_once('.') {
        Some((section, key)) if !upper.starts_with("PUMPS_P_") => (format!("{section}_"), key.to_owned()),
        _ => match upper.strip_prefix("PUMPS_P_") {
            Some(key) => ("PUMPS_P_".to_owned(), key.to_owned()),
            None => (String::new(), upper),
        },
    };
    let plain = |section: &str| section.trim_end_matches('_').replace('_', "") + "_";
    let mut names = BTreeSet::from([row.variable.to_owned()]);
    for section in [
        section.clone(),
        if section.len() > 10 { plain(&section) } else { section },
    ] {
        for key in [key.replace('_', "").replace('.', "_"), key.replace('.', "_")] {
            names.insert(format!("TYK_PMP_{section}{key}"));
        }
    }
    names
}

#[test]
fn every_setting_has_its_effect_from_the_file_and_from_its_variables() {
    for row in ROWS {
        let (document, path) = surroundings(row);
        assert_eq!(shown(row, &document, &[]), row.without, "{path} without");
        let mut with = document.clone();
        let mut target = &mut with;
        for part in path.split('.') {
            target = &mut target[part];
        }
        *target = serde_json::from_str(row.json).unwrap();
        assert_eq!(shown(row, &with, &[]), row.with, "{path} in the file");
        if row.variable.is_empty() {
            continue;
        }
        for name in spellings(row, path) {
            assert_eq!(
                shown(row, &document, &[(&name, row.text)]),
                row.with,
                "{path} by {name}"
            );
        }
        if let Some(suffix) = row.variable.strip_prefix("TYK_PMP_ANALYTICSSTORAGECONFIG_") {
            for prefix in ["TYK_PMP_REDIS_", "TYK_PMP_TEMPORAL_STORAGE_"] {
                let name = format!("{prefix}{suffix}");
                assert_eq!(
                    shown(row, &document, &[(&name, row.text)]),
                    row.with,
                    "{path} by {name}"
                );
            }
        }
    }
}

#[test]
fn no_setting_is_without_a_row() {
    let rows: BTreeSet<String> = ROWS
        .iter()
        .map(|row| row.key.rsplit(':').next().unwrap().to_owned())
        .collect();
    let mut settings = BTreeSet::new();
    for section in SECTIONS {
        settings.extend(section.settings.iter().map(|setting| section.full_key(setting)));
    }
    settings.extend(PUMP.settings.iter().map(|setting| format!("pumps.p.{}", setting.key)));
    assert_eq!(rows, settings);
    assert_eq!(rows.len(), ROWS.len());
}

#[test]
fn with_compat_only_the_names_of_the_reference_count() {
    let document = serde_json::json!({"compat": true, "pumps": {"p": {"type": "dummy"}}});
    let variables = [
        ("TYK_PMP_PURGE_DELAY", "9"),
        ("TYK_PMP_MAXRECORDSIZE", "7"),
        ("TYK_PMP_PUMPS_P_FILTERS_ORGIDS", "x"),
        ("TYK_PMP_DELIVERY_SPOOLDIR", "/s"),
    ];
    let loaded = load_document(&document, &variables);
    let settings = loaded.settings.unwrap();
    assert_eq!(settings.purge_delay.as_secs(), 1);
    assert_eq!(settings.pumps[0].transform.max_record_size, 7);
    assert!(settings.pumps[0].filter.is_empty());
    assert_eq!(settings.delivery.spool_dir, Some(PathBuf::from("/s")));
    for text in [
        "TYK_PMP_PURGE_DELAY is not read – did you mean TYK_PMP_PURGEDELAY?",
        "TYK_PMP_PUMPS_P_FILTERS_ORGIDS is not read – did you mean TYK_PMP_PUMPS_P_FILTERS_ORGSIDS?",
    ] {
        assert!(
            loaded.findings.iter().any(|finding| finding.text == text),
            "{text}: {:?}",
            loaded.findings
        );
    }
}
