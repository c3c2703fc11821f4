//! Settings of a connection, from the connection string, a service file, the environment and defaults.

use std::{collections::HashMap, path::PathBuf, time::Duration};

use tokio_postgres::config::ChannelBinding;

use super::{files, words};
use crate::transport::tls::{Identity, PemFile, TlsSettings, Verification};

/// Time for one attempt to connect when `connect_timeout` is not set.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Environment variables and the settings that they stand for.
const VARIABLES: &[(&str, &str)] = &[
    ("PGHOST", "host"),
    ("PGPORT", "port"),
    ("PGDATABASE", "database"),
    ("PGUSER", "user"),
    ("PGPASSWORD", "password"),
    ("PGPASSFILE", "passfile"),
    ("PGAPPNAME", "application_name"),
    ("PGCONNECT_TIMEOUT", "connect_timeout"),
    ("PGSSLMODE", "sslmode"),
    ("PGSSLKEY", "sslkey"),
    ("PGSSLCERT", "sslcert"),
    ("PGSSLSNI", "sslsni"),
    ("PGSSLROOTCERT", "sslrootcert"),
    ("PGSSLPASSWORD", "sslpassword"),
    ("PGSSLNEGOTIATION", "sslnegotiation"),
    ("PGTARGETSESSIONATTRS", "target_session_attrs"),
    ("PGSERVICE", "service"),
    ("PGSERVICEFILE", "servicefile"),
    ("PGTZ", "timezone"),
    ("PGOPTIONS", "options"),
    ("PGCHANNELBINDING", "channel_binding"),
    ("PGMINPROTOCOLVERSION", "min_protocol_version"),
    ("PGMAXPROTOCOLVERSION", "max_protocol_version"),
];

/// Settings that the client understands, or passes over; every other one goes to the server.
const CLIENT: &[&str] = &[
    "host",
    "port",
    "database",
    "user",
    "password",
    "passfile",
    "connect_timeout",
    "sslmode",
    "sslkey",
    "sslcert",
    "sslsni",
    "sslrootcert",
    "sslpassword",
    "sslnegotiation",
    "krbspn",
    "krbsrvname",
    "target_session_attrs",
    "service",
    "servicefile",
    "min_protocol_version",
    "max_protocol_version",
    "channel_binding",
    "default_query_exec_mode",
    "statement_cache_capacity",
    "description_cache_capacity",
    // These reach the server in other ways.
    "options",
    "application_name",
    "timezone",
];

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    /// Name or IP address, and port.
    Tcp(String, u16),
    /// A Unix socket.
    Socket(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Tcp(host, port) => write!(f, "{host}:{port}"),
            Address::Socket(path) => write!(f, "{}", path.display()),
        }
    }
}

/// Which servers will do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Target {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

/// Plain or TLS, in the order in which they are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Protection {
    Plain,
    Tls,
}

/// Everything that is needed to connect.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub hosts: Vec<HostSettings>,
    pub user: String,
    pub database: Option<String>,
    pub timeout: Duration,
    pub protections: &'static [Protection],
    pub tls: TlsSettings,
    pub sends_server_name: bool,
    /// TLS begins at once, without asking the server (Postgres 17).
    pub negotiates_directly: bool,
    pub target: Target,
    pub channel_binding: ChannelBinding,
    pub application_name: String,
    /// `options`, and every setting of the server as one of them.
    pub options: String,
}

/// A server, and the password for it.
#[derive(Clone)]
pub(super) struct HostSettings {
    pub address: Address,
    pub password: Option<String>,
}

impl std::fmt::Debug for HostSettings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.address.fmt(f)
    }
}

/// What surrounds the process.
pub(super) trait Surroundings {
    /// An environment variable.
    fn variable(&self, name: &str) -> Option<String>;
    /// The user that the process runs as.
    fn user(&self) -> Option<String>;
    /// Its home.
    fn home(&self) -> Option<PathBuf>;
}

impl Settings {
    /// Reads a connection string. The error names the setting and the remedy, and no secret.
    pub(super) fn read(text: &str, around: &dyn Surroundings) -> Result<Settings, String> {
        let given = collect(text, around)?;
        let get = |key: &str| given.get(key).map(String::as_str).filter(|value| !value.is_empty());
        let user = get("user")
            .map(str::to_owned)
            .or_else(|| around.user())
            .unwrap_or_default();
        let database = get("database").map(str::to_owned);
        let hosts = addresses(get("host"), get("port"))?;
        let passfile = get("passfile")
            .map(PathBuf::from)
            .or_else(|| in_home(around, ".pgpass"));
        let passwords = match (get("password"), &passfile) {
            (None, Some(path)) => files::read_passwords(path),
            _ => Vec::new(),
        };
        let hosts = hosts.into_iter().map(|address| HostSettings {
            password: get("password")
                .map(str::to_owned)
                .or_else(|| files::find_password(&passwords, &address, database.as_deref().unwrap_or(&user), &user)),
            address,
        });
        let (protections, tls) = protection(&get, around)?;
        let timeout = match get("connect_timeout").map(|seconds| (seconds, seconds.trim().parse())) {
            None | Some((_, Ok(0))) => CONNECT_TIMEOUT,
            Some((_, Ok(seconds))) => Duration::from_secs(seconds),
            Some((text, Err(_))) => {
                return Err(format!("connect_timeout is {text:?} – write whole seconds such as 10"));
            }
        };
        if let Some(version) = get("min_protocol_version").filter(|version| *version != "3.0") {
            return Err(format!("min_protocol_version is {version:?} – version 3.0 is spoken"));
        }
        Ok(Settings {
            hosts: hosts.collect(),
            timeout,
            protections,
            tls,
            sends_server_name: get("sslsni") != Some("0"),
            negotiates_directly: match get("sslnegotiation") {
                None | Some("postgres") => false,
                Some("direct") => true,
                Some(other) => return Err(choice("sslnegotiation", other, "postgres, direct")),
            },
            target: match get("target_session_attrs") {
                None | Some("any") => Target::Any,
                Some("read-write") => Target::ReadWrite,
                Some("read-only") => Target::ReadOnly,
                Some("primary") => Target::Primary,
                Some("standby") => Target::Standby,
                Some("prefer-standby") => Target::PreferStandby,
                Some(other) => {
                    let all = "any, read-write, read-only, primary, standby, prefer-standby";
                    return Err(choice("target_session_attrs", other, all));
                }
            },
            channel_binding: match get("channel_binding") {
                None | Some("prefer") => ChannelBinding::Prefer,
                Some("disable") => ChannelBinding::Disable,
                Some("require") => ChannelBinding::Require,
                Some(other) => return Err(choice("channel_binding", other, "disable, prefer, require")),
            },
            application_name: get("application_name").unwrap_or("tyk-pump").to_owned(),
            options: options(&given),
            user,
            database,
        })
    }
}

fn choice(key: &str, value: &str, all: &str) -> String {
    format!("{key} is {value:?} – write one of {all}")
}

/// Connection string over service file over environment.
fn collect(text: &str, around: &dyn Surroundings) -> Result<HashMap<String, String>, String> {
    let mut given = HashMap::new();
    for (variable, key) in VARIABLES {
        if let Some(value) = around.variable(variable).filter(|value| !value.is_empty()) {
            given.insert((*key).to_owned(), value);
        }
    }
    let written = words::parse(text)?;
    let written_value = |key: &str| {
        written
            .iter()
            .rev()
            .find(|(name, _)| name == key)
            .map(|(_, value)| value)
    };
    let service = written_value("service").or(given.get("service")).cloned();
    if let Some(service) = service {
        let file = written_value("servicefile")
            .or(given.get("servicefile"))
            .map(PathBuf::from);
        let file = file
            .or_else(|| in_home(around, ".pg_service.conf"))
            .ok_or_else(|| format!("service {service:?}: there is no service file – name one with servicefile"))?;
        given.extend(files::read_service(&file, &service)?);
    }
    for (key, value) in written {
        // `time_zone` is known to no server; what is meant is clear.
        let zone = key.eq_ignore_ascii_case("timezone") || key == "time_zone";
        given.insert(if zone { "timezone".to_owned() } else { key }, value);
    }
    Ok(given)
}

fn in_home(around: &dyn Surroundings, name: &str) -> Option<PathBuf> {
    let path = around.home()?.join(name);
    path.exists().then_some(path)
}

fn addresses(hosts: Option<&str>, ports: Option<&str>) -> Result<Vec<Address>, String> {
    let hosts: Vec<String> = match hosts {
        Some(hosts) => hosts.split(',').map(str::to_owned).collect(),
        None => vec![default_host()],
    };
    let ports: Vec<&str> = ports.unwrap_or_default().split(',').collect();
    let mut addresses = Vec::with_capacity(hosts.len());
    for (at, host) in hosts.into_iter().enumerate() {
        let port = match ports.as_slice() {
            [port] => *port,
            ports => ports.get(at).copied().unwrap_or_default(),
        };
        let port: u16 = match port.trim() {
            "" => 5432,
            port => port
                .parse()
                .map_err(|_| format!("port is {port:?} – write a number up to 65535"))?,
        };
        addresses.push(match host.starts_with('/') {
            true => Address::Socket(PathBuf::from(host).join(format!(".s.PGSQL.{port}"))),
            false if host.is_empty() => Address::Tcp("localhost".to_owned(), port),
            false => Address::Tcp(host, port),
        });
    }
    Ok(addresses)
}

fn default_host() -> String {
    let folders = ["/var/run/postgresql", "/private/tmp", "/tmp"];
    let found = folders.into_iter().find(|folder| std::path::Path::new(folder).is_dir());
    found.unwrap_or("localhost").to_owned()
}

fn protection<'a>(
    get: &dyn Fn(&str) -> Option<&'a str>,
    around: &dyn Surroundings,
) -> Result<(&'static [Protection], TlsSettings), String> {
    use Protection::{Plain, Tls};
    let root = get("sslrootcert").map(PathBuf::from);
    let is_system = root.as_ref().is_some_and(|root| root.as_os_str() == "system");
    let root = root.or_else(|| in_home(around, ".postgresql/root.crt"));
    let mode = if is_system {
        "verify-full"
    } else {
        get("sslmode").unwrap_or("prefer")
    };
    let has_root = root.is_some() && !is_system;
    let (protections, verification): (&[Protection], _) = match mode {
        "disable" => (&[Plain], Verification::None),
        "allow" => (&[Plain, Tls], Verification::None),
        "prefer" => (&[Tls, Plain], Verification::None),
        "require" if has_root => (&[Tls], Verification::Chain),
        "require" => (&[Tls], Verification::None),
        "verify-ca" => (&[Tls], Verification::Chain),
        "verify-full" => (&[Tls], Verification::Full),
        other => {
            let all = "disable, allow, prefer, require, verify-ca, verify-full";
            return Err(choice("sslmode", other, all));
        }
    };
    let file = |option: &'static str, path: PathBuf| PemFile { option, path };
    let identity = match (get("sslcert"), get("sslkey")) {
        (Some(certificate), Some(key)) => Some((PathBuf::from(certificate), PathBuf::from(key))),
        (None, None) => {
            in_home(around, ".postgresql/postgresql.crt").zip(in_home(around, ".postgresql/postgresql.key"))
        }
        _ => return Err("sslcert and sslkey come together – set both or none".to_owned()),
    };
    let tls = TlsSettings {
        ca_files: root
            .filter(|_| has_root)
            .map(|root| file("sslrootcert", root))
            .into_iter()
            .collect(),
        identity: identity.map(|(certificate, key)| Identity {
            certificate: file("sslcert", certificate),
            key: file("sslkey", key),
        }),
        verification,
        ..TlsSettings::default()
    };
    Ok((protections, tls))
}

/// `options` with every setting of the server appended: the start-up parameters.
fn options(given: &HashMap<String, String>) -> String {
    let mut parts: Vec<String> = given.get("options").cloned().into_iter().collect();
    let mut settings: Vec<(&String, &String)> = given
        .iter()
        .filter(|(key, _)| !CLIENT.contains(&key.as_str()) || *key == "timezone")
        .collect();
    settings.sort_unstable();
    for (key, value) in settings {
        let value = value.replace('\\', "\\\\").replace(' ', "\\ ");
        parts.push(format!("-c {key}={value}"));
    }
    parts.join(" ")
}

#[cfg(test)]
#[path = "settings_tests.rs"]
mod tests;
