//! Connection strings of MySQL, in the grammar of Go's driver:
//! `[user[:password]@][net[(address)]]/dbname[?name=value&…]`.
//!
//! Nothing of a string is repeated in an error before its credentials have been told apart from the rest.

use std::{fmt, time::Duration};

use analytics::Zone;
use percent_encoding::percent_decode_str;

use crate::{encode::duration, transport::login};

const FORM: &str = "expected user:password@tcp(host:3306)/database?name=value";

/// Port of a server whose address names none.
const PORT: u16 = 3306;

/// A connection string, understood. Shows itself without the password.
#[derive(Clone, PartialEq)]
pub(crate) struct Dsn {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) address: Address,
    pub(super) database: String,
    /// Zone of the digits in `datetime` columns (`loc`).
    pub(super) zone: Zone,
    pub(super) tls: Tls,
    /// How long opening a connection may take (`timeout`).
    pub(super) connect_timeout: Option<Duration>,
    /// How long the server may take to answer (`readTimeout`, `writeTimeout`: both together).
    pub(super) answer_timeout: Option<Duration>,
    /// Largest packet to send, in bytes (`maxAllowedPacket`); `None`: what the server allows.
    pub(super) max_packet: Option<usize>,
    pub(super) cleartext_passwords: bool,
    pub(super) old_passwords: bool,
    /// Names and values for `SET`, in the order of the string.
    pub(super) variables: Vec<(String, String)>,
    /// Parameters that have no effect here although their value asks for one, each with the reason.
    pub(super) without_effect: Vec<(&'static str, &'static str)>,
}

/// Where the server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Tcp { host: String, port: u16 },
    Unix(String),
}

/// How the connection is encrypted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tls {
    Off,
    /// Chain and host name are verified.
    Verified,
    /// Encrypted, nothing is verified.
    Unverified,
    /// As `Unverified`, or plain if the server has no TLS.
    Preferred,
}

/// What is wrong with a connection string.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("meta.connection_string: {0}")]
pub(crate) struct DsnError(String);

fn wrong<T>(problem: impl Into<String>) -> Result<T, DsnError> {
    Err(DsnError(problem.into()))
}

impl Default for Dsn {
    fn default() -> Self {
        Dsn {
            user: String::new(),
            password: String::new(),
            address: Address::Tcp {
                host: "127.0.0.1".to_owned(),
                port: PORT,
            },
            database: String::new(),
            zone: Zone::UTC,
            tls: Tls::Off,
            connect_timeout: None,
            answer_timeout: None,
            max_packet: None,
            cleartext_passwords: false,
            old_passwords: false,
            variables: Vec::new(),
            without_effect: Vec::new(),
        }
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Dsn({self})")
    }
}

/// Who connects to what, as errors say it.
impl fmt::Display for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user={} database={} at ", self.user, self.database)?;
        match &self.address {
            Address::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Address::Tcp { host, port } => write!(f, "{host}:{port}"),
            Address::Unix(path) => f.write_str(path),
        }
    }
}

impl Dsn {
    /// Reads `text`. The empty text is the local server without a user. `mysql://` and `mariadb://` URLs are taken too,
    /// with percent-encoded user and password.
    pub(crate) fn parse(text: &str) -> Result<Dsn, DsnError> {
        for scheme in ["mysql://", "mariadb://"] {
            if let Some(rest) = text.strip_prefix(scheme) {
                return match login::is_cut(rest, &['/', '?']) {
                    true => wrong(login::UNESCAPED),
                    false => Self::parse_url(rest),
                };
            }
        }
        let mut dsn = Dsn::default();
        if text.is_empty() {
            return Ok(dsn);
        }
        let Some((server, rest)) = text.rsplit_once('/') else {
            return wrong(format!("the slash before the database name is missing; {FORM}"));
        };
        let (credentials, endpoint) = match server.rsplit_once('@') {
            Some((credentials, endpoint)) => (credentials, endpoint),
            None => ("", server),
        };
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        dsn.user = user.to_owned();
        dsn.password = password.to_owned();
        dsn.address = parse_endpoint(endpoint)?;
        dsn.read_database_and_parameters(rest)?;
        Ok(dsn)
    }

    fn parse_url(rest: &str) -> Result<Dsn, DsnError> {
        let mut dsn = Dsn::default();
        let (path, _) = rest.split_once('?').unwrap_or((rest, ""));
        let (server, _) = path.split_once('/').unwrap_or((path, ""));
        let (credentials, address) = server.rsplit_once('@').unwrap_or(("", server));
        let (user, password) = credentials.split_once(':').unwrap_or((credentials, ""));
        dsn.user = percent_decoded(user, "the user name")?;
        dsn.password = percent_decoded(password, "the password")?;
        if !address.is_empty() {
            dsn.address = parse_tcp(address)?;
        }
        let rest = rest.get(server.len()..).unwrap_or_default();
        dsn.read_database_and_parameters(rest.strip_prefix('/').unwrap_or(rest))?;
        Ok(dsn)
    }

    fn read_database_and_parameters(&mut self, rest: &str) -> Result<(), DsnError> {
        let (database, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        self.database = database.to_owned();
        for parameter in parameters.split('&') {
            // As in Go: what has no "=" is no parameter.
            if let Some((name, value)) = parameter.split_once('=') {
                self.set(name, value)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), DsnError> {
        match name {
            "allowCleartextPasswords" => self.cleartext_passwords = parse_bool(name, value)?,
            "allowOldPasswords" => self.old_passwords = parse_bool(name, value)?,
            "allowNativePasswords" => {
                if !parse_bool(name, value)? {
                    self.ignore("allowNativePasswords", "mysql_native_password stays allowed");
                }
            }
            // About reading results, connections of a pool, or statements, none of which make a difference for a writer
            // of prepared statements.
            "allowAllFiles" | "checkConnLiveness" | "clientFoundRows" | "columnsWithAlias" | "interpolateParams"
            | "multiStatements" | "parseTime" | "rejectReadOnly" => {
                parse_bool(name, value)?;
            }
            "charset" => {
                let utf8 = |name: &str| name.eq_ignore_ascii_case("utf8mb4") || name.eq_ignore_ascii_case("utf8");
                if !value.split(',').any(|name| utf8(name.trim())) {
                    self.ignore("charset", "texts are sent as utf8mb4, which the server converts");
                }
            }
            "collation" => {
                if !value.starts_with("utf8") {
                    self.ignore("collation", "texts are sent as utf8mb4, which the server converts");
                }
            }
            "loc" => {
                let zone = query_decoded(name, value)?;
                match Zone::named(zone.as_bytes()) {
                    Some(known) => self.zone = known,
                    None => {
                        return wrong(format!(
                            "loc={zone} is no time zone; write a name such as UTC, Local or Europe%2FLondon"
                        ));
                    }
                }
            }
            "maxAllowedPacket" => match value.parse::<usize>() {
                Ok(0) => self.max_packet = None,
                Ok(bytes) => self.max_packet = Some(bytes),
                Err(_) => {
                    return wrong(format!(
                        "maxAllowedPacket={value} is no number of bytes; write 0 for what the server allows"
                    ));
                }
            },
            "timeout" => self.connect_timeout = parse_duration(name, value)?,
            "readTimeout" | "writeTimeout" => {
                if let Some(more) = parse_duration(name, value)? {
                    self.answer_timeout = Some(self.answer_timeout.unwrap_or_default().saturating_add(more));
                }
            }
            "serverPubKey" => {
                return wrong(
                    "serverPubKey names a key that only a Go program can register; use tls, or leave it out: \
                     the server's key is then asked for",
                );
            }
            "tls" => self.tls = parse_tls(value)?,
            "compress" | "strict" => return wrong(format!("the driver has no parameter {name}; remove it")),
            "" => return wrong("a parameter without a name; expected name=value&name=value after the ?"),
            _ => {
                let value = query_decoded(name, value)?;
                self.variables.push((name.to_owned(), value));
            }
        }
        Ok(())
    }

    fn ignore(&mut self, parameter: &'static str, reason: &'static str) {
        self.without_effect.push((parameter, reason));
    }
}

/// `tcp(host:port)`, `unix(/path)`, `tcp`, `unix` or nothing.
fn parse_endpoint(endpoint: &str) -> Result<Address, DsnError> {
    let (net, address) = match endpoint.split_once('(') {
        None => (endpoint, ""),
        Some((net, rest)) => match rest.strip_suffix(')') {
            Some(address) => (net, address),
            None if rest.contains(')') => {
                return wrong(format!(
                    "something stands between the address and the database's slash, perhaps a parameter with a slash \
                     that should be %2F; {FORM}"
                ));
            }
            None => return wrong(format!("the bracket after the address is not closed; {FORM}")),
        },
    };
    match (net, address) {
        ("" | "tcp", "") => Ok(Dsn::default().address),
        ("" | "tcp", address) => parse_tcp(address),
        ("unix", "") => Ok(Address::Unix("/tmp/mysql.sock".to_owned())),
        ("unix", path) => Ok(Address::Unix(path.to_owned())),
        // It may be a password that an @ was forgotten after.
        _ => wrong(format!(
            "what stands before the database's slash is neither tcp(host:port) nor unix(/path); {FORM}"
        )),
    }
}

fn parse_tcp(address: &str) -> Result<Address, DsnError> {
    let (host, port) = match address.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, rest)) => (host, Some(rest.strip_prefix(':').unwrap_or(rest))),
        None if address.matches(':').count() == 1 => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
        None => (address, None),
    };
    let port = match port {
        None => PORT,
        Some(text) => match text.parse::<u16>() {
            Ok(port) if port > 0 => port,
            _ => {
                return wrong(format!("the port of the server is no number from 1 to 65535; {FORM}"));
            }
        },
    };
    // An empty host is this machine, as in Go.
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(Address::Tcp {
        host: host.to_owned(),
        port,
    })
}

fn parse_tls(value: &str) -> Result<Tls, DsnError> {
    if let Some(on) = bool_of(value) {
        return Ok(if on { Tls::Verified } else { Tls::Off });
    }
    match value.to_ascii_lowercase().as_str() {
        "skip-verify" => Ok(Tls::Unverified),
        "preferred" => Ok(Tls::Preferred),
        _ => wrong(format!(
            "tls={value} is unknown; write true, false, skip-verify or preferred"
        )),
    }
}

fn bool_of(value: &str) -> Option<bool> {
    match value {
        "1" | "true" | "TRUE" | "True" => Some(true),
        "0" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

fn parse_bool(name: &str, value: &str) -> Result<bool, DsnError> {
    match bool_of(value) {
        Some(flag) => Ok(flag),
        None => wrong(format!("{name}={value} is neither true nor false")),
    }
}

fn parse_duration(name: &str, value: &str) -> Result<Option<Duration>, DsnError> {
    match duration::parse(value) {
        Some(Duration::ZERO) => Ok(None),
        Some(duration) => Ok(Some(duration)),
        None => wrong(format!(
            "{name}={value} is no duration; write a number with a unit such as 30s or 500ms"
        )),
    }
}

fn percent_decoded(text: &str, what: &str) -> Result<String, DsnError> {
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => wrong(format!("{what} is not UTF-8 after percent-decoding")),
    }
}

/// A value as in the query of a URL: `+` is a blank.
fn query_decoded(name: &str, value: &str) -> Result<String, DsnError> {
    percent_decoded(&value.replace('+', " "), name)
}

#[cfg(test)]
mod tests;
