//! TLS towards clients.

use std::sync::Arc;

use anyhow::{Context, anyhow};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use tokio_rustls::TlsAcceptor;

use crate::{
    config::ServerTls,
    source::redis::tls::{certificates, private_key},
};

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
    let config = builder
        .with_single_cert(certificates(cert)?, private_key(key)?)
        .with_context(|| format!("certificate {} with key {}", cert.display(), key.display()))?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
