//! Looking at keys and writing only if they have not changed, on a connection of its own.

use redis::{Pipeline, Value, aio::MultiplexedConnection, cmd};

use super::{
    commands::{first_error, pipeline},
    connect::Taken,
    failure,
    instance::{RedisSource, Rights},
};
use crate::source::SourceError;

/// How often a transaction is tried while others change what it watches.
const ATTEMPTS: usize = 32;

/// What to do after a look at the watched keys.
pub(super) enum Next<T> {
    /// Nothing is to be written.
    Done(T),
    /// Write this, if nothing has changed; then the result is this.
    Write(Pipeline, T),
}

impl RedisSource {
    /// Looks at keys, decides, and writes only if none of the watched keys has changed since; else once more.
    /// For a user who may not even WATCH, the writes follow the look without protection.
    pub(super) async fn transact<T>(
        &self,
        home: &str,
        watched: &[&str],
        look: &Pipeline,
        decide: impl Fn(&[Value]) -> Result<Next<T>, SourceError>,
    ) -> Result<T, SourceError> {
        if self.rights() == Rights::Plain {
            return match decide(&self.link.run_all(home, look).await?)? {
                Next::Done(result) => Ok(result),
                Next::Write(writes, result) => {
                    first_error(&self.link.run_all(home, &writes).await?)?;
                    Ok(result)
                }
            };
        }
        for _ in 0..ATTEMPTS {
            let mut taken = self.link.transaction(home).await?;
            let mut first = pipeline([cmd("WATCH").arg(watched).clone()]);
            for command in look.cmd_iter() {
                first.add_command(command.clone());
            }
            let values = self.link.run_on(&mut taken, &first).await?;
            let (watching, seen) = values.split_at_checked(1).unwrap_or_default();
            first_error(watching)?;
            let (writes, result) = match decide(seen)? {
                Next::Write(writes, result) => (writes, result),
                Next::Done(result) => {
                    self.link.run_on(&mut taken, &pipeline([cmd("UNWATCH")])).await?;
                    self.link.give_back_transaction(taken);
                    return Ok(result);
                }
            };
            let answers = self.execute(&mut taken, &writes).await?;
            self.link.give_back_transaction(taken);
            if let Some(answers) = answers {
                first_error(&answers)?;
                return Ok(result);
            }
        }
        Err(SourceError::Unavailable(anyhow::anyhow!(
            "{home}: others change it all the time"
        )))
    }

    /// MULTI, commands, EXEC. `None`: something that is watched has changed.
    pub(super) async fn execute(
        &self,
        taken: &mut Taken<MultiplexedConnection>,
        writes: &Pipeline,
    ) -> Result<Option<Vec<Value>>, SourceError> {
        let mut multi = pipeline([cmd("MULTI")]);
        for command in writes.cmd_iter() {
            multi.add_command(command.clone());
        }
        multi.add_command(cmd("EXEC"));
        let mut values = self.link.run_on(taken, &multi).await?;
        let last = values.pop();
        first_error(&values)?;
        match last {
            Some(Value::Array(answers)) => Ok(Some(answers)),
            Some(Value::Nil) => Ok(None),
            other => {
                let error = other.as_ref().and_then(failure::text).unwrap_or_default();
                Err(failure::of_reply(&error).error)
            }
        }
    }
}
