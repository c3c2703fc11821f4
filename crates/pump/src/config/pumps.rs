//! Pumps that the environment names, and what it sets in pumps.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::{Map, Value};
use sinks::{
    Known,
    options::{self, ENV_PREFIX_KEY},
};

use super::{
    Config,
    env::{self, Environment, Override},
    finding::{Findings, Place, Severity},
    json::Position,
    kv::Stores,
    relatives,
    schema::PUMP,
    values::{Data, Values},
};

/// Prefix of the variables of all pumps.
const PREFIX: &str = "TYK_PMP_PUMPS_";

/// One pump, as far as it is read.
#[derive(Clone, Debug)]
pub struct PumpEntry {
    /// Upper-cased key.
    pub name: String,
    /// Key as written.
    pub spelled: String,
    /// Where it stands.
    pub place: Place,
    /// Whether the file has it.
    pub in_file: bool,
    /// Everything but `meta`.
    pub values: Values,
    /// Whether `meta` is there.
    pub has_meta: bool,
    /// Options of the sink.
    pub meta: Map<String, Value>,
    /// Where the keys of `meta` were set last, by their lower-cased names.
    pub meta_places: HashMap<String, Place>,
    /// `meta` is there, and no object.
    pub meta_unusable: bool,
    /// Keys beside `meta` that no pump has.
    pub strangers: Vec<(String, Position)>,
    /// Prefix of its variables, when the environment names this pump.
    pub env_prefix: Option<String>,
}

impl PumpEntry {
    /// A pump without settings.
    pub fn new(key: &str, place: Place) -> Self {
        Self {
            name: upper(key),
            spelled: key.to_owned(),
            place,
            in_file: false,
            values: Values::default(),
            has_meta: false,
            meta: Map::new(),
            meta_places: HashMap::new(),
            meta_unusable: false,
            strangers: Vec::new(),
            env_prefix: None,
        }
    }

    /// Its type in small letters: what `type` says, else its name.
    pub fn kind(&self) -> String {
        match self.values.text("type") {
            "" => self.name.to_lowercase(),
            kind => kind.to_lowercase(),
        }
    }

    /// The options of the sink, and where they were set.
    fn options(&mut self) -> Options<'_> {
        (&mut self.meta, &mut self.meta_places)
    }

    /// Its type, as the table of sinks has it.
    pub fn known(&self) -> Option<Known> {
        sinks::find_known(&self.kind())
    }
}

/// Capital letters, letter by letter: those whose capital form is several letters stay.
pub fn upper(name: &str) -> String {
    let capital = |letter: char| {
        let mut capitals = letter.to_uppercase();
        match (capitals.next(), capitals.next()) {
            (Some(capital), None) => capital,
            _ => letter,
        }
    };
    name.chars().map(capital).collect()
}

/// Adds pumps that the environment names to those of the file, and overrides their settings.
pub fn discover(config: &mut Config, env: &mut Environment, exact: bool, findings: &mut Findings) {
    if env.take("TYK_PMP_PUMPS").is_some() {
        let text = "TYK_PMP_PUMPS is ignored – name each pump in variables of its own: TYK_PMP_PUMPS_CSV_TYPE=csv";
        findings.mistake(Place::Variable("TYK_PMP_PUMPS".to_owned()), text);
    }
    let fixed: BTreeSet<String> = sinks::SINKS
        .iter()
        .flat_map(|spec| options::fixed_variables(&(spec.options)()))
        .map(|(_, variable)| variable)
        .collect();
    for (name, variables) in named(env, findings) {
        let position = config.pumps.iter().position(|pump| pump.name == name);
        let position = position.or_else(|| (!exact).then(|| without_underscores(config, &name, env)).flatten());
        // A variable that counts for every pump of its type makes none by itself.
        if position.is_none() && variables.iter().all(|variable| fixed.contains(variable)) {
            continue;
        }
        let first = variables.first().cloned().unwrap_or_default();
        let mut pump = match position {
            Some(index) => config.pumps[index].clone(),
            None => PumpEntry::new(&name, Place::Variable(first.clone())),
        };
        let prefix = format!("{PREFIX}{name}_");
        if !choose_type(&mut pump, &prefix, env, findings) {
            report_without_type(config, &name, &variables, env, findings);
            continue;
        }
        let given = env.take(&format!("{prefix}META"));
        if given.is_some() {
            let text = format!("{prefix}META is ignored – set its options one by one: {prefix}META_…");
            findings.mistake(Place::Variable(format!("{prefix}META")), text);
        }
        let overriding = Override {
            section: &PUMP,
            prefix: &prefix,
            exact,
            is_new: false,
            severity: Severity::Error,
            lead: "",
        };
        let kind = pump.values.data("type").cloned();
        overriding.apply(env, &mut pump.values, findings);
        if let Some(kind) = kind {
            pump.values.set("type", kind, Place::Variable(first));
        }
        pump.env_prefix = Some(format!("{prefix}META"));
        match position {
            Some(index) => config.pumps[index] = pump,
            None => config.pumps.push(pump),
        }
    }
}

/// The pump of the file that is meant by a name that has no room for its underscores or hyphens: both names agree without
/// them, and so do the types. Two pumps would be one too many: they would write everything twice.
fn without_underscores(config: &Config, name: &str, env: &Environment) -> Option<usize> {
    let plain = |name: &str| name.replace(['_', '-'], "");
    let kind = env.get(&format!("{PREFIX}{name}_TYPE"));
    config.pumps.iter().position(|pump| {
        let is_type = kind.is_none_or(|kind| kind.eq_ignore_ascii_case(&pump.kind()));
        is_type && plain(&pump.name) == plain(name)
    })
}

/// Pump names with their variables.
fn named(env: &mut Environment, findings: &mut Findings) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for variable in env.names(PREFIX) {
        let rest = upper(variable.strip_prefix(PREFIX).unwrap_or_default());
        match pump_name(&rest) {
            Some(name) => found.entry(name.to_owned()).or_default().push(variable),
            None => {
                env.take(&variable);
                let text = format!("{variable} is not read – write {variable}_TYPE, or another setting of the pump");
                findings.mistake(Place::Variable(variable), text);
            }
        }
    }
    found
}

/// The name in front of a setting: a type with underscores, if the text begins with one, else all before the first
/// underscore.
fn pump_name(rest: &str) -> Option<&str> {
    for kind in sinks::known().map(Known::name).filter(|kind| kind.contains('_')) {
        let length = kind.len();
        let begins = rest.get(..length).is_some_and(|name| name.eq_ignore_ascii_case(kind));
        if begins && rest.get(length..).is_some_and(|tail| tail.starts_with('_')) {
            return rest.get(..length);
        }
    }
    rest.split_once('_')
        .map(|(name, _)| name)
        .filter(|name| !name.is_empty())
}

/// Sets the type as the reference does: a name that is a type is the type. `false`: there is none.
fn choose_type(pump: &mut PumpEntry, prefix: &str, env: &mut Environment, findings: &mut Findings) -> bool {
    let variable = format!("{prefix}TYPE");
    let given = env.take(&variable);
    let (kind, place) = if let Some(kind) = sinks::find_known(&pump.name).map(Known::name) {
        let other = given.as_deref().unwrap_or(pump.values.text("type"));
        if !other.is_empty() && !other.eq_ignore_ascii_case(kind) {
            let name = &pump.name;
            let text = format!("pump \"{name}\" is of type \"{kind}\" like its name, not \"{other}\" – rename it");
            findings.mistake(Place::Variable(variable.clone()), text);
        }
        (kind.to_owned(), variable)
    } else if let Some(kind) = given {
        (kind, variable)
    } else {
        return !pump.values.text("type").is_empty();
    };
    pump.values.set("type", Data::Text(kind), Place::Variable(place));
    true
}

/// A name without a type: harmless when its variables are those of another pump, under the prefix of its type.
fn report_without_type(
    config: &Config,
    name: &str,
    variables: &[String],
    env: &mut Environment,
    findings: &mut Findings,
) {
    let owner = |variable: &String| {
        sinks::known()
            .find(|kind| !kind.env_prefix().is_empty() && variable.starts_with(&format!("{}_", kind.env_prefix())))
    };
    let owners: Vec<_> = variables.iter().filter_map(owner).collect();
    let used = |kind: &Known| {
        let mut pumps = config.pumps.iter();
        pumps.any(|pump| pump.known().is_some_and(|of| of.name() == kind.name()))
    };
    if owners.len() == variables.len() && owners.iter().all(used) {
        return;
    }
    env.pass_over(&format!("{PREFIX}{name}_"));
    let first = variables.first().cloned().unwrap_or_default();
    let kind = owners.first().map_or("csv", |kind| kind.name());
    let text = format!(
        "{first}: the pump \"{name}\" has no type – set {PREFIX}{name}_TYPE={kind}; a name ends at its first underscore"
    );
    findings.error(Place::Variable(first), text);
}

/// Overrides options in `meta` of every pump, and spells them as their schema does.
pub fn apply_meta(config: &mut Config, env: &mut Environment, stores: &Stores, exact: bool, findings: &mut Findings) {
    for pump in &mut config.pumps {
        let context = format!("pump \"{}\"", pump.spelled);
        let Some(kind) = pump.known() else {
            env.pass_over(&format!("{PREFIX}{}_META_", pump.name));
            continue;
        };
        let schema = kind.options();
        let (meta, unknown) = options::normalise(&schema, &Value::Object(std::mem::take(&mut pump.meta)));
        if let Value::Object(meta) = meta {
            pump.meta = meta;
        }
        for key in unknown.iter().filter(|_| kind.built().is_some()) {
            let top = key.path.strip_prefix("meta.").unwrap_or(&key.path);
            let place = pump.meta_places.get(&top.to_lowercase());
            let place = place.unwrap_or(&pump.place).clone();
            match relatives::no_effect(kind, top) {
                Some(text) => findings.warn(place, format!("{context}: meta.{top} {text}")),
                None => findings.mistake(
                    place,
                    format!("{context}: {}", unknown_option(top, key.did_you_mean.as_deref())),
                ),
            }
        }
        let prefix = match (&pump.env_prefix, pump.meta.get(ENV_PREFIX_KEY).and_then(Value::as_str)) {
            (Some(prefix), _) => prefix.clone(),
            // Variables have capital names, however the prefix is written.
            (None, Some(prefix)) if !prefix.is_empty() => upper(prefix),
            _ => kind.env_prefix().to_owned(),
        };
        pump.meta.remove(ENV_PREFIX_KEY);
        if prefix.is_empty() {
            continue;
        }
        if kind.built().is_none() {
            env.pass_over(&format!("{prefix}_"));
        }
        let mut variables = Variables {
            env,
            stores,
            exact,
            schema: &schema,
        };
        if options::has_type_prefix(&schema) && prefix != kind.env_prefix() {
            variables.apply(kind.env_prefix(), pump.options(), findings);
        }
        variables.apply(&prefix, pump.options(), findings);
        variables.pass_over_relatives(&prefix, kind, findings);
        variables.apply_bare(&prefix, &mut pump.meta);
        variables.apply_fixed(&prefix, &mut pump.meta);
        if let Some(old) = options::old_env_prefix(&schema) {
            let used = variables.apply(old, pump.options(), findings);
            if !used.is_empty() {
                let pairs: Vec<_> = used
                    .iter()
                    .map(|name| format!("{name} -> {}", name.replacen(old, &prefix, 1)))
                    .collect();
                let text = format!(
                    "{}: the {old}_* environment variables are deprecated. Use their {prefix}_* equivalent instead: {}",
                    kind.title(),
                    pairs.join(", ")
                );
                findings.warn(pump.place.clone(), text);
            }
        }
    }
}

/// Options of a sink, and where they were set.
type Options<'a> = (&'a mut Map<String, Value>, &'a mut HashMap<String, Place>);

/// The variables of one pump's options.
struct Variables<'a> {
    env: &'a mut Environment,
    stores: &'a Stores,
    exact: bool,
    schema: &'a schemars::Schema,
}

impl Variables<'_> {
    /// Sets every option that a variable with this prefix sets; returns the variables' names.
    fn apply(&mut self, prefix: &str, (meta, places): Options<'_>, findings: &mut Findings) -> Vec<String> {
        let mut used = Vec::new();
        for option in options::env_names(self.schema) {
            let mut suffixes = option.suffixes.clone();
            if self.exact {
                suffixes.truncate(1);
            } else {
                suffixes.push(option.path.join("_").to_uppercase());
            }
            let names: Vec<String> = suffixes.iter().map(|suffix| format!("{prefix}_{suffix}")).collect();
            let given: Vec<(&String, String)> = names
                .iter()
                .filter_map(|name| Some((name, self.env.take(name)?)))
                .collect();
            let Some((name, text)) = given.into_iter().next() else {
                continue;
            };
            used.push(name.clone());
            if Some(name) != names.first() {
                env::counts_now(name, findings);
            }
            let place = Place::Variable(name.clone());
            let may_be_empty = matches!(
                option.shape,
                options::Shape::Text | options::Shape::List(_) | options::Shape::Map(_)
            );
            if text.trim().is_empty() && !may_be_empty {
                findings.warn(
                    place,
                    format!("{name} is empty – ignored; remove it or give it a value"),
                );
                continue;
            }
            let secret = is_secret(self.schema, &option.path);
            env::warn_quotes(name, &text, secret, findings);
            let resolved = match self.stores.resolve(&text) {
                Ok(resolved) => resolved,
                Err(problem) => {
                    let text = format!("Failed to resolve config: {name}: {problem}");
                    findings.fatal(place, text);
                    continue;
                }
            };
            match env::parse_shape(&option.shape, &resolved) {
                // As in a file: no value of its own.
                Ok(Value::Null) => {}
                Ok(value) => {
                    put(meta, &option.path, value);
                    places.extend(option.path.first().map(|key| (key.to_lowercase(), place)));
                }
                Err(remedy) => {
                    let shown = if secret {
                        "not usable".to_owned()
                    } else {
                        format!("{text:?}")
                    };
                    findings.error(place, format!("{name} is {shown} – {remedy}"));
                }
            }
        }
        used
    }

    /// Variables that set an option of a related type: charts set them for every pump of a back-end.
    fn pass_over_relatives(&mut self, prefix: &str, kind: Known, findings: &mut Findings) {
        for name in self.env.names(&format!("{prefix}_")) {
            let suffix = name.get(prefix.len() + 1..).unwrap_or_default();
            if self.env.is_used(&name) {
                continue;
            }
            if let Some(text) = relatives::variable_without_effect(kind, suffix) {
                self.env.take(&name);
                findings.warn(Place::Variable(name.clone()), format!("{name} {text}"));
            }
        }
    }

    /// Variables of a fixed name count for pumps that have no variable of their own for the option.
    fn apply_fixed(&mut self, prefix: &str, meta: &mut Map<String, Value>) {
        for (key, name) in options::fixed_variables(self.schema) {
            let own = format!("{prefix}_{}", key.replace('_', "").to_uppercase());
            let given = self.env.take(&name).filter(|text| !text.trim().is_empty());
            if let Some(text) = given.filter(|_| self.env.get(&own).is_none()) {
                put(meta, &[key], text.into());
            }
        }
    }

    /// `MONGO_DB_TYPE` without a prefix counts for every pump that has this option and no variable of its own for it.
    fn apply_bare(&self, prefix: &str, meta: &mut Map<String, Value>) {
        const NAME: &str = "MONGO_DB_TYPE";
        const KEY: &str = "mongo_db_type";
        let knows = options::env_names(self.schema)
            .iter()
            .any(|option| option.path == [KEY]);
        if !knows || self.env.get(&format!("{prefix}_{NAME}")).is_some() {
            return;
        }
        if let Some(number) = self.env.get(NAME).and_then(|text| env::parse_int(text).ok()) {
            put(meta, &[KEY.to_owned()], number.into());
        }
    }
}

fn is_secret(schema: &schemars::Schema, path: &[String]) -> bool {
    let mut shape = options::Shape::of(schema);
    let mut secret = false;
    for key in path {
        let options::Shape::Object(properties) = shape else {
            return secret;
        };
        let Some(property) = properties.into_iter().find(|property| property.key == *key) else {
            return secret;
        };
        secret |= property.secret;
        shape = property.shape;
    }
    secret
}

/// What to say about a key of `meta` that its sink does not know.
fn unknown_option(key: &str, did_you_mean: Option<&str>) -> String {
    let of_pump = PUMP.find(key).filter(|setting| !setting.key.contains('.')).is_some();
    match did_you_mean {
        Some(near) => format!("unknown key meta.{key} – did you mean \"{near}\"?"),
        None if of_pump || key.eq_ignore_ascii_case("filters") => {
            format!("unknown key meta.{key} – \"{key}\" belongs beside \"meta\", not inside")
        }
        None => format!("unknown key meta.{key}"),
    }
}

/// Sets an option, also inside objects.
fn put(meta: &mut Map<String, Value>, path: &[String], value: Value) {
    let Some((first, rest)) = path.split_first() else {
        return;
    };
    if rest.is_empty() {
        meta.insert(first.clone(), value);
        return;
    }
    let inner = meta.entry(first.clone()).or_insert_with(|| Value::Object(Map::new()));
    if !inner.is_object() {
        *inner = Value::Object(Map::new());
    }
    if let Value::Object(inner) = inner {
        put(inner, rest, value);
    }
}

/// Says where keys belong that stand beside `meta` and that no pump has.
pub fn report_strangers(config: &Config, findings: &mut Findings) {
    for pump in &config.pumps {
        let names = || {
            PUMP.settings
                .iter()
                .map(|setting| setting.key)
                .filter(|key| !key.contains('.'))
        };
        for (key, at) in &pump.strangers {
            let of_sink = pump
                .known()
                .is_some_and(|kind| match options::Shape::of(&kind.options()) {
                    options::Shape::Object(options) => {
                        options.iter().any(|option| option.key.eq_ignore_ascii_case(key))
                    }
                    _ => false,
                });
            if let Some(text) = pump.known().and_then(|kind| relatives::no_effect(kind, key)) {
                findings.warn(Place::File(*at), format!("pump \"{}\": \"{key}\" {text}", pump.spelled));
                continue;
            }
            let hint = match super::finding::nearest(key, names().chain(PUMP.objects.iter().copied())) {
                _ if of_sink => format!(" – \"{key}\" belongs inside \"meta\""),
                _ if PUMP.find(&format!("filters.{key}")).is_some() => {
                    format!(" – \"{key}\" belongs inside \"filters\"")
                }
                Some(near) => format!(" – did you mean \"{near}\"?"),
                None => " – options of the back-end belong inside \"meta\"".to_owned(),
            };
            findings.mistake(
                Place::File(*at),
                format!("pump \"{}\": unknown key \"{key}\"{hint}", pump.spelled),
            );
        }
    }
}
