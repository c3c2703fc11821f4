//! TLS towards clients.

use std::{path::Path, sync::Arc};

use anyhow::{Context, anyhow, ensure};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;

use crate::ServerTls;

/// Builds the server side of TLS. Errors name the file and what is wrong with it.
pub(super) fn acceptor(settings: &ServerTls) -> anyhow::Result<TlsAcceptor> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .context("TLS versions")?;
    let builder = match &settings.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(path)? {
                roots.add(certificate).with_context(|| path.display().to_string())?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| anyhow!("{}: {error}", path.display()))?)
        }
    };
    let (cert, key) = (&settings.cert, &settings.key);
    let private = PrivateKeyDer::from_pem_file(key)
        .map_err(|error| anyhow!("embedded_storage.tls.key_file {}: {error}", key.display()))?;
    let config = builder
        .with_single_cert(certificates(cert)?, private)
        .with_context(|| format!("certificate {} with key {}", cert.display(), key.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    let certificates = certificates.map_err(|error| anyhow!("embedded_storage.tls: {}: {error}", path.display()))?;
    ensure!(
        !certificates.is_empty(),
        "embedded_storage.tls: {}: no certificate in it (PEM is expected)",
        path.display()
    );
    Ok(certificates)
}
