//! `admin_listen`, `admin_token` and `admin_hosts`.

use super::{
    finding::Findings,
    settings::{AdminAccess, Secret},
    values::{Values, parse_address},
};

/// Checks and translates; whatever cannot work is a fatal finding.
pub(super) fn admin_access(top: &Values, findings: &mut Findings) -> AdminAccess {
    let listen = match top.text("admin_listen") {
        "" => None,
        text => {
            let address = parse_address(text);
            if address.is_none() {
                let text = format!("admin_listen is \"{text}\" – write address:port: \"127.0.0.1:8084\"");
                findings.fatal(top.place("admin_listen"), text);
            }
            address
        }
    };
    let token = top.text("admin_token");
    if !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        let text = "admin_token has characters that no header can carry – use letters, digits and punctuation of ASCII, without blanks";
        findings.fatal(top.place("admin_token"), text);
    }
    AdminAccess {
        listen,
        token: Secret::new(token.to_owned()),
        hosts: top.texts("admin_hosts").to_vec(),
    }
}
