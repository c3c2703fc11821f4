//! Options of related types: `mongo` and `mongo-pump-aggregate` write to the same back-end, and examples and charts give one
//! what only the other reads. That does no harm, and nothing else either.

use sinks::{Known, options};

/// The types for the same back-end: their names begin with the same word.
fn relatives(kind: Known) -> impl Iterator<Item = Known> {
    let family = |kind: Known| kind.name().split(['-', '_']).next().unwrap_or_default();
    sinks::known().filter(move |other| other.name() != kind.name() && family(*other) == family(kind))
}

/// What to say of an option that `kind` does not have and a related type has; `None`: none has it.
pub(super) fn no_effect(kind: Known, key: &str) -> Option<String> {
    let has = |kind: &Known| match options::Shape::of(&kind.options()) {
        options::Shape::Object(options) => options.iter().any(|option| option.key.eq_ignore_ascii_case(key)),
        _ => false,
    };
    if has(&kind) {
        return None;
    }
    relatives(kind).find(has).map(|other| text(kind, other))
}

/// The same for a variable that ends in `suffix`.
pub(super) fn variable_without_effect(kind: Known, suffix: &str) -> Option<String> {
    let has = |kind: &Known| {
        options::env_names(&kind.options()).iter().any(|option| {
            let own = option.suffixes.iter().any(|name| name == suffix);
            own || option.path.join("_").eq_ignore_ascii_case(suffix)
        })
    };
    relatives(kind).find(has).map(|other| text(kind, other))
}

fn text(kind: Known, other: Known) -> String {
    format!(
        "has no effect on pumps of type {}, only on those of type {} – remove it",
        kind.name(),
        other.name()
    )
}
