//! Names of the environment variables that set a sink's options.

use schemars::Schema;

use super::Shape;

/// One option that an environment variable can set.
#[derive(Clone, Debug, PartialEq)]
pub struct EnvOption {
    /// What follows the prefix and an underscore; upstream's name first, then the other spellings that are accepted.
    pub suffixes: Vec<String>,
    /// Keys from `meta` down to the option.
    pub path: Vec<String>,
    /// Type that the text of the variable is read as.
    pub shape: Shape,
}

/// Every option of a schema that a variable can set, in order of declaration. Options of nested objects are listed one
/// by one, the object's own name in front of theirs.
pub fn env_names(schema: &Schema) -> Vec<EnvOption> {
    let mut options = Vec::new();
    collect(&Shape::of(schema), &[String::new()], &[], &mut options);
    options
}

fn collect(shape: &Shape, prefixes: &[String], path: &[String], options: &mut Vec<EnvOption>) {
    let Shape::Object(properties) = shape else {
        return;
    };
    for property in properties {
        let mut suffixes: Vec<String> = Vec::new();
        for name in &property.env {
            for prefix in prefixes {
                let suffix = format!("{prefix}{name}");
                if !suffixes.contains(&suffix) {
                    suffixes.push(suffix);
                }
            }
        }
        let path = [path, std::slice::from_ref(&property.key)].concat();
        if matches!(property.shape, Shape::Object(_)) {
            let nested: Vec<String> = suffixes.iter().map(|suffix| format!("{suffix}_")).collect();
            collect(&property.shape, &nested, &path, options);
            continue;
        }
        if suffixes.is_empty() {
            continue;
        }
        options.push(EnvOption {
            suffixes,
            path,
            shape: property.shape.clone(),
        });
    }
}
