//! The reference pages in `docs/sinks`.

use std::fmt::Write;

use analytics::RecordKind;
use serde_json::{Value, json};

use super::{Property, Shape};
use crate::{Guarantee, Known, SINKS, SinkSpec, known};

const GENERATED: &str = "<!-- Generated: `cargo run -p sinks --bin reference -- docs/sinks`. -->\n\n";

/// JSON schema of a pump's `meta`.
pub fn json_schema(spec: &SinkSpec) -> Value {
    (spec.options)().to_value()
}

/// Every page of the folder: file name and content.
pub fn pages() -> Vec<(String, String)> {
    let mut pages: Vec<_> = SINKS
        .iter()
        .map(|spec| (format!("{}.md", spec.name), reference_page(spec)))
        .collect();
    pages.push(("README.md".to_owned(), index_page()));
    pages
}

/// The overview of all types.
fn index_page() -> String {
    let mut page = format!(
        "{GENERATED}# Pumps\n\nEvery `type` that an entry of `pumps` can have.\n\n\
         | Type | Name | Guarantee | Environment prefix |\n|---|---|---|---|\n"
    );
    for spec in known().filter_map(Known::built) {
        let env = env_cell(spec.env_prefix);
        let _ = writeln!(
            page,
            "| [`{0}`]({0}.md) | {1} | {2} | {env} |",
            spec.name, spec.title, spec.guarantee
        );
    }
    page
}

/// The page of one type: what it promises, its options with defaults and environment variables, an example.
fn reference_page(spec: &SinkSpec) -> String {
    let schema = json_schema(spec);
    let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let mut page = format!("{GENERATED}# {} (`{}`)\n\n{about}\n\n", spec.title, spec.name);
    let _ = writeln!(page, "| | |\n|---|---|");
    let records = match spec.records {
        RecordKind::Traffic => "traffic",
        RecordKind::Uptime => "uptime",
    };
    let decodes = match spec.decodes_bodies {
        true => "have an effect",
        false => "have no effect",
    };
    for (what, value) in [
        ("Records", records.to_owned()),
        ("Guarantee", format!("{}: {}", spec.guarantee, promise(spec.guarantee))),
        (
            "Written at once",
            format!("up to {} records or {} MiB", spec.gather.rows, spec.gather.bytes >> 20),
        ),
        ("Log prefix", format!("`{}`", spec.log_prefix)),
        ("Environment prefix", env_cell(spec.env_prefix)),
        ("`raw_request_decoded`, `raw_response_decoded`", decodes.to_owned()),
    ] {
        let _ = writeln!(page, "| {what} | {value} |");
    }
    page.push_str("\n## Options\n\n");
    match Shape::of(&(spec.options)()) {
        Shape::Object(properties) if !properties.is_empty() => {
            page.push_str(
                "Keys of `meta`; upper and lower case do not matter. Variables: for a pump that is defined under a \
                 name of its own, the prefix is `TYK_PMP_PUMPS_<NAME>_META_`.\n\n\
                 | Key | Type | Default | Environment variable | Meaning |\n|---|---|---|---|---|\n",
            );
            rows(&mut page, &properties, "", &[format!("{}_", spec.env_prefix)]);
        }
        _ => page.push_str("None.\n"),
    }
    let meta = schema.pointer("/examples/0").cloned().unwrap_or_else(|| json!({}));
    let example = json!({"pumps": {spec.name: {"type": spec.name, "meta": meta}}});
    let _ = write!(page, "\n## Example\n\n```json\n{example:#}\n```\n");
    page
}

fn rows(page: &mut String, properties: &[Property], parent: &str, env_prefixes: &[String]) {
    for property in properties {
        let key = format!("{parent}{}", property.key);
        let mut names = Vec::new();
        for name in &property.env {
            names.extend(env_prefixes.iter().map(|prefix| format!("{prefix}{name}")));
        }
        let meaning = property.description.replace('\n', " ").replace('|', "\\|");
        if let Shape::Object(nested) = &property.shape {
            let _ = writeln!(page, "| `{key}` | object | | | {meaning} |");
            let prefixes: Vec<String> = names.iter().map(|name| format!("{name}_")).collect();
            rows(page, nested, &format!("{key}."), &prefixes);
            continue;
        }
        let kind = &property.shape;
        let default = property
            .default
            .as_ref()
            .map_or_else(String::new, |value| format!("`{value}`"));
        let env: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
        let _ = writeln!(
            page,
            "| `{key}` | {kind} | {default} | {} | {meaning} |",
            env.join(", ")
        );
    }
}

fn env_cell(env_prefix: &str) -> String {
    if env_prefix.is_empty() {
        return "none".to_owned();
    }
    format!("`{env_prefix}_`")
}

fn promise(guarantee: Guarantee) -> &'static str {
    match guarantee {
        Guarantee::BestEffort => "a record counts as delivered when it is sent",
        Guarantee::AtLeastOnce => "every record arrives; after a crash some may arrive twice",
        Guarantee::ExactlyOnce => "every record arrives, and only once, through crashes and restarts",
    }
}
