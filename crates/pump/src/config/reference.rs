//! The reference page and the JSON schema of the configuration, made from the table of settings.

use std::fmt::Write;

use serde_json::{Map, Value, json};

use super::schema::{DELIVERY, EMBEDDED, Kind, PUMP, STORAGE, Section, Setting, TOP, UPTIME};

const HEAD: &str = "<!-- Generated: `UPDATE=1 cargo test -p tyk-pump --test units config_reference`. -->

# Configuration

The pump reads a JSON file (`-c FILE`, by default `pump.conf`), then environment variables, which go before the file, then
replaces references to secrets. `tyk-pump check -c FILE` reads file and environment strictly, the options of every pump as
its start reads them, and says everything that is wrong; it connects to nothing. Working files to begin with are in [`examples/`](../examples); the options of each kind of pump (`meta`) are in
[`sinks/`](sinks/README.md). An editor checks and completes files with [the schema](pump.schema.json).

Keys are understood in any case. An unknown key, a variable `TYK_PMP_*` that nothing reads and a value of the wrong type are
said at start and do not keep the pump from running, with one exception: a pump whose filters or `meta` cannot be read does not
start. An option that only a related type has (`use_mixed_collection` of `mongo-pump-aggregate` in `mongo`) is a warning.
Keys that begin with `_`, `#`, `$` or `//` are notes.

**Variables.** The first name in each row is the original pump's. The key in capital letters, with or without its underscores,
is understood too, unless `compat` is set. Numbers are Go literals (`0x1F`, `1_000`; a leading `0` means octal), switches
`true`, `false`, `1`, `0`, `t`, `f`; lists are separated by commas. A variable that is empty empties a text or list, and is
ignored for numbers and switches. `TYK_PMP_OMITCONFIGFILE=true` reads no file at all.
";

const TAIL: &str = "
## Pumps from the environment

`TYK_PMP_PUMPS_<NAME>_<SETTING>` sets or adds a pump. Its name ends at the first underscore, unless it is a type that has one
(`SQL_AGGREGATE`). A name that is a type is the type; any other name needs `TYK_PMP_PUMPS_<NAME>_TYPE` or a pump of that name
in the file, for which underscores and hyphens make no difference: `TYK_PMP_PUMPS_SQLAGGREGATE_TYPE=sql_aggregate` is about
the file's pump `sql_aggregate`, if that is of this type. Options are `TYK_PMP_PUMPS_<NAME>_META_<OPTION>`. A pump of the file that has no variables of its own name reads its options from
the prefix `meta.meta_env_prefix`, or else from that of its type (`TYK_PMP_PUMPS_CSV_META_…`).

## Secrets: `kv`

Any text may hold references: `kv://<store>/<path>` as the whole text, `$kv{<store>:<path>}` inside a text. `#<field>` behind the path
takes a field of a secret that is JSON. Stores are named below `kv.stores`, or in `TYK_PMP_KV_STORES` as JSON:

```json
{\"kv\": {\"stores\": {\"local\": {\"type\": \"file\", \"required\": true, \"config\": {\"base_path\": \"/run/secrets\"}}}}}
```

| Type | Settings in `config` |
|---|---|
| `env` | `prefix`, `uppercase` (capital letters for the path), `allow_no_prefix` |
| `file` | `base_path`, an absolute folder; line ends at the end of a file are dropped |
| `inline` | `data`, an object of texts |

A store that cannot be opened is skipped with a warning, and ends the process when it is `required`. A reference that cannot be
resolved ends the process. Stores of the types `hashicorp_vault`, `hashicorp_consul`, `aws_secrets_manager`,
`azure_key_vault` and `gcp_secret_manager` are not built yet.

## Other variables

| Variable | Effect |
|---|---|
| `TYK_LOGLEVEL` | Log level; goes before `log_level`. `--debug` goes before both. |
| `TYK_LOGFORMAT` | Log format; goes before `log_format`. |
| `TYK_INSTRUMENTATION` | `1` sends the pump's own figures to StatsD. |
| `TYK_PMP_BUILDDEMODATA` | Demo mode for this organisation, as `--demo`. |
| `MONGO_DB_TYPE` | `mongo_db_type` where nothing else sets it. |
";

/// The page `docs/configuration.md`.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for (title, about, section) in [
        ("Global keys", "", &TOP),
        (
            "Redis: `analytics_storage_config`",
            "The prefixes `TYK_PMP_REDIS_` and, before it, `TYK_PMP_TEMPORAL_STORAGE_` work too and go before this one.",
            &STORAGE,
        ),
        (
            "The pump's own store: `embedded_storage`",
            "Counts with `\"analytics_storage_type\": \"embedded\"`; see [embedded.md](embedded.md).",
            &EMBEDDED,
        ),
        ("Delivery: `delivery`", "Additions of this pump.", &DELIVERY),
        (
            "Uptime data: `uptime_pump_config`",
            "The uptime pump runs when a destination is named and `dont_purge_uptime_data` is not true; else uptime data stays in Redis.",
            &UPTIME,
        ),
        ("A pump: `pumps.<name>`", "`meta` holds the options of its kind.", &PUMP),
    ] {
        let _ = writeln!(page, "\n## {title}\n");
        if !about.is_empty() {
            let _ = writeln!(page, "{about}\n");
        }
        page.push_str("| Key | Value | Default | Variable | Meaning |\n|---|---|---|---|---|\n");
        for setting in section.settings {
            page.push_str(&row(section, setting));
        }
    }
    page.push_str(TAIL);
    page
}

fn row(section: &Section, setting: &Setting) -> String {
    let default = match setting.default {
        "" => String::new(),
        text if text.contains(['`', ' ']) => text.to_owned(),
        text => format!("`{text}`"),
    };
    let prefix = section.prefixes.first().copied().unwrap_or_default();
    let variable = match setting.env {
        "" => String::new(),
        env => format!("`{prefix}{env}`"),
    };
    format!(
        "| `{}` | {} | {default} | {variable} | {} |\n",
        setting.key,
        setting.kind.words(),
        setting.doc
    )
}

/// The JSON schema of a configuration file.
pub fn json_schema() -> Value {
    let mut properties = object(&TOP);
    for section in [&STORAGE, &UPTIME, &DELIVERY, &EMBEDDED] {
        put(&mut properties, section.key, closed(object(section)));
    }
    let store = json!({
        "type": "object",
        "properties": {"type": {"type": "string"}, "required": {"type": "boolean"}, "config": {"type": "object"}},
    });
    put(
        &mut properties,
        "kv",
        json!({"type": "object", "properties": {"stores": {"type": "object", "additionalProperties": store}}}),
    );
    let mut pump = object(&PUMP);
    let types: Vec<&str> = sinks::known().map(sinks::Known::name).collect();
    put(
        &mut pump,
        "type",
        json!({"type": "string", "description": "Kind of back-end.", "examples": types}),
    );
    let meta: Vec<Value> = sinks::SINKS
        .iter()
        .map(|spec| {
            json!({
                "if": {"properties": {"type": {"const": spec.name}}, "required": ["type"]},
                "then": {"properties": {"meta": sinks::options::json_schema(spec)}},
            })
        })
        .collect();
    put(
        &mut pump,
        "meta",
        json!({"type": "object", "description": "Options of the back-end."}),
    );
    let mut pump = closed(pump);
    if let Value::Object(pump) = &mut pump {
        pump.insert("allOf".to_owned(), Value::Array(meta));
    }
    put(
        &mut properties,
        "pumps",
        json!({"type": "object", "additionalProperties": pump}),
    );
    let mut schema = closed(properties);
    if let Value::Object(schema) = &mut schema {
        schema.insert(
            "$schema".to_owned(),
            "https://json-schema.org/draft/2020-12/schema".into(),
        );
        schema.insert("title".to_owned(), "Configuration of tyk-pump".into());
    }
    schema
}

/// The properties of a section; a dot in a key leads into an object.
fn object(section: &Section) -> Map<String, Value> {
    let mut properties = Map::new();
    for setting in section.settings {
        let mut value = value_schema(setting.kind);
        if let Value::Object(value) = &mut value {
            value.insert("description".to_owned(), setting.doc.into());
        }
        match setting.key.split_once('.') {
            None => put(&mut properties, setting.key, value),
            Some((outer, inner)) => {
                let nested = properties.entry(outer).or_insert_with(|| closed(Map::new()));
                if let Some(Value::Object(nested)) = nested.get_mut("properties") {
                    put(nested, inner, value);
                }
            }
        }
    }
    properties
}

fn put(properties: &mut Map<String, Value>, key: &str, value: Value) {
    properties.insert(key.to_owned(), value);
}

fn closed(properties: Map<String, Value>) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "patternProperties": {"^([_#$]|//)": {}},
        "additionalProperties": false,
    })
}

fn value_schema(kind: Kind) -> Value {
    match kind {
        Kind::Text | Kind::Secret => json!({"type": "string"}),
        Kind::Bool => json!({"type": "boolean"}),
        Kind::Int => json!({"type": "integer"}),
        Kind::Uint => json!({"type": "integer", "minimum": 0}),
        Kind::Texts => json!({"type": "array", "items": {"type": "string"}}),
        Kind::Ints => json!({"type": "array", "items": {"type": "integer"}}),
        Kind::TextMap => json!({"type": "object", "additionalProperties": {"type": "string"}}),
        Kind::Span | Kind::Bytes => json!({"type": ["string", "integer"]}),
    }
}
