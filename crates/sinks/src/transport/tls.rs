//! The client side of TLS for every back-end: whom to trust, whom to be, which versions.
//!
//! A sink fills [`TlsSettings`] from its options and calls [`client_config`]. Errors name the option and the file.

mod server;

use std::{
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_cert_signed_by_trust_anchor, verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use server::server_config;

/// A version of the protocol; older ones are not spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    /// TLS 1.2
    V1_2,
    /// TLS 1.3
    V1_3,
}

/// What is asked of a server's certificate.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// It leads to a trusted authority and is made out to the server's name.
    #[default]
    Full,
    /// It leads to a trusted authority; the name does not matter (`verify-ca` of databases).
    Chain,
    /// Nothing: anybody may answer.
    None,
}

/// A PEM file and the option that names it, for errors.
#[derive(Clone, Debug)]
pub struct PemFile {
    /// Such as `ssl_ca_file`.
    pub option: &'static str,
    /// Where it is.
    pub path: PathBuf,
}

impl PemFile {
    /// `None` when the option is empty.
    pub fn of(option: &'static str, path: &str) -> Option<PemFile> {
        (!path.is_empty()).then(|| PemFile {
            option,
            path: PathBuf::from(path),
        })
    }

    fn error(&self, what: impl std::fmt::Display) -> TlsError {
        let (option, path) = (self.option, self.path.display());
        TlsError(format!(
            "{option} {path}: {what} – name a PEM file that the pump can read"
        ))
    }
}

/// Certificate and key of this client. Both may be in one file.
#[derive(Clone, Debug)]
pub struct Identity {
    /// The certificate, then those of the authorities between it and the root.
    pub certificate: PemFile,
    /// The private key, without a pass phrase.
    pub key: PemFile,
}

/// Everything that can be chosen.
#[derive(Clone, Debug)]
pub struct TlsSettings {
    /// Trusted authorities instead of those of the system; empty: those of the system.
    pub ca_files: Vec<PemFile>,
    /// What this client shows when the server asks.
    pub identity: Option<Identity>,
    /// Name that the certificate must be made out to, in place of the host that is dialled.
    pub server_name: Option<String>,
    /// What is asked of the server.
    pub verification: Verification,
    /// Versions that are offered.
    pub versions: RangeInclusive<TlsVersion>,
}

impl Default for TlsSettings {
    fn default() -> Self {
        Self {
            ca_files: Vec::new(),
            identity: None,
            server_name: None,
            verification: Verification::Full,
            versions: TlsVersion::V1_2..=TlsVersion::V1_3,
        }
    }
}

impl TlsSettings {
    /// Whom the handshake asks for when `host` is dialled: a server may choose its certificate by that name. An error names
    /// what is no name.
    pub fn name_for(&self, host: &str) -> Result<ServerName<'static>, TlsError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_owned())
            .map_err(|error| TlsError(format!("the server name \"{name}\" is none: {error}")))
    }
}

/// The `ssl_*` options of several sinks, flattened into theirs.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct SslOptions {
    /// With TLS: do not check the server's certificate.
    #[serde(rename = "ssl_insecure_skip_verify")]
    pub insecure_skip_verify: bool,
    /// With TLS: PEM file with the certificate of this client. It needs `ssl_key_file` too.
    #[serde(rename = "ssl_cert_file")]
    pub cert_file: String,
    /// With TLS: PEM file with the private key of this client.
    #[serde(rename = "ssl_key_file")]
    pub key_file: String,
    /// With TLS: PEM file with the authorities to trust, in place of the system's.
    #[serde(rename = "ssl_ca_file")]
    pub ca_file: String,
}

impl SslOptions {
    /// As upstream reads them: half an identity is none. `server_name` is whom the certificate is made out to; empty: the
    /// host. `warn` gets what the user should know.
    pub fn settings(&self, server_name: &str, mut warn: impl FnMut(&str)) -> TlsSettings {
        let certificate = PemFile::of("ssl_cert_file", &self.cert_file);
        let key = PemFile::of("ssl_key_file", &self.key_file);
        if certificate.is_some() != key.is_some() {
            let (there, missing) = match &certificate {
                Some(_) => ("ssl_cert_file", "ssl_key_file"),
                None => ("ssl_key_file", "ssl_cert_file"),
            };
            warn(&format!(
                "{there} is set and {missing} is not: no client certificate is used – set both"
            ));
        }
        let ca_files: Vec<PemFile> = PemFile::of("ssl_ca_file", &self.ca_file).into_iter().collect();
        if self.insecure_skip_verify {
            warn("ssl_insecure_skip_verify is on: the server's certificate is not checked");
            if !ca_files.is_empty() {
                warn("ssl_ca_file has no effect while ssl_insecure_skip_verify is on");
            }
        }
        TlsSettings {
            ca_files,
            identity: certificate
                .zip(key)
                .map(|(certificate, key)| Identity { certificate, key }),
            server_name: (!server_name.is_empty()).then(|| server_name.to_owned()),
            verification: match self.insecure_skip_verify {
                true => Verification::None,
                false => Verification::Full,
            },
            ..TlsSettings::default()
        }
    }
}

/// Why TLS cannot be set up: the option, the file, what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TlsError(String);

/// The configuration that `settings` describe, with ring as its cryptography whatever the process' default is.
pub fn client_config(settings: &TlsSettings) -> Result<ClientConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions(&settings.versions)?)
        .map_err(|error| TlsError(format!("TLS versions: {error}")))?;
    let verifier = verifier(settings, provider)?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let Some(identity) = &settings.identity else {
        return Ok(builder.with_no_client_auth());
    };
    let Identity { certificate, key } = identity;
    let chain = certificates(certificate)?;
    let private =
        PrivateKeyDer::from_pem_file(&key.path).map_err(|error| key.error(format_args!("private key: {error}")))?;
    builder.with_client_auth_cert(chain, private).map_err(|error| {
        certificate.error(format_args!(
            "does not go with {} {}: {error}",
            key.option,
            key.path.display()
        ))
    })
}

fn versions(wanted: &RangeInclusive<TlsVersion>) -> Result<Vec<&'static SupportedProtocolVersion>, TlsError> {
    let known = [(TlsVersion::V1_3, &TLS13), (TlsVersion::V1_2, &TLS12)];
    let versions: Vec<_> = known
        .into_iter()
        .filter(|(version, _)| wanted.contains(version))
        .map(|(_, version)| version)
        .collect();
    if versions.is_empty() {
        let text = "the lowest TLS version is above the highest: none is left – exchange them";
        return Err(TlsError(text.to_owned()));
    }
    Ok(versions)
}

fn verifier(settings: &TlsSettings, provider: Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    // A file that cannot be read is a mistake also where nothing is checked.
    let files: Vec<_> = settings
        .ca_files
        .iter()
        .map(|file| certificates(file).map(|certificates| (file, certificates)))
        .collect::<Result<_, _>>()?;
    let (check, trusted) = match settings.verification {
        Verification::None => (Check::Nothing, Vec::new()),
        Verification::Chain => {
            let (roots, trusted) = authorities(files)?;
            (Check::Chain(roots), trusted)
        }
        Verification::Full => {
            let (roots, trusted) = authorities(files)?;
            let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build();
            let verifier = verifier.map_err(|error| TlsError(format!("trusted authorities: {error}")))?;
            let name = match &settings.server_name {
                None => None,
                Some(name) => Some(
                    ServerName::try_from(name.clone())
                        .map_err(|error| TlsError(format!("server name \"{name}\": {error}")))?,
                ),
            };
            (Check::Full(verifier, name), trusted)
        }
    };
    Ok(Arc::new(Verifier {
        provider,
        check,
        trusted,
    }))
}

/// The authorities that `settings` trust as one PEM text, for a library with TLS of its own.
#[cfg(feature = "kafka")]
pub(crate) fn authorities_pem(settings: &TlsSettings) -> Result<String, TlsError> {
    use base64::{Engine, engine::general_purpose::STANDARD};

    let mut trusted = Vec::new();
    for file in &settings.ca_files {
        trusted.extend(certificates(file)?);
    }
    if settings.ca_files.is_empty() {
        trusted = rustls_native_certs::load_native_certs().certs;
    }
    let mut pem = String::new();
    for certificate in trusted {
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        let text = STANDARD.encode(&certificate);
        let mut rest = text.as_str();
        while !rest.is_empty() {
            let (line, more) = rest.split_at(rest.len().min(64));
            pem.push_str(line);
            pem.push('\n');
            rest = more;
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    Ok(pem)
}

/// The authorities of these files, without files those of the system; and of them those that were named one by one.
fn authorities(
    files: Vec<(&PemFile, Vec<CertificateDer<'static>>)>,
) -> Result<(RootCertStore, Vec<CertificateDer<'static>>), TlsError> {
    let (mut roots, mut named) = (RootCertStore::empty(), Vec::new());
    if files.is_empty() {
        let system = rustls_native_certs::load_native_certs().certs;
        // An operator who names the system's authorities means them one by one, and may mean a server's own certificate.
        let variables = ["SSL_CERT_FILE", "SSL_CERT_DIR"].map(std::env::var_os);
        if variables.iter().any(Option::is_some) {
            named.clone_from(&system);
        }
        // Single broken certificates in a system's store are common, and no reason to refuse the others.
        roots.add_parsable_certificates(system);
        if roots.is_empty() {
            let text = "this system has no trusted certificate authorities – name a file with them in the CA option";
            return Err(TlsError(text.to_owned()));
        }
    }
    for (file, certificates) in files {
        for certificate in certificates {
            roots
                .add(certificate.clone())
                .map_err(|error| file.error(format_args!("not usable as an authority: {error}")))?;
            named.push(certificate);
        }
    }
    Ok((roots, named))
}

fn certificates(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let certificates: Vec<_> = pem_certificates(&file.path).map_err(|error| file.error(error))?;
    if certificates.is_empty() {
        return Err(file.error("no certificate in it (PEM is expected)"));
    }
    Ok(certificates)
}

fn pem_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_file_iter(path)?.collect()
}

#[derive(Debug)]
enum Check {
    Nothing,
    Chain(RootCertStore),
    /// Everything, against this name if there is one.
    Full(Arc<WebPkiServerVerifier>, Option<ServerName<'static>>),
}

/// Checks less than rustls does by itself, or another name; the handshake is always checked.
#[derive(Debug)]
struct Verifier {
    provider: Arc<CryptoProvider>,
    check: Check,
    /// The authorities that were named one by one.
    trusted: Vec<CertificateDer<'static>>,
}

impl Verifier {
    /// Whether `refusal` means nothing but that an authority's own certificate is shown by a server, as `openssl req -x509`
    /// makes it, and that very certificate is trusted. Its dates have been checked by then.
    fn is_trusted_itself(&self, certificate: &CertificateDer<'_>, refusal: &rustls::Error) -> bool {
        matches!(refusal, rustls::Error::InvalidCertificate(CertificateError::Other(_)))
            && self
                .trusted
                .iter()
                .any(|trusted| trusted.as_ref() == certificate.as_ref())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        dialled: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.check {
            Check::Nothing => {}
            Check::Chain(roots) => {
                let parsed = ParsedCertificate::try_from(certificate)?;
                let algorithms = self.provider.signature_verification_algorithms.all;
                match verify_server_cert_signed_by_trust_anchor(&parsed, roots, intermediates, now, algorithms) {
                    Err(error) if !self.is_trusted_itself(certificate, &error) => return Err(error),
                    _ => {}
                }
            }
            Check::Full(verifier, named) => {
                let name = named.as_ref().unwrap_or(dialled);
                match verifier.verify_server_cert(certificate, intermediates, name, ocsp, now) {
                    Err(error) if self.is_trusted_itself(certificate, &error) => {
                        verify_server_name(&ParsedCertificate::try_from(certificate)?, name)?;
                    }
                    result => return result,
                }
            }
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
