//! `embedded_storage` as the embedded store needs it.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::{
    finding::Findings,
    settings::{EmbeddedSettings, Fsync, Secret, ServerTls},
    values::{Values, parse_address, parse_bytes, parse_span},
};

const KEY: &str = "embedded_storage";
/// Two segments, and room for their neighbours.
const LEAST_BYTES: u64 = 256 << 20;
const MOST_COMMAND: u64 = 64 << 20;

/// Checks and translates; whatever cannot work is a fatal finding.
pub fn embedded_settings(values: &Values, findings: &mut Findings) -> EmbeddedSettings {
    let password = Secret::new(values.text("password").to_owned());
    let listen = listen(values, password.reveal().is_empty(), findings);
    let mut bytes = |key: &str, default: u64| match values.text(key) {
        "" => default,
        text => parse_bytes(text).unwrap_or_else(|| {
            let text = format!("{KEY}.{key} is \"{text}\" – write bytes, or a text like \"256MiB\"");
            findings.fatal(values.place(key), text);
            default
        }),
    };
    let (mut max_bytes, mut max_command) = (bytes("max_bytes", 10 << 30), bytes("max_command_size", MOST_COMMAND));
    if max_bytes < LEAST_BYTES {
        let text = format!("{KEY}.max_bytes is {max_bytes} – using {LEAST_BYTES}, the least that works");
        findings.mistake(values.place("max_bytes"), text);
        max_bytes = LEAST_BYTES;
    }
    if !(1024..=MOST_COMMAND).contains(&max_command) {
        let text = format!("{KEY}.max_command_size is {max_command} – using {MOST_COMMAND}; write 1 KiB to 64 MiB");
        findings.mistake(values.place("max_command_size"), text);
        max_command = MOST_COMMAND;
    }
    let fsync = match values.text("fsync") {
        "" | "group" => Fsync::Group,
        "always" => Fsync::Always,
        "never" => Fsync::Never,
        other => {
            let text = format!("{KEY}.fsync is \"{other}\" – write group, always or never");
            findings.fatal(values.place("fsync"), text);
            Fsync::Group
        }
    };
    let idle = match values.text("idle_timeout") {
        "" => Some(Duration::from_secs(600)),
        text => parse_span(text).filter(|span| !span.is_zero()),
    };
    if idle.is_none() {
        let text = format!(
            "{KEY}.idle_timeout is \"{}\" – using 10m; write a time like \"10m\"",
            values.text("idle_timeout")
        );
        findings.mistake(values.place("idle_timeout"), text);
    }
    EmbeddedSettings {
        listen,
        dir: PathBuf::from(match values.text("dir") {
            "" => "tyk-pump-store",
            dir => dir,
        }),
        username: match values.text("username") {
            "" => "default".to_owned(),
            name => name.to_owned(),
        },
        password,
        tls: tls(values, findings),
        max_bytes,
        fsync,
        max_clients: values
            .int("max_clients")
            .filter(|count| *count > 0)
            .map_or(1000, |count| count as usize),
        max_command: max_command as usize,
        idle_timeout: idle.unwrap_or(Duration::from_secs(600)),
    }
}

fn listen(values: &Values, open: bool, findings: &mut Findings) -> SocketAddr {
    let default = SocketAddr::from(([127, 0, 0, 1], 6380));
    let given = match values.text("listen") {
        "" => return default,
        text => text,
    };
    let Some(address) = parse_address(given) else {
        let text = format!("{KEY}.listen is \"{given}\" – write address:port: \"127.0.0.1:6380\"");
        findings.fatal(values.place("listen"), text);
        return default;
    };
    if open && !address.ip().to_canonical().is_loopback() {
        let text = format!(
            "{KEY}.listen is \"{given}\", which other machines reach, and there is no password: anybody could read and fill the store – set {KEY}.password, or listen on 127.0.0.1"
        );
        findings.fatal(values.place("listen"), text);
    }
    address
}

fn tls(values: &Values, findings: &mut Findings) -> Option<ServerTls> {
    let file = |key: &str, findings: &mut Findings| {
        let path = values.text(key);
        if path.is_empty() {
            return None;
        }
        if let Err(error) = std::fs::File::open(path) {
            let text = format!("{KEY}.{key}: cannot open {path}: {error}");
            findings.fatal(values.place(key), text);
        }
        Some(PathBuf::from(path))
    };
    let client_ca = file("tls.client_ca_file", findings);
    match (file("tls.cert_file", findings), file("tls.key_file", findings)) {
        (Some(cert), Some(key)) => Some(ServerTls { cert, key, client_ca }),
        (None, None) if client_ca.is_none() => None,
        // Speaking in clear text when TLS was meant would give the records away.
        _ => {
            let text = format!("{KEY}.tls needs both cert_file and key_file");
            findings.fatal(values.place("tls.cert_file"), text);
            None
        }
    }
}
