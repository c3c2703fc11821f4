//! TLS towards Redis: trust, client certificate, versions.

use std::{path::Path, sync::Arc};

use anyhow::{Context, anyhow, bail};
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    version::{TLS12, TLS13},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject};
use tokio_rustls::TlsConnector;

use crate::config::{TlsSettings, TlsVersion};

/// Builds the client side of TLS. Errors name the file and what is wrong with it.
pub(super) fn connector(settings: &TlsSettings) -> anyhow::Result<TlsConnector> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let versions = versions(settings)?;
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .context("TLS versions")?;
    let builder = if settings.skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    } else {
        builder.with_root_certificates(roots(settings.ca_file.as_deref())?)
    };
    let config = match &settings.identity {
        None => builder.with_no_client_auth(),
        Some((cert, key)) => builder
            .with_client_auth_cert(certificates(cert)?, private_key(key)?)
            .with_context(|| format!("certificate {} with key {}", cert.display(), key.display()))?,
    };
    Ok(TlsConnector::from(Arc::new(config)))
}

fn versions(settings: &TlsSettings) -> anyhow::Result<Vec<&'static SupportedProtocolVersion>> {
    let wanted = |version| version >= settings.min_version && version <= settings.max_version;
    let mut versions = Vec::new();
    if wanted(TlsVersion::V1_3) {
        versions.push(&TLS13);
    }
    if wanted(TlsVersion::V1_2) {
        versions.push(&TLS12);
    }
    if versions.is_empty() {
        bail!("ssl_min_version is above ssl_max_version: no TLS version is left");
    }
    Ok(versions)
}

fn roots(ca_file: Option<&Path>) -> anyhow::Result<RootCertStore> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = ca_file {
        for certificate in certificates(path)? {
            let added = roots.add(certificate);
            added.with_context(|| format!("certificate authority {}", path.display()))?;
        }
        return Ok(roots);
    }
    // Single broken certificates in a system's store are common, and no reason to refuse the others.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        bail!("this system has no trusted certificate authorities: name one in ssl_ca_file");
    }
    Ok(roots)
}

pub(in crate::source) fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| anyhow!("certificate file {}: {error}", path.display()))?;
    if certificates.is_empty() {
        bail!(
            "certificate file {}: no certificate in it (PEM is expected)",
            path.display()
        );
    }
    Ok(certificates)
}

pub(in crate::source) fn private_key(path: &Path) -> anyhow::Result<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| anyhow!("key file {}: {error}", path.display()))
}

/// Accepts whatever certificate a server shows (`ssl_insecure_skip_verify`); the handshake itself is still checked.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
