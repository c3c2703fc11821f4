//! `analytics_storage_config` as the Redis source needs it.

use std::{net::Ipv6Addr, path::PathBuf, time::Duration};

use super::{
    finding::Findings,
    settings::{RedisSettings, RedisTopology, Secret, TlsSettings, TlsVersion},
    values::Values,
};

const KEY: &str = "analytics_storage_config";

/// What the texts of everything that ends the process here begin with, as in the reference.
pub const FATAL: &str = "Error connecting to Temporal Storage: ";

/// What is wrong with an address that has an `@`; what stands before it is not repeated.
const LOGIN: &str = "has a user or a password – write host and port alone, \"username\" and \"password\" beside them";

/// Checks and translates; whatever cannot work is a fatal finding.
pub fn redis_settings(values: &Values, findings: &mut Findings) -> RedisSettings {
    let kind = values.text("type");
    if !matches!(kind, "" | "redis") {
        let text = format!("{FATAL}unsupported database type: {kind} – {KEY}.type is \"redis\" or empty");
        findings.fatal(values.place("type"), text);
    }
    check_iam(values, findings);
    let topology = match (values.text("master_name"), values.is_on("enable_cluster")) {
        ("", true) => RedisTopology::Cluster,
        ("", false) => RedisTopology::Single,
        (master, _) => RedisTopology::Sentinel {
            master: master.to_owned(),
            password: Secret::new(values.text("sentinel_password").to_owned()),
        },
    };
    let database = values.int("database").unwrap_or(0);
    if topology == RedisTopology::Cluster && database > 0 {
        let text = format!("{KEY}.database is {database}, but a cluster has only database 0 – remove it");
        findings.mistake(values.place("database"), text);
    }
    let seconds = values.int("timeout").filter(|seconds| *seconds > 0).unwrap_or(5);
    let prefixes = [values.text("key_prefix"), values.text("redis_key_prefix"), "analytics-"];
    let key_prefix = prefixes
        .into_iter()
        .find(|prefix| !prefix.is_empty())
        .unwrap_or_default();
    RedisSettings {
        addrs: addresses(values, &topology, findings),
        username: values.text("username").to_owned(),
        password: Secret::new(values.text("password").to_owned()),
        database: database.max(0),
        timeout: Duration::from_secs(seconds.unsigned_abs()),
        key_prefix: key_prefix.to_owned(),
        tls: tls(values, findings),
        topology,
    }
}

fn check_iam(values: &Values, findings: &mut Findings) {
    if !values.is_on("iam_auth.enabled") {
        return;
    }
    let place = values.place("iam_auth.enabled");
    let provider = values.text("iam_auth.provider").trim().to_lowercase();
    if provider != "gcp" {
        let text = format!("{FATAL}{KEY}.iam_auth.provider is \"{provider}\" – the only provider is \"gcp\"");
        return findings.fatal(place, text);
    }
    let early = values.text("iam_auth.token_refresh_before_expiry");
    if !early.is_empty() && super::values::parse_span(early).is_none() {
        let text = format!("{FATAL}{KEY}.iam_auth.token_refresh_before_expiry is \"{early}\" – write e.g. \"5m\"");
        return findings.fatal(place, text);
    }
    let text = format!("{FATAL}{KEY}.iam_auth is not built yet – set it to false and use username and password");
    findings.fatal(place, text);
}

fn addresses(values: &Values, topology: &RedisTopology, findings: &mut Findings) -> Vec<String> {
    let default_port = match topology {
        RedisTopology::Sentinel { .. } => 26379,
        RedisTopology::Single | RedisTopology::Cluster => 6379,
    };
    let mut addrs = Vec::new();
    for addr in values.texts("addrs") {
        let key = format!("{KEY}.addrs");
        if let Some((_, rest)) = addr.split_once("://") {
            let host = rest
                .rsplit('@')
                .next()
                .unwrap_or(rest)
                .split('/')
                .next()
                .unwrap_or_default();
            let text = format!("{FATAL}{key} has a URL – write host:port: \"{host}\"");
            findings.fatal(values.place("addrs"), text);
        } else if addr.contains('@') {
            findings.fatal(values.place("addrs"), format!("{FATAL}{key} {LOGIN}"));
        }
        if !has_port(addr) && !addr.contains('@') {
            let text =
                format!("{key} has \"{addr}\" without a port – using {default_port}; write \"{addr}:{default_port}\"");
            findings.mistake(values.place("addrs"), text);
        }
        addrs.push(with_port(addr, default_port));
    }
    if addrs.is_empty() {
        addrs.extend(
            values
                .pairs("hosts")
                .iter()
                .map(|(host, port)| format!("{}:{port}", bracketed(host))),
        );
    }
    if addrs.is_empty() {
        addrs.extend(host_address(values, default_port, findings));
    }
    if addrs.is_empty() {
        let wrong = ["addrs", "hosts", "host", "port"]
            .into_iter()
            .find(|key| values.is_unusable(key));
        if let Some(key) = wrong {
            // Whatever listens at the default address is not what was meant: its records would be taken.
            let text = format!("{FATAL}{KEY}.{key} cannot be used, and there is no other address – correct it");
            findings.fatal(values.place(key), text);
        }
        addrs.push(format!("127.0.0.1:{default_port}"));
    }
    if *topology == RedisTopology::Single && addrs.len() > 1 {
        let place = values.place(if values.texts("addrs").is_empty() {
            "hosts"
        } else {
            "addrs"
        });
        let first = addrs.first().cloned().unwrap_or_default();
        let text = format!(
            "{KEY} has several addresses, but only {first} is used – set \"enable_cluster\" or \"master_name\""
        );
        findings.mistake(place, text);
        addrs.truncate(1);
    }
    addrs
}

fn host_address(values: &Values, default_port: i64, findings: &mut Findings) -> Option<String> {
    let host = values.text("host");
    let port = values.int("port").filter(|port| *port != 0);
    if let Some(port) = port.filter(|port| !(1..=65535).contains(port)) {
        let text = format!("{FATAL}{KEY}.port is {port} – write a port from 1 to 65535");
        findings.fatal(values.place("port"), text);
    }
    match (host, port) {
        ("", None) => None,
        ("", Some(port)) => Some(format!("127.0.0.1:{port}")),
        (host, port) if host.contains("://") => {
            let text = format!(
                "{FATAL}{KEY}.host is a URL – write the name alone, and \"port\": {}",
                port.unwrap_or(6379)
            );
            findings.fatal(values.place("host"), text);
            None
        }
        (host, _) if host.contains('@') => {
            findings.fatal(values.place("host"), format!("{FATAL}{KEY}.host {LOGIN}"));
            None
        }
        (host, port) if has_port(host) && host.parse::<Ipv6Addr>().is_err() => {
            let (name, own) = host.rsplit_once(':').unwrap_or((host, ""));
            let port = port.map_or_else(|| own.to_owned(), |port| port.to_string());
            let text =
                format!("{KEY}.host is \"{host}\" – write \"host\": \"{name}\", \"port\": {port}; using {name}:{port}");
            findings.mistake(values.place("host"), text);
            Some(format!("{name}:{port}"))
        }
        (host, Some(port)) => Some(format!("{}:{port}", bracketed(host))),
        (host, None) => {
            if !values.is_unusable("port") {
                let text =
                    format!("{KEY}.port is missing – using {host}:{default_port}; write \"port\": {default_port}");
                findings.mistake(values.place("host"), text);
            }
            Some(format!("{}:{default_port}", bracketed(host)))
        }
    }
}

fn has_port(addr: &str) -> bool {
    let port = addr.rsplit_once(':').map(|(_, port)| port);
    addr.parse::<Ipv6Addr>().is_err() && port.is_some_and(|port| !port.contains(']'))
}

fn with_port(addr: &str, default_port: i64) -> String {
    match has_port(addr) {
        true => addr.to_owned(),
        false => format!("{}:{default_port}", bracketed(addr)),
    }
}

fn bracketed(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(_) => format!("[{host}]"),
        Err(_) => host.to_owned(),
    }
}

fn tls(values: &Values, findings: &mut Findings) -> Option<TlsSettings> {
    if !values.is_on("use_ssl") && !values.is_on("redis_use_ssl") {
        for key in ["ssl_ca_file", "ssl_cert_file", "ssl_key_file"] {
            if !values.text(key).is_empty() {
                let text = format!("{KEY}.{key} has no effect without \"use_ssl\": true");
                findings.mistake(values.place(key), text);
            }
        }
        return None;
    }
    let file = |key: &str, findings: &mut Findings| {
        let path = values.text(key);
        if path.is_empty() {
            return None;
        }
        if let Err(error) = std::fs::File::open(path) {
            let text = format!("{FATAL}{KEY}.{key}: cannot open {path}: {error}");
            findings.fatal(values.place(key), text);
        }
        Some(PathBuf::from(path))
    };
    let ca_file = file("ssl_ca_file", findings);
    let identity = match (file("ssl_cert_file", findings), file("ssl_key_file", findings)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (None, None) => None,
        (certificate, _) => {
            let missing = if certificate.is_some() {
                "ssl_key_file"
            } else {
                "ssl_cert_file"
            };
            let text = format!("{KEY}.{missing} is missing – no client certificate is shown to Redis; set both files");
            findings.mistake(values.place("use_ssl"), text);
            None
        }
    };
    let min_version = version(values, "ssl_min_version", TlsVersion::V1_2, findings);
    let max_version = version(values, "ssl_max_version", TlsVersion::V1_3, findings);
    if min_version > max_version {
        let text = format!("{FATAL}{KEY}.ssl_min_version is above ssl_max_version – exchange them");
        findings.fatal(values.place("ssl_min_version"), text);
    }
    Some(TlsSettings {
        skip_verify: values.is_on("ssl_insecure_skip_verify") || values.is_on("redis_ssl_insecure_skip_verify"),
        ca_file,
        identity,
        min_version,
        max_version,
    })
}

fn version(values: &Values, key: &str, default: TlsVersion, findings: &mut Findings) -> TlsVersion {
    match values.text(key) {
        "" => default,
        "1.2" => TlsVersion::V1_2,
        "1.3" => TlsVersion::V1_3,
        old @ ("1.0" | "1.1") => {
            let text = format!("{KEY}.{key} is \"{old}\" – TLS below 1.2 is not spoken, using 1.2");
            findings.warn(values.place(key), text);
            TlsVersion::V1_2
        }
        other => {
            let text = format!("{FATAL}{KEY}.{key} is \"{other}\" – write \"1.2\" or \"1.3\"");
            findings.fatal(values.place(key), text);
            default
        }
    }
}
