//! The random id that is kept in this Redis, by which its claims are told from those of others.

use std::sync::Arc;

use super::{
    commands::{command, decode},
    failure,
    instance::{RedisSource, Rights},
    script::{self, argument},
};
use crate::source::SourceError;

impl RedisSource {
    /// The id of this store, which is made if it has none.
    pub(super) async fn stored_fleet(&self) -> Result<Arc<str>, SourceError> {
        let prefix = self.names.first().map(|names| names.prefix()).unwrap_or_default();
        let name = format!("{prefix}fleet");
        let fresh = ulid::Ulid::new().to_string();
        let asked = self.ask_for_fleet(&name, &fresh).await;
        match asked {
            // Upstream's user may use upstream's keys alone: an id of this instance does for ledgers.
            Err(SourceError::Refused(error)) if failure::is_forbidden(&error) => Ok(self.own_fleet()),
            other => other,
        }
    }

    async fn ask_for_fleet(&self, name: &String, fresh: &str) -> Result<Arc<str>, SourceError> {
        let value = if self.rights() == Rights::Script {
            script::FLEET
                .run(&self.link, std::slice::from_ref(name), &[argument(fresh)])
                .await?
        } else {
            self.link.run(name, &command("SETNX", name, [fresh])).await?;
            self.link.run(name, &command("GET", name, [])).await?
        };
        Ok(decode::<String>(&value)?.into())
    }

    /// The same id at every start of this instance.
    fn own_fleet(&self) -> Arc<str> {
        let hash = redis::Script::new(&self.delivery.instance_id).get_hash().to_owned();
        let number = hash.get(..32).and_then(|hex| u128::from_str_radix(hex, 16).ok());
        ulid::Ulid(number.unwrap_or_default()).to_string().into()
    }
}
