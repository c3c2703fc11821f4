//! The pump of uptime data, from `uptime_pump_config`.

use std::sync::Arc;

use analytics::{Filter, Transform};
use serde_json::{Map, Value};

use super::{Config, OnFull, PumpSettings, effective::Inherited, finding::Findings, values::Data};

/// The pump, if uptime data has a destination; `None`: it stays in Redis.
pub(super) fn uptime_settings(config: &Config, inherited: &Inherited, findings: &mut Findings) -> Option<PumpSettings> {
    if config.top.is_on("dont_purge_uptime_data") {
        return None;
    }
    let values = &config.uptime;
    let chosen = values.text("uptime_type");
    let (kind, named) = match chosen {
        "sql" => (
            "sql",
            !values.text("type").is_empty() || !values.text("connection_string").is_empty(),
        ),
        _ => ("mongo", !values.text("mongo_url").is_empty()),
    };
    let given = ["type", "connection_string"]
        .into_iter()
        .any(|key| !values.text(key).is_empty());
    if !named && given && kind == "mongo" {
        let sql = if chosen.is_empty() { values.text("type") } else { chosen }.to_lowercase();
        let text = format!(
            "uptime_pump_config.uptime_type is \"{chosen}\" – write \"uptime_type\": \"sql\" and \"type\": \"{sql}\"; uptime data stays in Redis"
        );
        findings.mistake(values.place("uptime_type"), text);
        return None;
    }
    if !named {
        let key = if kind == "sql" {
            "connection_string"
        } else {
            "mongo_url"
        };
        let text = format!(
            "uptime data is on, but uptime_pump_config.{key} is missing – it stays in Redis; add it, or set \"dont_purge_uptime_data\": true"
        );
        findings.warn(values.place("uptime_type"), text);
        return None;
    }
    let mut meta = Map::new();
    meta.insert("collection_name".to_owned(), "tyk_uptime_analytics".into());
    for (key, entry) in values.iter().filter(|(key, _)| *key != "uptime_type") {
        let value = match &entry.data {
            Data::Text(text) if text.is_empty() => continue,
            Data::Text(text) => Value::from(text.as_str()),
            Data::Bool(on) => Value::from(*on),
            Data::Int(number) => Value::from(*number),
            Data::Texts(_) | Data::Ints(_) | Data::Map(_) => continue,
        };
        match key.split_once('.') {
            None => drop(meta.insert(key.to_owned(), value)),
            Some((object, key)) => {
                let inner = meta.entry(object).or_insert_with(|| Value::Object(Map::new()));
                if let Value::Object(inner) = inner {
                    inner.insert(key.to_owned(), value);
                }
            }
        }
    }
    Some(PumpSettings {
        name: Arc::from("UPTIME"),
        kind: kind.to_owned(),
        filter: Filter::default(),
        transform: Transform::default(),
        timeout: None,
        compat: inherited.compat,
        most_per_second: None,
        on_full: if inherited.spool {
            OnFull::Spool
        } else {
            OnFull::DropOldest
        },
        meta: Value::Object(meta),
        refused: None,
    })
}
