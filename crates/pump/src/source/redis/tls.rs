//! TLS towards Redis: trust, client certificate, versions.

use std::{path::Path, sync::Arc};

use sinks::tls::{self, Identity, PemFile, Verification};
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

fn version(version: TlsVersion) -> tls::TlsVersion {
    match version {
        TlsVersion::V1_2 => tls::TlsVersion::V1_2,
        TlsVersion::V1_3 => tls::TlsVersion::V1_3,
    }
}
