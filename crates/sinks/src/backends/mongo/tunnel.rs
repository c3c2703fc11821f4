//! TLS beside the driver, for certificates whose names do not matter (`mongo_ssl_allow_invalid_hostnames`).
//!
//! The driver's TLS library checks a name or nothing at all. Here it speaks plainly to a SOCKS proxy of this process, which
//! it asks for each server that it finds, and the proxy speaks TLS to the server, with a check of its own: the chain of
//! authorities alone. The proxy listens on the loopback interface and lets nobody in who does not know its secret.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use mongodb::options::Socks5Proxy;
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_rustls::TlsConnector;

/// How long a server may take to answer, and the driver to say what it wants.
const PATIENCE: Duration = Duration::from_secs(10);

/// Words of SOCKS 5 (RFC 1928, RFC 1929).
const VERSION: u8 = 5;
const BY_PASSWORD: u8 = 2;
const NO_METHOD: u8 = 0xff;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const FAILED: u8 = 1;

/// The proxy; it ends when it is dropped.
pub(super) struct Tunnel {
    port: u16,
    secret: String,
    /// One task, which ends with the set.
    _task: JoinSet<()>,
}

/// What every connection needs.
struct Guard {
    secret: String,
    connector: TlsConnector,
    log_prefix: String,
    pump: String,
    /// What went wrong last, which is said once.
    said: Mutex<String>,
}

impl Tunnel {
    /// Listens on a free port of the loopback interface.
    pub(super) async fn open(config: ClientConfig, log_prefix: &str, pump: &str) -> io::Result<Tunnel> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let secret = format!("{}{}", ulid::Ulid::new(), ulid::Ulid::new());
        let guard = Arc::new(Guard {
            secret: secret.clone(),
            connector: TlsConnector::from(Arc::new(config)),
            log_prefix: log_prefix.to_owned(),
            pump: pump.to_owned(),
            said: Mutex::default(),
        });
        let port = listener.local_addr()?.port();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                match listener.accept().await {
                    Ok((stream, _)) => drop(connections.spawn(serve(guard.clone(), stream))),
                    Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
                }
                while connections.try_join_next().is_some() {}
            }
        });
        Ok(Tunnel {
            port,
            secret,
            _task: task,
        })
    }

    /// What the driver has to know.
    pub(super) fn proxy(&self) -> Socks5Proxy {
        Socks5Proxy::builder()
            .host(Ipv4Addr::LOCALHOST.to_string())
            .port(self.port)
            .authentication(("pump".to_owned(), self.secret.clone()))
            .build()
    }
}

async fn serve(guard: Arc<Guard>, mut driver: TcpStream) {
    let Ok(Ok((host, port))) = timeout(PATIENCE, wish(&guard, &mut driver)).await else {
        return;
    };
    let connected = match timeout(PATIENCE, connect(&guard, &host, port)).await {
        Ok(connected) => connected,
        Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "no answer in time")),
    };
    match connected {
        Ok(mut server) => {
            if answer(&mut driver, 0).await.is_ok() {
                // Whoever ends first ends both; there is nobody to tell.
                let _ = copy_bidirectional(&mut driver, &mut server).await;
            }
        }
        Err(error) => {
            guard.say(format!("no connection with TLS to {host}:{port}: {error}"));
            let _ = answer(&mut driver, FAILED).await;
        }
    }
}

/// Greets the driver; returns the server that it wants.
async fn wish(guard: &Guard, driver: &mut TcpStream) -> io::Result<(String, u16)> {
    let refused = || io::Error::new(io::ErrorKind::PermissionDenied, "refused");
    if driver.read_u8().await? != VERSION {
        return Err(refused());
    }
    let methods = bytes(driver).await?;
    if !methods.contains(&BY_PASSWORD) {
        driver.write_all(&[VERSION, NO_METHOD]).await?;
        return Err(refused());
    }
    driver.write_all(&[VERSION, BY_PASSWORD]).await?;
    driver.read_u8().await?;
    let _user = bytes(driver).await?;
    let secret = bytes(driver).await?;
    let is_known = secret == guard.secret.as_bytes();
    driver.write_all(&[PASSWORD_VERSION, u8::from(!is_known)]).await?;
    let [version, command, _] = [
        driver.read_u8().await?,
        driver.read_u8().await?,
        driver.read_u8().await?,
    ];
    if !is_known || version != VERSION || command != CONNECT {
        return Err(refused());
    }
    let host = match driver.read_u8().await? {
        1 => IpAddr::from(Ipv4Addr::from(driver.read_u32().await?)).to_string(),
        4 => IpAddr::from(Ipv6Addr::from(driver.read_u128().await?)).to_string(),
        _ => String::from_utf8_lossy(&bytes(driver).await?).into_owned(),
    };
    Ok((host, driver.read_u16().await?))
}

/// So many bytes as the first one says.
async fn bytes(driver: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::from(driver.read_u8().await?)];
    driver.read_exact(&mut bytes).await?;
    Ok(bytes)
}

async fn answer(driver: &mut TcpStream, status: u8) -> io::Result<()> {
    driver.write_all(&[VERSION, status, 0, 1, 0, 0, 0, 0, 0, 0]).await
}

async fn connect(guard: &Guard, host: &str, port: u16) -> io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let plain = host.trim_start_matches('[').trim_end_matches(']');
    let name =
        ServerName::try_from(plain.to_owned()).map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TcpStream::connect((plain, port)).await?;
    // The driver waits for each answer before it sends more.
    let _ = stream.set_nodelay(true);
    guard.connector.connect(name, stream).await
}

impl Guard {
    fn say(&self, text: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if *said != text {
            tracing::warn!(prefix = self.log_prefix, pump = self.pump, "{text}");
            *said = text;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::tls::{PemFile, TlsSettings, Verification, client_config};

    #[tokio::test]
    async fn nobody_comes_in_without_the_secret() {
        let settings = TlsSettings {
            verification: Verification::None,
            ..TlsSettings::default()
        };
        let tunnel = Tunnel::open(client_config(&settings).unwrap(), "test", "TEST")
            .await
            .unwrap();
        let mut stranger = TcpStream::connect((Ipv4Addr::LOCALHOST, tunnel.port)).await.unwrap();
        stranger.write_all(&[VERSION, 1, BY_PASSWORD]).await.unwrap();
        let mut answer = [0; 2];
        stranger.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [VERSION, BY_PASSWORD]);
        stranger
            .write_all(b"\x01\x04pump\x03bad\x05\x01\x00\x01\x7f\x00\x00\x01\x00\x50")
            .await
            .unwrap();
        stranger.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer[0], PASSWORD_VERSION);
        assert_ne!(answer[1], 0);
        assert_eq!(stranger.read(&mut answer).await.unwrap_or_default(), 0, "and hangs up");
        let mut open = TcpStream::connect((Ipv4Addr::LOCALHOST, tunnel.port)).await.unwrap();
        open.write_all(&[VERSION, 1, 0]).await.unwrap();
        open.read_exact(&mut answer).await.unwrap();
        assert_eq!(answer, [VERSION, NO_METHOD]);
    }

    #[tokio::test]
    async fn files_that_cannot_be_read_are_named() {
        let settings = TlsSettings {
            ca_files: PemFile::of("mongo_ssl_ca_file", "/nowhere.pem").into_iter().collect(),
            verification: Verification::Chain,
            ..TlsSettings::default()
        };
        let error = client_config(&settings).unwrap_err().to_string();
        assert!(error.contains("mongo_ssl_ca_file /nowhere.pem"), "{error}");
    }
}
