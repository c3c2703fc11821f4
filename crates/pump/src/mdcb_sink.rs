//! `tyk-pump mdcb-sink`: takes calls as MDCB does, and writes each as a JSON line. For rehearsals of a `hybrid` pump where no
//! MDCB can be had, and for tests.

use std::{
    io::Write,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context;
use clap::Args;
use futures::FutureExt;
use gorpc::{Answer, IncomingCall, Outcome, Server, ServerOptions, gob::Basic};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use serde_json::{Value, json};

/// `mdcb-sink`
#[derive(Clone, Debug, Args)]
pub struct MdcbSinkOptions {
    /// where to listen; port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT", default_value = "127.0.0.1:9091")]
    pub listen: SocketAddr,
    /// the only user key that may log in; without it every key may
    #[arg(long, value_name = "KEY")]
    pub api_key: Option<String>,
    /// append the lines to this file instead of writing them to the output
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// TLS: PEM file with the certificate
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// TLS: PEM file with its key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// answer purge calls so many milliseconds later
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub delay: u64,
    /// answer this percentage of the purge calls with an error
    #[arg(long, value_name = "PERCENT", default_value_t = 0, value_parser = clap::value_parser!(u8).range(0..=100))]
    pub fail: u8,
}

type Output = Arc<Mutex<Box<dyn Write + Send>>>;

/// Serves until the process is asked to stop.
///
/// # Errors
/// The address is taken, a file cannot be used.
pub async fn run(options: MdcbSinkOptions, notes: &mut dyn Write) -> anyhow::Result<()> {
    let output: Box<dyn Write + Send> = match &options.out {
        None => Box::new(std::io::stdout()),
        Some(path) => {
            let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
            Box::new(file.with_context(|| format!("--out {}", path.display()))?)
        }
    };
    let server = serve(&options, Arc::new(Mutex::new(output))).await?;
    if options.out.is_some() {
        writeln!(notes, "listening on {}", server.address())?;
    } else {
        // The output belongs to the lines.
        writeln!(std::io::stderr(), "listening on {}", server.address())?;
    }
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = terminate.recv() => {}
    }
    server.stop().await;
    Ok(())
}

async fn serve(options: &MdcbSinkOptions, output: Output) -> anyhow::Result<Server> {
    let tls = match (&options.tls_cert, &options.tls_key) {
        (Some(certificate), Some(key)) => Some(server_tls(certificate, key)?),
        _ => None,
    };
    let server = ServerOptions {
        tls,
        ..ServerOptions::default()
    };
    let behaviour = Arc::new(options.clone());
    let handler = move |call: IncomingCall| {
        let (behaviour, output) = (behaviour.clone(), output.clone());
        async move { answer(&behaviour, &output, call).await }.boxed()
    };
    Server::start(options.listen, server, Arc::new(handler))
        .await
        .with_context(|| format!("--listen {}", options.listen))
}

fn server_tls(certificate: &Path, key: &Path) -> anyhow::Result<tokio_rustls::TlsAcceptor> {
    let chain: Result<Vec<CertificateDer<'static>>, _> =
        CertificateDer::pem_file_iter(certificate).and_then(Iterator::collect);
    let chain = chain.with_context(|| format!("--tls-cert {}", certificate.display()))?;
    let private = PrivateKeyDer::from_pem_file(key).with_context(|| format!("--tls-key {}", key.display()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = builder.with_no_client_auth().with_single_cert(chain, private);
    let config = config.with_context(|| format!("--tls-cert {}", certificate.display()))?;
    Ok(Arc::new(config).into())
}

async fn answer(options: &MdcbSinkOptions, output: &Output, call: IncomingCall) -> Answer {
    let is_purge = matches!(
        &*call.name,
        ".PurgeAnalyticsData" | ".PurgeAnalyticsDataAggregated" | ".PurgeAnalyticsDataMCPAggregated"
    );
    let outcome = match &*call.name {
        ".Ping" => Outcome::Returned(Some(Basic::Bool(true))),
        ".Login" => {
            let given = match &call.argument {
                Some(Basic::Text(key)) => Some(&key[..]),
                _ => None,
            };
            let wanted = options.api_key.as_ref().map(String::as_bytes);
            Outcome::Returned(Some(Basic::Bool(
                given.is_some() && (wanted.is_none() || wanted == given),
            )))
        }
        _ if is_purge && fails(options.fail) => Outcome::Failed("storage unavailable (--fail)".to_owned()),
        _ if is_purge => Outcome::Returned(None),
        other => Outcome::Failed(format!("gorpc.Dispatcher: unknown method [{other}]")),
    };
    if is_purge {
        tokio::time::sleep(Duration::from_millis(options.delay)).await;
    }
    match note(output, &call, &outcome) {
        Ok(()) => Answer::Outcome(outcome),
        // What was not kept was not taken.
        Err(error) => Answer::Outcome(Outcome::Failed(format!("cannot write the line: {error}"))),
    }
}

fn fails(percent: u8) -> bool {
    rand::random_range(0..100) < percent
}

/// `{"call": name, "argument": …, "answer": …, "pool": …, "connection": …}`. An argument that is JSON is shown as JSON, the
/// key of a login not at all.
fn note(output: &Output, call: &IncomingCall, outcome: &Outcome) -> std::io::Result<()> {
    let argument = match &call.argument {
        None => Value::Null,
        Some(_) if call.name == ".Login" => json!("(key)"),
        Some(Basic::Text(text)) => {
            let parsed = serde_json::from_slice(text).ok();
            parsed.unwrap_or_else(|| Value::from(String::from_utf8_lossy(text)))
        }
        Some(other) => Value::from(format!("{other:?}")),
    };
    let answer = match outcome {
        Outcome::Returned(None) => Value::Null,
        Outcome::Returned(Some(Basic::Bool(value))) => Value::from(*value),
        Outcome::Returned(Some(other)) => Value::from(format!("{other:?}")),
        Outcome::Failed(text) | Outcome::Broken(text) => json!({"error": text}),
    };
    let line = json!({
        "call": call.name, "argument": argument, "answer": answer,
        "pool": String::from_utf8_lossy(&call.pool), "connection": call.connection,
    });
    let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
    writeln!(output, "{line}")?;
    output.flush()
}

#[cfg(test)]
mod tests {
    use fakes::Pipe;
    use gorpc::{Address, Client, ClientOptions};

    use super::*;

    #[tokio::test]
    async fn calls_become_lines_and_only_the_right_key_logs_in() {
        let output = Pipe::default();
        let options = MdcbSinkOptions {
            listen: "127.0.0.1:0".parse().unwrap(),
            api_key: Some("right".to_owned()),
            out: None,
            tls_cert: None,
            tls_key: None,
            delay: 0,
            fail: 0,
        };
        let server = serve(&options, Arc::new(Mutex::new(Box::new(output.clone()))))
            .await
            .unwrap();
        let client = Client::start(ClientOptions {
            address: Address {
                host: "127.0.0.1".to_owned(),
                port: server.address().port(),
            },
            connections: 1,
            pool: "p".into(),
            compressed: true,
            dial_timeout: Duration::from_secs(10),
            tls: None,
        });
        let call = async |name: &str, argument: &'static str| {
            client
                .call(name, Some(Basic::text(argument)), Duration::from_secs(10))
                .await
        };
        assert_eq!(call(".Login", "wrong").await.unwrap(), Some(Basic::Bool(false)));
        assert_eq!(call(".Login", "right").await.unwrap(), Some(Basic::Bool(true)));
        assert_eq!(call(".PurgeAnalyticsData", "[{\"a\":1}]").await.unwrap(), None);
        assert!(
            call(".Other", "")
                .await
                .unwrap_err()
                .to_string()
                .contains("unknown method [.Other]")
        );
        let text = String::from_utf8(output.content()).unwrap();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[2]["argument"], json!([{"a": 1}]));
        assert_eq!(lines[0]["answer"], false);
        assert!(!text.contains("right"), "{text}");
    }
}
