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
    text(kind, relatives(kind).filter(has))
}

/// The same for a variable that ends in `suffix`.
pub(super) fn variable_without_effect(kind: Known, suffix: &str) -> Option<String> {
    let has = |kind: &Known| {
        options::env_names(&kind.options()).iter().any(|option| {
            let own = option.suffixes.iter().any(|name| name == suffix);
            own || option.path.join("_").eq_ignore_ascii_case(suffix)
        })
    };
    text(kind, relatives(kind).filter(has))
}

/// `None`: no type has it.
fn text(kind: Known, others: impl Iterator<Item = Known>) -> Option<String> {
    let others: Vec<&str> = others.map(Known::name).collect();
    (!others.is_empty()).then(|| {
        let others = others.join(", ");
        format!(
            "has no effect on pumps of type {}: it is an option of {others} – remove it",
            kind.name()
        )
    })
}
