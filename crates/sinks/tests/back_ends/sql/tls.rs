//! Modes of TLS against a server that refuses plain connections.

use std::process::Command;

use serde_json::json;
use sinks::BuildError;

use super::support::try_sink;

/// A server with TLS, stopped at the end.
struct Server {
    folder: tempfile::TempDir,
    port: u16,
}

fn script(arguments: &[&str]) -> bool {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/services/postgres.sh");
    Command::new(script)
        .args(arguments)
        .output()
        .is_ok_and(|output| output.status.success())
}

impl Server {
    /// `None`: Postgres is not installed.
    fn start() -> Option<Server> {
        fakes::server::address("postgres")?;
        let port = fakes::ports::free_ports(1, &[]);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("server");
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        assert!(
            script(&["start", path.to_str().unwrap(), &port.to_string(), "tls"]),
            "the server does not start"
        );
        Some(Server { folder, port })
    }

    fn certificate(&self, name: &str) -> String {
        self.folder.path().join("server/certs").join(name).display().to_string()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script(&["stop", self.folder.path().join("server").to_str().unwrap()]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_mode_of_tls_does_what_it_says() {
    let Some(server) = Server::start() else { return };
    let [ca, rogue, certificate, key] =
        ["ca.crt", "rogue-ca.crt", "client.crt", "client.key"].map(|name| server.certificate(name));
    let connect = async |host: &str, settings: &str| {
        let port = server.port;
        let string = format!("host={host} port={port} user=tyk password=secret dbname=tyk_analytics {settings}");
        let meta = json!({"type": "postgres", "connection_string": string});
        match try_sink("sql", "TEST", meta).await {
            Ok(_) => Ok(()),
            Err(BuildError::Unavailable(error)) => Err(error.to_string()),
            Err(error) => panic!("{error}"),
        }
    };
    for settings in [
        "",
        "sslmode=prefer",
        "sslmode=allow",
        "sslmode=require",
        "sslmode=require channel_binding=require",
        &format!("sslmode=require sslrootcert={ca}"),
        &format!("sslmode=verify-ca sslrootcert={ca}"),
        &format!("sslmode=verify-full sslrootcert={ca}"),
        &format!("sslmode=verify-full sslrootcert={ca} sslcert={certificate} sslkey={key}"),
    ] {
        assert_eq!(connect("localhost", settings).await, Ok(()), "{settings}");
    }
    let refused = connect("localhost", "sslmode=disable").await.unwrap_err();
    assert!(refused.contains("no encryption"), "{refused}");
    assert!(
        refused.starts_with("failed to connect to `user=tyk database=tyk_analytics`: localhost:"),
        "{refused}"
    );
    // An authority that has not signed anything, or the system's.
    for settings in [
        "sslmode=verify-full",
        "sslrootcert=system",
        &format!("sslmode=require sslrootcert={rogue}"),
        &format!("sslmode=verify-ca sslrootcert={rogue}"),
    ] {
        let refused = connect("localhost", settings).await.unwrap_err();
        assert!(refused.contains("certificate"), "{settings}: {refused}");
    }
    let wrong = connect("localhost", "sslmode=require password=wrong")
        .await
        .unwrap_err();
    assert!(wrong.contains("28P01") && !wrong.contains("wrong "), "{wrong}");
}
