//! Which texts of a configuration are secrets.

use percent_encoding::percent_decode_str;
use serde_json::Value;

use crate::config::{RedisTopology, Settings};

/// Words in the names of options that hold secrets.
const WORDS: [&str; 10] = [
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "api_key",
    "apikey",
    "access_key",
    "write_key",
    "credential",
];
/// Names of options that hold secrets without saying so.
const NAMES: [&str; 5] = ["application_id", "authorization", "auth", "license", "account_key"];
/// Objects of which every value may be one.
const OBJECTS: [&str; 3] = ["headers", "http_headers", "request_headers"];
/// Settings inside connection strings.
const PARTS: [&str; 9] = [
    "sslpassword=",
    "password=",
    "passwd=",
    "pwd=",
    "secret=",
    "token=",
    "apikey=",
    "api_key=",
    "accesskey=",
];
/// Variables from which libraries of back-ends take secrets.
const VARIABLES: [&str; 5] = [
    "PGPASSWORD",
    "PGSSLPASSWORD",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "MYSQL_PWD",
];

/// Every secret that is found.
pub(super) fn of(settings: &Settings) -> Vec<String> {
    let mut found = vec![
        settings.redis.password.reveal().to_owned(),
        settings.admin.token.reveal().to_owned(),
    ];
    if let RedisTopology::Sentinel { password, .. } = &settings.redis.topology {
        found.push(password.reveal().to_owned());
    }
    found.extend(settings.embedded.iter().map(|store| store.password.reveal().to_owned()));
    for address in &settings.redis.addrs {
        in_text(address, &mut found);
    }
    for pump in settings.pumps.iter().chain(&settings.uptime) {
        in_value("", &pump.meta, false, &mut found);
    }
    found.extend(VARIABLES.iter().filter_map(|name| std::env::var(name).ok()));
    found
}

fn in_value(key: &str, value: &Value, secret: bool, found: &mut Vec<String>) {
    match value {
        Value::String(text) if secret || is_secret(key) => found.push(text.clone()),
        Value::String(text) => in_text(text, found),
        Value::Array(items) => items.iter().for_each(|item| in_value(key, item, secret, found)),
        Value::Object(members) => {
            let all = secret || OBJECTS.iter().any(|name| key.eq_ignore_ascii_case(name));
            members.iter().for_each(|(key, value)| in_value(key, value, all, found));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let is_file = ["_file", "_path", "_field", "_header"]
        .iter()
        .any(|end| key.ends_with(end));
    !is_file && (NAMES.contains(&key.as_str()) || WORDS.iter().any(|word| key.contains(word)))
}

/// Passwords in URLs, in data source names, and in lists of settings.
fn in_text(text: &str, found: &mut Vec<String>) {
    // What is not escaped in a password may look like the end of it: up to the last @ it may belong to it.
    let behind = text.split_once("://").map_or(text, |(_, behind)| behind);
    if let Some((login, _)) = behind.rsplit_once('@')
        && let Some((_, password)) = login.split_once(':')
    {
        add(password, found);
        // And where the URL was right after all.
        if let Some((login, _)) = behind.split_once('@')
            && let Some((_, password)) = login.split_once(':')
        {
            add(password, found);
        }
    }
    let lower = text.to_ascii_lowercase();
    for part in PARTS {
        for (at, _) in lower.match_indices(part) {
            let value = text.get(at + part.len()..).unwrap_or_default().trim_start();
            let value = match value.chars().next() {
                Some(quote @ ('\'' | '"')) => value.get(1..).and_then(|rest| rest.split(quote).next()),
                _ => value.split([' ', ';', '&', ',']).next(),
            };
            add(value.unwrap_or_default(), found);
        }
    }
}

fn add(password: &str, found: &mut Vec<String>) {
    found.push(password.to_owned());
    found.push(percent_decode_str(password).decode_utf8_lossy().into_owned());
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::in_value;

    #[test]
    fn secrets_are_found_wherever_an_option_may_hold_them() {
        for (meta, secret) in [
            (json!({"collector_token": "t0ken"}), "t0ken"),
            (json!({"auth_api_key": "t0ken"}), "t0ken"),
            (json!({"segment_write_key": "t0ken"}), "t0ken"),
            (json!({"application_id": "t0ken"}), "t0ken"),
            (json!({"aws_secret_access_key": "t0ken"}), "t0ken"),
            (json!({"sasl_password": "t0ken"}), "t0ken"),
            (json!({"headers": {"x-anything": "t0ken"}}), "t0ken"),
            (json!({"bulk_config": {"Token": "t0ken"}}), "t0ken"),
            (json!({"mongo_url": "mongodb://u:p%40ss@h:1/db"}), "p@ss"),
            (json!({"mongo_url": "mongodb://u:p%40ss@h:1/db"}), "p%40ss"),
            (json!({"mongo_url": "mongodb://u:p@s/s#1@h:1/db"}), "p@s/s#1"),
            (json!({"connection_string": "u:p:a@ss@tcp(h:1)/db"}), "p:a@ss"),
            (json!({"connection_string": "host=h password='a b' user=u"}), "a b"),
            (json!({"connection_string": "host=h PASSWORD=ab user=u"}), "ab"),
            (json!({"connection_string": "jdbc:x;Password=a=b;Database=d"}), "a=b"),
            (json!({"url": "https://h/x?token=abc&y=1"}), "abc"),
            (json!({"urls": ["http://a", "http://u:one@b"]}), "one"),
        ] {
            let mut found = Vec::new();
            in_value("", &meta, false, &mut found);
            assert!(found.iter().any(|found| found == secret), "{meta}: {found:?}");
        }
        let mut found = Vec::new();
        let harmless = json!({
            "ssl_key_file": "/etc/key.pem", "csv_dir": "/data/csv", "index_name": "tyk", "elasticsearch_url": "http://h:9200",
            "password_file": "/run/secret", "api_key_header": "x-key", "mongo_url": "mongodb://host:27017/db",
        });
        in_value("", &harmless, false, &mut found);
        assert_eq!(found, [""; 0]);
    }
}
