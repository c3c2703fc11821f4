use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::*;
use crate::SINKS;

/// Options with every type.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Everything {
    /// Where to listen.
    #[schemars(extend("x-env" = "ADDR"))]
    listen_address: String,
    use_tls: bool,
    max_rows: i64,
    port: u16,
    ratio: f64,
    topics: Vec<String>,
    labels: BTreeMap<String, String>,
    #[schemars(extend("x-secret" = true))]
    password: String,
    sasl_auth: Auth,
    fallback: Option<Auth>,
    format: Option<Format>,
}

#[derive(Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
struct Auth {
    #[schemars(extend("x-env" = "USER"))]
    user_name: String,
    retries: Vec<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// One object a line.
    Json,
    /// For people.
    Text,
}

fn problems(meta: Value) -> Vec<String> {
    decode::<Everything>(&meta).unwrap_err().problems
}

#[test]
fn keys_match_in_any_case_and_an_exact_key_wins() {
    let options: Everything = decode(&json!({
        "LISTEN_Address": "x", "listen_address": "exact", "USE_TLS": true, "Sasl_Auth": {"USER_NAME": "u"},
        "no_such_key": [1],
    }))
    .unwrap();
    assert_eq!(options.listen_address, "exact");
    assert!(options.use_tls);
    assert_eq!(options.sasl_auth.user_name, "u");
}

#[test]
fn missing_keys_and_nulls_are_defaults() {
    assert_eq!(decode::<Everything>(&json!({})).unwrap(), Everything::default());
    assert_eq!(decode::<Everything>(&Value::Null).unwrap(), Everything::default());
    let nulls = json!({"listen_address": null, "topics": null, "sasl_auth": null, "format": null, "fallback": null});
    assert_eq!(decode::<Everything>(&nulls).unwrap(), Everything::default());
}

#[test]
fn a_number_becomes_an_integer_by_truncation() {
    let options: Everything = decode(&json!({
        "max_rows": -5.7, "port": 80.9, "ratio": 3, "sasl_auth": {"retries": [1.5, null, 2]},
    }))
    .unwrap();
    assert_eq!((options.max_rows, options.port, options.ratio), (-5, 80, 3.0));
    assert_eq!(options.sasl_auth.retries, [1, 0, 2]);
}

#[test]
fn every_problem_names_key_value_type_and_remedy() {
    assert_eq!(
        problems(
            json!({"use_tls": "true", "listen_address": 5, "max_rows": "31", "topics": "a", "port": -1, "labels": []})
        ),
        [
            "meta.listen_address is the number 5, expected a text – write \"5\" in quotes",
            "meta.use_tls is the text \"true\", expected true or false – write true without quotes",
            "meta.max_rows is the text \"31\", expected a whole number – write 31 without quotes",
            "meta.port is the number -1, expected a whole number from 0 up – write a whole number from 0 up such as 5",
            "meta.topics is the text \"a\", expected a list, each item a text – write [\"a\"]",
            "meta.labels is a list, expected an object, each value a text – write an object in { }",
        ]
    );
    assert_eq!(
        problems(json!({"use_tls": 0, "topics": ["a", 1], "sasl_auth": {"user_name": true}, "ratio": "fast"})),
        [
            "meta.use_tls is the number 0, expected true or false – write true or false",
            "meta.ratio is the text \"fast\", expected a number – write a number such as 0.5",
            "meta.topics[1] is the number 1, expected a text – write \"1\" in quotes",
            "meta.sasl_auth.user_name is true, expected a text – write \"true\" in quotes",
        ]
    );
    assert_eq!(
        problems(json!([])),
        ["meta is a list, expected an object – write an object in { }"]
    );
}

#[test]
fn numbers_out_of_range_are_refused_not_wrapped() {
    assert!(problems(json!({"port": 70000}))[0].contains("70000"));
    assert!(problems(json!({"max_rows": 1e30}))[0].starts_with("meta.max_rows is the number 1e"));
    assert!(problems(json!({"port": -0.5}))[0].starts_with("meta.port"));
}

#[test]
fn a_secret_is_never_shown() {
    assert_eq!(
        problems(json!({"password": 271828})),
        ["meta.password is a number, expected a text – write one text in quotes"]
    );
}

#[test]
fn normalising_respells_known_keys_and_reports_the_others() {
    let (meta, unknown) = normalise(
        &schema::<Everything>(),
        &json!({
            "LISTEN_ADDRESS": "a", "topic": ["x"], "Sasl_Auth": {"User_Name": "u", "username": "v"},
            "META_ENV_PREFIX": "P", "banana": 1,
        }),
    );
    assert_eq!(
        meta,
        json!({
            "listen_address": "a", "topic": ["x"], "sasl_auth": {"user_name": "u", "username": "v"},
            "meta_env_prefix": "P", "banana": 1,
        })
    );
    let unknown: Vec<_> = unknown
        .iter()
        .map(|key| (key.path.as_str(), key.did_you_mean.as_deref()))
        .collect();
    assert_eq!(
        unknown,
        [
            ("meta.topic", Some("topics")),
            ("meta.Sasl_Auth.username", Some("user_name")),
            ("meta.banana", None),
        ]
    );
    let anything = json!({"x": {"Y": 1}});
    assert_eq!(normalise(&any(), &anything), (anything, vec![]));
}

#[test]
fn both_spellings_of_a_variable_are_known_also_in_nested_objects() {
    let names = env_names(&schema::<Everything>());
    let of = |path: &[&str]| names.iter().find(|option| option.path == path).cloned().unwrap();
    assert_eq!(of(&["listen_address"]).suffixes, ["ADDR", "LISTENADDRESS"]);
    assert_eq!(of(&["use_tls"]).suffixes, ["USETLS"]);
    assert_eq!(of(&["use_tls"]).shape, Shape::Bool);
    assert_eq!(
        of(&["sasl_auth", "user_name"]).suffixes,
        ["SASLAUTH_USER", "SASLAUTH_USERNAME"]
    );
    assert_eq!(of(&["fallback", "retries"]).suffixes, ["FALLBACK_RETRIES"]);
    assert_eq!(of(&["fallback", "retries"]).shape, Shape::List(Box::new(Shape::Uint)));
    assert_eq!(of(&["labels"]).shape, Shape::Map(Box::new(Shape::Text)));
    assert_eq!(of(&["format"]).shape, Shape::Text);
    assert_eq!(names.len(), 13);
    assert!(env_names(&any()).is_empty());
}

#[test]
fn every_built_sink_documents_every_option() {
    for spec in SINKS {
        let schema = json_schema(spec);
        assert_eq!(
            schema.get("required"),
            None,
            "{}: every option needs a default",
            spec.name
        );
        let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
        assert!(!about.is_empty(), "{}: the options need a doc comment", spec.name);
        let Shape::Object(properties) = Shape::of(&(spec.options)()) else {
            panic!("{}: options are an object", spec.name);
        };
        for property in properties {
            assert!(
                !property.description.is_empty(),
                "{}: {} needs a doc comment",
                spec.name,
                property.key
            );
            assert!(
                property.default.is_some(),
                "{}: {} needs Serialize for its default",
                spec.name,
                property.key
            );
        }
    }
}

#[test]
fn the_reference_pages_are_fresh() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/sinks");
    let pages = pages();
    for (name, page) in &pages {
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(format!("{folder}/{name}"), page).unwrap();
        }
        let stored = std::fs::read_to_string(format!("{folder}/{name}")).unwrap_or_default();
        assert!(
            stored == *page,
            "docs/sinks/{name} is stale: run this test with UPDATE=1, or `cargo run -p sinks --bin reference -- docs/sinks`"
        );
    }
    for file in std::fs::read_dir(folder).unwrap() {
        let name = file.unwrap().file_name().into_string().unwrap();
        assert!(
            pages.iter().any(|(page, _)| *page == name),
            "docs/sinks/{name} belongs to no pump"
        );
    }
}
