//! Options of a sink: one documented struct from which decoding, names of environment variables, the JSON schema and
//! the reference page come.
//!
//! The struct derives `Deserialize`, `Serialize`, `Default` and `JsonSchema` and has `#[serde(default)]`. A field whose
//! environment variable is not its key in upper case without underscores says so: `#[schemars(extend("x-env" =
//! "ADDR"))]`; an empty list says that it has none. A field that must not be printed has `#[schemars(extend("x-secret" = true))]`.

mod env;
mod page;
mod shape;

use schemars::{JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings};
use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};

pub use env::{EnvOption, env_names};
pub use page::{json_schema, pages};
pub use shape::{Property, Shape};

use crate::table::closest;

/// Key that every sink's `meta` may have: the prefix of its environment variables.
pub const ENV_PREFIX_KEY: &str = "meta_env_prefix";

/// The schema of `T` without references, as [`crate::SinkSpec::options`] wants it.
pub fn schema<T: JsonSchema>() -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    SchemaGenerator::new(settings).into_root_schema_for::<T>()
}

/// `schema` with a description of its own: several types may share their options.
pub fn described(mut schema: Schema, text: &str) -> Schema {
    schema.insert("description".to_owned(), text.into());
    schema
}

/// Key of a schema that names a deprecated prefix of its variables.
const OLD_ENV_PREFIX: &str = "x-old-env-prefix";

/// `schema`, whose options can also be set by variables with a deprecated prefix; they win over the others.
pub fn with_old_env_prefix(mut schema: Schema, prefix: &str) -> Schema {
    schema.insert(OLD_ENV_PREFIX.to_owned(), prefix.into());
    schema
}

/// Key of a schema whose type's own prefix counts for every pump of it.
const TYPE_PREFIX: &str = "x-type-prefix";

/// `schema`, whose options can also be set by variables with the type's own prefix when the pump has another one, which
/// wins: upstream reads no other prefix for this type.
pub fn with_type_prefix(mut schema: Schema) -> Schema {
    schema.insert(TYPE_PREFIX.to_owned(), true.into());
    schema
}

/// Whether the type's own prefix counts for every pump of it.
pub fn has_type_prefix(schema: &Schema) -> bool {
    schema.get(TYPE_PREFIX).is_some()
}

/// Key of an option's schema: a variable that sets it whatever the pump's prefix is, because upstream reads no other.
const FIXED_VARIABLE: &str = "x-env-fixed";

/// Options that are also set by a variable whose name is the same for every pump of the type: key and name. The pump's own
/// variable goes before it.
pub fn fixed_variables(schema: &Schema) -> Vec<(String, String)> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let fixed = |(key, option): (&String, &Value)| {
        let name = option.get(FIXED_VARIABLE)?.as_str()?;
        Some((key.clone(), name.to_owned()))
    };
    properties.into_iter().flatten().filter_map(fixed).collect()
}

/// The deprecated prefix of a schema's variables, if it has one.
pub fn old_env_prefix(schema: &Schema) -> Option<&str> {
    schema.get(OLD_ENV_PREFIX).and_then(Value::as_str)
}

/// The schema of a sink whose options are not known yet: accepts everything.
pub fn any() -> Schema {
    Schema::default()
}

/// What is wrong with a `meta`: every problem, each with key, value, expected type and remedy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", problems.join("; "))]
pub struct OptionsError {
    /// One sentence each.
    pub problems: Vec<String>,
}

/// A key that a sink does not know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    /// Where, such as `meta.ssl.ca_fil`.
    pub path: String,
    /// The key that was probably meant, as it is spelled in the schema.
    pub did_you_mean: Option<String>,
}

/// Decodes `meta` as upstream does: keys in any case, strict types, a number becomes an integer by truncation, a
/// missing key or null is the default. Unknown keys are passed over; [`normalise`] reports them.
pub fn decode<T: DeserializeOwned + JsonSchema>(meta: &Value) -> Result<T, OptionsError> {
    let shape = Shape::of(&schema::<T>());
    let mut problems = Vec::new();
    let value = fit(&shape, meta, "meta", false, &mut problems).unwrap_or_else(|| Value::Object(Map::new()));
    if !problems.is_empty() {
        return Err(OptionsError { problems });
    }
    T::deserialize(value).map_err(|error| OptionsError {
        problems: vec![format!("meta: {error}")],
    })
}

/// Every value of `meta` that does not fit, as [`decode`] says it.
pub fn problems(schema: &Schema, meta: &Value) -> Vec<String> {
    let mut problems = Vec::new();
    fit(&Shape::of(schema), meta, "meta", false, &mut problems);
    problems
}

/// `meta` with every known key spelled as in the schema, and the keys that the schema does not know (they stay).
pub fn normalise(schema: &Schema, meta: &Value) -> (Value, Vec<UnknownKey>) {
    let mut unknown = Vec::new();
    let value = respell(&Shape::of(schema), meta, "meta", true, &mut unknown);
    (value, unknown)
}

fn respell(shape: &Shape, value: &Value, path: &str, top: bool, unknown: &mut Vec<UnknownKey>) -> Value {
    match (shape, value) {
        (Shape::List(items), Value::Array(values)) => {
            let respelled = values.iter().enumerate();
            respelled
                .map(|(i, value)| respell(items, value, &format!("{path}[{i}]"), false, unknown))
                .collect()
        }
        (Shape::Object(properties), Value::Object(given)) => {
            let mut spelled = Map::new();
            for (key, value) in given {
                let at = format!("{path}.{key}");
                let known = properties.iter().find(|p| p.key.eq_ignore_ascii_case(key));
                match known {
                    // An exact key wins over the same key in another case.
                    Some(property) if *key != property.key && given.contains_key(&property.key) => {}
                    Some(property) => {
                        let value = respell(&property.shape, value, &at, false, unknown);
                        spelled.insert(property.key.clone(), value);
                    }
                    None if top && key.eq_ignore_ascii_case(ENV_PREFIX_KEY) => {
                        spelled.insert(ENV_PREFIX_KEY.to_owned(), value.clone());
                    }
                    None => {
                        let did_you_mean = closest(key, properties.iter().map(|p| p.key.as_str())).map(str::to_owned);
                        unknown.push(UnknownKey { path: at, did_you_mean });
                        spelled.insert(key.clone(), value.clone());
                    }
                }
            }
            Value::Object(spelled)
        }
        _ => value.clone(),
    }
}

/// `value` as the type that `shape` asks for; `None`: the default. What does not fit is added to `problems`.
fn fit(shape: &Shape, value: &Value, path: &str, secret: bool, problems: &mut Vec<String>) -> Option<Value> {
    match (shape, value) {
        (_, Value::Null) => return None,
        (Shape::Any, _) | (Shape::Text, Value::String(_)) | (Shape::Bool, Value::Bool(_)) => {
            return Some(value.clone());
        }
        (Shape::Float, Value::Number(number)) => return number.as_f64().map(Value::from),
        (Shape::Int, Value::Number(number)) => {
            if let Some(whole) = truncate(number) {
                return Some(whole.into());
            }
        }
        (Shape::Uint, Value::Number(number)) => {
            if number.as_u64().is_some() {
                return Some(value.clone());
            }
            if let Some(whole) = truncate(number).filter(|&whole| whole >= 0 && number.as_f64() >= Some(0.0)) {
                return Some(whole.into());
            }
        }
        (Shape::List(items), Value::Array(values)) => {
            let mut fitted = Vec::with_capacity(values.len());
            for (i, value) in values.iter().enumerate() {
                let item = fit(items, value, &format!("{path}[{i}]"), secret, problems);
                fitted.push(item.unwrap_or_else(|| items.zero()));
            }
            return Some(Value::Array(fitted));
        }
        (Shape::Map(values), Value::Object(given)) => {
            let mut fitted = Map::new();
            for (key, value) in given {
                let item = fit(values, value, &format!("{path}.{key}"), secret, problems);
                fitted.insert(key.clone(), item.unwrap_or_else(|| values.zero()));
            }
            return Some(Value::Object(fitted));
        }
        (Shape::Object(properties), Value::Object(given)) => {
            let mut fitted = Map::new();
            for property in properties {
                let found = given.get(&property.key).or_else(|| {
                    let mut others = given.iter();
                    others
                        .find(|(key, _)| key.eq_ignore_ascii_case(&property.key))
                        .map(|(_, value)| value)
                });
                let at = format!("{path}.{}", property.key);
                if let Some(value) = found.and_then(|value| fit(&property.shape, value, &at, property.secret, problems))
                {
                    fitted.insert(property.key.clone(), value);
                }
            }
            return Some(Value::Object(fitted));
        }
        _ => {}
    }
    problems.push(mismatch(shape, value, path, secret));
    None
}

/// The spellings of true and false that Go knows.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

fn truncate(number: &Number) -> Option<i64> {
    if let Some(whole) = number.as_i64() {
        return Some(whole);
    }
    let float = number.as_f64()?.trunc();
    // Both bounds are exact in binary: -2^63 and 2^63.
    (-9_223_372_036_854_775_808.0..9_223_372_036_854_775_808.0)
        .contains(&float)
        .then_some(float as i64)
}

fn mismatch(shape: &Shape, value: &Value, path: &str, secret: bool) -> String {
    let given = match value {
        Value::String(_) if secret => "a text".to_owned(),
        Value::Number(_) if secret => "a number".to_owned(),
        Value::String(text) => {
            let short: String = text.chars().take(40).collect();
            let dots = if short.len() < text.len() { "…" } else { "" };
            format!("the text \"{short}{dots}\"")
        }
        Value::Number(number) => format!("the number {number}"),
        Value::Bool(flag) => flag.to_string(),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::Null => "null".to_owned(),
    };
    let remedy = match (shape, value) {
        (Shape::Bool, Value::String(text)) => {
            let flag = if matches!(
                text.trim().to_ascii_lowercase().as_str(),
                "false" | "0" | "no" | "off" | ""
            ) {
                "false"
            } else {
                "true"
            };
            format!("write {flag} without quotes")
        }
        (Shape::Bool, _) => "write true or false".to_owned(),
        (Shape::Int | Shape::Uint | Shape::Float, Value::String(text))
            if !secret && text.trim().parse::<f64>().is_ok() =>
        {
            format!("write {} without quotes", text.trim())
        }
        (Shape::Int, _) => "write a whole number such as 5".to_owned(),
        (Shape::Uint, _) => "write a whole number from 0 up such as 5".to_owned(),
        (Shape::Float, _) => "write a number such as 0.5".to_owned(),
        (Shape::Text, Value::Number(number)) if !secret => format!("write \"{number}\" in quotes"),
        (Shape::Text, Value::Bool(flag)) => format!("write \"{flag}\" in quotes"),
        (Shape::Text, _) => "write one text in quotes".to_owned(),
        (Shape::List(items), Value::String(text))
            if !secret && **items == Shape::Text && text.chars().count() <= 40 =>
        {
            format!("write [\"{text}\"]")
        }
        (Shape::List(_), _) => "write a list in [ ]".to_owned(),
        (Shape::Map(_) | Shape::Object(_), _) => "write an object in { }".to_owned(),
        (Shape::Any, _) => "remove it".to_owned(),
    };
    format!("{path} is {given}, expected {shape} – {remedy}")
}

#[cfg(test)]
mod tests;
