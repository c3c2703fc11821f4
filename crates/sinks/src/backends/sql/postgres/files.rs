//! Password files and service files.

use std::{collections::HashMap, path::Path};

use super::settings::Address;

/// Host, port, database, user, password of one line.
pub(super) type PasswordLine = [String; 5];

/// The lines of a password file; none when it cannot be read.
pub(super) fn read_passwords(path: &Path) -> Vec<PasswordLine> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.filter_map(split_line).collect()
}

fn split_line(line: &str) -> Option<PasswordLine> {
    let mut fields: [String; 5] = Default::default();
    let mut at = 0;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\\' => fields.get_mut(at)?.push(letters.next()?),
            ':' if at < 4 => at += 1,
            letter => fields.get_mut(at)?.push(letter),
        }
    }
    (at == 4).then_some(fields)
}

/// The password of the first line that fits.
pub(super) fn find_password(lines: &[PasswordLine], address: &Address, database: &str, user: &str) -> Option<String> {
    let (host, port) = match address {
        Address::Tcp(host, port) => (host.as_str(), port.to_string()),
        // A socket's file ends with the port.
        Address::Socket(path) => ("localhost", path.extension()?.to_string_lossy().into_owned()),
    };
    let wanted = [host, &port, database, user];
    let fits = |line: &&PasswordLine| {
        line.iter()
            .zip(wanted)
            .all(|(field, wanted)| field == "*" || field == wanted)
    };
    lines.iter().find(fits).map(|[.., password]| password.clone())
}

/// The settings of one section of a service file.
pub(super) fn read_service(path: &Path, service: &str) -> Result<HashMap<String, String>, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("service file {shown}: {error}"))?;
    let mut settings = None;
    for line in text.lines().map(str::trim) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(section) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            if settings.is_some() {
                break;
            }
            if section.trim() == service {
                settings = Some(HashMap::new());
            }
            continue;
        }
        if let (Some(settings), Some((key, value))) = (&mut settings, line.split_once('=')) {
            let key = match key.trim() {
                "dbname" => "database",
                key => key,
            };
            settings.insert(key.to_owned(), value.trim().to_owned());
        }
    }
    settings.ok_or_else(|| format!("service file {shown} has no section [{service}]"))
}
