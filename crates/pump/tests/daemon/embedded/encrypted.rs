//! The server behind TLS.

use fakes::certificates::Certificates;
use redis::{ClientTlsConfig, TlsCertificates};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tyk_pump::config::ServerTls;

use super::{KEY, Served};

/// A store that shows `server`, and wants a certificate from its clients or does not.
async fn start(certificates: &Certificates, asks: bool) -> Served {
    // One crypto provider for the client; only the first call of the process can set it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let tls = ServerTls {
        cert: certificates.path("server.crt"),
        key: certificates.path("server.key"),
        client_ca: asks.then(|| certificates.path("ca.crt")),
    };
    Served::start(|settings| settings.tls = Some(tls)).await
}

/// Pushes a record as a client that trusts the authority and shows `name`.
async fn push(certificates: &Certificates, served: &Served, name: Option<&str>) -> redis::RedisResult<u64> {
    let read = |file: String| std::fs::read(certificates.path(&file)).unwrap();
    let certificates = TlsCertificates {
        client_tls: name.map(|name| ClientTlsConfig {
            client_cert: read(format!("{name}.crt")),
            client_key: read(format!("{name}.key")),
        }),
        root_cert: Some(read("ca.crt".to_owned())),
    };
    let client = redis::Client::build_with_tls(format!("rediss://{}", served.address), certificates)?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    redis::cmd("RPUSH")
        .arg(KEY)
        .arg("record")
        .query_async(&mut connection)
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_is_spoken_and_clear_text_is_not() {
    let certificates = Certificates::make().unwrap();
    let served = start(&certificates, false).await;
    assert_eq!(push(&certificates, &served, None).await.unwrap(), 1);
    let mut plain = TcpStream::connect(served.address).await.unwrap();
    plain.write_all(b"PING\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"+PONG"), "{answer:?}");
    drop(served.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_clients_with_a_certificate_of_the_authority_get_in() {
    let certificates = Certificates::make().unwrap();
    let served = start(&certificates, true).await;
    for stranger in [None, Some("rogue"), Some("expired")] {
        let refused = push(&certificates, &served, stranger).await;
        assert!(refused.is_err(), "{stranger:?}: {refused:?}");
    }
    assert_eq!(push(&certificates, &served, Some("client")).await.unwrap(), 1);
    drop(served.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_is_named() {
    let certificates = Certificates::make().unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let source = super::open(&super::settings(folder.path()));
    let tls = |cert: &str, key: &str, client_ca: Option<&str>| ServerTls {
        cert: certificates.path(cert),
        key: certificates.path(key),
        client_ca: client_ca.map(|name| certificates.path(name)),
    };
    for (files, named) in [
        (tls("missing.crt", "server.key", None), "missing.crt"),
        (tls("server.crt", "server.crt", None), "tls.key_file"),
        (tls("server.crt", "client.key", None), "client.key"),
        (
            tls("server.crt", "server.key", Some("server.key")),
            "server.key: no certificate",
        ),
    ] {
        let mut settings = super::settings(folder.path());
        settings.tls = Some(files);
        let error = source.listen(&settings).await.err().unwrap();
        assert!(format!("{error:#}").contains(named), "{named}: {error:#}");
    }
}
