//! The server side of TLS, for sinks that are asked instead of asking.

use std::sync::Arc;

use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject};

use super::{Identity, PemFile, TlsError, certificates};

/// A server that shows `identity`, and, with `client_ca`, speaks only to clients whose certificate leads to an authority in
/// it. TLS 1.2 and 1.3, HTTP/1.1.
///
/// # Errors
/// A file cannot be read, is no PEM, or does not go with the other one.
pub fn server_config(identity: &Identity, client_ca: Option<&PemFile>) -> Result<ServerConfig, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsError(format!("TLS versions: {error}")))?;
    let builder = match client_ca {
        None => builder.with_no_client_auth(),
        Some(file) => {
            let mut roots = RootCertStore::empty();
            for certificate in certificates(file)? {
                roots
                    .add(certificate)
                    .map_err(|error| file.error(format_args!("not usable as an authority: {error}")))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| file.error(error))?)
        }
    };
    let Identity { certificate, key } = identity;
    let chain = certificates(certificate)?;
    let private =
        PrivateKeyDer::from_pem_file(&key.path).map_err(|error| key.error(format_args!("private key: {error}")))?;
    let mut config = builder.with_single_cert(chain, private).map_err(|error| {
        certificate.error(format_args!(
            "does not go with {} {}: {error}",
            key.option,
            key.path.display()
        ))
    })?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
