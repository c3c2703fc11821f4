//! Throw-away certificates, and servers that show them.

use std::{path::PathBuf, process::Command, sync::Arc};

use rustls::{
    RootCertStore, ServerConfig,
    server::{ResolvesServerCertUsingSni, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;

/// A folder with an authority `ca.crt`, what it has signed (`server`, `client`, `expired`, `wronghost`), and `rogue`,
/// which somebody else has signed: each a `.crt` and a `.key`.
pub struct Certificates(TempDir);

impl Certificates {
    /// Makes them; needs openssl.
    pub fn make() -> anyhow::Result<Certificates> {
        let folder = tempfile::tempdir()?;
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/services/certs.sh");
        let output = Command::new("bash").arg(script).arg(folder.path()).output()?;
        anyhow::ensure!(
            output.status.success(),
            "{script}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(Certificates(folder))
    }

    /// Where `name` is ("ca.crt").
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The same as text, for options.
    pub fn text(&self, name: &str) -> String {
        self.path(name).to_string_lossy().into_owned()
    }

    /// The server's side, showing `name`; with `asks`, clients need a certificate of the authority.
    pub fn acceptor(&self, name: &str, asks: bool) -> anyhow::Result<TlsAcceptor> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
        let builder = if asks {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from_pem_file(self.path("ca.crt"))?)?;
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build()?;
            builder.with_client_cert_verifier(verifier)
        } else {
            builder.with_no_client_auth()
        };
        let (chain, key) = self.identity(name)?;
        Ok(TlsAcceptor::from(Arc::new(builder.with_single_cert(chain, key)?)))
    }

    /// The side of a server with many names, showing `name` to clients that ask for `host`; others are turned away.
    pub fn acceptor_of(&self, name: &str, host: &str) -> anyhow::Result<TlsAcceptor> {
        let provider = rustls::crypto::ring::default_provider();
        let (chain, key) = self.identity(name)?;
        let mut shown = ResolvesServerCertUsingSni::new();
        shown.add(host, CertifiedKey::from_der(chain, key, &provider)?)?;
        let builder = ServerConfig::builder_with_provider(provider.into()).with_safe_default_protocol_versions()?;
        let config = builder.with_no_client_auth().with_cert_resolver(Arc::new(shown));
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn identity(&self, name: &str) -> anyhow::Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)> {
        let certificate = CertificateDer::from_pem_file(self.path(&format!("{name}.crt")))?;
        let key = PrivateKeyDer::from_pem_file(self.path(&format!("{name}.key")))?;
        Ok((vec![certificate], key))
    }
}
