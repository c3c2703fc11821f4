//! TLS towards Redis: trust, client certificate, versions.

use std::{
    path::Path,
    sync::{Arc, LazyLock},
};

use rustls_pki_types::ServerName;
use sinks::tls::{self, Identity, PemFile, Verification};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use crate::config::{TlsSettings, TlsVersion};

/// Builds the client side of TLS. Errors name the option, the file and what is wrong with it.
pub(super) fn connector(settings: &TlsSettings) -> anyhow::Result<TlsConnector> {
    let file = |option, path: &Path| PemFile {
        option,
        path: path.to_owned(),
    };
    let settings = tls::TlsSettings {
        ca_files: settings.ca_file.iter().map(|path| file("ssl_ca_file", path)).collect(),
        identity: settings.identity.as_ref().map(|(certificate, key)| Identity {
            certificate: file("ssl_cert_file", certificate),
            key: file("ssl_key_file", key),
        }),
        server_name: None,
        verification: match settings.skip_verify {
            true => Verification::None,
            false => Verification::Full,
        },
        versions: version(settings.min_version)..=version(settings.max_version),
    };
    Ok(TlsConnector::from(Arc::new(tls::client_config(&settings)?)))
}

/// Whether the server at `host:port` answers a command that is not encrypted.
pub(super) async fn greets_in_clear(node: &str) -> bool {
    let mut answer = [0];
    let asked = async {
        let mut stream = TcpStream::connect(node).await?;
        stream.write_all(b"PING\r\n").await?;
        stream.read_exact(&mut answer).await
    };
    // A pong, or the demand for a password.
    asked.await.is_ok() && matches!(&answer, b"+" | b"-")
}

/// Shakes hands with everybody: what counts is that TLS is spoken. `None`: this program cannot speak it.
static UNCRITICAL: LazyLock<Option<TlsConnector>> = LazyLock::new(|| {
    let settings = tls::TlsSettings {
        ca_files: Vec::new(),
        identity: None,
        server_name: None,
        verification: Verification::None,
        versions: tls::TlsVersion::V1_2..=tls::TlsVersion::V1_3,
    };
    let config = tls::client_config(&settings).ok()?;
    Some(TlsConnector::from(Arc::new(config)))
});

/// Whether the server at `host:port` takes part in a TLS handshake, whatever becomes of it.
pub(super) async fn shakes_hands(node: &str) -> bool {
    let Some(connector) = &*UNCRITICAL else {
        return false;
    };
    let Ok(stream) = TcpStream::connect(node).await else {
        return false;
    };
    let Ok(name) = ServerName::try_from("redis") else {
        return false;
    };
    match connector.connect(name, stream).await {
        Ok(_) => true,
        Err(error) => {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
            matches!(inner, Some(rustls::Error::AlertReceived(_)))
        }
    }
}

fn version(version: TlsVersion) -> tls::TlsVersion {
    match version {
        TlsVersion::V1_2 => tls::TlsVersion::V1_2,
        TlsVersion::V1_3 => tls::TlsVersion::V1_3,
    }
}
