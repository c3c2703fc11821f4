use std::{io, sync::Arc};

use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use fakes::certificates::Certificates;

/// Greets over TLS, once.
async fn greet(listener: TcpListener, acceptor: TlsAcceptor) -> io::Result<()> {
    let (stream, _) = listener.accept().await?;
    let mut stream = acceptor.accept(stream).await?;
    stream.write_all(b"hello").await?;
    stream.shutdown().await
}

/// What a client with these settings gets to read from a server that shows `certificate`.
async fn talk(made: &Certificates, certificate: &str, asks: bool, settings: &TlsSettings) -> Result<String, String> {
    let config = client_config(settings).map_err(|error| error.to_string())?;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(greet(listener, made.acceptor(certificate, asks).unwrap()));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let text = async {
        let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        Ok::<_, io::Error>(text)
    };
    let text = text.await.map_err(|error| error.to_string());
    let _ = server.await.unwrap();
    text
}

fn trusting(made: &Certificates) -> TlsSettings {
    TlsSettings {
        ca_files: PemFile::of("ssl_ca_file", &made.text("ca.crt")).into_iter().collect(),
        ..TlsSettings::default()
    }
}

#[tokio::test]
async fn a_certificate_of_the_named_authority_is_trusted_and_no_other() {
    let made = Certificates::make().unwrap();
    let settings = trusting(&made);
    assert_eq!(talk(&made, "server", false, &settings).await.as_deref(), Ok("hello"));
    for bad in ["rogue", "expired", "wronghost"] {
        let error = talk(&made, bad, false, &settings).await.unwrap_err();
        assert!(error.contains("certificate"), "{bad}: {error}");
    }
}

#[tokio::test]
async fn a_certificate_that_is_its_own_authority_is_trusted_when_it_is_named() {
    let made = Certificates::make().unwrap();
    for verification in [Verification::Full, Verification::Chain] {
        let trusting = |name: &str| TlsSettings {
            ca_files: PemFile::of("ssl_ca_file", &made.text(name)).into_iter().collect(),
            verification,
            ..TlsSettings::default()
        };
        assert_eq!(
            talk(&made, "self", false, &trusting("self.crt")).await.as_deref(),
            Ok("hello")
        );
        for (shown, trusted) in [
            ("self", "ca.crt"),
            ("self-expired", "self-expired.crt"),
            ("self-expired", "self.crt"),
        ] {
            let error = talk(&made, shown, false, &trusting(trusted)).await.unwrap_err();
            assert!(error.contains("certificate"), "{shown}: {error}");
        }
    }
    let other_name = TlsSettings {
        ca_files: PemFile::of("ssl_ca_file", &made.text("self.crt")).into_iter().collect(),
        server_name: Some("elsewhere.example.com".to_owned()),
        ..TlsSettings::default()
    };
    let error = talk(&made, "self", false, &other_name).await.unwrap_err();
    assert!(error.contains("certificate"), "{error}");
}

#[tokio::test]
async fn checking_the_chain_alone_ignores_the_name_but_not_the_authority() {
    let made = Certificates::make().unwrap();
    let settings = TlsSettings {
        verification: Verification::Chain,
        ..trusting(&made)
    };
    assert!(talk(&made, "wronghost", false, &settings).await.is_ok());
    assert!(talk(&made, "rogue", false, &settings).await.is_err());
    assert!(talk(&made, "expired", false, &settings).await.is_err());
}

#[tokio::test]
async fn without_verification_anybody_may_answer() {
    let made = Certificates::make().unwrap();
    let settings = TlsSettings {
        verification: Verification::None,
        ..TlsSettings::default()
    };
    for anybody in ["rogue", "expired", "wronghost"] {
        assert!(talk(&made, anybody, false, &settings).await.is_ok(), "{anybody}");
    }
}

#[tokio::test]
async fn a_server_name_replaces_the_host_in_the_check() {
    let made = Certificates::make().unwrap();
    let settings = TlsSettings {
        server_name: Some("elsewhere.invalid".to_owned()),
        ..trusting(&made)
    };
    assert!(talk(&made, "wronghost", false, &settings).await.is_ok());
    assert!(talk(&made, "server", false, &settings).await.is_err());
}

#[tokio::test]
async fn the_client_shows_its_certificate_from_two_files_or_one() {
    let made = Certificates::make().unwrap();
    let identity = |certificate: &str, key: &str| TlsSettings {
        identity: Some(Identity {
            certificate: PemFile::of("ssl_cert_file", &made.text(certificate)).unwrap(),
            key: PemFile::of("ssl_key_file", &made.text(key)).unwrap(),
        }),
        ..trusting(&made)
    };
    assert!(
        talk(&made, "server", true, &identity("client.crt", "client.key"))
            .await
            .is_ok()
    );
    assert!(
        talk(&made, "server", true, &identity("client.pem", "client.pem"))
            .await
            .is_ok()
    );
    assert!(talk(&made, "server", true, &trusting(&made)).await.is_err());
}

#[test]
fn errors_name_the_option_and_the_file() {
    let made = Certificates::make().unwrap();
    let error = |settings: TlsSettings| client_config(&settings).map(drop).unwrap_err().to_string();
    let ca = |path: &str| TlsSettings {
        ca_files: vec![PemFile::of("ssl_ca_file", path).unwrap()],
        ..TlsSettings::default()
    };
    assert!(error(ca("/nowhere/ca.crt")).starts_with("ssl_ca_file /nowhere/ca.crt: "));
    let unchecked = TlsSettings {
        verification: Verification::None,
        ..ca("/nowhere/ca.crt")
    };
    assert!(error(unchecked).starts_with("ssl_ca_file /nowhere/ca.crt: "));
    let key = made.text("ca.key");
    assert_eq!(
        error(ca(&key)),
        format!("ssl_ca_file {key}: no certificate in it (PEM is expected) – name a PEM file that the pump can read")
    );
    let strangers = TlsSettings {
        identity: Some(Identity {
            certificate: PemFile::of("ssl_cert_file", &made.text("client.crt")).unwrap(),
            key: PemFile::of("ssl_key_file", &made.text("server.key")).unwrap(),
        }),
        ..trusting(&made)
    };
    let text = error(strangers);
    assert!(
        text.contains("ssl_cert_file") && text.contains("ssl_key_file"),
        "{text}"
    );
    let versions = TlsSettings {
        versions: TlsVersion::V1_3..=TlsVersion::V1_2,
        ..trusting(&made)
    };
    assert!(error(versions).contains("none is left"));
}

#[test]
fn half_an_identity_is_none_and_is_said() {
    let mut said = Vec::new();
    let options = SslOptions {
        cert_file: "/c.pem".to_owned(),
        insecure_skip_verify: true,
        ca_file: "/ca.pem".to_owned(),
        ..SslOptions::default()
    };
    let settings = options.settings("", |text| said.push(text.to_owned()));
    assert!(settings.identity.is_none());
    assert_eq!(settings.verification, Verification::None);
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said[0].contains("ssl_key_file is not"));
}
