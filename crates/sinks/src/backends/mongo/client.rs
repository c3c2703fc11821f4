//! The connection to a server: options, TLS, deadlines.

use std::{
    future::{Future, IntoFuture},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use futures::FutureExt;
use mongodb::{
    Client, Database,
    bson::{Document, doc},
    options::{
        Acknowledgment, ClientOptions, ConnectionString, ReadPreference, SelectionCriteria, Tls, TlsOptions,
        WriteConcern,
    },
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

use super::{
    bson::Writer, failure::Failure, index::Retention, options::ConnectionOptions, tunnel::Tunnel, url::ConnectionUrl,
};
use crate::{
    BuildError,
    transport::tls::{Identity, PemFile, TlsSettings, Verification, client_config},
};

/// How long one operation may take, unless the URL says so with `timeoutMS`.
const PATIENCE: Duration = Duration::from_secs(10);
/// How far it is stretched when operations keep exceeding it.
const STRETCH: u32 = 10;

/// Where systems keep the authorities that they trust.
const SYSTEM_ROOTS: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/tls/cacert.pem",
    "/etc/ssl/cert.pem",
];

/// What to write as `mongo_url`.
const URL: &str = "write mongodb://user:password@host:27017/database";

/// What indexes look like on a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Mongo,
    /// AWS DocumentDB.
    Document,
    /// Azure Cosmos DB.
    Cosmos,
}

/// A pump's connection: a pool to the servers, and the database that the URL names.
pub(super) struct Connection {
    pub(super) database: Database,
    pub(super) dialect: Dialect,
    pub(super) omit_indexes: bool,
    pub(super) retention: Retention,
    write_concern: Option<WriteConcern>,
    /// Speaks TLS where names of certificates do not matter.
    _tunnel: Option<Tunnel>,
    deadline: Deadline,
}

/// What the options say, before anything is connected.
struct Plan {
    url: ConnectionUrl,
    /// The URL as the driver reads it.
    string: ConnectionString,
    /// TLS with certificates that can be used; `None`: as the driver takes it from the URL.
    tls: Option<TlsOptions>,
    dialect: Dialect,
    retention: Retention,
}

/// Refuses what [`Connection::open`] refuses before it connects.
pub(super) fn check(options: &ConnectionOptions, prefix: &str, pump: &str) -> Result<(), BuildError> {
    let plan = Plan::read(options, prefix, pump)?;
    if plan.url.is_looked_up() {
        return Ok(());
    }
    // Hosts that are not looked up are at hand at once.
    let parsed = ClientOptions::parse(plan.string).into_future().now_or_never();
    parsed.map_or(Ok(()), |parsed| parsed.map(drop).map_err(|error| unusable(&error)))
}

impl Plan {
    fn read(options: &ConnectionOptions, prefix: &str, pump: &str) -> Result<Plan, BuildError> {
        let url = read_url(options)?;
        match options.driver.as_str() {
            "" | "mongo-go" => {}
            "mgo" => tracing::warn!(
                prefix,
                pump,
                "meta.driver is \"mgo\": there is one driver here, which makes real TTL indexes; remove the option"
            ),
            other => {
                return Err(BuildError::Options(format!(
                    "meta.driver is \"{other}\" – write \"mongo-go\", or remove it"
                )));
            }
        }
        let dialect = match options.mongo_db_type {
            0 => Dialect::Mongo,
            1 => Dialect::Document,
            2 => Dialect::Cosmos,
            other => {
                tracing::warn!(
                    prefix,
                    pump,
                    "meta.mongo_db_type is {other} and counts as 1 – write 0 (MongoDB), 1 (DocumentDB) or 2 (Cosmos DB)"
                );
                Dialect::Document
            }
        };
        let retention = retention(options, dialect)?;
        for name in &url.ignored {
            tracing::warn!(
                prefix,
                pump,
                "the option {name} of meta.mongo_url is unknown and has no effect"
            );
        }
        let string = ConnectionString::parse(url.to_driver()).map_err(|error| unusable(&error))?;
        let of_url = match &string.tls {
            Some(Tls::Enabled(tls)) => Some(tls.clone()),
            _ => None,
        };
        let tls = match options.mongo_use_ssl {
            true => Some(tls_options(of_url.unwrap_or_default(), options)?),
            false => of_url,
        };
        if let Some(tls) = &tls {
            read_files(tls, options)?;
        }
        Ok(Plan {
            url,
            string,
            tls,
            dialect,
            retention,
        })
    }
}

/// How long an operation may take; longer after each that took too long.
struct Deadline {
    base: Duration,
    now_ms: AtomicU64,
}

impl Connection {
    /// Connects and asks the server for a sign of life.
    pub(super) async fn open(options: &ConnectionOptions, prefix: &str, pump: &str) -> Result<Connection, BuildError> {
        let Plan {
            url,
            string,
            tls,
            dialect,
            retention,
        } = Plan::read(options, prefix, pump)?;
        let base = url.timeout_ms.map_or(PATIENCE, Duration::from_millis);
        let mut driver = driver_options(&url, string, options, base, prefix, pump).await?;
        if tls.is_some() {
            driver.tls = tls.map(Tls::Enabled);
        }
        if let Some(Tls::Enabled(tls)) = &mut driver.tls
            && tls.ca_file_path.is_none()
        {
            // Otherwise the driver trusts a list of its own.
            tls.ca_file_path = system_roots();
        }
        let tunnel = match options.mongo_use_ssl && options.mongo_ssl_allow_invalid_hostnames {
            true if !options.mongo_ssl_insecure_skip_verify => Some(tunnel(options, prefix, pump).await?),
            _ => None,
        };
        if let Some(tunnel) = &tunnel {
            driver.tls = Some(Tls::Disabled);
            driver.socks5_proxy = Some(tunnel.proxy());
        }
        let write_concern = driver.write_concern.clone();
        let client = Client::with_options(driver).map_err(|error| unusable(&error))?;
        let connection = Connection {
            database: client.database(&url.database),
            dialect,
            omit_indexes: options.omit_index_creation,
            retention,
            write_concern,
            _tunnel: tunnel,
            deadline: Deadline {
                base,
                now_ms: AtomicU64::new(base.as_millis() as u64),
            },
        };
        let to = url.to_log();
        if let Err(failure) = connection.run(doc! {"ping": 1}).await {
            return Err(BuildError::Unavailable(
                format!("cannot connect to {to}: {failure}").into(),
            ));
        }
        tracing::info!(prefix, pump, url = to, "connected to MongoDB");
        Ok(connection)
    }

    /// Runs one operation within the deadline.
    pub(super) async fn within<T>(
        &self,
        operation: impl Future<Output = mongodb::error::Result<T>>,
    ) -> Result<T, Failure> {
        let deadline = self.deadline.now();
        match tokio::time::timeout(deadline, operation).await {
            Err(_) => {
                self.deadline.stretch();
                Err(Failure::TimedOut(deadline))
            }
            Ok(answer) => {
                self.deadline.relax();
                Ok(answer?)
            }
        }
    }

    /// Runs a command as it is.
    pub(super) async fn run(&self, command: Document) -> Result<Document, Failure> {
        self.within(self.database.run_command(command).into_future()).await
    }

    /// Runs a command that writes, with the write concern of the URL.
    pub(super) async fn run_write(&self, mut command: Document) -> Result<Document, Failure> {
        if let Some(concern) = &self.write_concern {
            let concern = mongodb::bson::serialize_to_document(concern).map_err(mongodb::error::Error::from)?;
            command.insert("writeConcern", concern);
        }
        self.run(command).await
    }

    /// The same for a command that is bytes already.
    pub(super) async fn run_written(&self, mut command: Writer) -> Result<Document, Failure> {
        if let Some(concern) = &self.write_concern {
            let concern = mongodb::bson::serialize_to_raw_document_buf(concern).map_err(mongodb::error::Error::from)?;
            command.document("writeConcern", &concern);
        }
        let command = command.finish().map_err(mongodb::error::Error::from)?;
        self.within(self.database.run_raw_command(command).into_future()).await
    }

    /// Whether there is a collection of this name.
    pub(super) async fn has_collection(&self, name: &str) -> Result<bool, Failure> {
        let answer = self
            .run(doc! {"listCollections": 1, "filter": {"name": name}, "nameOnly": true, "cursor": {}})
            .await?;
        let found = answer
            .get_document("cursor")
            .and_then(|cursor| cursor.get_array("firstBatch"));
        Ok(found.is_ok_and(|found| !found.is_empty()))
    }
}

impl Deadline {
    fn now(&self) -> Duration {
        Duration::from_millis(self.now_ms.load(Relaxed))
    }

    fn stretch(&self) {
        let longer = (self.now() * 2).min(self.base * STRETCH);
        self.now_ms.store(longer.as_millis() as u64, Relaxed);
    }

    fn relax(&self) {
        self.now_ms.store(self.base.as_millis() as u64, Relaxed);
    }
}

/// A TTL index takes no more seconds.
const MAX_RETENTION_DAYS: u32 = (i32::MAX / DAY) as u32;
const DAY: i32 = 86_400;

fn retention(options: &ConnectionOptions, dialect: Dialect) -> Result<Retention, BuildError> {
    let days = options.retention_days;
    if days > MAX_RETENTION_DAYS {
        return Err(BuildError::Options(format!(
            "meta.retention_days is {days} – write at most {MAX_RETENTION_DAYS}"
        )));
    }
    if dialect == Dialect::Cosmos && (days > 0 || options.expire_documents) {
        return Err(BuildError::Options(
            "meta.retention_days and meta.expire_documents have no effect with meta.mongo_db_type 2 – give the collection a \
             time to live in Cosmos DB"
                .to_owned(),
        ));
    }
    Ok(Retention {
        seconds: (days > 0).then(|| i64::from(days) * i64::from(DAY)),
        by_expire_at: options.expire_documents,
    })
}

fn read_url(options: &ConnectionOptions) -> Result<ConnectionUrl, BuildError> {
    let wrong = |what: &str| BuildError::Options(format!("meta.mongo_url {what} – {URL}"));
    let mut url = ConnectionUrl::parse(&options.mongo_url).map_err(|what| wrong(&what))?;
    if url.database.is_empty() {
        return Err(wrong("names no database"));
    }
    if options.mongo_direct_connection {
        url.set("directconnection", "true");
    }
    Ok(url)
}

async fn driver_options(
    url: &ConnectionUrl,
    string: ConnectionString,
    options: &ConnectionOptions,
    base: Duration,
    prefix: &str,
    pump: &str,
) -> Result<ClientOptions, BuildError> {
    let mut driver = ClientOptions::parse(string).await.map_err(|error| unusable(&error))?;
    if driver.server_selection_timeout.is_none() {
        driver.server_selection_timeout = Some(base.min(PATIENCE));
    }
    if !url.has("readpreference") {
        driver.selection_criteria = Some(SelectionCriteria::ReadPreference(
            match options.mongo_session_consistency.as_str() {
                "eventual" => ReadPreference::Nearest { options: None },
                "monotonic" => ReadPreference::PrimaryPreferred { options: None },
                _ => ReadPreference::Primary,
            },
        ));
    }
    let concern = driver.write_concern.as_mut();
    if let Some(concern) = concern.filter(|concern| concern.w == Some(Acknowledgment::Nodes(0))) {
        tracing::warn!(
            prefix,
            pump,
            "w=0 in meta.mongo_url: writes are acknowledged all the same, else records would get lost"
        );
        concern.w = Some(Acknowledgment::Nodes(1));
    }
    Ok(driver)
}

fn tls_options(mut tls: TlsOptions, options: &ConnectionOptions) -> Result<TlsOptions, BuildError> {
    if !options.mongo_ssl_ca_file.is_empty() {
        tls.ca_file_path = Some(PathBuf::from(&options.mongo_ssl_ca_file));
    }
    if !options.mongo_ssl_pem_keyfile.is_empty() {
        tls.cert_key_file_path = Some(PathBuf::from(&options.mongo_ssl_pem_keyfile));
    }
    if options.mongo_ssl_insecure_skip_verify {
        tls.allow_invalid_certificates = Some(true);
    }
    Ok(tls)
}

/// Reads the files as the driver does when it connects.
fn read_files(tls: &TlsOptions, options: &ConnectionOptions) -> Result<(), BuildError> {
    let or_url = |own: &str, key: &'static str, of_url: &'static str| match options.mongo_use_ssl && !own.is_empty() {
        true => key,
        false => of_url,
    };
    if let Some(path) = &tls.ca_file_path {
        let key = or_url(&options.mongo_ssl_ca_file, "mongo_ssl_ca_file", "mongo_url: tlsCAFile");
        read_certificates(key, path)?;
    }
    if let Some(path) = &tls.cert_key_file_path {
        let own = &options.mongo_ssl_pem_keyfile;
        let key = or_url(own, "mongo_ssl_pem_keyfile", "mongo_url: tlsCertificateKeyFile");
        read_certificates(key, path)?;
        PrivateKeyDer::from_pem_file(path)
            .map_err(|error| unreadable(key, path, "has no usable private key", error))?;
        let pem = || PemFile {
            option: key,
            path: path.clone(),
        };
        let identity = TlsSettings {
            identity: Some(Identity {
                certificate: pem(),
                key: pem(),
            }),
            verification: Verification::None,
            ..TlsSettings::default()
        };
        client_config(&identity).map_err(|error| BuildError::Options(format!("meta.{error}")))?;
    }
    Ok(())
}

/// What [`tls_options`] says, without a look at names.
async fn tunnel(options: &ConnectionOptions, prefix: &str, pump: &str) -> Result<Tunnel, BuildError> {
    let pem = |path: &str| PemFile::of("meta.mongo_ssl_pem_keyfile", path);
    let identity = pem(&options.mongo_ssl_pem_keyfile).zip(pem(&options.mongo_ssl_pem_keyfile));
    let settings = TlsSettings {
        ca_files: PemFile::of("meta.mongo_ssl_ca_file", &options.mongo_ssl_ca_file)
            .into_iter()
            .collect(),
        identity: identity.map(|(certificate, key)| Identity { certificate, key }),
        verification: Verification::Chain,
        ..TlsSettings::default()
    };
    let config = client_config(&settings).map_err(|error| BuildError::Options(error.to_string()))?;
    let tunnel = Tunnel::open(config, prefix, pump).await;
    tunnel.map_err(|error| BuildError::Unavailable(format!("no port on the loopback interface: {error}").into()))
}

fn read_certificates(key: &str, path: &Path) -> Result<(), BuildError> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match certificates {
        Ok(certificates) if certificates.is_empty() => {
            Err(unreadable(key, path, "has no certificate", "PEM is expected"))
        }
        Ok(_) => Ok(()),
        Err(error) => Err(unreadable(key, path, "cannot be read", error)),
    }
}

fn unreadable(key: &str, path: &Path, what: &str, error: impl std::fmt::Display) -> BuildError {
    let remedy = "name a PEM file that the pump can read";
    BuildError::Options(format!("meta.{key}: {} {what}: {error} – {remedy}", path.display()))
}

fn system_roots() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let known = SYSTEM_ROOTS.iter().map(PathBuf::from);
    named.into_iter().chain(known).find(|path| path.is_file())
}

fn unusable(error: &mongodb::error::Error) -> BuildError {
    match error.kind.as_ref() {
        mongodb::error::ErrorKind::DnsResolve { .. } => {
            BuildError::Unavailable(format!("meta.mongo_url: {}", error.kind).into())
        }
        kind => BuildError::Options(format!("meta.mongo_url cannot be used: {kind} – {URL}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_grows_while_it_is_exceeded() {
        let deadline = Deadline {
            base: Duration::from_secs(10),
            now_ms: AtomicU64::new(10_000),
        };
        let mut seen = Vec::new();
        for _ in 0..6 {
            seen.push(deadline.now().as_secs());
            deadline.stretch();
        }
        assert_eq!(seen, [10, 20, 40, 80, 100, 100]);
        deadline.relax();
        assert_eq!(deadline.now().as_secs(), 10);
    }
}
