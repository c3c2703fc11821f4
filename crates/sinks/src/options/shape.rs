//! What a JSON schema says about types, reduced to what options use.

use std::fmt;

use schemars::Schema;
use serde_json::{Map, Value};

/// Type of an option. `Display` names it for people.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Anything.
    Any,
    /// A string.
    Text,
    /// true or false
    Bool,
    /// A whole number.
    Int,
    /// A whole number from 0 up.
    Uint,
    /// A number.
    Float,
    /// A list.
    List(Box<Shape>),
    /// An object with free keys.
    Map(Box<Shape>),
    /// An object with fixed keys.
    Object(Vec<Property>),
}

/// One option.
#[derive(Clone, Debug, PartialEq)]
pub struct Property {
    /// Key in `meta`.
    pub key: String,
    /// Names of its variable after the prefix, upstream's first; of an object: what it adds to its options' prefix.
    pub env: Vec<String>,
    /// Its doc comment.
    pub description: String,
    /// Value when the key is missing.
    pub default: Option<Value>,
    /// Whether its value must not be printed.
    pub secret: bool,
    /// Type.
    pub shape: Shape,
}

impl Shape {
    /// Reads a schema that was made by [`super::schema`].
    pub fn of(schema: &Schema) -> Shape {
        Shape::from_value(schema.as_value())
    }

    fn from_value(schema: &Value) -> Shape {
        if let Some(inner) = without_null(schema) {
            return Shape::from_value(inner);
        }
        let kind = match schema.get("type") {
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).find(|&kind| kind != "null"),
            Some(kind) => kind.as_str(),
            // An enum with documented variants.
            None if schema.get("oneOf").is_some() => Some("string"),
            None => None,
        };
        match kind {
            Some("string") => Shape::Text,
            Some("boolean") => Shape::Bool,
            Some("integer") if schema.get("minimum").and_then(Value::as_i64) == Some(0) => Shape::Uint,
            Some("integer") => Shape::Int,
            Some("number") => Shape::Float,
            Some("array") => Shape::List(Box::new(schema.get("items").map_or(Shape::Any, Shape::from_value))),
            Some("object") => match schema.get("properties").and_then(Value::as_object) {
                Some(properties) => Shape::Object(properties.iter().map(Property::from_entry).collect()),
                None => match schema.get("additionalProperties") {
                    Some(values) if values != &Value::Bool(false) => Shape::Map(Box::new(Shape::from_value(values))),
                    _ => Shape::Object(Vec::new()),
                },
            },
            _ => Shape::Any,
        }
    }

    /// The value of this type that Go calls zero.
    pub(super) fn zero(&self) -> Value {
        match self {
            Shape::Any => Value::Null,
            Shape::Text => "".into(),
            Shape::Bool => false.into(),
            Shape::Int | Shape::Uint => 0.into(),
            Shape::Float => 0.0.into(),
            Shape::List(_) => Value::Array(Vec::new()),
            Shape::Map(_) | Shape::Object(_) => Value::Object(Map::new()),
        }
    }
}

/// `Option<T>` of a struct: the schema of `T` beside null.
fn without_null(schema: &Value) -> Option<&Value> {
    let alternatives = schema.get("anyOf")?.as_array()?;
    let is_null = |schema: &Value| schema.get("type").and_then(Value::as_str) == Some("null");
    alternatives.iter().find(|alternative| !is_null(alternative))
}

impl Property {
    fn from_entry((key, schema): (&String, &Value)) -> Property {
        let derived = key.replace('_', "").to_uppercase();
        let mut env: Vec<String> = match schema.get("x-env") {
            Some(Value::String(name)) => vec![name.clone()],
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        // An empty list: the variable of that name is another option's.
        let has_own = schema.get("x-env") != Some(&Value::Array(Vec::new()));
        if has_own && !env.contains(&derived) {
            env.push(derived);
        }
        let text = |name| schema.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Property {
            key: key.clone(),
            env,
            description: text("description"),
            default: schema.get("default").cloned(),
            secret: schema.get("x-secret") == Some(&Value::Bool(true)),
            shape: Shape::from_value(schema),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Any => f.write_str("any value"),
            Shape::Text => f.write_str("a text"),
            Shape::Bool => f.write_str("true or false"),
            Shape::Int => f.write_str("a whole number"),
            Shape::Uint => f.write_str("a whole number from 0 up"),
            Shape::Float => f.write_str("a number"),
            Shape::List(items) => write!(f, "a list, each item {items}"),
            Shape::Map(values) => write!(f, "an object, each value {values}"),
            Shape::Object(_) => f.write_str("an object"),
        }
    }
}
