//! References to secrets: `kv://<store>/<path>#<field>` as a whole value, `$kv{<store>:<path>#<field>}` inside one.

use std::{
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fs,
    path::{Component, Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    env::Environment,
    finding::{Findings, Place, did_you_mean},
    json::{self, Json, Node},
};

/// A place that secrets are fetched from.
pub trait SecretStore {
    /// The secret at `path`; an error names what is missing, never a value.
    fn fetch(&self, path: &str) -> Result<String, String>;
}

/// Types of stores that the reference knows.
const TYPES: &[&str] = &[
    "env",
    "inline",
    "file",
    "hashicorp_vault",
    "hashicorp_consul",
    "aws_secrets_manager",
    "azure_key_vault",
    "gcp_secret_manager",
];

/// The stores of a configuration.
#[derive(Default)]
pub struct Stores {
    stores: BTreeMap<String, Result<Box<dyn SecretStore>, String>>,
    /// Several fields of one secret are one fetch.
    fetched: RefCell<HashMap<(String, String), Result<String, String>>>,
}

impl Stores {
    /// Makes the stores of `kv.stores`. One that cannot be made is skipped with a warning, or, when it is required,
    /// ends the process.
    pub fn open(definitions: &Map<String, Value>, env: &Environment, findings: &mut Findings) -> Self {
        let mut stores = BTreeMap::new();
        for (name, definition) in definitions {
            let store = open_store(definition, env);
            let required = get(definition, "required").and_then(Value::as_bool).unwrap_or(false);
            match &store {
                Err(problem) if required => {
                    let text = format!("Failed to resolve config: required store kv.stores.{name}: {problem}");
                    findings.fatal(Place::Missing, text);
                }
                Err(problem) => {
                    let text = format!("Skipping optional store initialization: kv.stores.{name}: {problem}");
                    findings.warn(Place::Missing, text);
                }
                Ok(_) => {}
            }
            stores.insert(name.clone(), store);
        }
        Self {
            stores,
            fetched: RefCell::default(),
        }
    }

    /// A text with every reference replaced. A replaced text is not looked at again.
    pub fn resolve(&self, text: &str) -> Result<String, String> {
        if !text.contains("kv://") && !text.contains("$kv{") {
            return Ok(text.to_owned());
        }
        if self.stores.is_empty() {
            return Err(
                "config contains KV references but no stores are configured – add them under kv.stores".to_owned(),
            );
        }
        if let Some(reference) = text.strip_prefix("kv://") {
            return self.look_up(reference, '/');
        }
        let mut resolved = String::new();
        let mut rest = text;
        while let Some((before, token)) = rest.split_once("$kv{") {
            let Some((reference, after)) = token.split_once('}') else {
                return Err("a \"$kv{\" has no closing \"}\"".to_owned());
            };
            resolved.push_str(before);
            resolved.push_str(&self.look_up(reference, ':')?);
            rest = after;
        }
        resolved.push_str(rest);
        Ok(resolved)
    }

    fn look_up(&self, reference: &str, separator: char) -> Result<String, String> {
        let (store, rest) = reference.split_once(separator).unwrap_or((reference, ""));
        let (path, field) = match rest.split_once('#') {
            Some((path, field)) => (path, Some(field)),
            None => (rest, None),
        };
        if store.is_empty() || path.is_empty() {
            return Err("a reference needs a store and a path: kv://store/path".to_owned());
        }
        let secret = self.fetch(store, path)?;
        match field {
            Some(field) => {
                select(&secret, field).map_err(|problem| format!("store \"{store}\", path \"{path}\": {problem}"))
            }
            None => Ok(secret),
        }
    }

    fn fetch(&self, store: &str, path: &str) -> Result<String, String> {
        let names = self.stores.keys().map(String::as_str);
        let found = match self.stores.get(store) {
            Some(Ok(found)) => found,
            Some(Err(problem)) => return Err(format!("store \"{store}\" is not available: {problem}")),
            None => return Err(format!("there is no store \"{store}\"{}", did_you_mean(store, names))),
        };
        let key = (store.to_owned(), path.to_owned());
        let mut fetched = self.fetched.borrow_mut();
        let secret = fetched.entry(key).or_insert_with(|| found.fetch(path));
        secret
            .clone()
            .map_err(|problem| format!("store \"{store}\": {problem}"))
    }
}

/// A key of an object, in any case.
fn get<'a>(object: &'a Value, key: &str) -> Option<&'a Value> {
    let members = object.as_object()?;
    let inexact = || {
        members
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(key))
            .map(|(_, value)| value)
    };
    members.get(key).or_else(inexact)
}

fn open_store(definition: &Value, env: &Environment) -> Result<Box<dyn SecretStore>, String> {
    let Some(kind) = get(definition, "type")
        .and_then(Value::as_str)
        .filter(|kind| !kind.is_empty())
    else {
        return Err("\"type\" is missing, e.g. \"env\"".to_owned());
    };
    let config = get(definition, "config").unwrap_or(&Value::Null);
    let text = |key: &str| get(config, key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let switch = |key: &str| get(config, key).and_then(Value::as_bool).unwrap_or(false);
    match kind {
        "env" => Ok(Box::new(EnvStore {
            variables: env.clone(),
            prefix: text("prefix"),
            uppercase: switch("uppercase"),
            allow_no_prefix: switch("allow_no_prefix"),
        })),
        "inline" => {
            let data = get(config, "data")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default();
            Ok(Box::new(InlineStore(data)))
        }
        "file" => {
            let base = text("base_path");
            if !base.is_empty() && !Path::new(&base).is_absolute() {
                return Err(format!("base_path \"{base}\" – write an absolute path"));
            }
            Ok(Box::new(FileStore(PathBuf::from(base))))
        }
        kind if TYPES.contains(&kind) => Err(format!("stores of type \"{kind}\" are not built yet")),
        kind => Err(format!(
            "unknown type \"{kind}\"{}",
            did_you_mean(kind, TYPES.iter().copied())
        )),
    }
}

struct EnvStore {
    variables: Environment,
    prefix: String,
    uppercase: bool,
    allow_no_prefix: bool,
}

impl SecretStore for EnvStore {
    fn fetch(&self, path: &str) -> Result<String, String> {
        if self.prefix.is_empty() && !self.allow_no_prefix {
            return Err("it has no \"prefix\" – set one, or \"allow_no_prefix\": true".to_owned());
        }
        let key = if self.uppercase {
            path.to_uppercase()
        } else {
            path.to_owned()
        };
        let name = format!("{}{key}", self.prefix);
        // A variable that is not set is an empty text, as in the reference.
        Ok(self.variables.get(&name).unwrap_or_default().to_owned())
    }
}

struct InlineStore(Map<String, Value>);

impl SecretStore for InlineStore {
    fn fetch(&self, path: &str) -> Result<String, String> {
        let found = self.0.get(path).and_then(Value::as_str);
        found
            .map(str::to_owned)
            .ok_or_else(|| format!("\"{path}\" is not in its data"))
    }
}

struct FileStore(PathBuf);

impl SecretStore for FileStore {
    fn fetch(&self, path: &str) -> Result<String, String> {
        if self.0.as_os_str().is_empty() {
            return Err("it has no \"base_path\"".to_owned());
        }
        let relative = Path::new(path);
        if !relative
            .components()
            .all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
        {
            return Err(format!("\"{path}\" leaves its base_path"));
        }
        let wanted = self.0.join(relative);
        let missing = |error: std::io::Error| format!("{}: {error}", wanted.display());
        let base = fs::canonicalize(&self.0).map_err(missing)?;
        let file = fs::canonicalize(&wanted).map_err(missing)?;
        if !file.starts_with(&base) {
            return Err(format!("\"{path}\" is a link that leaves its base_path"));
        }
        let text = fs::read_to_string(&file).map_err(missing)?;
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// The field of a JSON text that a pointer names, as text.
fn select(secret: &str, pointer: &str) -> Result<String, String> {
    let mut node =
        json::parse(secret.as_bytes()).map_err(|_| format!("it is no JSON, so it has no field \"{pointer}\""))?;
    for part in pointer.strip_prefix('/').unwrap_or(pointer).split('/') {
        let part = part.replace("~1", "/").replace("~0", "~");
        let next = match node.json {
            Json::Object(members) => members
                .into_iter()
                .rfind(|member| member.key == part)
                .map(|member| member.value),
            Json::List(items) => part
                .parse::<usize>()
                .ok()
                .and_then(|index| items.into_iter().nth(index)),
            _ => None,
        };
        node = next.ok_or_else(|| format!("it has no field \"{pointer}\""))?;
    }
    Ok(match node.json {
        Json::Text(text) => text,
        _ => compact(&node),
    })
}

/// Compact JSON, numbers in their own spelling.
fn compact(node: &Node) -> String {
    match &node.json {
        Json::Null => "null".to_owned(),
        Json::Bool(on) => on.to_string(),
        Json::Number(text) => text.clone(),
        Json::Text(text) => Value::from(text.as_str()).to_string(),
        Json::List(items) => {
            let items: Vec<String> = items.iter().map(compact).collect();
            format!("[{}]", items.join(","))
        }
        Json::Object(members) => {
            let pair =
                |member: &json::Member| format!("{}:{}", Value::from(member.key.as_str()), compact(&member.value));
            let pairs: Vec<String> = members.iter().map(pair).collect();
            format!("{{{}}}", pairs.join(","))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn stores(definitions: Value) -> (Stores, Findings) {
        let env = Environment::new([
            ("SEC_token".to_owned(), "t0k".to_owned()),
            ("SEC_UP".to_owned(), "up".to_owned()),
        ]);
        let mut findings = Findings::default();
        let Value::Object(definitions) = definitions else {
            panic!("an object")
        };
        let stores = Stores::open(&definitions, &env, &mut findings);
        (stores, findings)
    }

    #[test]
    fn references_are_resolved_as_whole_values_and_inside_texts() {
        let (stores, findings) = stores(json!({
            "local": {"type": "env", "config": {"prefix": "SEC_"}},
            "upper": {"type": "env", "config": {"prefix": "SEC_", "uppercase": true}},
            "bare": {"type": "env"},
            "in": {"type": "inline", "config": {"data": {
                "plain": "p w", "a#b": "never", "kv://in/plain": "not again", "loop": "kv://in/plain",
                "json": r#"{"user":"u","n":1.50,"deep":{"a/b":[true,null,{"x":1e3}]},"s":"<&>"}"#,
            }}},
        }));
        assert_eq!(findings.as_slice(), []);
        for (text, expected) in [
            ("kv://local/token", "t0k"),
            ("kv://upper/up", "up"),
            ("kv://local/absent", ""),
            ("kv://in/plain", "p w"),
            ("kv://in/loop", "kv://in/plain"),
            (
                "mongodb://u:$kv{in:plain}@$kv{local:token}/db",
                "mongodb://u:p w@t0k/db",
            ),
            ("kv://in/json#user", "u"),
            ("kv://in/json#/n", "1.50"),
            ("kv://in/json#deep/a~1b/0", "true"),
            ("kv://in/json#deep/a~1b/1", "null"),
            ("kv://in/json#deep", r#"{"a/b":[true,null,{"x":1e3}]}"#),
            ("$kv{in:json#s}", "<&>"),
            ("see kv://in/plain", "see kv://in/plain"),
            ("plain", "plain"),
        ] {
            assert_eq!(stores.resolve(text).as_deref(), Ok(expected), "{text}");
        }
        for (text, part) in [
            ("kv://nowhere/x", "no store \"nowhere\""),
            ("kv://in/absent", "\"absent\" is not in its data"),
            ("kv://in", "needs a store and a path"),
            ("kv:///x", "needs a store and a path"),
            ("kv://in/plain#f", "it is no JSON"),
            ("kv://in/json#absent", "no field \"absent\""),
            ("a $kv{in:plain", "no closing"),
            ("kv://bare/token", "no \"prefix\""),
            ("kv://in/$kv{local:token}", "is not in its data"),
        ] {
            let problem = stores.resolve(text).unwrap_err();
            assert!(problem.contains(part), "{text}: {problem}");
            assert!(
                !problem.contains("p w") && !problem.contains("t0k"),
                "{problem} holds a secret"
            );
        }
    }

    #[test]
    fn files_are_read_below_their_base_alone() {
        let folder = tempfile::tempdir().unwrap();
        let base = folder.path().join("base");
        fs::create_dir_all(base.join("sub")).unwrap();
        fs::write(base.join("sub/pw"), "secret\r\n\n").unwrap();
        fs::write(folder.path().join("outside"), "x").unwrap();
        std::os::unix::fs::symlink(folder.path().join("outside"), base.join("link")).unwrap();
        let (stores, findings) = stores(json!({
            "f": {"type": "file", "config": {"base_path": base}},
            "none": {"type": "file"},
            "relative": {"type": "file", "config": {"base_path": "x"}},
        }));
        assert!(findings.as_slice()[0].text.contains("write an absolute path"));
        assert_eq!(stores.resolve("kv://f/sub/pw").as_deref(), Ok("secret"));
        for path in [
            "f/../outside",
            "f//etc/passwd",
            "f/link",
            "f/absent",
            "none/sub/pw",
            "relative/x",
        ] {
            stores.resolve(&format!("kv://{path}")).unwrap_err();
        }
    }

    #[test]
    fn a_store_that_cannot_be_made_counts_only_when_it_is_required() {
        let (optional, findings) = stores(json!({"v": {"type": "hashicorp_vault"}}));
        assert_eq!(findings.as_slice().len(), 1);
        assert!(findings.as_slice()[0].text.contains("not built yet") && !findings.has_fatal());
        assert!(optional.resolve("kv://v/x").unwrap_err().contains("not available"));
        let (_, findings) = stores(json!({"v": {"type": "volt", "required": true}}));
        assert!(findings.has_fatal() && findings.as_slice()[0].text.contains("unknown type \"volt\""));
        let problem = Stores::default().resolve("a kv://b").unwrap_err();
        assert!(
            problem.contains("config contains KV references but no stores are configured"),
            "{problem}"
        );
    }
}
