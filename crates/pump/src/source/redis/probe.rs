//! Finds out what the server allows, and chooses how records are taken.

use redis::{Value, cmd};

use super::{
    commands::{command, decode, pipeline},
    failure,
    instance::{Chosen, RedisSource, Rights, Strategy},
    script::{self, argument},
    strategy::{ByScript, ByWatch, InPlace, Popping},
};
use crate::{
    config::ModeChoice,
    source::{Mode, SourceError},
};

impl RedisSource {
    pub(super) async fn probe(&self) -> Result<Chosen, SourceError> {
        self.refuse_sentinel().await?;
        let rights = self.probe_rights().await?;
        let wanted = self.delivery.mode;
        let chosen = |strategy: &'static dyn Strategy, mode| Chosen {
            strategy,
            mode,
            rights: rights.0,
        };
        match wanted {
            ModeChoice::Peek => return Ok(chosen(&InPlace, Mode::peek("delivery.mode is peek"))),
            ModeChoice::Legacy => return Ok(chosen(&Popping, Mode::legacy("delivery.mode is legacy"))),
            ModeChoice::Auto | ModeChoice::Claims => {}
        }
        let split = self
            .keys
            .iter()
            .zip(&self.names)
            .find(|(key, names)| !names.share_slot_with(&key.name));
        let obstacle = match (rights.0, split) {
            (_, Some((key, _))) if self.link.is_cluster() => format!(
                "the braces in {} are no hash tag, so that nothing can be kept beside it in a cluster (change key_prefix)",
                key.name
            ),
            (Rights::Script, _) => return Ok(chosen(&ByScript, Mode::claims_script("scripts are allowed"))),
            (Rights::Watch, _) => {
                let reason = format!("this Redis user may not run the scripts ({})", rights.1);
                return Ok(chosen(&ByWatch, Mode::claims_watch(reason)));
            }
            (Rights::Plain, _) => format!(
                "this Redis user may run neither scripts nor WATCH with TIME ({})",
                rights.1
            ),
        };
        if wanted == ModeChoice::Claims {
            return Err(SourceError::Refused(anyhow::anyhow!(
                "delivery.mode is claims, but {obstacle}; allow them, or use delivery.mode auto"
            )));
        }
        if let Some(refusal) = self.refused_lock().await? {
            return Ok(chosen(
                &Popping,
                Mode::legacy(format!(
                    "{obstacle}, and not even the lock of mode peek ({refusal}): allow this user the keys and commands in docs/redis.md"
                )),
            ));
        }
        let mut reason = obstacle;
        if rights.0 == Rights::Plain {
            reason.push_str("; do not run another pump beside this one: it cannot be told when that one takes rows");
        }
        Ok(chosen(&InPlace, Mode::peek(reason)))
    }

    /// Names the mistake of giving a Sentinel's port as that of Redis.
    async fn refuse_sentinel(&self) -> Result<(), SourceError> {
        let Some(key) = self.keys.first() else { return Ok(()) };
        let info = cmd("INFO").arg("server").clone();
        let text = match self.link.run(&key.name, &info).await {
            Ok(value) => decode::<String>(&value).unwrap_or_default(),
            Err(SourceError::Refused(error)) if is_permission(&error.to_string()) => return Ok(()),
            Err(error) => return Err(error),
        };
        if !text.contains("redis_mode:sentinel") {
            return Ok(());
        }
        Err(SourceError::Refused(anyhow::anyhow!(
            "{} is a Sentinel, not a Redis server: set analytics_storage_config.master_name, and name the sentinels in addrs",
            self.link.first_address()
        )))
    }

    /// What Redis says to the lock that reading in place needs; `None`: it may be had.
    async fn refused_lock(&self) -> Result<Option<String>, SourceError> {
        let Some(names) = self.names.first() else {
            return Ok(None);
        };
        let lock = names.lock();
        match self.link.run(&lock, &command("EXISTS", &lock, [])).await {
            Err(SourceError::Refused(error)) if failure::is_forbidden(&error) => Ok(Some(error.to_string())),
            Err(error) => Err(error),
            Ok(_) => Ok(None),
        }
    }

    /// What the user may do, and what Redis said to the more that was tried.
    async fn probe_rights(&self) -> Result<(Rights, String), SourceError> {
        let Some((key, names)) = self.keys.first().zip(self.names.first()) else {
            return Err(SourceError::Refused(anyhow::anyhow!("no list to read")));
        };
        if !names.share_slot_with(&key.name) && self.link.is_cluster() {
            let ping = self.link.run(&key.name, &command("LLEN", &key.name, [])).await;
            return ping.map(|_| (Rights::Plain, String::new()));
        }
        let id = self.new_id();
        let keys = names.of_claim(id);
        let refusal = match script::PROBE.run(&self.link, &keys, &[argument(id)]).await {
            Ok(_) => return Ok((Rights::Script, String::new())),
            Err(SourceError::Refused(error)) if is_permission(&error.to_string()) => error.to_string(),
            Err(error) => return Err(error),
        };
        let [list, state, index] = keys;
        let id = id.to_string();
        let mut taken = self.link.transaction(&index).await?;
        let tried = pipeline([
            cmd("WATCH").arg(&state).clone(),
            cmd("TIME"),
            cmd("MULTI"),
            command("RENAMENX", &list, [state.as_str()]),
            command("PERSIST", &list, []),
            command("TYPE", &list, []),
            command("PTTL", &list, []),
            command("LLEN", &list, []),
            command("LTRIM", &list, ["1", "-1"]),
            command("HMSET", &state, ["probe", "1"]),
            command("HGETALL", &state, []),
            command("ZADD", &index, ["0", &id]),
            command("ZSCORE", &index, [id.as_str()]),
            command("ZREM", &index, [id.as_str()]),
            command("DEL", &state, []),
            cmd("EXEC"),
        ]);
        let values = self.link.run_on(&mut taken, &tried).await?;
        let errors: Vec<String> = values.iter().filter_map(failure::text).collect();
        if matches!(values.last(), Some(Value::Array(_))) && errors.is_empty() {
            self.link.give_back_transaction(taken);
            return Ok((Rights::Watch, refusal));
        }
        if errors.iter().any(|error| error.starts_with("OOM")) {
            return Ok((Rights::Watch, refusal)); // allowed, only not now
        }
        match errors
            .into_iter()
            .find(|error| !is_permission(error) && !error.starts_with("EXECABORT"))
        {
            Some(error) => Err(failure::of_reply(&error).error),
            None => Ok((Rights::Plain, refusal)),
        }
    }
}

/// Whether an answer says that this user, or this server, does not do that; as opposed to a wrong password.
fn is_permission(error: &str) -> bool {
    !["NOAUTH", "WRONGPASS", "DENIED"]
        .iter()
        .any(|code| error.starts_with(code))
}
