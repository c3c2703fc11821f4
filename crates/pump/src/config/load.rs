//! The order in which file, environment and secrets are applied.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
};

use analytics::logrus::{LogForm, LogFormat, LogLevel};
use serde_json::Value;

use super::{
    Config, Finding, Settings, effective,
    env::{self, Environment, Override},
    file,
    finding::{Findings, Place, Severity},
    json,
    kv::Stores,
    places::OptionPlaces,
    pumps,
    schema::{DELIVERY, EMBEDDED, SECTIONS, STORAGE, Section, TOP, UPTIME},
    storage,
};

/// What to load.
#[derive(Clone, Debug)]
pub struct Request {
    /// Path of the file.
    pub conf: PathBuf,
    /// Environment of the process.
    pub environment: Environment,
    /// `--debug`
    pub debug: bool,
    /// Name of this host, for the default instance id.
    pub host: String,
}

impl Request {
    /// A request with this process's environment and host name.
    pub fn of_process(conf: PathBuf, debug: bool) -> Self {
        Self {
            conf,
            environment: Environment::of_process(),
            debug,
            host: rustix::system::uname().nodename().to_string_lossy().into_owned(),
        }
    }
}

/// What came of it.
#[derive(Debug)]
pub struct Loaded {
    /// The settings; `None` when something fatal was found.
    pub settings: Option<Settings>,
    /// Everything that was noticed, in order. A fatal finding ends the process once the others are logged.
    pub findings: Vec<Finding>,
    /// Form of the log from now on.
    pub log: LogForm,
    /// Where the options of each pump were set.
    pub places: OptionPlaces,
}

/// Reads file and environment. Nothing here waits for a server.
pub fn load(request: &Request) -> Loaded {
    let mut findings = Findings::default();
    let mut env = request.environment.clone();
    let mut config = Config::default();
    let usable = read_file(&request.conf, &mut env, &mut config, &mut findings);
    if !usable {
        return Loaded {
            settings: None,
            findings: findings.as_slice().to_vec(),
            log: LogForm {
                format: LogFormat::Text,
                level: effective::first_level(&mut env, request.debug),
            },
            places: OptionPlaces::default(),
        };
    }
    let exact = env.compat().or(config.top.switch("compat")).unwrap_or(false);

    override_uptime_alias(&mut config, &mut env, exact, &mut findings);
    for section in SECTIONS {
        override_section(section, &mut config, &mut env, exact, &mut findings);
    }
    take_uptime_type(&mut config, &mut env);
    take_old_uptime_variables(&mut config, &mut env, exact, &mut findings);
    merge_stores(&mut config, &mut env, &mut findings);
    pumps::discover(&mut config, &mut env, exact, &mut findings);

    let stores = Stores::open(&config.stores, &env, &mut findings);
    resolve_references(&mut config, &stores, &mut findings);
    pumps::apply_meta(&mut config, &mut env, &stores, exact, &mut findings);
    pumps::report_strangers(&config, &mut findings);

    let (settings, log) = effective::settings(&config, request, &mut env, &mut findings);
    // Read by demo mode.
    for name in ["TYK_PMP_BUILDDEMODATA", "TYK_PMP_DEMO_SEED"] {
        env.take(name);
    }
    env.report_unused(&mut findings);
    Loaded {
        settings: (!findings.has_fatal()).then_some(settings),
        findings: findings.as_slice().to_vec(),
        log,
        places: OptionPlaces::of(&config),
    }
}

/// Reads the file into `config`; `false`: the process must end, and a finding says why.
fn read_file(path: &Path, env: &mut Environment, config: &mut Config, findings: &mut Findings) -> bool {
    let names = match env.compat() {
        Some(true) => &["TYK_PMP_OMITCONFIGFILE"][..],
        _ => &["TYK_PMP_OMITCONFIGFILE", "TYK_PMP_OMIT_CONFIG_FILE"],
    };
    let omitted = names.iter().any(|name| {
        let text = env.get(name).unwrap_or_default();
        env::parse_bool(text).unwrap_or(text.eq_ignore_ascii_case("true"))
    });
    if omitted {
        let by_the_word = env
            .get("TYK_PMP_OMITCONFIGFILE")
            .is_some_and(|text| text.eq_ignore_ascii_case("true"));
        if !by_the_word {
            let name = names
                .iter()
                .find(|name| env.get(name).is_some())
                .copied()
                .unwrap_or_default();
            let text = format!(
                "{name} keeps {} from being read – Tyk Pump reads the file unless TYK_PMP_OMITCONFIGFILE is the word true: \
                 remove the variable if it is a leftover",
                path.display()
            );
            findings.warn(Place::Variable(name.to_owned()), text);
        }
        return true;
    }
    let shown = path.display();
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => {
            let reason = match error.kind() {
                ErrorKind::NotFound => "no such file or directory".to_owned(),
                ErrorKind::PermissionDenied => "permission denied".to_owned(),
                _ => error.to_string(),
            };
            let lead = format!("Couldn't load configuration file: open {shown}: {reason}");
            if env.names(env::PREFIX).is_empty() {
                let text = format!("{lead} – give its path with -c, or begin with examples/minimal-csv.conf");
                findings.fatal(Place::Missing, text);
                return false;
            }
            let text =
                format!("{lead} – the environment alone counts; TYK_PMP_OMITCONFIGFILE=true says that this is meant");
            findings.warn(Place::Missing, text);
            return true;
        }
    };
    if bytes.trim_ascii().is_empty() {
        let text = format!("{shown} is empty – the environment alone counts; begin with examples/minimal-csv.conf");
        findings.mistake(Place::Missing, text);
    }
    match json::parse(&bytes) {
        Ok(document) => {
            file::read(&document, config, findings);
            !findings.has_fatal()
        }
        // As without a file, the environment may say everything.
        Err(error) if !env.names("TYK_PMP_PUMPS_").is_empty() => {
            let text = format!(
                "Couldn't unmarshal configuration: {shown} {}: {} – nothing of the file counts, the environment alone does; \
                 correct it, or set TYK_PMP_OMITCONFIGFILE=true",
                error.at, error.text
            );
            findings.error(Place::File(error.at), text);
            true
        }
        Err(error) => {
            let text = format!("Couldn't unmarshal configuration: {shown} {}: {}", error.at, error.text);
            findings.fatal(Place::File(error.at), text);
            false
        }
    }
}

fn override_section(
    section: &'static Section,
    config: &mut Config,
    env: &mut Environment,
    exact: bool,
    findings: &mut Findings,
) {
    for prefix in section.env_prefixes(exact) {
        let is_new = !section.env_prefixes(true).contains(&prefix);
        let late = matches!(prefix.as_str(), "TYK_PMP_REDIS_" | "TYK_PMP_TEMPORAL_STORAGE_");
        let overriding = Override {
            section,
            prefix: &prefix,
            exact,
            is_new,
            severity: if late { Severity::Fatal } else { Severity::Error },
            lead: if late { storage::FATAL } else { "" },
        };
        overriding.apply(env, config.section_mut(section.key), findings);
    }
}

/// `TYK_PMP_PUMPS_UPTIME_META_*`, documented and never read by the reference, unless there is a pump of that name.
fn override_uptime_alias(config: &mut Config, env: &mut Environment, exact: bool, findings: &mut Findings) {
    let named = config.pumps.iter().any(|pump| pump.name == "UPTIME") || env.get("TYK_PMP_PUMPS_UPTIME_TYPE").is_some();
    if named || exact {
        return;
    }
    let overriding = Override {
        section: &UPTIME,
        prefix: "TYK_PMP_PUMPS_UPTIME_META_",
        exact,
        is_new: true,
        severity: Severity::Error,
        lead: "",
    };
    overriding.apply(env, &mut config.uptime, findings);
    env.remove_used("TYK_PMP_PUMPS_UPTIME_META_");
}

/// The bare `MONGO_DB_TYPE`, and a name that the reference knows and does not use.
fn take_uptime_type(config: &mut Config, env: &mut Environment) {
    env.take("TYK_PMP_UPTIMEPUMPCONFIG_ENVPREFIX");
    let given = matches!(config.uptime.place("mongo_db_type"), Place::Variable(_));
    let bare = env.get("MONGO_DB_TYPE").and_then(|text| env::parse_int(text).ok());
    if let (false, Some(number)) = (given, bare) {
        let place = Place::Variable("MONGO_DB_TYPE".to_owned());
        config
            .uptime
            .set("mongo_db_type", super::values::Data::Int(number), place);
    }
}

/// `PMP_MONGO_*`, deprecated names of the MongoDB pump: they count for uptime data that have no other destination.
fn take_old_uptime_variables(config: &mut Config, env: &mut Environment, exact: bool, findings: &mut Findings) {
    const OLD: &str = "PMP_MONGO_";
    if config.uptime.text("uptime_type") == "sql" || !config.uptime.text("mongo_url").is_empty() {
        return;
    }
    let Some(name) = env.names(OLD).into_iter().find(|name| name.ends_with("MONGOURL")) else {
        return;
    };
    let overriding = Override {
        section: &UPTIME,
        prefix: OLD,
        exact,
        is_new: false,
        severity: Severity::Error,
        lead: "",
    };
    overriding.apply(env, &mut config.uptime, findings);
    let place = Place::Variable(name);
    let collection = super::values::Data::Text("tyk_uptime_analytics".to_owned());
    config.uptime.set("collection_name", collection, place.clone());
    let text = "uptime data: the PMP_MONGO_* environment variables are deprecated. Use their \
                TYK_PMP_UPTIMEPUMPCONFIG_* equivalent instead";
    findings.warn(place, text.to_owned());
}

fn merge_stores(config: &mut Config, env: &mut Environment, findings: &mut Findings) {
    const NAME: &str = "TYK_PMP_KV_STORES";
    let Some(text) = env.take(NAME).filter(|text| !text.trim().is_empty()) else {
        return;
    };
    let place = Place::Variable(NAME.to_owned());
    match json::parse(text.as_bytes()) {
        Ok(node) => match node.to_value() {
            Value::Object(stores) => config.stores.extend(stores),
            _ => findings.error(
                place,
                format!("{NAME} is no object – write {{\"name\": {{\"type\": \"env\"}}}}"),
            ),
        },
        // The text of the variable may hold secrets.
        Err(error) => findings.error(place, format!("{NAME} is no JSON: {error}")),
    }
}

fn resolve_references(config: &mut Config, stores: &Stores, findings: &mut Findings) {
    let mut fail = |key: String, place: Place, problem: String| {
        findings.fatal(place, format!("Failed to resolve config: {key}: {problem}"));
    };
    for section in [&TOP, &STORAGE, &UPTIME, &DELIVERY, &EMBEDDED] {
        let values = config.section_mut(section.key);
        let places: Vec<_> = values.iter().map(|(key, entry)| (key, entry.place.clone())).collect();
        for (key, text) in values.texts_mut() {
            match stores.resolve(text) {
                Ok(resolved) => *text = resolved,
                Err(problem) => {
                    let place = places
                        .iter()
                        .find(|(other, _)| *other == key)
                        .map(|(_, place)| place.clone());
                    let full = section
                        .find(key)
                        .map(|setting| section.full_key(setting))
                        .unwrap_or_default();
                    fail(full, place.unwrap_or_default(), problem);
                }
            }
        }
    }
    for pump in &mut config.pumps {
        let context = format!("pump \"{}\"", pump.spelled);
        for (key, text) in pump.values.texts_mut() {
            match stores.resolve(text) {
                Ok(resolved) => *text = resolved,
                Err(problem) => fail(format!("{context}: {key}"), pump.place.clone(), problem),
            }
        }
        for (key, value) in &mut pump.meta {
            let place = pump.meta_places.get(&key.to_lowercase());
            let place = place.cloned().unwrap_or_default();
            resolve_value(value, stores, &mut |problem| {
                fail(format!("{context}: meta.{key}"), place.clone(), problem)
            });
        }
    }
}

fn resolve_value(value: &mut Value, stores: &Stores, fail: &mut dyn FnMut(String)) {
    match value {
        Value::String(text) => match stores.resolve(text) {
            Ok(resolved) => *text = resolved,
            Err(problem) => fail(problem),
        },
        Value::Array(items) => items.iter_mut().for_each(|item| resolve_value(item, stores, fail)),
        Value::Object(members) => members
            .values_mut()
            .for_each(|member| resolve_value(member, stores, fail)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

/// The log level that counts until the configuration is read.
pub fn first_level(environment: &Environment, debug: bool) -> LogLevel {
    effective::first_level(&mut environment.clone(), debug)
}
