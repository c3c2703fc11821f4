//! Commands, and taking their replies apart.

use redis::{Cmd, FromRedisValue, Pipeline, Value};

use super::failure;
use crate::source::SourceError;

/// A command on one key.
pub(super) fn command<'a>(name: &str, key: &str, arguments: impl IntoIterator<Item = &'a str>) -> Cmd {
    let mut command = redis::cmd(name);
    command.arg(key);
    for argument in arguments {
        command.arg(argument);
    }
    command
}

/// Several commands as one pipeline.
pub(super) fn pipeline(commands: impl IntoIterator<Item = Cmd>) -> Pipeline {
    let mut pipeline = redis::pipe();
    for command in commands {
        pipeline.add_command(command);
    }
    pipeline
}

/// Takes a reply apart; a form that Redis never sends is an error, not a panic.
pub(super) fn decode<T: FromRedisValue>(value: &Value) -> Result<T, SourceError> {
    if let Some(text) = failure::text(value) {
        return Err(failure::of_reply(&text).error);
    }
    T::from_redis_value_ref(value).map_err(|error| SourceError::Unavailable(anyhow::anyhow!("{error}")))
}

/// An array reply of a script: its first word, and the rest.
pub(super) fn outcome(value: &Value) -> Result<(String, &[Value]), SourceError> {
    let unexpected = || SourceError::Unavailable(anyhow::anyhow!("unexpected reply of a script: {value:?}"));
    let Value::Array(values) = value else {
        return Err(unexpected());
    };
    let (first, rest) = values.split_first().ok_or_else(unexpected)?;
    Ok((decode(first)?, rest))
}

/// The first error among the answers to single commands.
pub(super) fn first_error(values: &[Value]) -> Result<(), SourceError> {
    match values.iter().find_map(failure::text) {
        Some(text) => Err(failure::of_reply(&text).error),
        None => Ok(()),
    }
}
